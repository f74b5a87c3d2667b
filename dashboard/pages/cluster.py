"""Cluster: who runs, what each process spends its time on, what happened, and what the doctor says."""

from __future__ import annotations

import asyncio
import math
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from html import escape

from nicegui import ui

from quintet.control import metrics as names
from quintet.control.doctor.finding import Finding
from quintet.control.errors import UsageError
from quintet.control.journal import Event
from quintet.control.operations import scale
from quintet.control.status import SILENT_S, RunStatus, bottleneck, phase_shares, phases_of
from quintet.dashboard import tiles
from quintet.dashboard.context import PageContext
from quintet.dashboard.widgets import Markup, Tile, button, empty, grid, panel, table_html, tile_row
from quintet.wire.errors import LinkError
from quintet.wire.link import Counters, Heartbeat

TITLE = "Cluster"
PATH = "/cluster"

UPDATE_S = 1.0
EVENTS_SHOWN = 200
PHASE_SLOTS = {
    "play": 3, "infer": 1, "encode": 5, "push": 6, "learn": 1, "decode": 3, "collate": 5, "publish": 7, "settle": 6,
    "checkpoint": 4, "replay": 2, "wait": 8,
}  # fmt: skip
NO_STATUS = {
    "loading": "The page is asking Redis which processes run.",
    "live": "The page is asking Redis which processes run.",
    "unattended": "Nobody drives this run: its processes have left.",
    "silent": "Redis does not answer: which processes run is not known.",
    "ended": "Nobody trains this run now: its processes have left.",
}
LEVELS = {"error": "bad", "warning": "warn", "hint": ""}


def build(context: PageContext) -> None:
    """The whole page."""
    page = _Cluster(context)
    context.every(UPDATE_S, page.update)


