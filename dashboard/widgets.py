"""The few things every page is built of: panels, tiles, text that is sent only when it changed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from html import escape
from typing import Literal

from nicegui import ui
from nicegui.element import Element

from quintet.dashboard.tiles import Level


class Markup:
    """A piece of HTML that changes. Whoever makes it escapes what comes from outside."""

    def __init__(self, content: str = "", *, classes: str = "", tag: str = "div") -> None:
        self.element = ui.html(content, sanitize=False, tag=tag).classes(classes)
        self._content = content

    def set(self, content: str) -> None:
        """Show this; nothing is sent where it is what is shown."""
        if content != self._content:
            self._content = content
            self.element.set_content(content)

    def say(self, level: Level, text: str) -> None:
        """Answer what somebody asked for; a screen reader says it."""
        self.set(f'<p class="said {level}" role="status">{escape(text)}</p>')


class Tile:
    """A number that one sees from across the room, with its name above and a remark below."""

    def __init__(self, label: str, *, hint: str = "") -> None:
        self._label, self._hint = label, hint
        self._markup = Markup(self._html("–", "", ""), classes="tile")

    def set(self, value: str, note: str = "", level: Level = "") -> None:
        """Show a value; the level colours it, and says so in words to whoever cannot see colours."""
        self._markup.set(self._html(value, note, level))

    def _html(self, value: str, note: str, level: Level) -> str:
        sign = {"": "", "good": "✓ ", "warn": "▲ ", "bad": "✕ "}[level]
        title = f' title="{escape(self._hint)}"' if self._hint else ""
        return (
            f'<div class="tile-label"{title}>{escape(self._label)}</div>'
            f'<div class="tile-value {level}">{escape(value)}</div>'
            f'<div class="tile-note">{escape(sign + note) if note else "&nbsp;"}</div>'
        )


@contextmanager
def tile_row(*, narrow: bool = False) -> Iterator[Element]:
    """A row of tiles, which wraps; narrow ones have room for a short remark only."""
    with ui.element("div").classes("tiles narrow" if narrow else "tiles") as element:
        yield element


@contextmanager
def grid(*, two: bool = False) -> Iterator[Element]:
    """Panels beside one another, as many as there is room for; with `two`, they share all of the width."""
    with ui.element("div").classes("grid-of-panels two" if two else "grid-of-panels") as element:
        yield element


@contextmanager
def panel(title: str, note: str = "", *, wide: bool = False) -> Iterator[Element]:
    """A titled box; `note` says in a few words what one sees."""
    with ui.element("section").classes("panel wide" if wide else "panel") as element:
        Markup(f"<h2>{escape(title)}</h2>" + (f"<p>{escape(note)}</p>" if note else ""), classes="panel-head")
        yield element


def empty(text: str) -> str:
    """The sentence that stands where nothing is yet: why, and what to do."""
    return f'<p class="empty">{escape(text)}</p>'


def table_html(head: str, rows: Iterable[str]) -> str:
    """A table of cells that are HTML already."""
    return f'<table class="data"><thead><tr>{head}</tr></thead><tbody>{"".join(rows)}</tbody></table>'


def button(text: str, *, kind: Literal["plain", "primary"] = "plain") -> Element:
    """A button of this page's own look; give it a click handler with `.on("click", ...)`."""
    with ui.element("button").classes(f"button {kind}").props('type="button"') as element:
        Markup(escape(text), tag="span")
    return element
