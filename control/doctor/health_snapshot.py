"""What a run's folder and disk say about its health, read for `control.doctor.rules` beside what its link says."""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from quintet.control.doctor.learning_course import Course, read_course
from quintet.control.journal import Event, read_journal
from quintet.control.status import RunStatus
from quintet.wire.redis_link.client import ServerHealth

EVENTS_KEPT = 500
LOG_TAIL_BYTES = 16_384
TRACEBACK_LINES = 25


@dataclass(frozen=True, kw_only=True, slots=True)
class Disk:
    """The disk that a run writes to."""

    path: str
    free_bytes: int
    checkpoint_bytes: int  # of the newest checkpoint; 0 before the first


@dataclass(frozen=True, kw_only=True, slots=True)
class HealthSnapshot:
    """Everything that the doctor looks at. What is not known is left out, and then not judged."""

    run: str
    status: RunStatus | None  # None where the run's link does not answer, or the run has ended
    trouble: str = ""  # why there is no status
    live: bool = True  # whether somebody drives the run now
    server: ServerHealth | None = None
    disk: Disk | None = None
    events: Sequence[Event] = ()  # the end of the journal, oldest first
    tracebacks: Mapping[str, str] = field(default_factory=dict)  # process -> the last traceback in its log
    course: Course | None = None  # of learning, from its beginning; None before it
    now_s: float = 0.0  # Unix time


def read_health(
    folder: Path,
    status: RunStatus | None,
    *,
    trouble: str = "",
    live: bool = True,
    server: ServerHealth | None = None,
) -> HealthSnapshot:
    """The snapshot of the run whose files lie in `folder`; a folder that is not here adds nothing."""
    return HealthSnapshot(
        run=folder.name,
        status=status,
        trouble=trouble,
        live=live,
        server=server,
        disk=read_disk(folder),
        events=tuple(read_journal(folder / "journal.jsonl"))[-EVENTS_KEPT:],
        tracebacks=read_tracebacks(folder / "logs"),
        course=read_course(folder / "metrics.jsonl"),
        now_s=time.time(),
    )


def read_disk(folder: Path) -> Disk | None:
    """The disk below a run's folder, None where the folder is not on this machine."""
    try:
        usage = shutil.disk_usage(folder)
    except OSError:
        return None
    return Disk(
        path=str(folder),
        free_bytes=usage.free,
        checkpoint_bytes=_checkpoint_bytes(folder / "checkpoints"),
    )


def _checkpoint_bytes(checkpoints: Path) -> int:
    try:
        newest = checkpoints / (checkpoints / "latest").read_text().strip()
        return sum(path.stat().st_size for path in newest.iterdir())
    except OSError:  # none yet, or it was thinned out while we looked
        return 0


def read_tracebacks(logs: Path) -> dict[str, str]:
    """The last traceback that each process left: `worker-3.log` is worker/3's, `optimizer.log` the optimizer's."""
    words = {}
    for path in sorted(logs.glob("*.log")):
        process = re.sub(r"^worker-(\d+)$", r"worker/\1", path.stem)
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - LOG_TAIL_BYTES))
            text = file.read().decode(errors="replace").rstrip()
        _, found, tail = text.rpartition("Traceback (most recent call last):")
        if found:
            words[process] = "\n".join((found + tail).splitlines()[-TRACEBACK_LINES:])
    return words
