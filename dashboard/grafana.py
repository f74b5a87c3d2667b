"""Makes Grafana's board files from `grafana_boards`: python -m dashboard.grafana --write

Grafana reads them from deploy/grafana/dashboards; a test keeps them equal to what this makes.
"""

from __future__ import annotations

import sys
from itertools import count
from pathlib import Path

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

from dashboard.grafana_boards import BOARDS
from dashboard.grafana_panels import MARKS, Board, Panel

FOLDER = Path(__file__).resolve().parent.parent / "deploy" / "grafana" / "dashboards"
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
            f"these differ from dashboard/grafana_boards.py: {', '.join(old)}; run python -m dashboard.grafana --write"
        )


if __name__ == "__main__":
    main()
