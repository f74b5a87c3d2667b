"""The Grafana boards: which panels there are, what each one asks of Prometheus, and why one would look at it."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Literal

from grafana_foundation_sdk.builders import common, dashboard, prometheus, stat, timeseries
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.common import (
    GraphGradientMode,
    LegendDisplayMode,
    LegendPlacement,
    StackingMode,
    TooltipDisplayMode,
    VisibilityMode,
)
from grafana_foundation_sdk.models.dashboard import DashboardCursorSync, DataSourceRef, VariableRefresh

from quintet.control import metrics as names
from quintet.dashboard.monitoring.exporter import OWN_HELP, prometheus_name

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


TRAINING = Board(
    uid="quintet-training",
    title="Quintet / Training",
    help="Is it learning?",
    rows=(
        Row(
            title="In one glance",
            panels=(
                number("Return", "short", "Mean over the last 100 episodes.", metric(names.EPISODIC_RETURN)),
                number("Agent steps", "short", "What the newest weights were trained on.", metric("agent_steps")),
                number("Agent steps/s", "short", "Over the last 20 s.", metric(names.AGENT_STEPS_PER_S)),
                number("Version", "none", "Of the weights.", metric("version")),
            ),
        ),
        Row(
            title="What it can do",
            panels=(
                lines(
                    "Return",
                    "short",
                    "Mean over the last 100 episodes. Noisy at first; it should rise.",
                    metric(names.EPISODIC_RETURN),
                ),
                lines(
                    "Length of an episode",
                    "short",
                    "Mean over the last 100 episodes, in steps.",
                    metric(names.EPISODIC_LENGTH),
                ),
                lines(
                    "What the game reports",
                    "short",
                    "Win rates, and the parts of the reward, over the last 100 games.",
                    (family("game_.+"), "{{component}}"),
                ),
            ),
        ),
        Row(
            title="How it learns",
            panels=(
                lines(
                    "Policy loss",
                    "short",
                    "Small and about zero: the surrogate is zero before the first gradient step of a batch.",
                    metric(names.POLICY_LOSS),
                ),
                lines(
                    "Value loss",
                    "short",
                    "In units of the return's scale. It rises when the policy finds something new.",
                    metric(names.VALUE_LOSS),
                ),
                lines(
                    "Explained variance",
                    "percentunit",
                    "Near 1 the value knows what is coming; at 0 it knows no more than a constant.",
                    metric(names.EXPLAINED_VARIANCE),
                ),
                lines(
                    "Entropy",
                    "short",
                    "In nats. A sudden fall to zero is a policy that has stopped trying.",
                    metric(names.ENTROPY),
                ),
                lines(
                    "Entropy of each head",
                    "short",
                    "In nats, where the head was read.",
                    (family("heads_.+_entropy"), "{{head}}"),
                ),
                lines(
                    "KL divergence",
                    "short",
                    "How far an update moves the policy, in nats; the heads of it below.",
                    metric(names.APPROX_KL),
                    (family("heads_.+_kl"), "{{head}}"),
                ),
                lines(
                    "Clipped",
                    "percentunit",
                    "Share of the ratios that PPO's clip held back; above a third the steps are too large.",
                    metric(names.CLIPFRAC),
                ),
                lines("Gradient norm", "short", "Before clipping.", metric(names.GRADIENT_NORM)),
                lines(
                    "Learning rate",
                    "sci",
                    "In force now; a ramp or a live change shows here.",
                    metric(names.LEARNING_RATE),
                ),
            ),
        ),
    ),
)

THROUGHPUT = Board(
    uid="quintet-throughput",
    title="Quintet / Throughput",
    help="How fast is it, and who waits for whom?",
    rows=(
        Row(
            title="Speed",
            panels=(
                lines(
                    "Agent steps/s",
                    "short",
                    "Trained, over the last 20 s.",
                    (metric(names.AGENT_STEPS_PER_S), "trained, {{run}}"),
                ),
                lines(
                    "Steps/s of all workers",
                    "short",
                    "Played, over at least 10 s.",
                    (own("workers_steps_per_s"), "played, {{run}}"),
                ),
                lines(
                    "Versions/s",
                    "short",
                    "New weights per second, over the last minute.",
                    f"deriv({metric('version')}[1m])",
                ),
            ),
        ),
        Row(
            title="Where the time goes",
            panels=(
                phases(
                    "optimizer", "Optimizer", "`wait` is waiting for chunks: above a third, more workers would help."
                ),
                phases(
                    "worker",
                    "Workers, on average",
                    "`wait` is waiting for room in the stream: the optimizer is the bottleneck.",
                ),
                phases(
                    "optimizer/prefetch",
                    "The optimizer's prefetch thread",
                    "It decodes chunks while the optimizer learns.",
                ),
            ),
        ),
        Row(
            title="The stream",
            panels=(
                lines(
                    "Chunks under way",
                    "short",
                    "A stream that is full most of the time is a slow optimizer, and no fault.",
                    metric(names.QUEUE_CHUNKS),
                ),
                lines(
                    "Bytes under way",
                    "bytes",
                    "The bound protects Redis.",
                    (metric(names.QUEUE_BYTES), "under way, {{run}}"),
                    (own("limit_queue_bytes"), "bound, {{run}}"),
                ),
                lines(
                    "Workers' waiting time",
                    "s",
                    "Seconds of the last second that a worker waited for room.",
                    metric(names.QUEUE_WAIT_S),
                ),
            ),
        ),
        Row(
            title="Workers",
            panels=(
                lines(
                    "Wanted and live",
                    "short",
                    "They differ while workers start, leave or die.",
                    (metric(names.WORKERS_WANTED), "wanted, {{run}}"),
                    (metric(names.WORKERS_LIVE), "live, {{run}}"),
                ),
                lines(
                    "The slowest ten",
                    "short",
                    "Steps per second of each, over at least 10 s.",
                    (own("worker_steps_per_s"), "{{process}}"),
                ),
                lines(
                    "Versions behind",
                    "short",
                    "Of the worker that is furthest behind.",
                    own("workers_versions_behind_max"),
                ),
            ),
        ),
    ),
)

DATA_QUALITY = Board(
    uid="quintet-data-quality",
    title="Quintet / Data quality",
    help="Is what it learns from fresh, whole and counted once?",
    rows=(
        Row(
            title="The conservation law: produced = trained + stale + rejected + lost + in flight",
            panels=(
                Panel(
                    title="Where steps go",
                    help="Per second. Stale, rejected and lost should be thin lines.",
                    kind="stack",
                    queries=queries_of(
                        *((rate(f"steps/{part}"), part) for part in ("trained", "stale", "rejected", "lost"))
                    ),
                ),
                lines("In flight", "short", "In the stream and not settled.", metric(names.STEPS_IN_FLIGHT)),
                number("Unaccounted", "short", "0, always, whatever was killed.", own("steps_unaccounted")),
                number(
                    "Undone", "short", "Trained steps whose updates a resume threw away.", metric(names.STEPS_UNDONE)
                ),
            ),
        ),
        Row(
            title="Freshness",
            panels=(
                lines(
                    "Staleness",
                    "short",
                    "Versions between playing and training; windows beyond the bound are thrown away.",
                    (metric(names.STALENESS_MEAN), "mean, {{run}}"),
                    (metric(names.STALENESS_P95), "95th percentile, {{run}}"),
                    (own("limit_staleness"), "bound, {{run}}"),
                ),
                lines(
                    "Sample reuse",
                    "short",
                    "Steps trained, times epochs, over steps produced.",
                    metric(names.SAMPLE_REUSE),
                ),
                lines(
                    "Share that is trained on",
                    "percentunit",
                    "Over the last minute.",
                    f"{rate(names.STEPS_TRAINED)} / {rate(names.STEPS_PRODUCED)}",
                ),
            ),
        ),
        Row(
            title="Correctness",
            panels=(
                lines(
                    "Replay error",
                    "sci",
                    "Of a window replayed with the weights that played it: rounding alone stays far below 0.01",
                    (metric(names.REPLAY_ERROR), "log-probability, {{run}}"),
                    (metric("recurrent/replay_value_error"), "value, {{run}}"),
                ),
                lines(
                    "Batches that were not finite",
                    "short",
                    "In the last 10 minutes; three in a row end the run.",
                    f"increase({BAD_BATCHES}[10m])",
                ),
            ),
        ),
    ),
)

MACHINES = Board(
    uid="quintet-machines",
    title="Quintet / Machines",
    help="Does everybody live, and does everything fit?",
    rows=(
        Row(
            title="Life",
            panels=(
                number("Redis answers", "bool_yes_no", "As the exporter sees it.", own("up")),
                lines(
                    "Last heard of",
                    "s",
                    "Every process says something once a second; of the workers, the slowest ten.",
                    (own("process_heartbeat_age_s"), "{{process}}"),
                ),
                lines(
                    "The worker silent longest",
                    "s",
                    "Seconds since it was heard of.",
                    own("workers_heartbeat_age_max_s"),
                ),
                lines(
                    "Deaths, restarts, checkpoints",
                    "short",
                    "In the last 5 minutes.",
                    (f"sum by (event) (increase({EVENTS}[5m]))", "{{event}}"),
                ),
            ),
        ),
        Row(
            title="Memory",
            panels=(
                lines(
                    "Resident, by process",
                    "bytes",
                    "Of the workers, the slowest ten.",
                    (own("process_rss_bytes"), "{{process}}"),
                ),
                lines(
                    "Resident, all workers",
                    "bytes",
                    "Together, and the largest.",
                    (own("workers_rss_bytes"), "together, {{run}}"),
                    (own("workers_rss_max_bytes"), "the largest, {{run}}"),
                ),
                lines(
                    "Redis",
                    "bytes",
                    "Chunks, weights and everything else; at its bound it takes no more chunks, and workers wait.",
                    (own("redis_used_bytes"), "used, {{run}}"),
                    (own("redis_maxmemory_bytes"), "bound, {{run}}"),
                ),
                lines(
                    "The stream's share of its bound",
                    "percentunit",
                    "Near 1, workers wait so that Redis does not fill up.",
                    f"{metric(names.QUEUE_BYTES)} / {own('limit_queue_bytes')}",
                ),
            ),
        ),
        Row(
            title="The exporter",
            panels=(
                lines("Time to gather all this", "s", "Of one scrape.", own("exporter_seconds")),
                lines(
                    "Since the newest version",
                    "s",
                    "How long nothing new has been learned.",
                    f"time() - {metric('time_s')}",
                ),
            ),
        ),
    ),
)

BOARDS = (TRAINING, THROUGHPUT, DATA_QUALITY, MACHINES)


FOLDER = Path(__file__).absolute().parents[3] / "deploy" / "grafana" / "dashboards"
COLUMNS = 24  # of Grafana's grid
HEIGHTS = {"number": 4, "lines": 8, "stack": 8, "shares": 8}
SOURCE = DataSourceRef(type_val="prometheus", uid="${datasource}")

AnyPanel = stat.Panel | timeseries.Panel


def board_json(board: Board) -> str:
    """A board as the JSON text that Grafana reads."""
    page = (
        dashboard.Dashboard(board.title)
        .uid(board.uid)
        .description(board.help)
        .tags(["quintet"])
        .readonly()
        .refresh("10s")
        .time("now-1h", "now")
        .timezone("browser")
        .tooltip(DashboardCursorSync.CROSSHAIR)
        .with_variable(dashboard.DatasourceVariable("datasource").label("Source").type("prometheus"))
        .with_variable(
            dashboard.QueryVariable("run")
            .label("Run")
            .datasource(SOURCE)
            .query("label_values(quintet_up, run)")
            .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
            .multi(True)
            .include_all(True)
        )
        .annotation(
            dashboard.AnnotationQuery()
            .name("Deaths, restarts, scaling")
            .datasource(SOURCE)
            .enable(True)
            .expr(f"{MARKS} > 0")
        )
    )
    ids = count(1)  # of panels: links to one of them keep their meaning
    for row in board.rows:
        page.with_row(dashboard.Row(row.title))
        width = COLUMNS // min(len(row.panels), 3 if len(row.panels) != 4 else 4)
        for panel in row.panels:
            page.with_panel(_panel(panel).id(next(ids)).span(width).height(HEIGHTS[panel.kind]))
    return JSONEncoder(sort_keys=True, indent=2).encode(page.build()) + "\n"


def _panel(panel: Panel) -> AnyPanel:
    picture: AnyPanel = stat.Panel() if panel.kind == "number" else _graph(panel)
    picture.title(panel.title).description(panel.help).datasource(SOURCE).unit(panel.unit)
    for letter, query in zip("ABCDEFGH", panel.queries, strict=False):
        picture.with_target(
            prometheus.Dataquery().expr(query.expr).legend_format(query.legend).ref_id(letter).datasource(SOURCE)
        )
    return picture


def _graph(panel: Panel) -> timeseries.Panel:
    stacked = {"stack": StackingMode.NORMAL, "shares": StackingMode.PERCENT}.get(panel.kind, StackingMode.NONE)
    graph = (
        timeseries.Panel()
        .line_width(1 if stacked != StackingMode.NONE else 2)
        .fill_opacity(60 if stacked != StackingMode.NONE else 8)
        .gradient_mode(GraphGradientMode.NONE)
        .show_points(VisibilityMode.NEVER)
        .stacking(common.StackingConfig().mode(stacked).group("A"))
        .tooltip(common.VizTooltipOptions().mode(TooltipDisplayMode.MULTI))
        .legend(
            common.VizLegendOptions()
            .display_mode(LegendDisplayMode.LIST)
            .placement(LegendPlacement.BOTTOM)
            .show_legend(True)
        )
    )
    return graph.min(0) if stacked != StackingMode.NONE else graph


def files() -> dict[Path, str]:
    """Every board file with the text that it should hold."""
    return {FOLDER / f"{board.uid}.json": board_json(board) for board in BOARDS}


def main() -> None:
    """Write the files, or say which of them differ; exit code 1 if any does."""
    wanted = files()
    if "--write" in sys.argv[1:]:
        FOLDER.mkdir(parents=True, exist_ok=True)
        for path, text in wanted.items():
            path.write_text(text, encoding="utf-8")
        return
    old = [path.name for path, text in wanted.items() if not path.exists() or path.read_text(encoding="utf-8") != text]
    if old:
        sys.exit(
            f"these differ from dashboard/monitoring/grafana.py: {', '.join(old)}; "
            "run python -m quintet.dashboard.monitoring.grafana --write"
        )


if __name__ == "__main__":
    main()