class _Cluster:
    def __init__(self, context: PageContext) -> None:
        self.context = context
        with tile_row(narrow=True):
            self.workers = Tile("Workers live, of wanted")
            self.version = Tile("Newest version")
            self.speed = Tile("Agent steps per second")
            self.memory = Tile("Memory of all processes")
            self.queue = Tile("In the stream")
            self.crashed = Tile("Died so far", hint="processes that ended without having been asked to")
        with grid(two=True):
            with panel("Workers", "takes effect within seconds; a worker that leaves finishes its window first"):
                self._scale_form()
            with panel("The doctor says"):
                self.doctor = Markup()
        with grid():
            with panel("Processes", "what each spent its last seconds on", wide=True):
                self.legend = Markup()
                self.processes = Markup(empty("nobody has said anything yet"), classes="scroll")
            with panel("Events", "of the journal, the newest first", wide=True):
                self.events = Markup(empty("nothing has happened yet"))

    def _scale_form(self) -> None:
        context = self.context
        self.bottleneck = Markup(classes="said")
        if not context.may_change:
            who = "open the address with the token that was printed at the start"
            Markup(empty(f"To change the number of workers, {who}."))
            return
        with ui.element("div").classes("line-of-fields"):
            Markup('<label for="workers">Wanted</label>')
            self.wish = ui.element("input").props(
                'type="number" min="0" id="workers" inputmode="numeric" style="width:5.5em"'
            )
            self.wish.on("input", self._typed, args=["target.value"], js_handler="(e) => emit(e.target.value)")
            self.wish.on("keydown.enter", self._scale)
            button("Scale", kind="primary").on("click", self._scale)
            for text, change in (("−1", -1), ("+1", 1)):
                button(text).on("click", lambda _, change=change: self._scale_by(change))
        self.answer = Markup(classes="said")
        self._text = ""

    def _typed(self, event: object) -> None:
        self._text = str(getattr(event, "args", ""))

    async def _scale_by(self, change: int) -> None:
        status = self.context.watch.status
        if status is not None:
            self._text = str(max(0, status.wanted_workers + change))
            await self._scale(None)

    async def _scale(self, _: object) -> None:
        link = self.context.link()
        if not self.context.may_change:
            return
        if link is None:
            self.answer.say("bad", "Redis does not answer: nobody can be asked now")
            return
        try:
            workers = workers_of(self._text)
            before, was_auto = await asyncio.to_thread(scale, link, self.context.run, workers)
        except (UsageError, LinkError) as error:
            return self.answer.say("bad", str(error))
        self.answer.say(
            "good", f"{before} → {workers} workers asked for" + ("; autoscaling is off" if was_auto else "")
        )

    def update(self) -> None:
        """Show everything as it is now."""
        watch = self.context.watch
        row, status, events = watch.latest, watch.status, watch.events
        crashes = Counter(event.process for event in events if event.kind.endswith("died"))
        self._show_tiles(row, status)
        who = ", ".join(f"{process} {times}" for process, times in crashes.most_common(3))
        self.crashed.set(str(crashes.total()), who or "nobody", "warn" if crashes else "")
        self.doctor.set(findings_html(watch.findings, live=watch.connection == "live"))
        self.bottleneck.set(escape(bottleneck(phases_of(row), status.counters if status else Counters())))
        self.events.set(events_html(events))
        if status is None:
            self.processes.set(empty(NO_STATUS[watch.connection]))
            self.legend.set("")
            return
        self.processes.set(processes_html(status.heartbeats, watch.phases, row, crashes))
        self.legend.set(legend_html(watch.phases))

    def _show_tiles(self, row: Mapping[str, float], status: RunStatus | None) -> None:
        version, speed = row.get(names.VERSION), row.get(names.AGENT_STEPS_PER_S)
        made = row.get(names.TIME_S)
        age = f"made {tiles.duration(time.time() - made)} ago" if made else ""
        self.version.set("–" if version is None else f"{version:,.0f}", age)
        self.speed.set("–" if speed is None else f"{speed:,.0f}")
        self.queue.set(*tiles.queue(row, status.counters if status else None, self.context.watch.config))
        if status is None:
            self.workers.set("–", "not known")
            self.memory.set("–", "not known")
            return
        live, wanted = status.live_workers, status.wanted_workers
        self.workers.set(f"{live} / {wanted}", "" if live == wanted else "on the way", "" if live == wanted else "warn")
        resident = [rss for beat in status.heartbeats if (rss := _told(beat, "rss_bytes")) is not None]
        note = f"largest {tiles.data(max(resident))}" if resident else ""
        self.memory.set(tiles.data(sum(resident)) if resident else "–", note)


def workers_of(text: str) -> int:
    """The number of workers that a person typed.

    Raises:
        UsageError: it is no whole number.
    """
    try:
        return int(text)
    except ValueError:
        raise UsageError(f"{text!r} is no whole number") from None


def processes_html(
    heartbeats: Sequence[Heartbeat],
    phases: Mapping[str, Mapping[str, float]],
    row: Mapping[str, float],
    crashes: Mapping[str, int],
) -> str:
    """Every process that was heard of, as a table."""
    if not heartbeats:
        return empty("nobody has said anything yet: the processes are starting")
    newest = row.get(names.VERSION, 0.0)
    lines = (_process_html(beat, phases, newest, crashes) for beat in sorted(heartbeats, key=_order))
    head = "<th>process</th><th>time spent</th>"
    head += "".join(f"<th class=n>{text}</th>" for text in ("version", "heard", "steps", "died", "memory", "pid"))
    return table_html(head, lines)


def _order(beat: Heartbeat) -> tuple[int, int, str]:
    kind, _, number = beat.process.partition("/")
    return (("controller", "optimizer", "worker").index(kind) if kind in ("controller", "optimizer", "worker") else 3,
            int(number) if number.isdigit() else 0, beat.process)  # fmt: skip


