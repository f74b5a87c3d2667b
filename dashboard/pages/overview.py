"""Overview: is it learning, is it healthy, in one glance; then every curve of the run."""

from __future__ import annotations

import time
from html import escape

import numpy as np
from nicegui import ui

from quintet.control import metrics as names
from quintet.dashboard import tiles
from quintet.dashboard.charts import Axis, Chart, ChartView, Line, Unit
from quintet.dashboard.context import PageContext
from quintet.dashboard.run_watch import RunWatch
from quintet.dashboard.series import MetricsTable
from quintet.dashboard.widgets import Markup, Tile, button, empty, grid, panel, tile_row

TITLE = "Overview"
PATH = "/"

UPDATE_S = 1.0
CHARTS_S = 2.0
SPANS = (("all", 1.0), ("last half", 0.5), ("last tenth", 0.1))
MOST_COMPONENTS = 8
ROUNDING = 1e-5  # between two equal sides the mean return is 0 but for rounding, and its curve says nothing

# (section, title, remark, unit, low, high, lines)
Spec = tuple[str, str, str, Unit, float | None, float | None, tuple[Line, ...]]


def _lines(*named: tuple[str, str, int], band: bool = True) -> tuple[Line, ...]:
    return tuple(Line(name=name, label=label, slot=slot, band=band) for name, label, slot in named)


CHARTS: tuple[Spec, ...] = (
    ("Learning", "Return", "mean of the last 100 games", "", None, None, _lines((names.EPISODIC_RETURN, "return", 1))),
    ("Learning", "Length", "rows of a game", "", None, None, _lines((names.EPISODIC_LENGTH, "length", 3))),
    ("Learning", "Explained variance", "of the returns, by the value", "", None, None,
     _lines((names.EXPLAINED_VARIANCE, "explained", 3))),
    ("Learning", "Entropy", "of the policy", "", 0.0, None, _lines((names.ENTROPY, "entropy", 7))),
    ("Losses", "Policy loss", "", "", None, None, _lines((names.POLICY_LOSS, "policy", 1))),
    ("Losses", "Value loss", "", "", 0.0, None, _lines((names.VALUE_LOSS, "value", 2))),
    ("Losses", "Step size", "how far a version moves from the last", "", 0.0, None,
     _lines((names.APPROX_KL, "approx. KL", 4), (names.CLIPFRAC, "clipped share", 5))),
    ("Losses", "Gradient norm", "before the clip", "", 0.0, None, _lines((names.GRADIENT_NORM, "norm", 8))),
    ("Data", "Learning rate", "", "", 0.0, None, _lines((names.LEARNING_RATE, "learning rate", 1), band=False)),
    ("Data", "Agent steps per second", "over the last 20 s", "", 0.0, None,
     _lines((names.AGENT_STEPS_PER_S, "agent steps/s", 3))),
    ("Data", "Staleness", "versions between play and update", "", 0.0, None,
     _lines((names.STALENESS_MEAN, "mean", 1), (names.STALENESS_P95, "95th percentile", 5))),
    ("Data", "Sample reuse", "steps consumed per step arrived", "", 0.0, None,
     _lines((names.SAMPLE_REUSE, "reuse", 7))),
    ("Data", "Queue", "bytes in the stream", "bytes", 0.0, None, _lines((names.QUEUE_BYTES, "bytes", 6))),
    ("Data", "Workers' wait", "seconds a worker waited for room", "", 0.0, None,
     _lines((names.QUEUE_WAIT_S, "wait", 2))),
    ("Data", "Workers", "", "", 0.0, None,
     _lines((names.WORKERS_WANTED, "wanted", 8), (names.WORKERS_LIVE, "live", 3), band=False)),
)  # fmt: skip


def build(context: PageContext) -> None:
    """The whole page."""
    numbers = _Tiles(context)
    context.every(UPDATE_S, numbers.update)
    curves = _Curves(context)
    context.every(CHARTS_S, curves.update)


