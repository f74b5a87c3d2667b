"""Runs: several runs on one plot, where their configurations differ, and settings changed while a run goes on."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from nicegui import ui
from nicegui.element import Element

from quintet.control import metrics as names
from quintet.control.config import ConfigError, RunConfig
from quintet.control.journal import Event
from quintet.control.live_settings import SettingInfo, check_changes, differences, live_keys, setting_text, who_asks
from quintet.control.operations import change_settings
from quintet.dashboard.charts import Axis, Chart, ChartView, Line
from quintet.dashboard.context import PageContext
from quintet.dashboard.series import MetricsTable, ThinCurve
from quintet.dashboard.tiles import has_winners
from quintet.dashboard.widgets import Markup, button, empty, grid, panel, table_html
from quintet.wire.errors import LinkError

TITLE = "Runs"
PATH = "/runs"

UPDATE_S = 2.0
MOST_RUNS = 8
LISTED = 40


def build(context: PageContext) -> None:
    """The whole page."""
    compare = _Compare(context)
    context.every(UPDATE_S, compare.update)
    settings = _Settings(context)
    context.every(UPDATE_S, settings.update)


class _Compare:
    """Which runs are looked at together, their curves and their configurations."""

    def __init__(self, context: PageContext) -> None:
        self.context = context
        self.metric = names.EPISODIC_RETURN
        self.axis: Axis = "steps"
        self.chosen: list[str] = [context.run]
        self._shown: tuple[object, ...] = ()
        self._offered: list[str] = []
        with grid():
            with panel("Several runs on one plot", wide=True):
                with ui.element("div").classes("bar-of-controls"):
                    self.picker = _select("metric", self._choose_metric)
                    Markup("against", tag="span")
                    self.axes = _select("horizontal axis", self._choose_axis)
                    self.axes.offer([("steps", "agent steps"), ("time", "seconds since the run began")], "steps")
                self.chart = Chart("Several runs", [], tall=True)
                self._checkboxes()
            with panel("Where their configurations differ", wide=True):
                self.table = Markup(classes="scroll")

    def _checkboxes(self) -> None:
        others = self.context.other_runs()[: LISTED - 1]
        with ui.element("fieldset").classes("run-list"):
            Markup("Runs, the newest first", tag="legend")
            for run in (self.context.run, *others):
                with ui.element("label"):
                    box = ui.element("input").props('type="checkbox"' + (" checked" if run in self.chosen else ""))
                    box.on(
                        "change",
                        lambda event, run=run: self._toggle(run, bool(event.args)),
                        js_handler="(e) => emit(e.target.checked)",
                    )
                    Markup(escape(run), tag="span")
            if not others:
                Markup(empty("There is no other run in this folder yet."))
        self.told = Markup(classes="said")

    def _toggle(self, run: str, wanted: bool) -> None:
        self.chosen = [name for name in self.chosen if name != run] + [run] * wanted
        self.told.set(f"Only the first {MOST_RUNS} of them are drawn." if len(self.chosen) > MOST_RUNS else "")
        self.update()

    def _choose_metric(self, metric: str) -> None:
        self.metric = metric
        self.update()

    def _choose_axis(self, axis: str) -> None:
        self.axis = "time" if axis == "time" else "steps"
        self.update()

    def update(self) -> None:
        """Draw what came, if anything did."""
        runs = {name: run for name in self.chosen[:MOST_RUNS] if (run := self.context.other(name)) is not None}
        offered = sorted({metric for run in runs.values() for metric in run.table.names})
        if offered != self._offered:
            self._offered = offered
            self.picker.offer([(name, name) for name in offered], self.metric)
        if has_winners(self.context.watch.latest) and self.metric == names.EPISODIC_RETURN and not self._shown:
            self.metric = names.EXPLAINED_VARIANCE  # what one team gains, the other loses: the mean return says nothing
            self.picker.offer([(name, name) for name in offered], self.metric)
        state = (self.metric, self.axis, *((name, len(run.table)) for name, run in runs.items()))
        if state == self._shown:
            return
        self._shown = state
        curves, lines = {}, []
        for slot, (name, run) in enumerate(runs.items(), 1):
            curves[name] = run_curve(run.table, self.metric, self.axis)
            lines.append(Line(name=name, label=name, slot=slot))
        self.chart.feed(curves, lines=lines, axis="steps")
        self.table.set(differences_html({name: run.config for name, run in runs.items()}))


def run_curve(table: MetricsTable, metric: str, axis: Axis) -> ThinCurve:
    """One metric of one run; against time, in seconds since its first row, so that runs of different days compare."""
    view = ChartView(table, axis=axis)
    curve = view.curve(metric)
    if axis == "time" and len(curve.x):
        return ThinCurve(curve.x - view.x[0], curve.mean, curve.low, curve.high, curve.width)
    return curve


def differences_html(configs: Mapping[str, RunConfig | None]) -> str:
    """The keys in which these configurations differ, as a table."""
    known = {name: config for name, config in configs.items() if config is not None}
    if len(known) < 2:
        return empty("Choose two runs or more above to see in what they differ.")
    found = differences(known)
    if not found:
        return empty("Their configurations are the same in every key.")
    head = "<th>key</th>" + "".join(f"<th>{escape(name)}</th>" for name in known)
    lines = (
        f'<tr><td class="k"><code>{escape(key)}</code></td>'
        + "".join(f"<td>{escape(value)}</td>" for value in values)
        + "</tr>"
        for key, values in found.items()
    )
    return table_html(head, lines)


class _Settings:
    """Settings that can change now: the form, and what was changed so far."""

    def __init__(self, context: PageContext) -> None:
        self.context = context
        self.keys: dict[str, SettingInfo] = {key.key: key for key in live_keys()}
        self.key = next(iter(self.keys))
        self.text = ""
        with grid(two=True):
            with panel("Change a setting while it goes on", "takes effect at the optimizer's next update"):
                self._form()
            with panel("Changed so far", "from the journal"):
                self.journal = Markup()

    def _form(self) -> None:
        if not self.context.may_change:
            Markup(empty("To change settings, open the address with the token that was printed at the start."))
        with ui.element("div").classes("line-of-fields"):
            picker = _select("setting", self._choose)
            wanted = "ppo.learning_rate" if "ppo.learning_rate" in self.keys else self.key
            picker.offer([(key, key) for key in self.keys], wanted)
            self.key = wanted
            if self.context.may_change:
                field = ui.element("input").props(
                    'type="text" aria-label="new value" placeholder="new value" id="value" style="width:10em"'
                )
                field.on("input", self._typed, js_handler="(e) => emit(e.target.value)")
                field.on("keydown.enter", self._change)
                button("Set", kind="primary").on("click", self._change)
        self.described = Markup(classes="said")
        self.answer = Markup()

    def _choose(self, key: str) -> None:
        self.key = key
        self.answer.set("")
        self.update()

    def _typed(self, event: Any) -> None:
        self.text = str(event.args)
        config = self.context.watch.config
        if config is None or not self.text.strip():
            self.answer.set("")
            return
        try:
            check_changes(config, {self.key: self.text})
        except ConfigError as error:
            self.answer.say("bad", str(error))
        else:
            self.answer.set("")

    async def _change(self, _: object) -> None:
        watch, link, config = self.context.watch, self.context.link(), self.context.watch.config
        if not self.context.may_change:
            return
        if link is None or config is None or watch.connection != "live":
            self.answer.say(
                "bad", "this run is not being trained now: go on with it by quintet train --resume --set KEY=VALUE"
            )
            return
        changes, by = {self.key: self.text}, f"{who_asks()} (dashboard)"
        try:
            await asyncio.to_thread(change_settings, link, config, changes, by)
        except (ConfigError, LinkError, ValueError) as error:
            return self.answer.say("bad", str(error))
        self.answer.say("good", f"{self.key} = {self.text.strip()}: asked for, in force at the optimizer's next update")

    def update(self) -> None:
        """Show the setting as it is in force, and the changes so far."""
        self.described.set(described_html(self.keys[self.key], self.context.watch.config))
        self.journal.set(changes_html(self.context.watch.events))


def described_html(key: SettingInfo, config: RunConfig | None) -> str:
    """What a setting means, where it may lie, and what it is now."""
    now = "not known yet" if config is None else setting_text(config, key.key)
    limits = ", ".join(filter(None, (key.type, key.range)))
    return f"<p>{escape(key.doc)}</p><p>Now <b>{escape(now)}</b> <span class=faint>({escape(limits)})</span></p>"


def changes_html(events: Sequence[Event]) -> str:
    """Every change of a setting, the newest first."""
    changes = [event for event in events if event.kind == "set"]
    if not changes:
        return empty("No setting has been changed since the run began.")
    lines = "".join(
        f'<span class="t">{event.agent_steps:,}</span><span class="k">{escape(event.process)}</span>'
        f"<span>{escape(event.text)}</span>"
        for event in reversed(changes)
    )
    return f'<div class="log">{lines}</div>'


class _Select:
    """A native choice: it works by keyboard, on a phone and for a screen reader as people expect."""

    def __init__(self, element: Element) -> None:
        self._element = element

    def offer(self, choices: Sequence[tuple[str, str]], chosen: str) -> None:
        """Offer other choices; each is a value and a text."""
        self._element.clear()
        with self._element:
            for value, text in choices:
                selected = " selected" if value == chosen else ""
                Markup(escape(text), tag="option").element.props(f'value="{escape(value)}"{selected}')


def _select(label: str, choose: Any) -> _Select:
    element = ui.element("select").props(f'aria-label="{escape(label)}"')
    element.on("change", lambda event: choose(str(event.args)), js_handler="(e) => emit(e.target.value)")
    return _Select(element)
