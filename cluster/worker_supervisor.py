"""Keeps as many rollout workers up as are wanted: starts, restarts with back-off, lets leave, gives up."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from quintet.cluster.processes.restart_policy import RestartPolicy
from quintet.cluster.recorder import Recorder
from quintet.control.errors import FAULTS_WITHIN_S, RunFailedError, fault
from quintet.wire.link import ControlChannel

MOST_USELESS_STARTS = 4  # of a worker that never came to play, in a row, and the run is given up
LONGEST_BACKOFF_S = 8.0
ADOPTED_AND_GONE = "adopted, and gone"  # the reason of a worker whose answer another controller waited for


class Launcher(Protocol):
    """Whatever runs workers: Ray (`quintet.cluster.ray_cluster.launcher.RayLauncher`), or a test."""

    def ensure(self) -> bool:
        """Bring back what the workers run on if it exited; True if it had to, and then all workers are gone."""
        ...

    def adopt(self, workers: Sequence[int]) -> list[int]:
        """Take over workers that an earlier controller left playing; returns which of these there are."""
        ...

    def start(self, worker: int) -> None:
        """Start a worker."""
        ...

    def poll(self, worker: int) -> dict[str, str] | None:
        """None while it plays; then `{"reason": ...}`, or what `control.errors.error_report` says of an error."""
        ...

    def kill(self, worker: int) -> None:
        """End it at once."""
        ...


@dataclass
class _Place:
    """What is known about worker i, whoever holds the place now."""

    playing: bool = False
    restarts: RestartPolicy = field(default_factory=lambda: RestartPolicy(MOST_USELESS_STARTS))
    next_start_s: float = float("-inf")


class WorkerSupervisor:
    """Workers 0 .. wanted - 1 of one run."""

    def __init__(
        self,
        launcher: Launcher,
        registry: ControlChannel,
        events: Recorder,
        *,
        keep_traceback: Callable[[int, str], Path],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`keep_traceback(worker, text)` puts a failed worker's traceback where people look for it; returns where."""
        self.launcher, self.registry, self.events = launcher, registry, events
        self._keep_traceback, self._clock = keep_traceback, clock
        self._places: dict[int, _Place] = {}
        self._faults_s: deque[float] = deque()  # when workers ended that another start would hardly have helped

    @property
    def live(self) -> int:
        """Workers that play, those included that are about to leave."""
        return sum(place.playing for place in self._places.values())

    def adopt(self, wanted: int) -> None:
        """Count the workers in that play already."""
        for worker in self.launcher.adopt(range(wanted)):
            place = self._places[worker] = _Place(playing=True)
            place.restarts.started_s = self._clock()
            self.events.note("note", process=f"worker/{worker}", text="was playing already")

    def reconcile(self, wanted: int) -> None:
        """One round: notice who left or failed, and start who is missing.

        Raises:
            RunFailedError, UsageError: a worker failed too often in a row, or by something that no other start helps.
            LinkDownError: nobody answers; call again.
        """
        if self.launcher.ensure():
            self.events.note("restarted", process="ray", text="it had died, and its workers with it")
        for worker, place in self._places.items():
            if place.playing and (end := self.launcher.poll(worker)) is not None:
                self._ended(worker, place, end)
        for worker in range(wanted):
            place = self._places.setdefault(worker, _Place())
            if not place.playing and self._clock() >= place.next_start_s:
                self.launcher.start(worker)
                place.restarts.started_s, place.playing = self._clock(), True

    def kill_all(self) -> int:
        """End every worker that still plays, and close its counters; returns the steps lost."""
        lost = 0
        for worker, place in self._places.items():
            if place.playing:
                self.launcher.kill(worker)
                place.playing = False
                lost += self.registry.close_worker(worker)
        return lost

    def _ended(self, worker: int, place: _Place, end: Mapping[str, str]) -> None:
        # Before anything is noted: these may raise, and then this runs again.
        beat = next((b for b in self.registry.heartbeats() if b.process == f"worker/{worker}"), None)
        lost = self.registry.close_worker(worker)
        said = {} if beat is None else beat.data
        if end.get("reason") == ADOPTED_AND_GONE and "error" in said:
            end = {name: str(text) for name, text in said.items()}
        place.playing = False
        if "reason" in end:
            place.restarts.left()
            place.next_start_s = self._clock()
            return
        place.restarts.exited(self._clock(), useful=bool(said.get("version")))
        place.next_start_s = self._clock() + self._backoff_s(place)
        self._note_failure(worker, end, lost)
        if place.restarts.too_many:
            times = place.restarts.in_a_row
            raise RunFailedError(f"worker {worker} died {times} times in a row, last of this: {end['error']}")

    def _note_failure(self, worker: int, end: Mapping[str, str], lost: int) -> None:
        """Write it down, and raise where it is of a kind that another start would not help."""
        log = self._keep_traceback(worker, end["traceback"]) if end.get("traceback") else None
        text = end["error"] + (f"; {lost} steps lost" if lost else "")
        self.events.note("worker died", process=f"worker/{worker}", text=text)
        if not end.get("borne"):
            return
        self._faults_s.append(self._clock())
        while self._clock() - self._faults_s[0] > FAULTS_WITHIN_S:
            self._faults_s.popleft()
        if len(self._faults_s) > int(end["borne"]):
            raise fault(f"worker {worker}: {end['error']}", int(end["exit_code"]), log)

    @staticmethod
    def _backoff_s(place: _Place) -> float:
        """A worker that played is replaced at once; one that failed quickly before that waits 0.5, 1, 2 ... seconds."""
        return 0.0 if place.restarts.useless == 0 else min(LONGEST_BACKOFF_S, 0.25 * 2.0**place.restarts.useless)
