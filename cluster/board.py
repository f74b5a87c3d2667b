"""The live board of `quintet train`, for a terminal of 80 x 24; elsewhere a plain line now and then."""

from __future__ import annotations

import textwrap
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import cycle
from types import TracebackType
from typing import Literal, Self

from rich.console import Console, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.text import Text

from quintet.control import metrics as names
from quintet.control.doctor.finding import Finding
from quintet.control.doctor.health_check import in_one_line
from quintet.control.metrics import MetricsRow
from quintet.control.output import stdout
from quintet.control.status import RunStatus, bottleneck, phase_shares, phases_of
from quintet.wire.link import Counters

REDRAW_S = 1.0
"""Least seconds between two drawings on a terminal: a drawing costs about 4 ms."""
LINE_S = 10.0
"""Least seconds between two plain lines elsewhere."""
WIDTH, LINES, MOST_LINES = 80, 24, 30
"""What the board is made for; on a taller terminal it shows more events."""
GAMES_LINES = 2
"""Lines for what the game reports."""
HEALTH_LINES = 2
BAR = 16
"""Characters of a phase bar."""


_COLOURS = {"error": "bold red", "warning": "yellow", "hint": "cyan", "healthy": "green"}


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
    row: MetricsRow = field(default_factory=dict)  # the latest value of every metric
    counters: Counters = field(default_factory=Counters)
    phases: Mapping[str, Mapping[str, float]] = field(default_factory=dict)  # seconds by process and phase
    events: Sequence[str] = ()  # the journal's last lines, oldest first
    health: str = ""  # the worst that the doctor finds, in one line; empty where it has not looked yet
    severity: Literal["error", "warning", "hint", "healthy"] = "healthy"
    address: str = ""  # of the web page; empty where there is none

    @classmethod
    def of(
        cls,
        status: RunStatus,
        *,
        stage: str,
        events: Sequence[object],
        findings: Sequence[Finding] | None,
        address: str = "",
    ) -> BoardState:
        """What a run's status says; `findings` are the doctor's, None where it has not looked yet."""
        row = {name: value for name, value in status.metrics.items() if value is not None}
        return cls(
            run=status.run,
            game=status.config.game,
            stage=stage,
            wall_s=row.get(names.WALL_S, 0.0),
            agent_steps_budget=status.config.agent_steps,
            minutes_budget=status.config.minutes,
            until=status.config.until,
            row=row,
            counters=status.counters,
            phases=phases_of(row),
            events=tuple(map(str, events)),
            health="" if findings is None else in_one_line(findings),
            severity=findings[0].severity if findings else "healthy",
            address=address,
        )

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

    def __init__(
        self, console: Console | None = None, clock: Callable[[], float] = time.monotonic, *, quiet: bool = False
    ) -> None:
        """A quiet board says nothing at all."""
        self._console = console or Console(file=stdout())
        self._clock, self._quiet = clock, quiet
        self._last_s = -LINE_S
        self._last_stage = ""
        self.state: BoardState | None = None  # the newest
        # Drawn by `update` alone: a refresh thread would take time from the workers.
        is_screen = self._console.is_terminal and not self._console.is_dumb_terminal and not quiet
        self._live = Live(console=self._console, auto_refresh=False) if is_screen else None

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
        self.state = state
        now_s = self._clock()
        least_s = REDRAW_S if self._live else LINE_S
        if self._quiet or (state.stage == self._last_stage and now_s - self._last_s < least_s):
            return
        self._last_s, self._last_stage = now_s, state.stage
        if self._live:
            size = self._console.size
            self._live.update(render(state, width=size.width, height=size.height), refresh=True)
        else:
            self._console.print(plain_line(state), soft_wrap=True, markup=False, highlight=False)

    def say(self, text: str) -> None:
        """Print one line that stays, above the board."""
        if not self._quiet:
            self._console.print(text, soft_wrap=True, markup=False, highlight=False)


