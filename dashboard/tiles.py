"""What the tiles say of a run: how far it is, whether it learns, whether it is healthy. Pure functions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from quintet.control import metrics as names
from quintet.control.config import RunConfig
from quintet.control.doctor.finding import Finding
from quintet.control.journal import Event
from quintet.dashboard.series import MetricsTable, trend
from quintet.wire.link import Counters

Level = Literal["", "good", "warn", "bad"]

Said = tuple[str, str, Level]
"""What a tile shows: value, remark, level."""

LAW_PARTS = (("trained", 3), ("in_flight", 6), ("stale", 5), ("rejected", 2), ("lost", 4))
"""The right side of the conservation law with the colours of its bar."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run is; share and left_s are None where no budget says how far it has to go."""

    share: float | None
    left_s: float | None


def progress(
    config: RunConfig | None, row: Mapping[str, float], events: Sequence[Event], *, now_s: float, live: bool
) -> Progress:
    """The share of the budget that is used; of two budgets, what ends first."""
    if config is None:
        return Progress(None, None)
    shares: list[float] = []
    left: list[float] = []
    if config.agent_steps:
        steps = row.get(names.AGENT_STEPS, 0.0)
        shares.append(steps / config.agent_steps)
        if speed := row.get(names.AGENT_STEPS_PER_S):
            left.append(max(0.0, config.agent_steps - steps) / speed)
    if config.minutes:
        until_s = now_s if live else row.get(names.TIME_S, now_s)
        wall_s = until_s - started_s(events, default=until_s)
        shares.append(wall_s / (60 * config.minutes))
        left.append(max(0.0, 60 * config.minutes - wall_s))
    if not shares:
        return Progress(None, None)
    return Progress(min(1.0, max(shares)), min(left) if left and live else None)


def started_s(events: Sequence[Event], *, default: float) -> float:
    """When this start of the run began, in Unix time."""
    return next((event.time_s for event in reversed(events) if event.kind in ("started", "resumed")), default)


def law(row: Mapping[str, float], counters: Counters | None) -> dict[str, int]:
    """The conservation law's numbers: from Redis, or where it is silent from the last row; empty before both."""
    parts = ("produced", *(name for name, _ in LAW_PARTS), "undone")
    if counters is not None:
        return {name: int(getattr(counters, name)) for name in parts} | {"unaccounted": counters.unaccounted}
    if names.STEPS_PRODUCED not in row:
        return {}
    numbers = {name: int(row.get(f"steps/{name}", 0)) for name in parts}
    return numbers | {"unaccounted": numbers["produced"] - sum(numbers[name] for name, _ in LAW_PARTS)}


def learning(table: MetricsTable, row: Mapping[str, float], evaluations: Sequence[Mapping[str, object]]) -> Said:
    """The number that says best whether it learns: the newest win rate by evaluation, else the mean return."""
    if rated := [e for e in evaluations if isinstance(e.get("win_rate"), int | float)]:
        newest = rated[-1]
        low, high = float(str(newest["win_rate_low"])), float(str(newest["win_rate_high"]))
        note = f"{low:.0%} to {high:.0%} against {newest.get('opponent')}"
        return f"{float(str(newest['win_rate'])):.1%}", note, ""
    value = row.get(names.EPISODIC_RETURN)
    if value is None:
        return "–", "no game has ended yet", ""
    return number(value), trend_text(table, names.EPISODIC_RETURN), ""


def has_winners(row: Mapping[str, float]) -> bool:
    """Whether the game has winners; its mean return then says nothing, since one team's gain is the other's loss."""
    return any(name.startswith(names.WIN_RATE) for name in row)


def trend_text(table: MetricsTable, name: str, rows: int = 50) -> str:
    """`rising: +12.3 over 50 versions`."""
    column = table.column(name)
    change = trend(column[-4 * rows :], rows)
    if change is None:
        return "too early for a trend"
    scale = abs(float(column[-1])) if len(column) else 0.0
    if abs(change) <= 0.02 * scale or change == 0:
        return f"steady over {2 * rows} versions"
    return f"{'rising' if change > 0 else 'falling'}: {change:+.3g} in {rows} versions"


def staleness(row: Mapping[str, float], config: RunConfig | None) -> Said:
    """Mean staleness beside the bound beyond which windows are thrown away."""
    value = row.get(names.STALENESS_MEAN)
    if value is None:
        return "–", "no batch yet", ""
    bound = config.optimizer.max_staleness if config else None
    p95 = row.get(names.STALENESS_P95, value)
    note = f"95 % below {p95:.3g}" + (f", thrown away above {bound}" if bound is not None else "")
    level: Level = "bad" if bound is not None and p95 > bound else "warn" if value > 3 else ""
    return f"{value:.2f}", note, level


def queue(row: Mapping[str, float], counters: Counters | None, config: RunConfig | None) -> Said:
    """Bytes that wait in the stream, beside their bound."""
    value = float(counters.queued_bytes) if counters else row.get(names.QUEUE_BYTES)
    if value is None:
        return "–", "", ""
    if config is None:
        return data(value), "", ""
    share = value / config.wire.max_queue_bytes
    chunks = counters.queued_chunks if counters else int(row.get(names.QUEUE_CHUNKS, 0))
    return data(value), f"{chunks:,} chunks, {share:.0%} of the bound", "warn" if share > 0.9 else ""


def health(findings: Sequence[Finding] | None, *, live: bool) -> Said:
    """What the doctor says, in one word and the worst finding."""
    if findings is None:
        return "…", "the doctor is looking", ""
    errors = [f for f in findings if f.severity == "error"]
    warnings = [f for f in findings if f.severity == "warning"]
    worst = next(iter((*errors, *warnings)), None)
    if worst is None:
        hints = f"{len(findings)} hint{'s' * (len(findings) > 1)}" if findings else "nothing to say"
        return ("healthy" if live else "ended"), hints, "good" if live else ""
    word = f"{len(errors)} error{'s' * (len(errors) > 1)}" if errors else f"{len(warnings)} to look at"
    return word, f"{worst.about}: {worst.seen}", "bad" if errors else "warn"


def number(value: float) -> str:
    """A number in few characters: 12,123 or 0.0018."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def data(n_bytes: float) -> str:
    """`21.3 MiB`."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if abs(n_bytes) < 1024:
            return f"{n_bytes:.3g} {unit}" if unit != "B" else f"{n_bytes:.0f} B"
        n_bytes /= 1024
    return f"{n_bytes:.3g} TiB"


def duration(seconds: float) -> str:
    """`45 s`, `12 min`, `3 h 20 min`, `2 d 4 h`."""
    minutes = int(seconds // 60)
    if seconds < 60:
        return f"{seconds:.0f} s"
    if minutes < 60:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 24:
        return f"{hours} h {minutes} min"
    return f"{hours // 24} d {hours % 24} h"
