"""What stands around every page: navigation, run picker, the state of the connection, and the page's own errors."""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Sequence
from html import escape
from importlib import import_module
from types import ModuleType

from nicegui import ui

from quintet.control.status import SILENT_S
from quintet.dashboard.context import PageContext, page_address
from quintet.dashboard.run_watch import RunPlace
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
<script type="module" src="/static/frame.js"></script>
"""
_KEYS = (("1 – 6", "a page"), ("r", "choose a run"), ("t", "theme: auto, light, dark"), ("?", "these keys"))


def pages() -> list[ModuleType]:
    """Every page module, in the order of the navigation."""
    found = [f"quintet.dashboard.pages.{name}" for name in PAGES]
    return [import_module(name) for name in found if importlib.util.find_spec(name) is not None]


def build(page: ModuleType, every_page: Sequence[ModuleType], context: PageContext, places: Sequence[RunPlace]) -> None:
    """The frame with one page in it."""
    ui.add_head_html(_HEAD)
    ui.page_title(f"{page.TITLE} · {context.run} · Quintet")
    with ui.element("div").classes("shell"):
        _rail(page, every_page, context.run)
        with ui.element("div").classes("page-body").props('id="main"'):
            state = _top(page.TITLE, context.run, places)
            banner = Markup()
            context.on_error = lambda text: banner.set(f'<div class="banner bad" role="alert">{escape(text)}</div>')
            warning = Markup()
            context.every(1.0, lambda: _show_state(context, state, warning))
            page.build(context)
    _keys_help()


def build_without_run(page: ModuleType, every_page: Sequence[ModuleType], run: str, places: Sequence[RunPlace]) -> None:
    """The frame where there is no such run, or none at all."""
    ui.add_head_html(_HEAD)
    ui.page_title("Quintet")
    with ui.element("div").classes("shell"):
        _rail(page, every_page, run)
        with ui.element("div").classes("page-body").props('id="main"'):
            _top(page.TITLE, run, places)
            text = (
                f"There is no run {run!r}: choose another."
                if run
                else "There is no run yet: start one with quintet train."
            )
            ui.html(empty(text), sanitize=False)
    _keys_help()


def _rail(page: ModuleType, every_page: Sequence[ModuleType], run: str) -> None:
    links = "".join(
        f'<a href="{escape(page_address(other.PATH, run))}"{" aria-current=page" * (other is page)}>'
        f"<span>{escape(other.TITLE)}</span><kbd>{number}</kbd></a>"
        for number, other in enumerate(every_page, 1)
    )
    ui.html(
        f'<a class="skip" href="#main">To the content</a><div class="brand">{_LOGO}Quintet</div>'
        f'<nav class="pages" aria-label="Pages">{links}</nav>'
        '<div class="foot"><button type="button" popovertarget="keys">Keys</button></div>',
        sanitize=False,
        tag="aside",
    ).classes("rail")


def _top(title: str, run: str, places: Sequence[RunPlace]) -> Markup:
    with ui.element("header").classes("top"):
        ui.html(f"<h1>{escape(title)}</h1>", sanitize=False)
        state = Markup(_state("loading", "connecting"))
        options = "".join(
            f'<option value="{escape(place.run)}"{" selected" * (place.run == run)}>'
            f"{escape(place.run)}{' · live' * place.is_live}</option>"
            for place in places
        )
        if all(place.run != run for place in places):
            options = f"<option selected disabled>{escape(run or 'no run')}</option>{options}"
        ui.html(
            f'<label for="run">Run</label><select id="run">{options}</select>'
            '<button id="theme" class="icon" type="button">◐</button>',
            sanitize=False,
        ).classes("run-picker")
    return state


def _keys_help() -> None:
    rows = "".join(f"<dt>{escape(key)}</dt><dd>{escape(what)}</dd>" for key, what in _KEYS)
    ui.html(f"<h2>Keys</h2><dl>{rows}</dl>", sanitize=False).props('id="keys" popover="auto"')


def _state(kind: str, text: str) -> str:
    return f'<span class="state {kind}" role="status"><i></i>{escape(text)}</span>'


def _show_state(context: PageContext, state: Markup, warning: Markup) -> None:
    kind = context.connection
    state.set(_state(kind, state_text(context)))
    text = warning_text(context)
    warning.set(f'<div class="banner" role="alert">{escape(text)}</div>' if text else "")


def state_text(context: PageContext) -> str:
    """How the page stands with the run, in a few words."""
    kind = context.connection
    if kind == "loading":
        return (
            f"reading the run's files, {context.share_read:.0%}"
            if context.share_read < 1
            else "reading the run's files"
        )
    if kind == "ended":
        events = context.journal()
        when = time.strftime("%d %b %H:%M", time.localtime(events[-1].time_s)) if events else "some time ago"
        return f"not being trained; last event {when}"
    return {"live": "live", "unattended": "Redis answers, nobody drives it", "silent": "Redis does not answer"}[kind]


def warning_text(context: PageContext) -> str:
    """What is wrong with what one sees, in a sentence; empty where nothing is."""
    if context.connection == "silent":
        return (
            f"Redis does not answer ({context.link_error or 'no answer yet'}). What stands here is what the run's "
            "files say; workers, queue and counters are not known until it does."
        )
    if context.connection == "unattended":
        return (
            "Redis answers, but no controller has said anything for a while: what stands here may be old. The run goes "
            "on when somebody drives it: quintet train --resume."
        )
    row_s, live = context.latest().get("time_s"), context.connection == "live"
    if live and row_s is not None and (age_s := time.time() - row_s) > 4 * SILENT_S:
        return f"The run is live, but the last version is {age_s / 60:.0f} minutes old: see Cluster for why."
    return ""
