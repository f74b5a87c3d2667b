"""The live terminal board of `quintet train`; on anything that is no terminal, a plain line now and then."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from rich.bar import Bar
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from control import metrics as names
from control.metrics import Row
from control.status import bottleneck, phase_shares
from wire.link import Counters

REDRAW_S = 0.25
"""Least seconds between two drawings on a terminal."""
LINE_S = 10.0
"""Least seconds between two plain lines elsewhere."""
EVENTS_SHOWN = 5


@dataclass(frozen=True, kw_only=True, slots=True)
class BoardState:
    """All that the board shows, as plain data."""

    run: str
    game: str
    stage: str  # what is going on: "starting Redis", "training", "saving the last checkpoint" ...
    wall_s: float
    agent_steps_budget: int | None = None
    minutes_budget: float | None = None
    until: str | None = None
    row: Row = field(default_factory=dict)  # the latest value of every metric
    counters: Counters = field(default_factory=Counters)
    phases: Mapping[str, Mapping[str, float]] = field(default_factory=dict)  # seconds by process and phase
    events: Sequence[str] = ()  # the journal's last lines, oldest first

    @property
    def progress(self) -> tuple[float, float | None]:
        """The share of the budget that is used, 0 to 1, and the seconds left; of two budgets, what ends first."""
        steps, speed = self.row.get(names.AGENT_STEPS, 0.0), self.row.get(names.AGENT_STEPS_PER_S, 0.0)
        share, left_s = 0.0, []
        if self.agent_steps_budget:
            share = steps / self.agent_steps_budget
            if speed > 0:
                left_s.append(max(0.0, self.agent_steps_budget - steps) / speed)
        if self.minutes_budget:
            share = max(share, self.wall_s / (60 * self.minutes_budget))
            left_s.append(max(0.0, 60 * self.minutes_budget - self.wall_s))
        return min(share, 1.0), min(left_s, default=None)


class Board:
    """Shows states as they come. Use it as a context manager; `update` may be called as often as one likes."""

    def __init__(self, console: Console | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._console = console or Console()
        self._clock = clock
        self._last_s = -LINE_S
        self._last_stage = ""
        # Drawn by `update` alone: a refresh thread would take time from the workers.
        self._live = Live(console=self._console, auto_refresh=False) if self._console.is_terminal else None

    def __enter__(self) -> Self:
        if self._live:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live:
            self._live.stop()

    def update(self, state: BoardState) -> None:
        """Show this state, unless the last drawing is too young; a new stage is always shown."""
        now_s = self._clock()
        least_s = REDRAW_S if self._live else LINE_S
        if state.stage == self._last_stage and now_s - self._last_s < least_s:
            return
        self._last_s, self._last_stage = now_s, state.stage
        if self._live:
            self._live.update(render(state), refresh=True)
        else:
            self._console.print(plain_line(state), soft_wrap=True, markup=False, highlight=False)

    def say(self, text: str) -> None:
        """Print one line that stays, above the board."""
        self._console.print(text, soft_wrap=True, markup=False, highlight=False)


def render(state: BoardState) -> RenderableType:
    """The board as a picture."""
    parts: list[RenderableType] = [_progress(state), Text()]
    if names.VERSION in state.row:
        parts += [_numbers(state.row), Text(), _steps(state.counters), _phases(state.phases)]
    if state.events:
        parts += [Text(), *(Text(event, style="dim", overflow="ellipsis", no_wrap=True) for event in _recent(state))]
    title = Text.assemble(("quintet", "bold"), f" · {state.run} · {state.game} · ", (state.stage, "bold green"))
    return Panel(Group(*parts), title=title, title_align="left", padding=(0, 1))


def plain_line(state: BoardState) -> str:
    """The same in one line, for logs."""
    row = state.row
    parts = [f"quintet {duration(state.wall_s)}", state.stage]
    if names.VERSION in row:
        parts += [
            _budget_text(state),
            f"{row.get(names.AGENT_STEPS_PER_S, 0.0):,.0f}/s",
            f"return {_show(row, names.EPISODIC_RETURN, '.2f')}",
            f"length {_show(row, names.EPISODIC_LENGTH, '.1f')}",
            f"entropy {_show(row, names.ENTROPY, '.3f')}",
            f"staleness {_show(row, names.STALENESS_MEAN, '.2f')}",
            f"workers {_show(row, names.WORKERS_LIVE, '.0f')}/{_show(row, names.WORKERS_WANTED, '.0f')}",
        ]
    return "  ".join(parts)


def duration(seconds: float) -> str:
    """`0:04:31`."""
    minutes, second = divmod(int(seconds), 60)
    hour, minute = divmod(minutes, 60)
    return f"{hour}:{minute:02}:{second:02}"


def _recent(state: BoardState) -> Sequence[str]:
    return state.events[-EVENTS_SHOWN:]


def _progress(state: BoardState) -> RenderableType:
    lines: list[RenderableType] = [Text.assemble(_budget_text(state), (f"  elapsed {duration(state.wall_s)}", "dim"))]
    if state.agent_steps_budget or state.minutes_budget:
        bar = Table.grid(expand=True)  # a bar alone does not end its line
        bar.add_row(ProgressBar(total=1.0, completed=state.progress[0]))
        lines.append(bar)
    if state.until:
        lines.append(Text(f"until {state.until}", style="dim"))
    elif len(lines) == 1:
        lines.append(Text("no budget: runs until it is stopped", style="dim"))
    return Group(*lines)


def _budget_text(state: BoardState) -> str:
    share, left_s = state.progress
    text = f"{state.row.get(names.AGENT_STEPS, 0.0):,.0f}"
    if state.agent_steps_budget:
        text += f" / {state.agent_steps_budget:,}"
    text += " agent steps"
    if state.agent_steps_budget or state.minutes_budget:
        text += f"  {share:.0%}" + ("" if left_s is None else f"  ETA {duration(left_s)}")
    return text


_COLUMNS: tuple[tuple[tuple[str, str, str], ...], ...] = (
    (
        ("return (last 100)", names.EPISODIC_RETURN, ",.2f"),
        ("length", names.EPISODIC_LENGTH, ",.1f"),
        ("episodes", names.EPISODES, ",.0f"),
        ("agent steps/s", names.AGENT_STEPS_PER_S, ",.0f"),
        ("version", names.VERSION, ",.0f"),
    ),
    (
        ("policy loss", names.POLICY_LOSS, ".4f"),
        ("value loss", names.VALUE_LOSS, ".4f"),
        ("entropy", names.ENTROPY, ".4f"),
        ("approx. KL", names.APPROX_KL, ".4f"),
        ("explained var.", names.EXPLAINED_VARIANCE, ".3f"),
    ),
    (
        ("staleness (mean)", names.STALENESS_MEAN, ".2f"),
        ("staleness (p95)", names.STALENESS_P95, ".2f"),
        ("sample reuse", names.SAMPLE_REUSE, ".2f"),
        ("queued chunks", names.QUEUE_CHUNKS, ",.0f"),
        ("queued MiB", names.QUEUE_BYTES, "MiB"),
    ),
)


def _numbers(row: Row) -> RenderableType:
    columns = Table.grid(padding=(0, 2))
    columns.add_row(*(_column(column, row) for column in _COLUMNS))
    lines: list[RenderableType] = [columns]
    games = {name.removeprefix("game/"): value for name, value in row.items() if name.startswith("game/")}
    if games:
        lines.append(Text("   ".join(f"{_label(name)} {value:.3g}" for name, value in games.items())))
    live, wanted = (_show(row, name, ".0f") for name in (names.WORKERS_LIVE, names.WORKERS_WANTED))
    lines.append(Text(f"workers {live} live of {wanted} wanted"))
    return Group(*lines)


def _column(entries: Sequence[tuple[str, str, str]], row: Row) -> Table:
    table = Table.grid(padding=(0, 1))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(justify="right", style="bold", no_wrap=True)
    for label, name, form in entries:
        table.add_row(label, _show(row, name, form))
    return table


def _label(name: str) -> str:
    """`win_rate_0` as a person reads it: `win rate, team 0`."""
    stem, _, team = name.rpartition("_")
    return (f"{stem}, team {team}" if team.isdigit() else name).replace("_", " ")


def _show(row: Row, name: str, form: str) -> str:
    value = row.get(name)
    if value is None:
        return "–"
    return f"{value / 2**20:.1f}" if form == "MiB" else format(value, form)


def _steps(counters: Counters) -> RenderableType:
    """The conservation law as one line, red where it does not hold."""
    parts = ("trained", "stale", "rejected", "lost", "in_flight")
    law = " + ".join(f"{getattr(counters, name):,} {name.replace('_', ' ')}" for name in parts)
    text = Text(f"steps   {counters.produced:,} produced = {law}")
    if counters.unaccounted:
        text.append(f"   BROKEN by {counters.unaccounted:,}", style="bold red")
    if counters.undone:
        text.append(f"   ({counters.undone:,} undone)", style="yellow")
    return text


def _phases(phases: Mapping[str, Mapping[str, float]]) -> RenderableType:
    """For each kind of process, what it spends its time on; then who waits for whom."""
    table = Table.grid(padding=(0, 1))
    for process, seconds in sorted(phases.items(), reverse=True):
        shares = phase_shares(seconds)
        busy = 1.0 - shares.get(names.WAIT, 0.0)
        spent = "  ".join(f"{name} {share:.0%}" for name, share in shares.items() if share >= 0.005)
        table.add_row(Text(process), Bar(size=1.0, begin=0.0, end=busy, width=12), Text(spent))
    return Group(table, Text(bottleneck(phases), style="dim"))
