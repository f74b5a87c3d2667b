"""Keeps as many rollout workers alive as are wanted: starts, restarts with back-off, lets leave, gives up."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from cluster.failure import USAGE, RunFailedError, UsageError
from control.journal import EventKind

QUICK_DEATH_S = 30.0  # a worker that lived no longer than this has died quickly
MAX_QUICK_DEATHS = 4  # so many in a row and the run is given up
LONGEST_BACKOFF_S = 8.0


class Launcher(Protocol):
    """Whatever runs workers: Ray (`cluster.launch.RayLauncher`), or a test."""

    def ensure(self) -> bool:
        """Bring back what the workers run on if it died; True if it had to, and then all workers are gone."""
        ...

    def adopt(self, workers: Sequence[int]) -> list[int]:
        """Take over workers that an earlier controller left playing; returns which of these there are."""
        ...

    def start(self, worker: int) -> None:
        """Start a worker."""
        ...

    def poll(self, worker: int) -> dict[str, str] | None:
        """None while it plays; then `{"reason": ...}`, or `{"error": one line, "traceback": ...}`."""
        ...

    def kill(self, worker: int) -> None:
        """End it at once."""
        ...


class Books(Protocol):
    """What the crew needs of a link."""

    def close_worker(self, worker: int) -> int:
        """See `wire.link.ControllerDesk`."""
        ...


class Chronicle(Protocol):
    """Where the crew says what happened."""

    def note(self, kind: EventKind, *, process: str = "", text: str = "") -> None:
        """See `cluster.recorder.Recorder`."""
        ...


@dataclass
class _Place:
    """What is known about worker i, whoever holds the place now."""

    started_s: float = 0.0
    playing: bool = False
    quick_deaths: int = 0
    next_start_s: float = float("-inf")


class Crew:
    """Workers 0 .. wanted - 1 of one run."""

    def __init__(
        self,
        launcher: Launcher,
        books: Books,
        chronicle: Chronicle,
        *,
        keep_traceback: Callable[[int, str], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`keep_traceback(worker, text)` puts a dead worker's traceback where people will look for it."""
        self.launcher, self.books, self.chronicle = launcher, books, chronicle
        self._keep_traceback, self._clock = keep_traceback, clock
        self._places: dict[int, _Place] = {}

    @property
    def live(self) -> int:
        """Workers that play, those included that are about to leave."""
        return sum(place.playing for place in self._places.values())

    def adopt(self, wanted: int) -> None:
        """Count the workers in that play already."""
        for worker in self.launcher.adopt(range(wanted)):
            self._places[worker] = _Place(started_s=self._clock(), playing=True)
            self.chronicle.note("note", process=f"worker/{worker}", text="was playing already")

    def reconcile(self, wanted: int) -> None:
        """One round: notice who left or died, and start who is missing.

        Raises:
            RunFailedError: a worker died too often in a row.
            UsageError: a worker cannot play this run at all.
            LinkDownError: nobody answers; call again.
        """
        if self.launcher.ensure():
            self.chronicle.note("restarted", process="ray", text="it had died, and its workers with it")
        for worker, place in self._places.items():
            if place.playing and (end := self.launcher.poll(worker)) is not None:
                self._ended(worker, place, end)
        for worker in range(wanted):
            place = self._places.setdefault(worker, _Place())
            if not place.playing and self._clock() >= place.next_start_s:
                self.launcher.start(worker)
                place.started_s, place.playing = self._clock(), True

    def kill_all(self) -> int:
        """End every worker that still plays, and close its books; returns the steps lost."""
        lost = 0
        for worker, place in self._places.items():
            if place.playing:
                self.launcher.kill(worker)
                place.playing = False
                lost += self.books.close_worker(worker)
        return lost

    def _ended(self, worker: int, place: _Place, end: dict[str, str]) -> None:
        lost = self.books.close_worker(worker)  # before anything is noted: it may raise, and then this runs again
        place.playing = False
        if "reason" in end:
            place.quick_deaths, place.next_start_s = 0, self._clock()
            return
        lived_s = self._clock() - place.started_s
        place.quick_deaths = place.quick_deaths + 1 if lived_s < QUICK_DEATH_S else 0
        place.next_start_s = self._clock() + self._backoff_s(place)
        if end.get("traceback"):
            self._keep_traceback(worker, end["traceback"])
        text = end["error"] + (f"; {lost} steps lost" if lost else "")
        self.chronicle.note("worker died", process=f"worker/{worker}", text=text)
        if end.get("exit_code") == str(USAGE):
            raise UsageError(f"worker {worker}: {end['error']}")
        if place.quick_deaths >= MAX_QUICK_DEATHS:
            raise RunFailedError(
                f"worker {worker} died {place.quick_deaths} times in a row, last of this: {end['error']}"
            )

    @staticmethod
    def _backoff_s(place: _Place) -> float:
        """A worker that played for a while is replaced at once; one that died quickly waits 0.5, 1, 2 ... seconds."""
        return 0.0 if place.quick_deaths == 0 else min(LONGEST_BACKOFF_S, 0.25 * 2.0**place.quick_deaths)
