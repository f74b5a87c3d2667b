"""A run as Prometheus reads it: every metric by its own name, asked of Redis at each scrape; workers open no port.

    charts/episodic_return -> quintet_charts_episodic_return{run="..."}        (`/` becomes `_`)
    steps/trained          -> quintet_steps_trained_total{run="..."}           (what only grows is a counter)
    phase/worker/play_s    -> quintet_phase_worker_play_s{run, process="worker", phase="play"}

Workers appear as sums, means and extremes; one by one only the slowest ten, so that 200 of them cost no more than ten.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import ipaddress
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Protocol
from urllib.parse import urlsplit

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.metrics_core import Metric

from quintet.control import metrics as names
from quintet.control.config import ConfigError, RunConfig, parse_config
from quintet.control.metrics import family_labels, help_text
from quintet.wire.errors import WireError
from quintet.wire.link import Counters, Heartbeat
from quintet.wire.redis_link.client import ServerHealth

CONTENT_TYPE: str = CONTENT_TYPE_LATEST
SLOWEST = 10
"""Workers that are shown one by one."""
SPEED_WINDOW_S = 10.0
"""Least seconds over which a worker's speed is taken: heartbeats come once a second."""
PATIENCE_S = 5.0
"""A client that takes longer to send its request, or to read the answer, is left."""
ONLY_GROW = ("produced", "trained", "stale", "rejected", "lost")
_WORKER = f"{names.WORKER}/"
_Mark = tuple[int, float, int]  # of a worker: incarnation, when it was heard, cumulative steps

OWN_HELP: dict[str, str] = {
    "up": "1 while the run's Redis answers.",
    "run_open": "1 while the run is open in that Redis.",
    "run_stopping": "1 once the run was asked to end.",
    "steps_unaccounted": "0 while produced = trained + stale + rejected + lost + in flight.",
    "limit_queue_bytes": "Bound of the stream in bytes: wire.max_queue_bytes.",
    "limit_staleness": "Windows older than this many versions are not trained on: optimizer.max_staleness.",
    "limit_agent_steps": "The run's budget of agent steps.",
    "process_heartbeat_age_s": "Seconds since this process was last heard of, by the clock of Redis.",
    "process_rss_bytes": "Resident memory of this process.",
    "process_version": "Newest version of the weights that this process holds.",
    "worker_steps_per_s": "Steps per second of one of the slowest workers, over at least 10 s.",
    "workers_heartbeat_age_max_s": "Seconds since the worker that has been silent longest was heard of.",
    "workers_rss_bytes": "Resident memory of all workers together.",
    "workers_rss_max_bytes": "Resident memory of the largest worker.",
    "workers_versions_behind_max": "Versions by which the worker furthest behind lags.",
    "workers_steps_per_s": "Steps per second of all workers together, over at least 10 s.",
    "redis_used_bytes": "Memory that Redis uses, whatever for.",
    "redis_maxmemory_bytes": "Bound of Redis's memory; not there where it has none.",
    "exporter_seconds": "Seconds that it took to gather all this.",
}
"""Metrics that the exporter makes itself, without the prefix."""


class MetricsSource(Protocol):
    """What the exporter asks of a link, which says what each answers; it only ever reads."""

    run: str

    def latest_row(self) -> dict[str, float]: ...  # noqa: D102
    def stopping(self) -> bool: ...  # noqa: D102
    def run_config(self) -> str: ...  # noqa: D102
    def heartbeats(self) -> list[Heartbeat]: ...  # noqa: D102
    def counters(self) -> Counters: ...  # noqa: D102
    def server_health(self) -> ServerHealth | None: ...  # noqa: D102


