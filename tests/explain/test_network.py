"""The drawing of a policy: everything is in it, its numbers are the policy's, and nothing lies on top of anything."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import pytest
import torch
from matplotlib.patches import FancyBboxPatch
from torch import nn

from quintet.explain.network import layers, network_drawing, parameters, policy_drawing, rows
from quintet.explain.plots.figure import svg
from quintet.explain.plots.network import LINES, Box, Drawing, draw
from quintet.games.api import GameSpec
from quintet.games.registry import make_game
from quintet.model.config import PolicyConfig
from quintet.model.policy import Policy
from tests.envs.full_spec_game import outpost_spec
from tests.support.figure_words import words_of

SVG = "{http://www.w3.org/2000/svg}"


def spec_of(name: str) -> GameSpec:
    if name == "outpost":
        return outpost_spec()
    game = make_game(name, 1, 0)
    game.close()
    return game.spec


GAMES = ("outpost", "counting", "gymnasium:CartPole-v1", "gymnasium:Pendulum-v1")


def boxes(drawing: Drawing) -> list[Box]:
    return [*drawing.boxes, drawing.bar]


@pytest.mark.parametrize("units", [16, 1024])
@pytest.mark.parametrize("name", GAMES)
def test_the_boxes_parameters_add_up_to_the_policys(name: str, units: int) -> None:
    spec, config = spec_of(name), PolicyConfig(lstm_units=units)
    with torch.device("meta"):
        policy = Policy(spec, config)
    drawing = policy_drawing(policy)
    assert sum(box.count for box in boxes(drawing)) == parameters(policy)
    assert sum(box.count for _, box in rows(drawing)) == parameters(policy)
    assert sum(box.share for box in boxes(drawing)) == pytest.approx(1)
    assert f"{parameters(policy):,} parameters, LSTM of {units:,} units" in drawing.title


def test_a_drawing_of_real_weights_is_the_same_as_one_whose_weights_were_never_made() -> None:
    config = PolicyConfig(lstm_units=16)
    assert policy_drawing(Policy(outpost_spec(), config)) == network_drawing(outpost_spec(), config)


def test_a_network_that_no_machine_would_hold_is_drawn_all_the_same() -> None:
    drawing = network_drawing(outpost_spec(), PolicyConfig(lstm_units=2**17))
    assert sum(box.count for box in boxes(drawing)) > 10**11


def test_every_entry_head_and_prediction_of_a_game_is_in_its_drawing() -> None:
    spec = outpost_spec()
    drawing = network_drawing(spec, PolicyConfig(lstm_units=16))
    titles = [box.title for box in boxes(drawing)]
    for name in ("self", "heard", "units", "plan", "previous action", "LSTM", "layer", "value", "critic's layer"):
        assert titles.count(name) == 1, name
    for head in spec.action_space:
        assert sum(title.startswith(f"{head}: ") for title in titles) == 1, head
    for name in spec.auxiliary:
        assert sum(title.startswith(f"predict {name}: ") for title in titles) == 1, name
    assert not {"won", "strongest"} & set(titles), "labels are not read"


def test_what_a_set_is_to_the_team_and_to_its_agents_is_told() -> None:
    drawing = network_drawing(outpost_spec(), PolicyConfig(lstm_units=16))
    entry, network, pool = next(lane for lane in drawing.lanes if lane[0].title == "units")
    assert entry.lines == ("4 × 4", "once for the team")
    assert (network.title, network.copies) == ("one network × 4 slots", 4)
    assert "1 categorical column: 2 × 32" in network.lines
    assert "offset and distance 3 → 32, per agent" in network.lines
    assert pool.lines == ("out: 32", "and the agent's own slot: 32")
    team = next(box for box in boxes(drawing) if box.key == "team")
    assert team.lines == ("the first 8 of 32:", "maximum over the 2 agents")


def test_arrows_say_what_passes_and_what_does_not() -> None:
    drawing = network_drawing(outpost_spec(), PolicyConfig(lstm_units=16))
    arrows = {(arrow.source, arrow.target): arrow.style for arrow in drawing.arrows}
    assert arrows["encoder/units", "head/target"] == "keys"
    assert arrows["head/act", "head/dx"] == arrows["head/act", "head/target"] == "choice"
    assert ("head/act", "head/act") not in arrows
    assert arrows["lstm", "auxiliary/win"] == arrows["lstm", "auxiliary/strongest"] == "stopped"
    assert arrows["critic/plan", "critic layer"] == arrows["lstm", "critic layer"] == "data"
    assert ("lstm", "value") not in arrows, "the critic's layer stands between them"
    assert {"10% of its gradient passes", "stop-gradient"} <= {line for box in boxes(drawing) for line in box.lines}


def test_a_game_without_choices_to_make_first_has_no_such_arrows() -> None:
    drawing = network_drawing(spec_of("gymnasium:CartPole-v1"), PolicyConfig(lstm_units=128))
    assert {arrow.style for arrow in drawing.arrows} == {"data"}
    assert "team" not in {box.key for box in boxes(drawing)}, "one agent has nobody to pool with"


def test_a_module_that_the_drawing_does_not_know_gets_a_box() -> None:
    class Larger(Policy):
        def __init__(self) -> None:
            super().__init__(outpost_spec(), PolicyConfig(lstm_units=16))
            self.novelty = nn.Linear(7, 3)

    policy = Larger()
    drawing = policy_drawing(policy)
    rest = next(box for box in boxes(drawing) if box.key == "rest")
    assert rest.count == 7 * 3 + 3
    assert "novelty.weight 3 × 7" in rest.lines
    assert sum(box.count for box in boxes(drawing)) == parameters(policy)


@pytest.mark.parametrize("units", [16, 4096])
@pytest.mark.parametrize("name", GAMES)
def test_no_box_lies_on_another_or_leaves_the_picture(name: str, units: int) -> None:
    figure = draw(network_drawing(spec_of(name), PolicyConfig(lstm_units=units)))
    width, height = figure.get_size_inches() * 72
    rectangles = [
        (patch.get_x(), patch.get_y(), patch.get_width(), patch.get_height())
        for patch in figure.axes[0].patches
        if isinstance(patch, FancyBboxPatch)
    ]
    cards = {
        r for r in rectangles if any(_shifted(r, other) for other in rectangles)
    }  # a stack's cards behind the first
    fronts = [r for r in rectangles if r not in cards]
    assert len(fronts) >= 6
    for x, y, w, h in rectangles:
        assert 0 <= x <= x + w <= width
        assert 0 <= y <= y + h <= height
    for k, (x, y, w, h) in enumerate(fronts):
        for other_x, other_y, other_w, other_h in fronts[k + 1 :]:
            assert x + w <= other_x or other_x + other_w <= x or y + h <= other_y or other_y + other_h <= y


def _shifted(card: tuple[float, ...], front: tuple[float, ...]) -> bool:
    return any(abs(card[0] - front[0] - d) + abs(card[1] - front[1] + d) < 0.3 for d in (4, 8))


@pytest.mark.parametrize("name", GAMES)
def test_the_words_of_a_box_stand_in_it(name: str) -> None:
    figure = draw(network_drawing(spec_of(name), PolicyConfig(lstm_units=4096)))
    boxes = [
        patch.get_window_extent() for patch in figure.axes[0].patches if isinstance(patch, FancyBboxPatch)
    ]  # fmt: skip
    inside = 0
    for words, extent in words_of(figure):
        box = next((box for box in boxes if box.contains(extent.x0, (extent.y0 + extent.y1) / 2)), None)
        if box is not None:
            assert extent.x1 <= box.x1, words
            assert box.y0 <= extent.y0 <= extent.y1 <= box.y1, words
            inside += 1
    assert inside > 20


def test_words_are_escaped() -> None:
    box = Box(key="a", title="<&>", kind="layer")
    bar = Box(key="bar", title='"&"', kind="pool")
    other = Box(key="b", title="'", kind="head")
    text = svg(
        draw(Drawing(title="a < b", subtitle="&", lanes=[[box]], joined=1, bar=bar, stacks=[[other]], arrows=[]))
    )
    words = [node.text for node in ElementTree.fromstring(text).iter(f"{SVG}text")]
    assert {"a < b", "&", "<&>", '"&"', "'"} <= set(words)


def test_lines_are_whole_or_dashed_by_their_meaning() -> None:
    root = ElementTree.fromstring(svg(draw(network_drawing(outpost_spec(), PolicyConfig(lstm_units=16)))))
    styles = [path.get("style") or "" for path in root.iter(f"{SVG}path")]
    assert all(dashes.strip() for style in styles for dashes in re.findall("stroke-dasharray:([^;]*)", style))
    for color, dashes in LINES.values():
        assert any(f"stroke: {color}" in style and ("dasharray" in style) == bool(dashes) for style in styles), color


def test_layers_are_named_by_their_way_through_the_modules() -> None:
    class Odd(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.zeros(3, 1200))
            self.body = nn.Sequential(nn.Linear(2, 1024), nn.ReLU(), nn.Conv2d(3, 8, 5, 2))
            self.table = nn.Embedding(7, 4)

    found = list(layers(Odd()))
    assert found == ["scale 3 × 1,200", "body 2 → 1,024", "body 3 → 8, 5×5 step 2", "table: 7 × 4"]
