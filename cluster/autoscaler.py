"""Follows a live run's load and says how many workers to want: the eyes and the memory of `control.autoscale`."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping

from control import metrics as names
from control.autoscale import Bounds, Decision, Load, decide, remembered
from control.status import phase_shares
from wire.link import Counters

LOAD_S = 1.0  # how often processes report their phases
SETTLE_S = 5.0  # after a change: what was reported in between was of another number of workers


class Autoscaler:
    """Call `look` about once a second, `decide` whenever the answer is wanted."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._history: deque[Load] = deque()
        self._looked_s = self._changed_s = clock()
        self._workers = 0
        self._counters: Counters | None = None

    def look(self, *, wanted: int, playing: int, phases: Mapping[str, Mapping[str, float]], counters: Counters) -> None:
        """Note the present load, unless workers or optimizer are just coming or going, or nothing is trained yet.

        Args:
            wanted: how many workers there should be.
            playing: how many play.
            phases: seconds by process and phase, all workers as one.
            counters: the run's counters now.
        """
        now_s = self._clock()
        if wanted != self._workers or playing != wanted:
            self._workers, self._changed_s, self._counters = wanted, now_s, None
        if now_s - self._looked_s < LOAD_S or now_s - self._changed_s < SETTLE_S or not counters.trained:
            return
        self._looked_s = now_s
        if {names.WORKER, names.OPTIMIZER} <= phases.keys() and self._counters is not None:
            self._history.append(self._load(now_s, phases, self._counters, counters))
            self._history = deque(remembered(self._history, now_s))
        self._counters = counters

    def decide(self, bounds: Bounds, wanted: int) -> Decision:
        """How many workers should be wanted now, and why."""
        return decide(tuple(self._history), bounds, wanted)

    def _load(self, now_s: float, phases: Mapping[str, Mapping[str, float]], before: Counters, now: Counters) -> Load:
        trained = now.trained - before.trained
        return Load(
            time_s=now_s,
            workers=self._workers,
            optimizer_wait=phase_shares(phases[names.OPTIMIZER]).get(names.WAIT, 0.0),
            workers_wait=phase_shares(phases[names.WORKER]).get(names.WAIT, 0.0),
            produced=now.produced - before.produced,
            trained=trained,
            settled=trained + now.stale - before.stale + now.rejected - before.rejected,
        )
