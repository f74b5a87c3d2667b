"""The words in which Grafana boards are written: boards of rows of panels, and the series that panels ask for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from control import metrics as names
from dashboard.exporter import OWN_HELP, prometheus_name

Asked = str | tuple[str, str]
"""An expression, whose series are called by their run; or an expression and what its series are called."""
Kind = Literal["lines", "stack", "shares", "number"]
"""Lines; areas on top of one another; the same as shares of 100 %; or the last value as a large number."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Query:
    """One expression, and how its series are called in the legend."""

    expr: str
    legend: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Panel:
    """One picture. Units are Grafana's names for them."""

    title: str
    help: str
    queries: tuple[Query, ...]
    unit: str = "short"
    kind: Kind = "lines"


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """Panels under one heading, side by side as far as there is room."""

    title: str
    panels: tuple[Panel, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Board:
    """One page."""

    uid: str
    title: str
    help: str
    rows: tuple[Row, ...]


def metric(name: str, labels: str = "") -> str:
    """The series of one of the run's metrics, by the name that it has everywhere."""
    grown = name.startswith("steps/") and name not in (names.STEPS_IN_FLIGHT, names.STEPS_UNDONE)
    return selector(prometheus_name(name) + ("_total" if grown else ""), labels)


def own(name: str, labels: str = "") -> str:
    """The series of one of the exporter's own metrics."""
    assert name in OWN_HELP, name
    return selector(f"quintet_{name}", labels)


def family(pattern: str, labels: str = "") -> str:
    """All series whose names match: what games, heads and processes bring along."""
    return selector("", ",".join(filter(None, (f'__name__=~"quintet_{pattern}"', labels))))


def selector(name: str, labels: str) -> str:
    """A series of the runs that are chosen at the top of the page."""
    return f"{name}{{{','.join(filter(None, (labels, RUN)))}}}"


RUN = 'run=~"$run"'
EVENTS = selector("quintet_events_total", "")
BAD_BATCHES = selector("quintet_events_total", 'event="bad_batch"')
MARKS = "changes(" + selector("quintet_events_total", 'event=~"worker died|optimizer died|restarted|scaled"') + "[15s])"
"""Where something died, was started again or was scaled: marks on every panel."""


def lines(title: str, unit: str, help: str, *queries: Asked) -> Panel:
    """A panel of lines over time."""
    return Panel(title=title, unit=unit, help=help, queries=queries_of(*queries))


def number(title: str, unit: str, help: str, *queries: Asked) -> Panel:
    """A panel with the last value as a large number."""
    return Panel(title=title, unit=unit, help=help, kind="number", queries=queries_of(*queries))


def queries_of(*queries: Asked) -> tuple[Query, ...]:
    """What a panel asks, each with a legend."""
    pairs = [(query, "{{run}}") if isinstance(query, str) else query for query in queries]
    return tuple(Query(expr=expr, legend=legend) for expr, legend in pairs)


def phases(process: str, title: str, help: str) -> Panel:
    """A process's second, taken apart."""
    series = family("phase_.+", f'process="{process}"')
    expr = f"sum by (phase) ({series})"
    return Panel(title=title, help=help, unit="s", kind="shares", queries=(Query(expr=expr, legend="{{phase}}"),))


def rate(name: str) -> str:
    """How fast a counter grows, per second, over the last minute."""
    return f"sum by (run) (rate({metric(name)}[1m]))"
