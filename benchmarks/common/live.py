"""A real `quintet train` that a benchmark watches, scales and kills parts of while it goes on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import psutil
from common.quintet_run import RUN, START_TIMEOUT_S, QuintetRunError, command, environment, last_lines, stop

from quintet.wire.errors import LinkError
from quintet.wire.link import Counters
from quintet.wire.redis_link.link import RedisLink

Found = TypeVar("Found")
POLL_S = 0.02
SHARED_CORES = ("--cores-per-worker", "0.25")
WORKER, OPTIMIZER, REDIS, RAY, TRAIN = "worker", "optimizer", "redis", "ray", "train"
NAMES = {
    WORKER: "ray::RolloutAct",  # what /proc shows of it
    OPTIMIZER: "quintet optimizer",
    REDIS: "redis-server",
    RAY: "--raylet_socket_name",
}


class Live:
    """One run, its processes by what they are, and its books."""

    def __init__(self, folder: Path, settings: Mapping[str, object], options: Sequence[str]) -> None:
        self.cwd, self.folder = folder, folder / "runs" / RUN
        self._settings, self._options = settings, options
        self._log = folder / "train.log"
        self._process = self._start()
        self._link: RedisLink | None = None

    def _start(self, *, resume: bool = False) -> subprocess.Popen[bytes]:
        words = [*command(self._settings, resume=resume), *self._options, "--no-dashboard"]
        with self._log.open("ab") as log:
            return subprocess.Popen(
                words, cwd=self.cwd, env=environment(), stdout=log, stderr=log, start_new_session=True
            )

    @property
    def link(self) -> RedisLink:
        """A link to the run, once its Redis has an address."""
        if self._link is None:
            self._link = RedisLink((self.folder / "redis_url").read_text(), RUN)
        return self._link

    def counters(self) -> Counters | None:
        """The run's counters, None while its Redis does not answer."""
        try:
            return self.link.counters()
        except (LinkError, OSError):  # not there yet, or killed, and then its port may be another
            self._forget_link()
            return None

    def playing(self) -> list[str]:
        """The workers whose last heartbeat says that they play; empty while nobody answers."""
        try:
            beats = self.link.heartbeats()
        except (LinkError, OSError):
            self._forget_link()
            return []
        return sorted(b.process for b in beats if b.process.startswith(f"{WORKER}/") and b.data.get("version"))

    def net_steps(self) -> int:
        """Steps trained and not undone; 0 while nobody answers."""
        counters = self.counters()
        return 0 if counters is None else counters.trained - counters.undone

    def wait_for(self, look: Callable[[], Found], what: str, *, timeout_s: float = START_TIMEOUT_S) -> Found:
        """Wait until something is true.

        Raises:
            QuintetRunError: it does not become true in time, or the run ended by itself.
        """
        deadline = time.monotonic() + timeout_s
        while not (found := look()):
            if self._process.poll() is not None:
                raise QuintetRunError(
                    f"quintet train ended with {self._process.returncode} while {what}: {last_lines(self._log)}"
                )
            if time.monotonic() > deadline:
                raise QuintetRunError(f"{what} took more than {timeout_s:g} s: {last_lines(self._log)}")
            time.sleep(POLL_S)
        return found

    def processes(self, kind: str) -> list[psutil.Process]:
        """The run's processes of a kind."""
        parent = psutil.Process(self._process.pid)
        if kind == TRAIN:
            return [parent]
        return [p for p in parent.children(recursive=True) if NAMES[kind] in _words(p)]

    def kill(self, process: psutil.Process, kind: str) -> None:
        """SIGKILL; when it was `quintet train` itself, everything dies with it, and the run is resumed."""
        process.kill()
        if kind == TRAIN:
            self._process.wait()
            self._forget_link()
            self._process = self._start(resume=True)

    def end(self) -> dict[str, Any]:
        """Ctrl-C; returns the summary, empty where there is none. Doing it again changes nothing."""
        self._forget_link()
        stop(self._process)
        path = self.folder / "summary.json"
        return dict(json.loads(path.read_text())) if path.exists() else {}

    def _forget_link(self) -> None:
        if self._link is not None:
            self._link.close()
            self._link = None


def _words(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


@contextmanager
def live(settings: Mapping[str, object], *options: str) -> Iterator[Live]:
    """A run in a folder of its own that has trained its first steps, and ends with the block."""
    with tempfile.TemporaryDirectory(prefix="quintet-benchmark-") as folder:
        run = Live(Path(folder), settings, options)
        try:
            run.wait_for(lambda: run.net_steps() > 0, "waiting for the first trained step")
            yield run
        finally:
            run.end()


def pause(process: psutil.Process, seconds: float) -> None:
    """Have a process stand still for a while."""
    os.kill(process.pid, signal.SIGSTOP)
    try:
        time.sleep(seconds)
    finally:
        os.kill(process.pid, signal.SIGCONT)
