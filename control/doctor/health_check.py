"""What the doctor finds while a run is recorded, looked up now and then and said in one line for the board."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path

from quintet.control.doctor.finding import Finding
from quintet.control.doctor.health_snapshot import EVENTS_KEPT, HealthSnapshot, read_disk
from quintet.control.doctor.learning_course import read_course
from quintet.control.doctor.rules import diagnose
from quintet.control.journal import Event
from quintet.control.status import RunStatus

LOOK_S = 5.0
"""Least seconds between two looks."""


class HealthCheck:
    """Keeps what the doctor wants to know of the past, and what was found at the last look."""

    def __init__(self, folder: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self._folder, self._clock = folder, clock
        self._events: deque[Event] = deque(maxlen=EVENTS_KEPT)
        self._looked_s = float("-inf")
        self.findings: tuple[Finding, ...] = ()

    def note(self, event: Event) -> None:
        """Remember an event."""
        self._events.append(event)

    def look(self, status: Callable[[], RunStatus]) -> None:
        """Have the doctor look, unless the last look is too young."""
        if self._clock() - self._looked_s < LOOK_S:
            return
        self._looked_s = self._clock()
        found = status()
        self.findings = diagnose(
            HealthSnapshot(
                run=found.run,
                status=found,
                disk=read_disk(self._folder),
                events=tuple(self._events),
                course=read_course(self._folder / "metrics.jsonl"),
                now_s=time.time(),
            )
        )


def in_one_line(findings: Sequence[Finding]) -> str:
    """The worst finding with what to do, and how many more there are."""
    if not findings:
        return "nothing is wrong"
    worst, more = findings[0], len(findings) - 1
    return f"{worst.about}: {worst.seen}; {worst.advice}" + (f" ({more} more: quintet doctor)" if more else "")