def render(state: BoardState, *, width: int = WIDTH, height: int = LINES) -> RenderableType:
    """The board as a picture that fills `height` lines, up to MOST_LINES: of a fixed size, so that nothing jumps."""
    inner = width - 4
    n_lines = min(height, MOST_LINES) - 2
    lines = list(_lines(state, inner))[:n_lines]
    room = max(0, n_lines - len(lines) - 1)
    events = state.events[-room:] if room else ()
    if events:
        lines += [Text(), *(Text(event, style="dim") for event in events)]
    lines += [Text()] * (n_lines - len(lines))
    for line in lines:
        line.truncate(inner, overflow="ellipsis")
    body = Text("\n", no_wrap=True).join(lines)
    return Panel(body, title=_title(state, width), title_align="left", padding=(0, 1), width=width)


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
    if state.severity in ("error", "warning"):
        parts.append(f"{state.severity}: {state.health}")
    return "  ".join(parts)


def duration(seconds: float) -> str:
    """`0:04:31`."""
    minutes, second = divmod(int(seconds), 60)
    hour, minute = divmod(minutes, 60)
    return f"{hour}:{minute:02}:{second:02}"


def _title(state: BoardState, width: int) -> Text:
    """What runs and what it does now; the game's name gives way first where there is no room, then the run's."""
    room = width - 6 - len(f"quintet ·  ·  · {state.stage}")
    game = _last(state.game, room - len(state.run))
    run = _last(state.run, room - len(game))
    return Text.assemble(("quintet", "bold"), f" · {run} · {game} · ", (state.stage, "bold green"))


def _last(text: str, length: int) -> str:
    """The end of a text, which tells names apart, in so many characters."""
    return text if len(text) <= length else "…" + text[len(text) - max(0, length - 1) :]


def _lines(state: BoardState, width: int) -> Iterator[Text]:
    """The board from its top, without the events."""
    yield Text.assemble(_budget_text(state), (f"  elapsed {duration(state.wall_s)}", "dim"))
    if state.agent_steps_budget or state.minutes_budget:
        yield _progress_bar(state.progress[0], width)
    if state.until:
        yield Text(f"until {state.until}", style="dim")
    elif not (state.agent_steps_budget or state.minutes_budget):
        yield Text("no budget: runs until it is stopped", style="dim")
    if names.VERSION in state.row:
        yield Text()
        yield from _numbers(state.row)
        yield from _games(state.row, width)
        yield Text()
        yield from _steps(state.counters, width)
        yield from _phases(state.phases, width)
        yield from _health(state, width)
    if state.address:
        yield Text.assemble(("page    ", "dim"), state.address)


def _progress_bar(share: float, width: int) -> Text:
    full = round(share * width)
    return Text.assemble(("━" * full, "green"), ("─" * (width - full), "dim"))


def _budget_text(state: BoardState) -> str:
    share, left_s = state.progress
    text = f"{state.row.get(names.AGENT_STEPS, 0.0):,.0f}"
    if state.agent_steps_budget:
        text += f" / {state.agent_steps_budget:,}"
    text += " agent steps"
    if state.agent_steps_budget or state.minutes_budget:
        text += f"  {share:.0%}" + ("" if left_s is None else f"  ETA {duration(left_s)}")
    return text


_NUMBERS = (
    ("return", names.EPISODIC_RETURN, ",.2f"),
    ("policy loss", names.POLICY_LOSS, ".4f"),
    ("staleness mean", names.STALENESS_MEAN, ".2f"),
    ("length", names.EPISODIC_LENGTH, ",.1f"),
    ("value loss", names.VALUE_LOSS, ".4f"),
    ("staleness p95", names.STALENESS_P95, ".2f"),
    ("episodes", names.EPISODES, ",.0f"),
    ("entropy", names.ENTROPY, ".4f"),
    ("sample reuse", names.SAMPLE_REUSE, ".2f"),
    ("agent steps/s", names.AGENT_STEPS_PER_S, ",.0f"),
    ("approx. KL", names.APPROX_KL, ".4f"),
    ("queued chunks", names.QUEUE_CHUNKS, ",.0f"),
    ("version", names.VERSION, ",.0f"),
    ("expl. variance", names.EXPLAINED_VARIANCE, ".3f"),
    ("queued MiB", names.QUEUE_BYTES, "MiB"),
)
"""Three in a line: what it can do, how it learns, what it learns from."""


