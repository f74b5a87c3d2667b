"""How a run's numbers have moved from its first versions to its newest, read from a thinned metrics.jsonl."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from quintet.control import metrics as names
from quintet.control.sinks import last_jsonl, read_line

Row = Mapping[str, Any]
Performance = Literal["better", "flat", "unclear", "unknown"]

WHOLE_BYTES = 2**21
"""Up to this size the file is read whole: some 700 versions."""
THINNED_ROWS = 300
"""Rows that are read of a larger one, evenly spaced, after the first."""
FIRST_ROWS = 32

FIRST_VERSIONS = 5
"""How a run began: later it may have learned, and earlier there may be no number yet."""
NEWEST_SHARE = 3
"""The newest third of the versions is how it stands now: an average over many, and no memory of the beginning."""
STILL = 0.03
"""Entropy that has changed by less, as a share of a fresh policy's, stands still: a policy that learns passes this
within some 10,000 steps of a small game, one that takes a gradient step per 4,096 steps has moved by 0.001."""
SURE = 3.0
"""Standard errors from which a difference of means is no chance: one look in a thousand, and the doctor looks often."""
VISIBLE = 0.3
"""What a rise must be at least, in standard deviations of one game's return: a wandering policy shifts it by less."""
EXCLUDED = 0.6
"""A rise of so many standard deviations must lie out of reach (by two standard errors) before a return counts as flat:
few games leave it open."""


@dataclass(frozen=True, slots=True)
class Sample:
    """A mean, its standard error, and the standard deviation of what it is a mean of."""

    mean: float
    error: float
    spread: float