class Exporter:
    """Turns a run into Prometheus' text format, anew at every scrape. Threads may share it."""

    def __init__(self, source: MetricsSource, clock: Callable[[], float] = time.monotonic) -> None:
        self._source, self._clock = source, clock
        self._speeds = _Speeds()
        self._lock = threading.Lock()
        self._config: tuple[str, RunConfig | None] = ("", None)

    def text(self) -> bytes:
        """One scrape. While Redis does not answer it holds `quintet_up 0` and nothing else of the run."""
        with self._lock:
            started_s = self._clock()
            page = _Scrape(self._source.run)
            try:
                self._gather(page)
            except WireError:
                page = _Scrape(self._source.run)
                page.own("up", 0)
            page.own("exporter_seconds", self._clock() - started_s)
            return page.text()

    def _gather(self, page: _Scrape) -> None:
        source = self._source
        config_text, row = source.run_config(), source.latest_row()
        counters, beats = source.counters(), source.heartbeats()
        page.own("up", 1)
        page.own("run_open", bool(config_text))
        page.own("run_stopping", source.stopping())
        self._limits(page, config_text)
        never = {names.EVENTS + event: 0.0 for event in names.COUNTED_EVENTS}
        for name, value in (never | row | names.counter_row(counters)).items():
            page.metric(name, value)
        page.own("steps_unaccounted", counters.unaccounted)
        self._processes(page, beats, row)
        server = source.server_health()
        if server is not None:
            page.own("redis_used_bytes", server.used_bytes)
            if server.maxmemory_bytes:
                page.own("redis_maxmemory_bytes", server.maxmemory_bytes)

    def _limits(self, page: _Scrape, text: str) -> None:
        if text != self._config[0]:
            try:
                self._config = (text, parse_config(text))
            except ConfigError:  # of another version of this program: its limits are unknown, all else is not
                self._config = (text, None)
        config = self._config[1]
        if config is None or not text:
            return
        page.own("limit_queue_bytes", config.wire.max_queue_bytes)
        page.own("limit_staleness", config.optimizer.max_staleness)
        if config.agent_steps is not None:
            page.own("limit_agent_steps", config.agent_steps)

    def _processes(self, page: _Scrape, beats: Sequence[Heartbeat], row: Mapping[str, float]) -> None:
        workers = [beat for beat in beats if beat.process.startswith(_WORKER)]
        speeds = self._speeds.of(workers, self._clock())
        slowest = sorted(workers, key=lambda beat: (speeds.get(beat.process, 0.0), beat.process))[:SLOWEST]
        for beat in [beat for beat in beats if not beat.process.startswith(_WORKER)] + slowest:
            page.own("process_heartbeat_age_s", beat.age_s, process=beat.process)
            for key, name in (("rss_bytes", "process_rss_bytes"), ("version", "process_version")):
                if key in beat.data:
                    page.own(name, float(beat.data[key]), process=beat.process)
            if beat.process in speeds:
                page.own("worker_steps_per_s", speeds[beat.process], process=beat.process)
        if workers:
            resident = [float(beat.data.get("rss_bytes", 0)) for beat in workers]
            oldest = min(float(beat.data.get("version", 0)) for beat in workers)
            page.own("workers_heartbeat_age_max_s", max(beat.age_s for beat in workers))
            page.own("workers_rss_bytes", sum(resident))
            page.own("workers_rss_max_bytes", max(resident))
            page.own("workers_versions_behind_max", max(0.0, row.get(names.VERSION, 0.0) - oldest))
        page.own("workers_steps_per_s", sum(speeds.values()))


class _Speeds:
    """Steps per second of each worker, from what its heartbeats say now and said some time ago."""

    def __init__(self) -> None:
        self._marks: dict[str, _Mark] = {}
        self._marked_s = float("-inf")
        self._speeds: dict[str, float] = {}

    def of(self, workers: Sequence[Heartbeat], now_s: float) -> dict[str, float]:
        """Speeds of the workers that were there at the last look already, for those that still are."""
        if now_s - self._marked_s >= SPEED_WINDOW_S:
            marks = {b.process: (b.incarnation, now_s - b.age_s, b.cumulative_steps) for b in workers}
            self._speeds = {
                process: _speed(self._marks[process], mark)
                for process, mark in marks.items()
                if process in self._marks and self._marks[process][0] == mark[0]
            }
            self._marks, self._marked_s = marks, now_s
        here = {beat.process for beat in workers}
        return {process: speed for process, speed in self._speeds.items() if process in here}


def _speed(earlier: _Mark, later: _Mark) -> float:
    """Steps per second; 0 for a worker that has said nothing new."""
    elapsed_s = later[1] - earlier[1]
    return (later[2] - earlier[2]) / elapsed_s if elapsed_s > SPEED_WINDOW_S / 10 else 0.0


