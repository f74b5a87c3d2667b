"""The boards of deploy/grafana/ are whole, and ask only for series that the exporter serves."""

from __future__ import annotations

import re
from typing import Any

import pytest

from quintet.control import metrics as names
from quintet.dashboard.monitoring.exporter import ONLY_GROW, OWN_HELP, prometheus_name
from tests.support.grafana_boards import BOARDS, FOLDER, marks, panels

COLUMNS = 24  # of Grafana's grid
PANELS = [pytest.param(panel, id=f"{uid}-{panel['title']}") for uid, board in BOARDS.items() for panel in panels(board)]
OTHERS = {"agent_steps", "version", "time_s", "recurrent/replay_value_error"}
SERVED = (
    {prometheus_name(name) for name in (*names.NAMES, *OTHERS)}
    | {f"quintet_{name}" for name in OWN_HELP}
    | {"quintet_events_total"}
) - {prometheus_name(f"steps/{part}") for part in ONLY_GROW} | {f"quintet_steps_{part}_total" for part in ONLY_GROW}


def test_there_are_the_four_boards() -> None:
    assert {path.name for path in FOLDER.iterdir()} == {f"{uid}.json" for uid in BOARDS}
    assert {uid: board["uid"] for uid, board in BOARDS.items()} == {uid: uid for uid in BOARDS}
    titles = {board["title"].removeprefix("Quintet / ") for board in BOARDS.values()}
    assert titles == {"Training", "Throughput", "Data quality", "Machines"}


@pytest.mark.parametrize("board", BOARDS.values(), ids=list(BOARDS))
def test_a_board_offers_the_sources_and_the_runs_that_there_are(board: dict[str, Any]) -> None:
    source, run = board["templating"]["list"]
    assert (source["name"], source["type"], source["query"]) == ("datasource", "datasource", "prometheus")
    assert (run["name"], run["query"], run["multi"]) == ("run", "label_values(quintet_up, run)", True)
    assert not board["editable"]


@pytest.mark.parametrize("board", BOARDS.values(), ids=list(BOARDS))
def test_marks_ask_for_events_that_are_counted(board: dict[str, Any]) -> None:
    expr = marks(board)
    assert expr.startswith("changes(quintet_events_total{")
    (events,) = re.findall(r'event=~"([^"]+)"', expr)
    assert set(events.split("|")) <= set(names.COUNTED_EVENTS)


@pytest.mark.parametrize("panel", PANELS)
def test_a_panel_asks_for_what_the_exporter_serves_of_the_chosen_runs(panel: dict[str, Any]) -> None:
    assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
    assert panel["targets"]
    for target in panel["targets"]:
        expr = target["expr"]
        assert target["legendFormat"]
        assert expr.count('run=~"$run"') == expr.count("{") > 0
        assert set(re.findall(r"(quintet_\w+)\{", expr)) <= SERVED
        assert set(re.findall(r'event="([^"]+)"', expr)) <= set(names.COUNTED_EVENTS)
        for family in re.findall(r'__name__=~"quintet_([a-z]+)_', expr):
            assert f"{family}/" in names.OPEN_FAMILIES


@pytest.mark.parametrize("panel", PANELS)
def test_a_panel_says_what_it_shows(panel: dict[str, Any]) -> None:
    assert panel["title"]
    assert re.fullmatch(r".{2,}[.\d]", panel["description"]), panel["description"]


@pytest.mark.parametrize("board", BOARDS.values(), ids=list(BOARDS))
def test_panels_lie_side_by_side_without_overlap(board: dict[str, Any]) -> None:
    taken: set[tuple[int, int]] = set()
    for panel in board["panels"]:
        at = panel["gridPos"]
        assert at["x"] + at["w"] <= COLUMNS
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not cells & taken, panel["title"]
        taken |= cells
    ids = [panel["id"] for panel in panels(board)]
    assert len(set(ids)) == len(ids)