class _Tiles:
    """Tiles, progress and the conservation law."""

    def __init__(self, context: PageContext) -> None:
        self.context = context
        with tile_row():
            self.learns = Tile("Win rate or return", hint="the newest evaluation's win rate, else the mean return")
            self.value = Tile("Explained variance", hint="how much of the returns the value foresees; 1 is all")
            self.speed = Tile("Agent steps per second")
            self.progress = Tile("Progress")
            self.stale = Tile("Staleness, versions")
            self.reuse = Tile("Sample reuse", hint="1: every step that arrives is trained on once")
            self.queue = Tile("In the stream")
            self.health = Tile("Health")
        with (
            grid(),
            panel("Where the steps went", "produced = trained + in flight + stale + rejected + lost", wide=True),
        ):
            self.law = Markup(empty("no step has been produced yet"))

    def update(self) -> None:
        """Show the numbers as they are now."""
        watch = self.context.watch
        row, table, status = watch.latest, watch.table, watch.status
        counters = status.counters if status else None
        if tiles.has_winners(row) and not watch.evaluations:
            self.learns.set(f"{row.get(names.WIN_RATE + '_0', 0):.1%}", "team 0, against itself: see League")
        else:
            self.learns.set(*tiles.learning(table, row, watch.evaluations))
        explained = row.get(names.EXPLAINED_VARIANCE)
        if explained is not None:
            self.value.set(f"{explained:.2f}", tiles.trend_text(table, names.EXPLAINED_VARIANCE))
        self._show_progress(watch)
        self.stale.set(*tiles.staleness(row, watch.config))
        reuse = row.get(names.SAMPLE_REUSE)
        self.reuse.set("–" if reuse is None else f"{reuse:.2f}")
        self.queue.set(*tiles.queue(row, counters, watch.config))
        self.health.set(*tiles.health(watch.findings, live=watch.connection == "live"))
        self.law.set(law_html(tiles.law(row, counters)))

    def _show_progress(self, watch: RunWatch) -> None:
        row, status, live = watch.latest, watch.status, watch.connection == "live"
        speed = row.get(names.AGENT_STEPS_PER_S)
        who = f"{status.live_workers} of {status.wanted_workers} workers" if status else "last known"
        self.speed.set("–" if speed is None else f"{speed:,.0f}", who)
        far = tiles.progress(watch.config, row, watch.events, now_s=time.time(), live=live)
        steps = f"{row.get(names.AGENT_STEPS, 0):,.0f} agent steps, version {row.get(names.VERSION, 0):,.0f}"
        if far.share is None:
            self.progress.set(f"v{row.get(names.VERSION, 0):,.0f}", f"{row.get(names.AGENT_STEPS, 0):,.0f} agent steps")
        elif far.left_s is not None and far.share < 1:
            self.progress.set(f"{far.share:.0%}", f"{tiles.duration(far.left_s)} left; {steps}")
        else:
            self.progress.set(f"{far.share:.0%}", steps)


def law_html(numbers: dict[str, int]) -> str:
    """The conservation law as one bar with its numbers."""
    if not numbers or not numbers["produced"]:
        return empty("no step has been produced yet")
    bar = "".join(
        f'<i style="flex:{numbers[name]} 0 0;background:var(--s{slot})" title="{name.replace("_", " ")}"></i>'
        for name, slot in tiles.LAW_PARTS
        if numbers[name] > 0
    )
    keys = "".join(
        f'<span><i style="background:var(--s{slot})"></i>{name.replace("_", " ")} '
        f'<b data-step="{name}">{numbers[name]:,}</b> {numbers[name] / numbers["produced"]:.2%}</span>'
        for name, slot in tiles.LAW_PARTS
    )
    keys = f'<span>produced <b data-step="produced">{numbers["produced"]:,}</b></span>{keys}'
    if numbers["undone"]:
        keys += f"<span>undone by resumes <b>{numbers['undone']:,}</b></span>"
    if numbers["unaccounted"]:
        keys += f'<span class="bad">✕ the law is broken by <b>{numbers["unaccounted"]:,}</b></span>'
    return f'<div class="stack big" aria-hidden="true">{bar}</div><div class="keys-of-stack">{keys}</div>'


