"""What a page of the web page gets: the watch of one run, a link to it, and whether it may change anything."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING

from quintet.dashboard.run_watch import RunWatch, Watcher
from quintet.wire.redis_link.link import RedisLink

if TYPE_CHECKING:
    from nicegui.elements.timer import Timer


class PageContext:
    """One run as one open page sees it. Everything here answers at once."""

    def __init__(self, watcher: Watcher, watch: RunWatch, *, may_change: bool) -> None:
        self._watcher = watcher
        self._watch = watch
        self.run: str = watch.place.run
        self.folder: Path = watch.place.folder
        self.may_change = may_change
        """Whether this visitor gave the token: controls that change something ask it again when they are used."""
        self.on_error: Callable[[str], None] = lambda text: None

    @property
    def watch(self) -> RunWatch:
        """What is known of the run: asking for it keeps it watched; a new watch where the old one was forgotten."""
        found = self._watcher.watch(self.run)
        if found is not None:
            self._watch = found
        return self._watch

    def link(self) -> RedisLink | None:
        """A link to the run's Redis, None where it never answered. Its calls block: make them in a thread."""
        watch = self.watch
        return watch.link if watch.status is not None else None

    def other_runs(self) -> list[str]:
        """The names of all other runs, the newest first."""
        return [place.run for place in self._watcher.places() if place.run != self.run]

    def other(self, run: str) -> RunWatch | None:
        """Another run, to look at beside this one; None where there is none of that name."""
        return self._watcher.watch(run)

    def every(self, period_s: float, update: Callable[[], Awaitable[None] | None]) -> Timer:
        """Call `update` at once and then again and again while this page is open.

        What it raises is shown above the page and written to the log; the next call comes all the same.
        """
        from nicegui import ui

        async def guarded() -> None:
            try:
                done = update()
                if done is not None:
                    await done
            except Exception as error:
                self.on_error(f"this page could not be brought up to date: {type(error).__name__}: {error}")
                raise

        return ui.timer(period_s, guarded)