class _Scrape:
    """The samples of one scrape by family, in the order in which they came."""

    def __init__(self, run: str) -> None:
        self._run = run
        self._families: dict[str, Metric] = {}
        self._there: set[tuple[str, tuple[str, ...]]] = set()

    def own(self, name: str, value: float, **labels: str) -> None:
        """One of the exporter's own metrics."""
        self._add(f"quintet_{name}", OWN_HELP[name], "gauge", value, labels)

    def metric(self, name: str, value: float) -> None:
        """One of the run's metrics, by the name that it has everywhere."""
        stem, _, leaf = name.partition("/")
        if stem == "events":
            self._add("quintet_events", help_text(name), "counter", value, {"event": leaf})
        elif stem == "steps" and leaf in ONLY_GROW:
            self._add(prometheus_name(name), help_text(name), "counter", value, {})
        else:
            self._add(prometheus_name(name), help_text(name), "gauge", value, family_labels(name))

    def _add(self, name: str, text: str, kind: str, value: float, labels: Mapping[str, str]) -> None:
        series = (name, tuple(labels.values()))
        if series in self._there:  # two names that differ only in characters that Prometheus does not know
            return
        self._there.add(series)
        family = self._families.setdefault(name, Metric(name, text, kind))
        sample = f"{name}_total" if kind == "counter" else name
        family.add_sample(sample, {"run": self._run, **labels}, float(value))

    def collect(self) -> Iterator[Metric]:
        """What `prometheus_client` asks of a collector."""
        yield from self._families.values()

    def text(self) -> bytes:
        """The page in Prometheus' text format."""
        registry = CollectorRegistry(auto_describe=False)
        registry.register(self)
        return generate_latest(registry)


def prometheus_name(name: str) -> str:
    """`charts/episodic_return` -> `quintet_charts_episodic_return`."""
    return "quintet_" + re.sub(r"[^a-zA-Z0-9_]", "_", name)


class MetricsServer(ThreadingHTTPServer):
    """Serves a page of text at /metrics; use `serve_forever` and `shutdown` of `http.server`."""

    daemon_threads = True

    def __init__(self, host: str, port: int, page: Callable[[], bytes], token: str) -> None:
        """`token` may be empty on loopback alone.

        Raises:
            ValueError: it is empty beyond loopback.
            OSError: the port is taken.
        """
        if not token and not is_loopback(host):
            raise ValueError(f"{host} can be reached from other machines, so a token is needed")
        self.page, self.token = page, token
        super().__init__((host, port), _Handler)


class _Handler(BaseHTTPRequestHandler):
    server: MetricsServer
    timeout = PATIENCE_S
    server_version, sys_version = "quintet", ""

    def do_GET(self) -> None:
        """Answer one request."""
        path = urlsplit(self.path).path
        if path == "/healthy":
            self._answer(200, b"ok\n")
        elif path != "/metrics":
            self._answer(404, b"there are /metrics and /healthy\n")
        elif allowed(self.headers.get("Authorization"), self.server.token):
            self._answer(200, self.server.page(), CONTENT_TYPE)
        else:
            self._answer(401, b"a token is needed: Authorization: Bearer TOKEN, or as a password\n")

    def _answer(self, status: int, body: bytes, content_type: str = "text/plain; charset=utf-8") -> None:
        self.send_response(status)
        if status == 401:
            self.send_header("WWW-Authenticate", 'Basic realm="quintet", charset="UTF-8"')
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing: a scrape every few seconds is no news."""


def allowed(authorization: str | None, token: str) -> bool:
    """Whether a request's Authorization header shows the token: as a bearer, or as the password of any user.

    An empty token asks nothing of anybody.
    """
    if not token:
        return True
    scheme, _, shown = (authorization or "").partition(" ")
    if scheme.lower() == "basic":
        try:
            shown = base64.b64decode(shown.strip(), validate=True).decode().partition(":")[2]
        except (binascii.Error, UnicodeDecodeError):
            return False
    elif scheme.lower() != "bearer":
        return False
    return hmac.compare_digest(shown.strip().encode(), token.encode())


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches an address. A name other than localhost may be anything, so it is not."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
