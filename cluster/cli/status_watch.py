"""`quintet status --watch`: the board of a run that goes on, drawn by another process on any machine with its Redis."""

from __future__ import annotations

import contextlib
import time

from quintet.cluster.board import Board, BoardState
from quintet.control.doctor.finding import Finding
from quintet.control.doctor.health_check import LOOK_S
from quintet.control.doctor.health_snapshot import HealthSnapshot, read_health
from quintet.control.doctor.rules import diagnose
from quintet.control.operations import connect_to, read_status
from quintet.control.output import nobody_reads
from quintet.control.run_folder import RunFolder
from quintet.wire.errors import LinkDownError
from quintet.wire.redis_link.link import RedisLink

LOOK_AGAIN_S = 0.5


def watch_status(run: str | None, redis_url: str | None, board: Board | None = None) -> None:
    """Show the board until the run ends or Ctrl-C.

    Raises:
        UsageError: there is no such run, or it is not being trained.
        LinkError: its Redis refuses.
    """
    folder, link = connect_to(run, redis_url)
    with link, board or Board() as drawn, contextlib.suppress(KeyboardInterrupt):
        watch = _Watch(folder, link)
        while (redis_url is not None or folder.is_live) and not nobody_reads():
            drawn.update(watch.look())
            time.sleep(LOOK_AGAIN_S)
        drawn.say(f"run {folder.run} is not being trained any more; its outcome is in {folder.shown(folder.summary)}")


class _Watch:
    """One run as it was seen last: what Redis does not answer now is shown as it was."""

    def __init__(self, folder: RunFolder, link: RedisLink) -> None:
        self._folder, self._link = folder, link
        self._status = read_status(folder, link)
        self._looked_s = float("-inf")
        self._snapshot: HealthSnapshot | None = None
        self._findings: tuple[Finding, ...] = ()

    def look(self) -> BoardState:
        """Everything anew, the doctor and the journal now and then."""
        try:
            self._status, trouble = read_status(self._folder, self._link), ""
        except LinkDownError as error:
            trouble = str(error)
        if trouble or time.monotonic() - self._looked_s >= LOOK_S:
            self._looked_s = time.monotonic()
            self._snapshot = read_health(self._folder.path, None if trouble else self._status, trouble=trouble)
            self._findings = diagnose(self._snapshot)
        told = {beat.process: beat.data for beat in self._status.heartbeats}.get("controller", {})
        return BoardState.of(
            self._status,
            stage=str(told.get("stage", "seen from here")),
            events=self._snapshot.events if self._snapshot else (),
            findings=self._findings,
        )