class _Curves:
    """The charts, and what of the run they show."""

    def __init__(self, context: PageContext) -> None:
        self.context = context
        self.axis: Axis = "steps"
        self.share = 1.0
        self._shown: tuple[object, ...] = ()
        with ui.element("div").classes("bar-of-controls"):
            self._choices("against", (("agent steps", "steps"), ("time", "time")), self._choose_axis)
            self._choices("of the run", SPANS, self._choose_share)
            self.marks = Markup()
        self.charts: list[Chart] = []
        section = ""
        holder = None
        for name, title, note, unit, low, high, lines in CHARTS:
            if name != section:
                section = name
                Markup(escape(name), tag="h2", classes="section")
                holder = ui.element("div").classes("grid-of-panels")
                if name == "Learning":
                    self._learning = holder
            assert holder is not None
            with holder, panel(title, note) as box:
                self.charts.append(Chart(title, lines, unit=unit, low=low, high=high))
            if title == "Return":
                self._return = box
        self._game: Chart | None = None
        self._winners: Chart | None = None

    def update(self) -> None:
        """Draw what came, if anything did."""
        table, events = self.context.watch.table, self.context.watch.events
        state = (len(table), len(events), self.axis, self.share)
        if state == self._shown:
            return
        self._shown = state
        self._add_charts(table)
        view = ChartView(table, axis=self.axis, share=self.share)
        marks = view.marks(events)
        for chart in self.charts:
            chart.show(view, marks)
        told = {"note": "·····  changed or resumed", "warn": "- - -  something died"}
        levels = {("note" if mark.level == "note" else "warn") for mark in marks}
        self.marks.set(escape("     ".join(text for level, text in told.items() if level in levels)))

    def _add_charts(self, table: MetricsTable) -> None:
        """Charts that only some games have: who wins, and the components of reward."""
        found = [name for name in table.names if name.startswith("game/")]
        rates = [name for name in found if name.startswith(names.WIN_RATE) or name == names.DRAW_RATE]
        parts = [name for name in found if name not in rates]
        if rates and self._winners is None:
            lines = [Line(name=n, label=_label(n), slot=k, band=False) for k, n in enumerate(reversed(rates), 1)]
            with self._learning, panel("Who wins", "share of the last 100 games of self-play") as box:
                self._winners = Chart("Who wins", lines[:8], unit="%", low=0.0, high=1.0)
            box.move(target_index=0)
            self._return.set_visibility(
                bool(np.nanmax(np.abs(table.column(names.EPISODIC_RETURN)), initial=0.0) > ROUNDING)
            )
            self.charts.append(self._winners)
        if parts and self._game is None:
            largest = sorted(parts, key=lambda name: -abs(table.latest.get(name, 0.0)))[:MOST_COMPONENTS]
            lines = [Line(name=n, label=_label(n), slot=k, band=False) for k, n in enumerate(largest, 1)]
            with self._learning, panel("What the game reports", "means of the last 100 games") as box:
                box.classes("double")
                self._game = Chart("What the game reports", lines)
            self.charts.append(self._game)

    def _choices(self, label: str, choices: tuple[tuple[str, object], ...], choose: object) -> None:
        Markup(escape(label), tag="span")
        with ui.element("div").classes("segments").props(f'role="group" aria-label="{escape(label)}"'):
            buttons = [button(text) for text, _ in choices]
        for one, (_, value) in zip(buttons, choices, strict=True):

            def pressed(_: object, value: object = value, one: object = one) -> None:
                for other in buttons:
                    other.props(f'aria-pressed="{"true" if other is one else "false"}"')
                choose(value)  # type: ignore[operator]
                self.update()

            one.on("click", pressed)
        buttons[0].props('aria-pressed="true"')

    def _choose_axis(self, axis: Axis) -> None:
        self.axis = axis

    def _choose_share(self, share: float) -> None:
        self.share = share


def _label(name: str) -> str:
    """`game/win_rate_0` as a person reads it: `win rate, team 0`."""
    text = name.removeprefix("game/")
    stem, _, team = text.rpartition("_")
    return (f"{stem}, team {team}" if team.isdigit() else text).replace("_", " ")
