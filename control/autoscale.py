"""How many workers keep the optimizer fed and no more: a pure function from what a run did lately to a number.

Let every worker play a share 1 - w of its time, and the optimizer learn a share 1 - o of its own. Then as many steps
come as n (1 - w) workers make that never wait, and they are what 1 - o optimizers take. So one optimizer that never
waits takes what

    needed = n (1 - w) / (1 - o)

workers make that never wait. More workers are started when the optimizer waits for more than HUNGRY of its time, some
leave when even one fewer would make SPARE times what is needed: between the two nothing changes (hysteresis).
Two things overrule that. Workers that share cores with one another or with the optimizer may make no more steps than
fewer did: then their number goes back, and stays there until that is forgotten. And where much of what arrives is not
trained on (sample reuse), the steps grow too old on their way, and more workers would only make them older.
"""

from __future__ import annotations

import math
import re
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from quintet.control import metrics as names
from quintet.control.status import wait_shares
from quintet.wire.link import Counters

WINDOW_S = 10.0
"""What is looked back on before a decision, with the number of workers unchanged."""
MEMORY_S = 300.0
"""For how long it is remembered that more workers brought nothing."""
HUNGRY = 0.15
"""An optimizer that waits for chunks for more than this share of its time gets more workers."""
SPARE = 1.2
"""Workers leave only while those that stay make so many times what is needed."""
MIN_GAIN = 0.25
"""More workers must bring at least this share of what they would bring if each had a core of its own."""
LOW_REUSE = 0.75
"""When less of what is settled was trained on, one worker leaves."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """The fewest and the most workers that may be wanted."""

    low: int
    high: int

    def __post_init__(self) -> None:
        if not 1 <= self.low <= self.high:
            raise ValueError(f"{self.low}:{self.high} workers: expected MIN:MAX with 1 <= MIN <= MAX, for example 1:4")

    def __str__(self) -> str:
        return f"{self.low}:{self.high}"


def parse_bounds(text: str) -> Bounds:
    """Read `1:4`.

    Raises:
        ValueError: no such form, or numbers that cannot be; one line.
    """
    parts = re.fullmatch(r"\s*(\d+)\s*:\s*(\d+)\s*", text)
    if parts is None:
        raise ValueError(f"autoscale is {text!r}; expected MIN:MAX workers, for example 1:4")
    return Bounds(int(parts[1]), int(parts[2]))


@dataclass(frozen=True, kw_only=True, slots=True)
class Load:
    """What a run did in about a second in which all wanted workers played."""

    time_s: float  # when it ended, on any clock that only goes forward
    workers: int
    optimizer_wait: float  # the share of its time that the optimizer waited for chunks
    workers_wait: float  # the share of their time that workers waited for room in the stream, their mean
    produced: int  # steps that arrived in this time
    trained: int  # steps of finished updates in this time
    settled: int  # trained, stale or rejected in this time


@dataclass(frozen=True, slots=True)
class Decision:
    """How many workers to want, and why."""

    workers: int
    why: str


def decide(history: Sequence[Load], bounds: Bounds, wanted: int) -> Decision:
    """How many workers should be wanted now.

    Args:
        history: what the run did, oldest first; `remembered` says how much of it is worth keeping.
        bounds: the answer lies within these.
        wanted: how many are wanted now.
    """
    if not bounds.low <= wanted <= bounds.high:
        return Decision(min(max(wanted, bounds.low), bounds.high), f"autoscale keeps to {bounds}")
    stays = _stays(history)
    if not stays or stays[-1].workers != wanted or stays[-1].seconds < WINDOW_S:
        return Decision(wanted, "not known yet")
    now = stays[-1]
    if (idle := _idle_ceiling(stays, now)) is not None:
        return Decision(max(idle, bounds.low), f"{wanted} workers make no more steps than {idle} did")
    return _feed(stays, now, bounds)


def remembered(history: Sequence[Load], now_s: float) -> list[Load]:
    """The part of a history that `decide` may still need."""
    return [load for load in history if now_s - load.time_s <= MEMORY_S]


@dataclass(frozen=True, slots=True)
class _Stay:
    """A while with one number of workers: its last WINDOW_S."""

    workers: int
    seconds: float
    optimizer_wait: float
    workers_wait: float
    steps_per_s: float
    sample_reuse: float  # trained / settled; 1 where nothing was settled

    @property
    def needed(self) -> float:
        """Workers that never wait for one optimizer that never waits."""
        return self.workers * (1 - self.workers_wait) / max(1 - self.optimizer_wait, 0.01)


def _stays(history: Sequence[Load]) -> list[_Stay]:
    """The history cut where the number of workers changed; a while too short to tell anything is left out."""
    stays = [_stay(list(loads)) for _, loads in groupby(history, key=lambda load: load.workers)]
    return [stay for stay in stays if stay is not None]


def _stay(loads: Sequence[Load]) -> _Stay | None:
    begin_s, end_s = loads[0].time_s, loads[-1].time_s
    if end_s <= begin_s:
        return None
    recent = [load for load in loads if end_s - load.time_s < WINDOW_S]
    # The first load's steps came before `begin_s`; where all of the stay is looked at, they do not count.
    counted = recent[1:] if len(recent) == len(loads) else recent
    settled = sum(load.settled for load in counted)
    return _Stay(
        workers=loads[0].workers,
        seconds=end_s - begin_s,
        optimizer_wait=sum(load.optimizer_wait for load in recent) / len(recent),
        workers_wait=sum(load.workers_wait for load in recent) / len(recent),
        steps_per_s=sum(load.produced for load in counted) / min(end_s - begin_s, WINDOW_S),
        sample_reuse=sum(load.trained for load in counted) / settled if settled else 1.0,
    )


def _gained_nothing(fewer: _Stay, more: _Stay) -> bool:
    """Whether the optimizer was as hungry with more workers, and they made hardly more steps than fewer had."""
    expected = 1 + MIN_GAIN * (more.workers / fewer.workers - 1)
    return more.optimizer_wait > HUNGRY and more.steps_per_s < fewer.steps_per_s * expected


def _idle_ceiling(stays: Sequence[_Stay], now: _Stay) -> int | None:
    """The number of workers that was as good as the present one, None while the present one is worth it."""
    before = [stay for stay in stays[:-1] if stay.workers < now.workers and stay.seconds >= WINDOW_S / 2]
    return before[-1].workers if before and _gained_nothing(before[-1], now) else None


def _feed(stays: Sequence[_Stay], now: _Stay, bounds: Bounds) -> Decision:
    """The number that `needed` asks for, moved only where it is off by enough."""
    workers = now.workers
    if now.sample_reuse < LOW_REUSE and workers > bounds.low:
        return Decision(workers - 1, f"only {now.sample_reuse:.0%} of the steps are fresh enough to train on")
    if now.optimizer_wait > HUNGRY and now.needed > workers:
        if now.sample_reuse < LOW_REUSE or any(s.workers > workers and _gained_nothing(now, s) for s in stays):
            return Decision(workers, "more workers would bring nothing")
        wanted = min(math.ceil(now.needed - 0.05), 2 * workers, bounds.high)
        return Decision(max(wanted, workers), f"the optimizer waits for chunks {now.optimizer_wait:.0%} of its time")
    enough = max(math.ceil(SPARE * now.needed), bounds.low)
    if enough < workers:
        return Decision(enough, f"workers wait for room {now.workers_wait:.0%} of their time")
    return Decision(workers, "the optimizer is fed")


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
        optimizer_wait, workers_wait = wait_shares(phases)
        return Load(
            time_s=now_s,
            workers=self._workers,
            optimizer_wait=optimizer_wait,
            workers_wait=workers_wait,
            produced=now.produced - before.produced,
            trained=trained,
            settled=trained + now.stale - before.stale + now.rejected - before.rejected,
        )
