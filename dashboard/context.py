"""What a page of the web page gets: one run's numbers, events, status and link, and whether it may change anything."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import urlencode

from quintet.control.config import RunConfig
from quintet.control.doctor.rules import Finding
from quintet.control.journal import Event
from quintet.control.status import RunStatus
from quintet.dashboard.run_watch import Connection, RunWatch, Watcher
from quintet.dashboard.series import MetricsTable
from quintet.wire.redis_link.link import RedisLink

if TYPE_CHECKING:
    from nicegui.elements.timer import Timer

Result = TypeVar("Result")


def page_address(path: str, run: str) -> str:
    """The address of a page that shows a run; the newest one where that has no name."""
    return f"{path}?{urlencode({'run': run})}" if run else path


class PageContext:
    """One run as one open page sees it. Everything but `in_thread` answers at once, from what a thread read lately."""

    def __init__(self, watcher: Watcher, watch: RunWatch, *, may_change: bool) -> None:
        self._watcher = watcher
        self._watch = watch
        self.run: str = watch.place.run
        self.folder: Path = watch.place.folder
        self.may_change = may_change
        """Whether this visitor gave the token: controls that change something ask it again when they are used."""
        self.on_error: Callable[[str], None] = lambda text: None

    @property
    def config(self) -> RunConfig | None:
        """The run's configuration; None while it is not known."""
        return self._seen().config

    @property
    def redis_url(self) -> str | None:
        """Where the run is open, password and all: for a process that a page starts, never for a browser."""
        return self._seen().place.redis_url

    @property
    def connection(self) -> Connection:
        """How the page stands with the run; see `quintet.dashboard.run_watch.RunWatch.connection`."""
        return self._seen().connection

    @property
    def link_error(self) -> str:
        """Why Redis does not answer; empty while it does."""
        return self._seen().link_error

    @property
    def share_read(self) -> float:
        """How much of metrics.jsonl was read, 0 to 1: the rest is being read now."""
        return self._seen().table.share_read

    def metrics(self) -> MetricsTable:
        """The rows so far: `.column(name)` is [rows], NaN where a row lacks it; `.latest`, `.names`, `len()`."""
        return self._seen().table

    def latest(self) -> Mapping[str, float]:
        """The newest value of every metric."""
        return self._seen().latest

    def journal(self) -> Sequence[Event]:
        """Every event so far, oldest first."""
        return tuple(self._seen().events)

    def evaluations(self) -> Sequence[Mapping[str, object]]:
        """What `quintet eval` found for this run so far, oldest first."""
        return tuple(self._seen().evaluations)

    def status(self) -> RunStatus | None:
        """What Redis said a moment ago: counters, heartbeats, wanted workers; None while it is silent."""
        return self._seen().status

    def findings(self) -> tuple[Finding, ...] | None:
        """What the doctor found some seconds ago, the worst first; None before it looked."""
        return self._seen().findings

    def phases(self) -> Mapping[str, Mapping[str, float]]:
        """Seconds per second by process ("worker/3", "optimizer", "optimizer/prefetch") and phase."""
        return self._seen().phases

    def link(self) -> RedisLink | None:
        """A link to the run's Redis, None where it never answered. Its calls block: use them through `in_thread`."""
        watch = self._seen()
        return watch.link if watch.status is not None else None

    def other_runs(self) -> list[str]:
        """The names of all other runs, the newest first."""
        return [place.run for place in self._watcher.places() if place.run != self.run]

    def other(self, run: str) -> PageContext | None:
        """Another run, to look at beside this one; None where there is none of that name. It may change nothing."""
        watch = self._watcher.watch(run)
        return None if watch is None else PageContext(self._watcher, watch, may_change=False)

    def address(self, path: str) -> str:
        """The address of a page for this run, for a link."""
        return page_address(path, self.run)

    async def in_thread(self, function: Callable[[], Result]) -> Result:
        """Call something that blocks, without holding up anybody's page."""
        return await asyncio.get_running_loop().run_in_executor(None, function)

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

    def _seen(self) -> RunWatch:
        """The watch, kept alive by being asked for; a new one where the old one was forgotten meanwhile."""
        found = self._watcher.watch(self.run)
        if found is not None:
            self._watch = found
        return self._watch
