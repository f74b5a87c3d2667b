"""What a finished run came to, one JSON line each, so that a long table can be measured in pieces."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from learning.tasks import Task

from quintet.control.sinks import JsonlFile, read_jsonl

OURS, SB3 = "ours", "sb3"
CURVE_POINTS = 200
Curve = tuple[tuple[float, float], ...]  # agent steps, mean return of the last 100 episodes


@dataclass(frozen=True, kw_only=True, slots=True)
class Judged:
    """A final policy over fresh episodes, acting in one way."""

    games: int
    return_mean: float
    return_error: float  # standard error
    win_rate: float | None = None  # over both seats, where there is an opponent
    losses: int | None = None

    @property
    def score(self) -> float:
        """The win rate where there is one, else the mean return."""
        return self.return_mean if self.win_rate is None else self.win_rate


@dataclass(frozen=True, kw_only=True, slots=True)
class Key:
    """What was run: two runs with the same key are the same run."""

    task: str
    seed: int
    who: str
    agent_steps: int = 0
    minutes: float | None = None
    settings: tuple[str, ...] = ()
    in_process: bool = False

    @property
    def timed(self) -> bool:
        """Its budget is time."""
        return self.minutes is not None


@dataclass(frozen=True, kw_only=True, slots=True)
class Result:
    """A run that ended, well or not."""

    key: Key
    error: str | None = None
    greedy: Judged | None = None
    sampled: Judged | None = None
    curve: Curve = ()
    steps_played: int = 0
    seconds: float = 0.0  # of training, with start and end, beside whatever else ran
    facts: Mapping[str, Any] = field(default_factory=dict)  # revision of ours, versions of theirs

    def judged(self, task: Task) -> Judged | None:
        """The policy in the way that counts; None of a run that failed."""
        return self.greedy if task.counts == "greedy" else self.sampled

    def reaches(self, task: Task) -> bool | None:
        """Whether the bar is reached; None where there is none."""
        judged = self.judged(task)
        if judged is None:
            return False
        return reaches(task, judged)

    def steps_to_bar(self, task: Task) -> float | None:
        """Agent steps when the mean return of 100 training episodes first was at the bar; None if it never was."""
        if task.bar is None or task.opponent is not None:
            return None
        return next((steps for steps, mean in self.curve if mean >= task.bar), None)


def reaches(task: Task, judged: Judged) -> bool | None:
    """Whether a score is at the bar and nothing was lost that must not be; None where a task has no bar yet."""
    if task.most_losses is not None and (judged.losses or 0) > task.most_losses:
        return False
    if task.bar_errors is not None and task.random is not None:
        error = (judged.return_error**2 + task.random.error**2) ** 0.5
        return judged.score > task.random.score and judged.score - task.random.score >= task.bar_errors * error
    return None if task.bar is None else judged.score >= task.bar


def thinned(points: list[tuple[float, float]]) -> Curve:
    """At most CURVE_POINTS of a curve, evenly, the last one always."""
    stride = -(-len(points) // CURVE_POINTS) or 1
    return tuple(points[::-1][::stride][::-1])


def append(path: Path, result: Result) -> None:
    """Add a line to a results file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = JsonlFile(path)
    lines.append(asdict(result))
    lines.close()


def read(path: Path) -> Iterator[Result]:
    """The lines of a results file but those that a kill has torn; nothing where there is none.

    Raises:
        SystemExit: the file holds something else.
    """
    for number, record in enumerate(read_jsonl(path), start=1):
        try:
            yield from_json(record)
        except (TypeError, KeyError) as error:
            raise SystemExit(f"{path}: record {number} is no result of this benchmark: {error!r}") from None


def from_json(data: Mapping[str, Any]) -> Result:
    """The inverse of `asdict`."""
    key = Key(**{**data["key"], "settings": tuple(data["key"]["settings"])})
    ways = {way: Judged(**data[way]) if data[way] else None for way in ("greedy", "sampled")}
    curve = tuple((float(steps), float(mean)) for steps, mean in data["curve"])
    return Result(**{**data, **ways, "key": key, "curve": curve})