def _numbers(row: MetricsRow) -> Iterator[Text]:
    for start in range(0, len(_NUMBERS), 3):
        line = Text()
        for label, name, form in _NUMBERS[start : start + 3]:
            line.append(("  " if line else "") + f"{label:<14}", style="dim")
            line.append(f"{_show(row, name, form):>10}", style="bold")
        yield line


def _games(row: MetricsRow, width: int) -> Iterator[Text]:
    """Workers, then what the game reports, win rates first: as many whole entries as fit."""
    live, wanted = (_show(row, name, ".0f") for name in (names.WORKERS_LIVE, names.WORKERS_WANTED))
    games = [name for name in row if name.startswith("game/")]
    games.sort(key=lambda name: not name.startswith((names.WIN_RATE, names.DRAW_RATE)))
    entries = [f"{_label(name.removeprefix('game/'))} {row[name]:.3g}" for name in games]
    lines = [f"workers {live} live of {wanted} wanted"]
    for entry in entries:
        if len(lines[-1]) + 3 + len(entry) <= width:
            lines[-1] += f"   {entry}"
        elif len(lines) < GAMES_LINES:
            lines.append(entry)
    for line in lines:
        yield Text(line)


def _label(name: str) -> str:
    """`win_rate_0` as a person reads it: `win rate, team 0`."""
    stem, _, team = name.rpartition("_")
    return (f"{stem}, team {team}" if team.isdigit() else name).replace("_", " ")


def _show(row: MetricsRow, name: str, form: str) -> str:
    value = row.get(name)
    if value is None:
        return "–"
    return f"{value / 2**20:.1f}" if form == "MiB" else format(value, form)


def _steps(counters: Counters, width: int) -> Iterator[Text]:
    """The conservation law, red where it does not hold; on two lines where one is too short."""
    parts = ("stale", "rejected", "lost", "in_flight")
    terms = [(f"+ {getattr(counters, name):,} {name.replace('_', ' ')}", "") for name in parts]
    if counters.unaccounted:
        terms.append((f"BROKEN by {counters.unaccounted:,}", "bold red"))
    if counters.undone:
        terms.append((f"({counters.undone:,} undone)", "yellow"))
    line = Text(f"steps   {counters.produced:,} produced = {counters.trained:,} trained")
    for term, style in terms:
        if len(line) + 1 + len(term) > width:
            yield line
            line = Text(" " * 7)
        line.append(" ").append(term, style=style)
    yield line


def _phases(phases: Mapping[str, Mapping[str, float]], width: int) -> Iterator[Text]:
    """For each kind of process, what it spends its time on: a bar of its phases, the hollow part is waiting."""
    for process, seconds in sorted(phases.items(), key=lambda item: (item[0] != names.WORKER, item[0])):
        shares = {name: share for name, share in phase_shares(seconds).items() if share >= 0.005}
        line = Text(f"{process.rpartition('/')[2]:<9} ")
        busy = sorted(shares, key=lambda name: name == names.WAIT)  # waiting at the end
        colours = dict(zip(busy, cycle(("green", "cyan", "blue", "magenta", "yellow")), strict=False))
        for name, length in _cut({name: shares[name] for name in busy}, BAR).items():
            is_wait = name == names.WAIT
            line.append(("░" if is_wait else "█") * length, style="dim" if is_wait else colours[name])
        for name, share in shares.items():
            entry = f"  {name} {share:.0%}"
            if len(line) + len(entry) <= width:
                line.append(entry, style="dim" if name == names.WAIT else colours[name])
        yield line


def _cut(shares: Mapping[str, float], length: int) -> dict[str, int]:
    """Whole characters for shares that add up to about 1, together exactly `length`."""
    cut, ends, done, total = {}, 0.0, 0, sum(shares.values())
    for name, share in shares.items():
        ends += share / total
        cut[name] = round(ends * length) - done
        done += cut[name]
    return cut


def _health(state: BoardState, width: int) -> Iterator[Text]:
    """The worst that the doctor finds, or who waits for whom; two lines at most."""
    text, colour = state.health or bottleneck(state.phases, state.counters), _COLOURS[state.severity]
    if state.severity != "healthy":
        text = f"{state.severity}: {text}"
    for k, line in enumerate(textwrap.wrap(text, width - 8, max_lines=HEALTH_LINES, placeholder=" …")):
        yield Text.assemble(("        " if k else "health  ", "dim"), (line, colour))
