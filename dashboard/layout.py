"""What stands around every page: navigation, run picker, the state of the connection, and the page's own errors."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from html import escape
from importlib import import_module
from types import ModuleType
from urllib.parse import urlencode

from nicegui import ui

from quintet.control.status import SILENT_S
from quintet.dashboard.context import PageContext
from quintet.dashboard.run_watch import RunPlace, RunWatch
from quintet.dashboard.widgets import Markup, empty

PAGES = ("overview", "cluster", "arena", "league", "model", "runs")
"""Modules of dashboard/pages, in the order of the navigation."""

_LOGO = (
    '<svg viewBox="0 0 20 20" aria-hidden="true"><g fill="none" stroke="currentColor" stroke-width="1.6">'
    '<path d="M10 2.5 17.1 7.7 14.4 16H5.6L2.9 7.7Z"/><path d="M10 2.5 14.4 16 2.9 7.7H17.1L5.6 16Z" opacity=".45"/>'
    "</g></svg>"
)
_HEAD = """
<script>document.documentElement.dataset.theme = (t => t === "dark" || (t !== "light" &&
matchMedia("(prefers-color-scheme: dark)").matches) ? "dark" : "light")(localStorage.getItem("quintet-theme"))</script>
<link rel="stylesheet" href="/static/dashboard.css">
<script type="module" src="/static/layout.js"></script>
"""
_KEYS = (("1 – 6", "a page"), ("r", "choose a run"), ("t", "theme: auto, light, dark"), ("?", "these keys"))


@cache
def pages() -> tuple[ModuleType, ...]:
    """Every page module, in the order of the navigation."""
    return tuple(import_module(f"quintet.dashboard.pages.{name}") for name in PAGES)


def build(page: ModuleType, context: PageContext, places: Sequence[RunPlace]) -> None:
    """What stands around every page, with this one in it."""
    with _shell(page, context.run, places, title=f"{page.TITLE} · {context.run} · Quintet") as state:
        banner = Markup()
        context.on_error = lambda text: banner.set(f'<div class="banner bad" role="alert">{escape(text)}</div>')
        warning = Markup()
        context.every(1.0, lambda: _show_state(context.watch, state, warning))
        page.build(context)


def build_without_run(page: ModuleType, run: str, places: Sequence[RunPlace]) -> None:
    """The same where there is no such run, or none at all."""
    no_run = "There is no run yet: start one with quintet train."
    with _shell(page, run, places, title="Quintet"):
        Markup(empty(f"There is no run {run!r}: choose another." if run else no_run))


@contextmanager
def _shell(page: ModuleType, run: str, places: Sequence[RunPlace], *, title: str) -> Iterator[Markup]:
    """Navigation and head of a page around its body; hands out where the state of the connection stands."""
    ui.add_head_html(_HEAD)
    ui.page_title(title)
    with ui.element("div").classes("shell"):
        _rail(page, run)
        with ui.element("div").classes("page-body").props('id="main"'):
            yield _top(page.TITLE, run, places)
    rows = "".join(f"<dt>{escape(key)}</dt><dd>{escape(what)}</dd>" for key, what in _KEYS)
    Markup(f"<h2>Keys</h2><dl>{rows}</dl>").element.props('id="keys" popover="auto"')


def page_address(path: str, run: str) -> str:
    """The address of a page that shows a run; the newest one where that has no name."""
    return f"{path}?{urlencode({'run': run})}" if run else path


def _rail(page: ModuleType, run: str) -> None:
    links = "".join(
        f'<a href="{escape(page_address(other.PATH, run))}"{" aria-current=page" * (other is page)}>'
        f"<span>{escape(other.TITLE)}</span><kbd>{number}</kbd></a>"
        for number, other in enumerate(pages(), 1)
    )
    Markup(
        f'<a class="skip" href="#main">To the content</a><div class="brand">{_LOGO}Quintet</div>'
        f'<nav class="pages" aria-label="Pages">{links}</nav>'
        '<div class="foot"><button type="button" popovertarget="keys">Keys</button></div>',
        tag="aside",
        classes="rail",
    )


def _top(title: str, run: str, places: Sequence[RunPlace]) -> Markup:
    with ui.element("header").classes("top"):
        Markup(f"<h1>{escape(title)}</h1>")
        state = Markup(_state("loading", "connecting"))
        options = "".join(
            f'<option value="{escape(place.run)}"{" selected" * (place.run == run)}>'
            f"{escape(place.run)}{' · live' * place.is_live}</option>"
            for place in places
        )
        if all(place.run != run for place in places):
            options = f"<option selected disabled>{escape(run or 'no run')}</option>{options}"
        Markup(
            f'<label for="run">Run</label><select id="run">{options}</select>'
            '<button id="theme" class="icon" type="button">◐</button>',
            classes="run-picker",
        )
    return state


def _state(kind: str, text: str) -> str:
    return f'<span class="state {kind}" role="status"><i></i>{escape(text)}</span>'


def _show_state(watch: RunWatch, state: Markup, warning: Markup) -> None:
    state.set(_state(watch.connection, state_text(watch)))
    text = warning_text(watch)
    warning.set(f'<div class="banner" role="alert">{escape(text)}</div>' if text else "")


def state_text(watch: RunWatch) -> str:
    """How the page stands with the run, in a few words."""
    kind = watch.connection
    if kind == "loading":
        share = watch.table.share_read
        return "reading the run's files" + (f", {share:.0%}" if share < 1 else "")
    if kind == "ended":
        events = watch.events
        when = time.strftime("%d %b %H:%M", time.localtime(events[-1].time_s)) if events else "some time ago"
        return f"not being trained; last event {when}"
    return {"live": "live", "unattended": "Redis answers, nobody drives it", "silent": "Redis does not answer"}[kind]


def warning_text(watch: RunWatch) -> str:
    """What is wrong with what one sees, in a sentence; empty where nothing is."""
    if watch.connection == "silent":
        return (
            f"Redis does not answer ({watch.link_error or 'no answer yet'}). What stands here is what the run's "
            "files say; workers, queue and counters are not known until it does."
        )
    if watch.connection == "unattended":
        return (
            "Redis answers, but no controller has said anything for a while: what stands here may be old. The run goes "
            "on when somebody drives it: quintet train --resume."
        )
    row_s, live = watch.latest.get("time_s"), watch.connection == "live"
    if live and row_s is not None and (age_s := time.time() - row_s) > 4 * SILENT_S:
        return f"The run is live, but the last version is {age_s / 60:.0f} minutes old: see Cluster for why."
    return ""
