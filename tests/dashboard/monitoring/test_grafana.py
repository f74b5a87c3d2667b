"""The board files are what the code makes, and ask only for series that the exporter serves."""

from __future__ import annotations

import json
import re

import pytest

from quintet.control import metrics as names
from quintet.dashboard.monitoring.exporter import OWN_HELP, prometheus_name
from quintet.dashboard.monitoring.grafana import BOARDS, COLUMNS, FOLDER, Board, Panel, board_json, files

PANELS = [
    pytest.param(panel, id=f"{board.uid}-{panel.title}")
    for board in BOARDS
    for row in board.rows
    for panel in row.panels
]
OTHERS = {"agent_steps", "version", "time_s", "recurrent/replay_value_error"}


def test_the_files_are_what_the_code_makes() -> None:
    wanted = files()
    assert {path.name for path in FOLDER.iterdir()} == {path.name for path in wanted}
    for path, text in wanted.items():
        assert path.read_text(encoding="utf-8") == text, "run: python -m quintet.dashboard.monitoring.grafana --write"


def test_there_are_the_four_boards() -> None:
    titles = [board.title.removeprefix("Quintet / ") for board in BOARDS]
    assert titles == ["Training", "Throughput", "Data quality", "Machines"]


@pytest.mark.parametrize("panel", PANELS)
def test_a_panel_asks_for_what_the_exporter_serves_of_the_chosen_runs(panel: Panel) -> None:
    served = {prometheus_name(name) for name in (*names.NAMES, *OTHERS)} | {f"quintet_{name}" for name in OWN_HELP}
    assert panel.queries
    for query in panel.queries:
        assert query.expr.count('run=~"$run"') == query.expr.count("{")
        for name in re.findall(r"(quintet_\w+)\{", query.expr):
            assert name.removesuffix("_total") in served | {"quintet_events"}, name


@pytest.mark.parametrize("panel", PANELS)
def test_a_panel_says_what_it_shows(panel: Panel) -> None:
    assert panel.title
    assert re.fullmatch(r".{2,}[.\d]", panel.help), panel.help


@pytest.mark.parametrize("board", BOARDS, ids=[board.uid for board in BOARDS])
def test_panels_lie_side_by_side_without_overlap(board: Board) -> None:
    page = json.loads(board_json(board))
    taken: set[tuple[int, int]] = set()
    for panel in page["panels"]:
        at = panel["gridPos"]
        assert at["x"] + at["w"] <= COLUMNS
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not cells & taken, panel["title"]
        taken |= cells
    ids = [panel["id"] for panel in page["panels"] if panel["type"] != "row"]
    assert len(set(ids)) == len(ids)
