"""The table: one row a task with both sides, worst seeds and bars, and below it all tasks in one number each."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from learning.results import OURS, SB3, Key, Result
from learning.scores import Estimate, interquartile_mean, ratio
from learning.tasks import TASKS, Task
from rich import table as rich_table
from rich.console import RenderableType

from quintet.control.sinks import finite

RATIO_BAR = 1.1
WAYS = {"greedy": "greedy", "sampled": "drawn"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Side:
    """One side's runs of one task, failed ones as well."""

    task: Task
    runs: tuple[Result, ...]

    @property
    def scores(self) -> list[float]:
        """Of the runs that did not fail."""
        return [judged.score for run in self.runs if (judged := run.judged(self.task)) is not None]

    @property
    def errors(self) -> list[str]:
        """Of those that did."""
        return [f"seed {run.key.seed}: {run.error}" for run in self.runs if run.error is not None]

    @property
    def passed(self) -> bool | None:
        """Every seed reaches the bar; None where there is no bar or no run."""
        reached = [run.reaches(self.task) for run in self.runs]
        return None if not reached or None in reached else all(reached)

    @property
    def steps_to_bar(self) -> float | None:
        """The seeds' median; None where one of them, or the task, has none."""
        steps = [run.steps_to_bar(self.task) for run in self.runs]
        known = [step for step in steps if step is not None]
        return statistics.median(known) if known and len(known) == len(steps) else None

    def normalised(self) -> list[float] | None:
        """A failed run counts as a random player's; None where the task has no levels or there is no run."""
        found = [self.task.normalised(score) for score in self.scores] + [0.0] * len(self.errors)
        known = [score for score in found if score is not None]
        return known if known and len(known) == len(found) and self.task.solved is not None else None

    def as_json(self) -> dict[str, Any]:
        """Everything about it but the curves."""
        ways = {
            way: [judged and asdict(judged) for judged in (getattr(run, way) for run in self.runs)]
            for way in ("greedy", "sampled")
        }
        return {
            "seeds": [run.key.seed for run in self.runs],
            **ways,
            "mean": statistics.fmean(self.scores) if self.scores else None,
            "worst": min(self.scores, default=None) if not self.errors else None,
            "passed": self.passed,
            "steps_to_bar": self.steps_to_bar,
            "steps_played": [run.steps_played for run in self.runs],
            "seconds": [run.seconds for run in self.runs],
            "errors": self.errors,
            "facts": [dict(run.facts) for run in self.runs],
        }


@dataclass(frozen=True, kw_only=True, slots=True)
class Table:
    """All rows, and what they come to together."""

    rows: dict[str, dict[str, Side]]  # by task and side
    ours: Estimate | None  # over every task with levels
    ours_shared: Estimate | None  # over those that SB3 has played as well
    theirs: Estimate | None
    ratio: Estimate | None
    shared: tuple[str, ...]
    without_theirs: tuple[str, ...]  # tasks that SB3 could play, and failed at

    @classmethod
    def of(cls, results: Sequence[Result]) -> Table:
        """Put results together, whichever there are."""
        rows: dict[str, dict[str, Side]] = {}
        for result in results:
            task = TASKS[result.key.task]
            sides = rows.setdefault(task.name, {})
            before = sides[result.key.who].runs if result.key.who in sides else ()
            sides[result.key.who] = Side(task=task, runs=(*before, result))
        mine = {name: found for name, sides in rows.items() if (found := _normalised(sides, OURS))}
        failed = tuple(name for name, sides in rows.items() if SB3 in sides and sides[SB3].errors)
        theirs = {
            name: found for name, sides in rows.items() if name not in failed and (found := _normalised(sides, SB3))
        }
        shared = tuple(name for name in mine if name in theirs)
        both = [mine[name] for name in shared], [theirs[name] for name in shared]
        return cls(
            rows=rows,
            ours=interquartile_mean(list(mine.values())) if mine else None,
            ours_shared=interquartile_mean(both[0]) if shared else None,
            theirs=interquartile_mean(both[1]) if shared else None,
            ratio=ratio(*both) if shared else None,
            shared=shared,
            without_theirs=failed,
        )

    def as_json(self) -> dict[str, Any]:
        """The rows without curves, and the numbers over all of them."""
        totals = {
            name: None if (estimate := getattr(self, name)) is None else finite(asdict(estimate))
            for name in ("ours", "ours_shared", "theirs", "ratio")
        }
        return {
            "interquartile_mean": totals,
            "shared_tasks": list(self.shared),
            "tasks_without_sb3": list(self.without_theirs),
            "tasks": {
                name: {"bar": _bar_words(TASKS[name]), **{who: side.as_json() for who, side in sides.items()}}
                for name, sides in self.rows.items()
            },
        }