@dataclass(frozen=True, slots=True)
class Course:
    """A run from its first versions (`first`) to the newest third of them (`newest`)."""

    rows: Sequence[Row]  # those of versions that were trained, the oldest first

    @property
    def first(self) -> Sequence[Row]:
        """The first few versions."""
        return self.rows[:FIRST_VERSIONS]

    @property
    def newest(self) -> Sequence[Row]:
        """The newest third."""
        return self.rows[-max(1, len(self.rows) // NEWEST_SHARE) :]

    @property
    def versions(self) -> int:
        """How many versions there have been."""
        return int(self.rows[-1][names.VERSION] - self.rows[0][names.VERSION]) + 1

    @property
    def agent_steps(self) -> int:
        """How many agent steps."""
        return int(self.rows[-1][names.AGENT_STEPS])

    @property
    def steps_per_gradient_step(self) -> float:
        """Agent steps for every gradient step of the newest versions."""
        begin, end = self.rows[-min(len(self.rows), len(self.newest) + 1)], self.rows[-1]
        versions = end[names.VERSION] - begin[names.VERSION]
        taken = versions * mean(self.newest, names.GRADIENT_STEPS)
        return float(end[names.AGENT_STEPS] - begin[names.AGENT_STEPS]) / taken if taken > 0 else math.inf

    @property
    def entropy(self) -> tuple[float, float]:
        """At first and now, as a share of a fresh policy's; where that is not known, of the first."""
        name = names.ENTROPY_SHARE if names.ENTROPY_SHARE in self.rows[-1] else names.ENTROPY
        first, newest = mean(self.first, name), mean(self.newest, name)
        return (first, newest) if name == names.ENTROPY_SHARE or first == 0 else (1.0, newest / first)

    @property
    def knows_entropy(self) -> bool:
        """Whether the entropy of a fresh policy is known, and with it whether this one began as one."""
        return names.ENTROPY_SHARE in self.rows[-1]

    @property
    def entropy_stands_still(self) -> bool:
        """Whether entropy has moved by next to nothing."""
        first, newest = self.entropy
        return abs(newest - first) < STILL

    @property
    def has_ended_games(self) -> bool:
        """Whether any game has come to an end."""
        return any(row.get(names.EPISODES) or row.get(names.EPISODES_ENDED) for row in self.rows)

    @property
    def performance(self) -> Performance:
        """What became of the return (where no game ends: of the reward): `better` where it was so at any time since.

        `unknown` where it says nothing: in self-play, where one's gain is the other's loss, and before there are games.
        """
        if f"{names.WIN_RATE}_1" in self.rows[-1]:
            return "unknown"
        samples = _returns(self.rows) if self.has_ended_games else _rewards(self)
        if len(samples) < 2 or (_pays(self.rows) and not any(sample.spread for sample in samples)):
            return "unknown"
        first, later = samples[0], samples[1:]
        n = max(1, len(later) // NEWEST_SHARE)
        stretches = [pooled(later[k : k + n]) for k in range(0, len(later) - n + 1, n)]
        if any(rise(first, stretch) == "better" for stretch in stretches):
            return "better"
        return rise(first, pooled(later[-n:]))


def rise(first: Sample, newest: Sample) -> Performance:
    """Whether a mean has risen, surely and visibly; `flat` only where a rise can be excluded."""
    difference, error = newest.mean - first.mean, math.hypot(first.error, newest.error)
    spread = max(first.spread, newest.spread)
    if difference > SURE * error and difference > VISIBLE * spread:
        return "better"
    return "flat" if difference + 2 * error <= EXCLUDED * spread else "unclear"


def pooled(samples: Sequence[Sample]) -> Sample:
    """Several of the same size as one."""
    n = len(samples)
    error = math.sqrt(sum(sample.error**2 for sample in samples)) / n
    spread = math.sqrt(sum(sample.spread**2 for sample in samples) / n)
    return Sample(sum(sample.mean for sample in samples) / n, error, spread)


def values(rows: Sequence[Row], name: str) -> list[float]:
    """A metric's finite values."""
    return [float(row[name]) for row in rows if row.get(name) is not None]


def mean(rows: Sequence[Row], name: str) -> float:
    """A metric's mean; NaN where there is none, with which no comparison holds."""
    found = values(rows, name)
    return sum(found) / len(found) if found else math.nan


def _returns(rows: Sequence[Row]) -> list[Sample]:
    """The running mean over the last 100 games, taken whenever these are 100 others."""
    samples: list[Sample] = []
    taken_at = 0.0
    for row in rows:
        episodes, spread = row.get(names.EPISODES), row.get(names.EPISODIC_RETURN_STD)
        if episodes is None or spread is None or row.get(names.EPISODIC_RETURN) is None:
            continue
        if episodes < taken_at:  # the command was started anew
            taken_at = 0.0
        if episodes - taken_at >= names.EPISODE_WINDOW:
            taken_at = episodes
            error = spread / math.sqrt(names.EPISODE_WINDOW)
            samples.append(Sample(row[names.EPISODIC_RETURN], error, spread))
    return samples


def _rewards(course: Course) -> list[Sample]:
    """The mean reward of a step at first, and in each stretch of as many versions since."""
    rows = [row for row in course.rows if row.get(names.REWARD_MEAN) is not None and names.REWARD_STD in row]
    samples = []
    for k in range(0, len(rows) - FIRST_VERSIONS + 1, FIRST_VERSIONS):
        found = values(rows[k : k + FIRST_VERSIONS], names.REWARD_MEAN)
        middle = sum(found) / len(found)
        variance = sum((value - middle) ** 2 for value in found) / (len(found) - 1)
        spread = mean(rows[k : k + FIRST_VERSIONS], names.REWARD_STD)
        samples.append(Sample(middle, math.sqrt(variance / len(found)), spread))
    return samples


def _pays(rows: Sequence[Row]) -> bool:
    return any(values(rows, names.REWARD_STD))


def read_course(metrics: Path) -> Course | None:
    """What metrics.jsonl shows of a run, thinned where it is long; None before the first trained version."""
    rows = [row for row in read_thinned(metrics) if row.get(names.GRADIENT_STEPS)]
    return Course(rows) if rows else None


def read_thinned(path: Path) -> list[dict[str, Any]]:
    """The first rows, some evenly spaced ones and the last; all of a small file, none of a missing one."""
    try:
        with path.open("rb") as file:
            size = path.stat().st_size
            if size <= WHOLE_BYTES:
                lines = file.readlines()
            else:
                lines = [file.readline() for _ in range(FIRST_ROWS)]
                begin = file.tell()
                for k in range(THINNED_ROWS):
                    file.seek(begin + (size - begin) * k // THINNED_ROWS)
                    file.readline()  # what is left of a line
                    lines.append(file.readline())
    except OSError:
        return []
    rows = [row for line in lines if (row := read_line(line)) is not None]
    return rows if size <= WHOLE_BYTES else [*rows, last_jsonl(path)]
