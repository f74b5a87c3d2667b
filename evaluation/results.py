"""What an evaluation says: win rates per seat with Wilson's 95 % intervals, or mean returns with normal ones."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from quintet.control.errors import one_line
from quintet.control.run_folder import RunFolder
from quintet.control.sinks import JsonlFile

if TYPE_CHECKING:
    from quintet.evaluation.match import GameResult

Z = 1.959963984540054  # 97.5 % of the normal distribution lies below


@dataclass(frozen=True, kw_only=True, slots=True)
class Estimate:
    """A mean, and the interval that holds the true one 95 times in 100."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True, kw_only=True, slots=True)
class SeatVerdict:
    """How the evaluated player did on one seat, or on all of them together."""

    seat: str
    games: int
    returns: Estimate
    length_mean: float
    wins: int | None = None  # None in games without a winner
    draws: int | None = None
    losses: int | None = None
    win_rate: Estimate | None = None
    components: dict[str, float] = field(default_factory=dict)  # means of `Transition.episode`


def wilson(wins: int, games: int) -> Estimate:
    """Wilson's score interval: honest at 0 % and 100 %, where the normal one has no width."""
    rate, z2 = wins / games, Z * Z
    centre = (rate + z2 / (2 * games)) / (1 + z2 / games)
    half = Z / (1 + z2 / games) * math.sqrt(rate * (1 - rate) / games + z2 / (4 * games * games))
    return Estimate(mean=rate, low=max(0.0, centre - half), high=min(1.0, centre + half))


def mean_interval(values: Sequence[float]) -> Estimate:
    """A mean with its normal interval; no width for a single value."""
    n = len(values)
    mean = math.fsum(values) / n
    variance = math.fsum((value - mean) ** 2 for value in values) / (n - 1) if n > 1 else 0.0
    half = Z * math.sqrt(variance / n)
    return Estimate(mean=mean, low=mean - half, high=mean + half)


def judge(results: Sequence[GameResult], seats: Sequence[str]) -> list[SeatVerdict]:
    """One verdict for each seat that was played, then one for all seats if there are several."""
    verdicts = [
        _verdict(name, mine)
        for seat, name in enumerate(seats)
        if (mine := [result for result in results if result.seat == seat])
    ]
    return [*verdicts, _verdict("all seats", results)] if len(seats) > 1 else verdicts


def _verdict(seat: str, results: Sequence[GameResult]) -> SeatVerdict:
    outcomes = [result.outcome for result in results if result.outcome is not None]
    verdict = SeatVerdict(
        seat=seat,
        games=len(results),
        returns=mean_interval([result.mean_return for result in results]),
        length_mean=sum(result.length for result in results) / len(results),
        components=_component_means(results),
    )
    if not outcomes:
        return verdict
    wins = sum(outcome > 0 for outcome in outcomes)
    losses = sum(outcome < 0 for outcome in outcomes)
    return replace(
        verdict,
        wins=wins,
        draws=len(outcomes) - wins - losses,
        losses=losses,
        win_rate=wilson(wins, len(outcomes)),
    )


def _component_means(results: Sequence[GameResult]) -> dict[str, float]:
    names = dict.fromkeys(name for result in results for name in result.components)
    return {
        name: mean_interval([result.components[name] for result in results if name in result.components]).mean
        for name in names
    }


def verdict_json(verdicts: Sequence[SeatVerdict], facts: dict[str, Any]) -> dict[str, Any]:
    """The evaluation as plain data; `facts` says what was played."""
    seats = [asdict(verdict) for verdict in verdicts]
    return {**facts, "seats": seats, "components": verdicts[-1].components, **_headline(verdicts[-1])}


def _headline(verdict: SeatVerdict) -> dict[str, Any]:
    returns = {
        "return_mean": verdict.returns.mean,
        "return_low": verdict.returns.low,
        "return_high": verdict.returns.high,
    }
    if verdict.win_rate is None:
        return returns
    rate = verdict.win_rate
    counts = {"wins": verdict.wins, "draws": verdict.draws, "losses": verdict.losses}
    return {**returns, **counts, "win_rate": rate.mean, "win_rate_low": rate.low, "win_rate_high": rate.high}


def verdict_text(verdicts: Sequence[SeatVerdict], title: str) -> RenderableType:
    """The evaluation for a terminal, narrow enough for 80 columns; the means of the game's components below it."""
    parts: list[RenderableType] = [Text(title, style="bold"), _seat_table(verdicts)]
    if verdicts[-1].components:
        parts += [Text(), _component_table(verdicts)]
    return Group(*parts)


def _component_table(verdicts: Sequence[SeatVerdict]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 1))
    table.add_column("mean per game", no_wrap=True)
    for verdict in verdicts:
        table.add_column(verdict.seat, justify="right", no_wrap=True)
    for name in verdicts[-1].components:
        table.add_row(name, *(f"{verdict.components.get(name, math.nan):,.3f}" for verdict in verdicts))
    return table


def _seat_table(verdicts: Sequence[SeatVerdict]) -> Table:
    with_winner = any(verdict.win_rate is not None for verdict in verdicts)
    table = Table(box=None, pad_edge=False, padding=(0, 1))
    table.add_column("seat", no_wrap=True)
    columns = ("games", "wins", "draws", "losses", "win rate", "95 %", "return")
    for column in columns if with_winner else ("games", "return", "95 %", "length"):
        table.add_column(column, justify="right", no_wrap=True)
    for verdict in verdicts:
        returns, rate = verdict.returns, verdict.win_rate
        cells = [verdict.seat, f"{verdict.games:,}"]
        if rate is not None:
            cells += [f"{verdict.wins:,}", f"{verdict.draws:,}", f"{verdict.losses:,}", f"{rate.mean:.1%}"]
            cells += [f"{rate.low:.1%} to {rate.high:.1%}", f"{returns.mean:.3f}"]
        else:
            cells += [f"{returns.mean:.3f}", f"{returns.low:.3f} to {returns.high:.3f}", f"{verdict.length_mean:.1f}"]
        table.add_row(*cells)
    return table


def keep_evaluation(checkpoint: Path, verdict: Mapping[str, Any]) -> None:
    """Append an evaluation to the run that the checkpoint belongs to; one that belongs to no run is not kept.

    A run that cannot be written to (on a read-only disk) costs a note, not the evaluation.
    """
    folder = RunFolder(checkpoint.resolve().parent.parent)
    if checkpoint.resolve().parent != folder.checkpoints.resolve() or not folder.config.is_file():
        return
    try:
        folder.evaluations.parent.mkdir(exist_ok=True)
        lines = JsonlFile(folder.evaluations)
        lines.append({"time_s": time.time(), **verdict})
        lines.close()
    except OSError as error:
        print(f"note: the evaluation is not kept in {folder.evaluations}: {one_line(error)}", file=sys.stderr)