def _process_html(
    beat: Heartbeat, phases: Mapping[str, Mapping[str, float]], newest: float, crashes: Mapping[str, int]
) -> str:
    bars = [stack_html(phases[name]) for name in (beat.process, f"{beat.process}/prefetch") if name in phases]
    version, rss, pid = (_told(beat, name) for name in ("version", "rss_bytes", "pid"))
    behind = 0 if version is None else int(newest - version)
    lag = f' <span class="faint">{behind:,} behind</span>' if behind > 0 else ""
    silent, crashed = beat.age_s > SILENT_S, crashes.get(beat.process, 0)
    cells = (
        "–" if version is None else f"{version:,.0f}{lag}",
        f'<span class="{"bad" if silent else ""}">{beat.age_s:.0f} s{" ✕ silent" * silent}</span>',
        f"{beat.cumulative_steps:,}" if beat.cumulative_steps else "–",
        f'<span class="warn">{crashed}</span>' if crashed else "0",
        "–" if rss is None else tiles.data(rss),
        "–" if pid is None else f"{pid:.0f}",
    )
    numbers = "".join(f'<td class="n">{cell}</td>' for cell in cells)
    return f'<tr><td class="k">{escape(beat.process)}</td><td style="width:38%">{"".join(bars)}</td>{numbers}</tr>'


def _told(beat: Heartbeat, name: str) -> float | None:
    """A number that the process told; None where it told none."""
    value = beat.data.get(name)
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None


def stack_html(seconds: Mapping[str, float]) -> str:
    """Phases as one stacked bar; the names and shares stand in its title."""
    shares = {name: share for name, share in phase_shares(seconds).items() if share >= 0.002}
    told = escape(", ".join(f"{name} {share:.0%}" for name, share in shares.items()))
    ordered = sorted(shares, key=lambda name: list(PHASE_SLOTS).index(name) if name in PHASE_SLOTS else 99)
    parts = "".join(f'<i style="flex:{shares[name]:.4f} 0 0;background:{_colour(name)}"></i>' for name in ordered)
    return f'<div class="stack" role="img" aria-label="{told}" title="{told}">{parts}</div>'


def legend_html(phases: Mapping[str, Mapping[str, float]]) -> str:
    """The colours of the phases that there are."""
    there = {name for shares in phases.values() for name, seconds in shares.items() if seconds > 0}
    ordered = [name for name in PHASE_SLOTS if name in there] + sorted(there - PHASE_SLOTS.keys())
    keys = "".join(f'<span><i style="background:{_colour(name)}"></i>{escape(name)}</span>' for name in ordered)
    return f'<div class="keys-of-stack">{keys}</div>'


def _colour(phase: str) -> str:
    return "var(--line)" if phase == "wait" else f"var(--s{PHASE_SLOTS.get(phase, 8)})"


def findings_html(findings: Sequence[Finding] | None, *, live: bool) -> str:
    """What the doctor found: what was seen, why it matters, what to do."""
    if findings is None:
        return empty("the doctor is looking")
    if not findings:
        return '<div class="finding good"><b>✓ Healthy.</b> There is nothing to say.</div>'
    return "".join(_finding_html(finding) for finding in findings)


def _finding_html(finding: Finding) -> str:
    details = (
        f"<details><summary>details</summary><pre class=mono>{escape(finding.details)}</pre></details>"
        if finding.details
        else ""
    )
    return (
        f'<div class="finding {LEVELS[finding.severity]}"><b>{escape(finding.severity)}: {escape(finding.about)}.</b> '
        f"{escape(finding.seen)}<p>{escape(finding.why)}. {escape(finding.advice)}</p>{details}</div>"
    )


def events_html(events: Sequence[Event]) -> str:
    """The journal's end, the newest first."""
    if not events:
        return empty("nothing has happened yet")
    lines = "".join(
        f'<span class="t">{time.strftime("%H:%M:%S", time.localtime(event.time_s))}</span>'
        f'<span class="k{" bad" * (event.kind.endswith("died") or event.kind == "failed")}">{escape(event.kind)}</span>'
        f"<span>{escape(' '.join(filter(None, (event.process, event.text))))}</span>"
        for event in reversed(events[-EVENTS_SHOWN:])
    )
    return f'<div class="log" tabindex="0" role="log" aria-label="events">{lines}</div>'
