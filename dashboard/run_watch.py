"""One run as the web page sees it: its growing files and its Redis, looked at by threads while somebody watches."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from quintet.control.config import ConfigError, RunConfig, load_config
from quintet.control.doctor.finding import Finding
from quintet.control.doctor.health_snapshot import read_health
from quintet.control.doctor.rules import diagnose
from quintet.control.journal import Event, event_of
from quintet.control.metrics import RecentPhases
from quintet.control.operations import status_of
from quintet.control.status import SILENT_S, RunStatus
from quintet.dashboard.series import LineTail, MetricsTable
from quintet.wire.errors import LinkError
from quintet.wire.redis_link.client import server_health
from quintet.wire.redis_link.link import RedisLink

LOOK_S = 1.0
"""Between two looks at files and Redis."""
FORGET_S = 20.0
"""A run that no page asked for is no longer looked at."""
DIAGNOSE_S = 4.0
"""Between two diagnoses: they read logs and the disk."""
STALE_S = 5.0
"""What Redis said is old news after this long."""

Connection = Literal["loading", "live", "silent", "unattended", "ended"]


@dataclass(frozen=True, kw_only=True, slots=True)
class RunPlace:
    """Where one run is: what the page is told about it by whoever serves it."""

    run: str
    folder: Path
    redis_url: str | None  # where it is open, if it is
    is_live: bool  # whether a controller holds it now


class RunWatch:
    """What is known about one run. What is called `look...` blocks; everything else answers at once."""

    def __init__(self, place: RunPlace) -> None:
        self.place = place
        self.table = MetricsTable(place.folder / "metrics.jsonl")
        self.evaluations: tuple[dict[str, object], ...] = ()  # replaced, never changed: pages read them meanwhile
        self.events: tuple[Event, ...] = ()
        self.config: RunConfig | None = None
        self.link: RedisLink | None = None
        self.link_error = ""
        self.findings: tuple[Finding, ...] | None = None
        self.asked_s = time.monotonic()
        self._journal = LineTail(place.folder / "journal.jsonl")
        self._evaluations = LineTail(place.folder / "league" / "evaluations.jsonl")
        self._restarts = (0, 0)
        self._phases = RecentPhases()
        self._after = "0"
        self._status: tuple[float, RunStatus] | None = None
        self._files_seen = False
        self._diagnosed_s = float("-inf")

    @property
    def phases(self) -> dict[str, dict[str, float]]:
        """Seconds per second by process and phase."""
        return self._phases.shares()

    @property
    def status(self) -> RunStatus | None:
        """What Redis said a moment ago; None while it is silent."""
        if self._status is None or time.monotonic() - self._status[0] > STALE_S:
            return None
        return self._status[1]

    @property
    def latest(self) -> dict[str, float]:
        """The newest value of every metric: of metrics.jsonl, or where that is on another machine, of Redis."""
        if self.table.latest or self._status is None:
            return self.table.latest
        return dict(self._status[1].metrics)

    @property
    def connection(self) -> Connection:
        """How the page stands with the run.

        loading: files are still being read. live: a controller drives it. unattended: Redis answers, no controller
        does. silent: a controller drives it, Redis does not answer. ended: nobody drives it.
        """
        if not self._files_seen or self.table.share_read < 1.0:
            return "loading"
        status = self.status
        if status is None:
            return "silent" if self.place.is_live or self._status is not None else "ended"
        controller = [beat.age_s for beat in status.heartbeats if beat.process == "controller"]
        return "live" if controller and min(controller) <= SILENT_S else "unattended"

    def look_at_files(self) -> bool:
        """Read what was appended; True when there is more to read at once."""
        if self.config is None:
            self._read_config()
        more = self.table.refresh()
        events, evaluations = self._journal.read(), self._evaluations.read()
        restarts = (self._journal.restarts, self._evaluations.restarts)
        if restarts != self._restarts:
            self._restarts, self.events, self.evaluations = restarts, (), ()
        self.events += tuple(event for record in events if (event := event_of(record)) is not None)
        self.evaluations += tuple(evaluations)
        self._files_seen = True
        return more

    def look_further(self) -> None:
        """Ask Redis, where there is one to ask, and now and then the doctor."""
        if self.place.is_live or self.link is not None:
            self.look_at_redis()
        if time.monotonic() - self._diagnosed_s >= DIAGNOSE_S:
            self._diagnosed_s = time.monotonic()
            self.findings = self._diagnose()

    def look_at_redis(self) -> None:
        """Ask Redis once; what it cannot say is kept as `link_error`."""
        if not self.place.redis_url:
            self.link_error = "this run has no Redis URL"
            return
        try:
            if self.link is None:
                self.link = RedisLink(self.place.redis_url, self.place.run)
            status = status_of(self.link, self.place.run, self.table.latest)
        except LinkError as error:
            self.link_error = str(error)
            return
        self.link_error = "" if status else f"run {self.place.run} is not open at {self.link.location}"
        if status is not None:
            self._status = (time.monotonic(), status)
            self.config = status.config
            self._read_phases(self.link)

    def close(self) -> None:
        """Close the connections to Redis."""
        if self.link is not None:
            self.link.close()

    def _read_phases(self, link: RedisLink) -> None:
        """Follow the report stream for the phases of each process; reading it takes nothing from the controller."""
        while True:
            try:
                self._after, reports = link.read_reports(self._after, 0.0)
            except LinkError as error:
                self.link_error = str(error)
                return
            for report in reports:
                if report.kind == "phases":
                    seconds = {name: float(v) for name, v in report.data.items() if isinstance(v, int | float)}
                    self._phases.add(report.process, seconds, report.time_s)
            if not reports:
                return

    def _diagnose(self) -> tuple[Finding, ...]:
        status, live = self.status, self.place.is_live
        server = None
        if status is not None and self.place.redis_url:
            try:
                server = server_health(self.place.redis_url)
            except LinkError as error:
                self.link_error = str(error)
        return diagnose(read_health(self.place.folder, status, trouble=self.link_error, live=live, server=server))

    def _read_config(self) -> None:
        path = self.place.folder / "config.toml"
        if not path.is_file():
            return
        try:
            self.config = load_config(path)
        except ConfigError as error:
            self.link_error = str(error)


class Watcher:
    """Looks at every run that a page asked for lately, once a second, from threads of its own.

    consumes: the runs' files and Redis servers.
    waits for: a second; a Redis that does not answer holds up nobody but its own next look.
    unblocked by: that, or a run asked for the first time.
    produces: `RunWatch`es that are up to date.
    """

    def __init__(self, places: Callable[[], Sequence[RunPlace]]) -> None:
        self._places = places
        self._watches: dict[str, RunWatch] = {}
        self._asking: dict[str, Future[None]] = {}
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._closed = False
        self._redis_threads = ThreadPoolExecutor(max_workers=4, thread_name_prefix="redis-look")
        self._thread = threading.Thread(target=self._run, name="watcher", daemon=True)
        self._thread.start()

    def places(self) -> Sequence[RunPlace]:
        """Every run that there is, the newest first."""
        return self._places()

    def watch(self, run: str | None) -> RunWatch | None:
        """The run of this name, or the newest (one that is live first); None where there is none."""
        with self._lock:
            found = self._watches.get(run or "")
            if found is None:
                place = _choose(self._places(), run)
                if place is None:
                    return None
                found = self._watches.setdefault(place.run, RunWatch(place))
                self._wake.set()
            found.asked_s = time.monotonic()
            return found

    def close(self) -> None:
        """Stop looking."""
        self._closed = True
        self._wake.set()
        self._thread.join(timeout=5.0)
        self._redis_threads.shutdown(wait=False, cancel_futures=True)
        for watch in self._watches.values():
            watch.close()

    def _run(self) -> None:
        while not self._closed:
            more = self.look()
            if not more:
                self._wake.wait(LOOK_S)
            self._wake.clear()

    def look(self) -> bool:
        """One look at every watched run; True when a file has more to read at once."""
        now_s = time.monotonic()
        with self._lock:
            for name in [n for n, watch in self._watches.items() if now_s - watch.asked_s > FORGET_S]:
                self._watches.pop(name).close()
            watches = dict(self._watches)
        places = {place.run: place for place in self._places()} if watches else {}
        more = False
        for name, watch in watches.items():
            watch.place = places.get(name, watch.place)
            more |= watch.look_at_files()
            asking = self._asking.get(name)
            if asking is None or asking.done():
                if asking is not None:
                    asking.result()  # a bug in there is to be seen in the log
                self._asking[name] = self._redis_threads.submit(watch.look_further)
        return more


def _choose(places: Sequence[RunPlace], run: str | None) -> RunPlace | None:
    if run is not None:
        return next((place for place in places if place.run == run), None)
    return next((place for place in places if place.is_live), places[0] if places else None)