def _normalised(sides: dict[str, Side], who: str) -> list[float] | None:
    return sides[who].normalised() if who in sides else None


def printed(table: Table) -> Iterator[RenderableType]:
    """The table and what stands below it."""
    yield _grid(table)
    for name, sides in table.rows.items():
        for who, side in sides.items():
            yield from (f"failed: {name}, {who}, {error}" for error in side.errors)
    for name in table.rows:
        if (theirs := TASKS[name].sb3) is not None and theirs.note and SB3 in table.rows[name]:
            yield f"sb3, {theirs.algorithm}, on {name}: {theirs.note}"
    yield from _totals(table)


def _grid(table: Table) -> rich_table.Table:
    grid = rich_table.Table(title="untouched defaults: the mean over seeds, in brackets the worst seed", box=None)
    grid.add_column("task", no_wrap=True)
    for column in ("budget", "bar", "ours", "to the bar", "reached", "sb3", "to the bar"):
        grid.add_column(column, justify="right", no_wrap=True)
    for name, sides in table.rows.items():
        task = TASKS[name]
        ours, theirs = sides.get(OURS), sides.get(SB3)
        cells = [_budget(ours or theirs), _bar_words(task), *_cells(ours), _passed(ours), *_cells(theirs)]
        grid.add_row(name, *cells)
    return grid


def _cells(side: Side | None) -> list[str]:
    """The score that counts above, acting in the other way below; and the steps to the bar."""
    if side is None:
        return ["", ""]
    other = "sampled" if side.task.counts == "greedy" else "greedy"
    beside = [judged.score for run in side.runs if (judged := getattr(run, other)) is not None]
    words = [_mean_and_worst(side)]
    words += [f"{WAYS[other]} {_number(statistics.fmean(beside))}"] if beside else []
    return ["\n".join(words), "" if side.steps_to_bar is None else _steps(side.steps_to_bar)]


def _mean_and_worst(side: Side) -> str:
    failed = f"{len(side.errors)} of {len(side.runs)} failed" if side.errors else ""
    if not side.scores:
        return failed
    lost = sum(judged.losses or 0 for run in side.runs if (judged := run.judged(side.task)) is not None)
    words = f"{_number(statistics.fmean(side.scores))} ({_number(min(side.scores))})"
    words += f", {lost} lost" if side.task.most_losses is not None else ""
    return f"{words}\n{failed}" if failed else words


def _passed(side: Side | None) -> str:
    return {True: "yes", False: "no", None: ""}[None if side is None else side.passed]


def _budget(side: Side | None) -> str:
    assert side is not None
    key: Key = side.runs[0].key
    return _steps(key.agent_steps) if key.minutes is None else f"{key.minutes:g} min"


def _steps(steps: float) -> str:
    return f"{steps / 1e6:.3g} M" if steps >= 1e6 else f"{steps / 1e3:.3g} k"


def _number(value: float) -> str:
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.3f}"


def _bar_words(task: Task) -> str:
    if task.bar_errors is not None and task.random is not None:
        return f"{_number(task.random.score)} + {task.bar_errors:g} errors"
    if task.bar is None:
        return "none yet"
    return f"{task.bar:g}" + ("" if task.most_losses is None else f", {task.most_losses} lost")


def _totals(table: Table) -> Iterator[str]:
    yield "(score - random) / (solved - random), the mean of the middle half of all runs, with 95 % intervals:"
    if table.ours is not None:
        yield f"  ours, every task with both levels: {_interval(table.ours)}"
    if table.ratio is None or table.ours_shared is None or table.theirs is None:
        yield "  there is no task that both sides have played"
        return
    yield f"  {len(table.shared)} tasks of both: ours {_interval(table.ours_shared)}, sb3 {_interval(table.theirs)}"
    if math.isnan(table.ratio.value):
        yield "  ours / sb3: none, for sb3 is no better than random"
    else:
        verdict = "reached" if table.ratio.value >= RATIO_BAR else "missed"
        yield f"  ours / sb3 = {_interval(table.ratio)}; bar {RATIO_BAR:g}: {verdict}"
    if table.without_theirs:
        yield f"  not among them, because a run of sb3's failed: {', '.join(table.without_theirs)}"


def _interval(estimate: Estimate) -> str:
    if estimate.low is None or estimate.high is None:
        return f"{estimate.value:.3f} (no interval)"
    return f"{estimate.value:.3f} ({estimate.low:.3f} to {estimate.high:.3f})"
