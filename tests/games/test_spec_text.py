"""A game's spec travels as text, and nothing of it is lost: the optimizer knows a game that it never builds."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from gymnasium import spaces

from quintet.control.config import RunConfig
from quintet.games.api import Auxiliary, GameSpec, Relation, Target, UnsupportedSpaceError
from quintet.games.registry import OWN_GAMES, make_game
from quintet.games.spec_text import spec_from_text, spec_to_text

EVERYTHING = GameSpec(
    name="everything ü",
    teams=2,
    agents_per_team=3,
    observation_space=spaces.Dict(
        [
            ("z", spaces.Box(np.array([-np.inf, 0.1], np.float32), np.array([np.inf, 1 / 3], np.float32))),
            ("a", spaces.Box(0, 255, (4, 4, 3), np.uint8)),
            ("none", spaces.Box(-1, 1, (0,), np.float32)),
            ("units", spaces.Box(-1, 1, (5, 2), np.float32)),
            ("units_mask", spaces.MultiBinary(5)),
            ("grid", spaces.MultiBinary([2, 3])),
            ("kind", spaces.Discrete(4)),
            ("kinds", spaces.MultiDiscrete([2, 3], dtype=np.int32)),
            ("label", spaces.Box(-1, 1, (2,), np.float32)),
        ]
    ),
    action_space=spaces.Dict(
        [("move", spaces.Discrete(3)), ("aim", spaces.Box(-2, 2, (1,), np.float32)), ("whom", Target("units", 5))]
    ),
    step_s=0.1,
    max_steps=None,
    team_names=("blue", "red"),
    masked_heads=frozenset({"move", "whom"}),
    uses={"label": "label"},
    wire_dtypes={"z": "float16"},
    primary_head="move",
    reads=(frozenset(), frozenset({"aim"}), frozenset({"aim", "whom"})),
    masked_by_primary=frozenset({"whom"}),
    set_categories={"units": {1: 7}},
    relations={"units": Relation(set_columns=(0, 1), agent_entry="z", agent_columns=(0, 1), scale=2.5)},
    own_slots={"units": (0, 1, 2)},
    auxiliary={"rank": Auxiliary(label="label", kind="categorical", discount=0.5)},
)


def named(name: str) -> GameSpec:
    game = make_game(name, 1, 0)
    game.close()
    return game.spec


def assert_same(found: GameSpec, spec: GameSpec) -> None:
    """Equal, in the order of entries and heads, and with the same hash for what travels."""
    assert found == spec
    for ours, theirs in ((found.observation_space, spec.observation_space), (found.action_space, spec.action_space)):
        assert list(ours.spaces) == list(theirs.spaces)
        for name, space in theirs.spaces.items():
            assert type(ours[name]) is type(space)
            assert getattr(ours[name], "group", None) == getattr(space, "group", None)
            assert ours[name].dtype == space.dtype
            for bound in ("low", "high"):
                assert np.array_equal(getattr(ours[name], bound, 0), getattr(space, bound, 0))
    config = RunConfig()
    assert config.chunk_spec(found).hash == config.chunk_spec(spec).hash


@pytest.mark.parametrize("name", [*OWN_GAMES, "gymnasium:CartPole-v1", "pettingzoo:pettingzoo.classic.tictactoe_v3"])
def test_a_games_spec_is_the_same_after_a_journey(name: str) -> None:
    spec = named(name)
    assert_same(spec_from_text(spec_to_text(spec)), spec)


def test_every_part_of_a_spec_makes_the_journey() -> None:
    assert_same(spec_from_text(spec_to_text(EVERYTHING)), EVERYTHING)


def test_an_image_takes_few_characters() -> None:
    assert len(spec_to_text(EVERYTHING)) < 3000


def test_a_space_that_no_spec_holds_is_refused() -> None:
    with pytest.raises(UnsupportedSpaceError, match="a Text cannot"):
        spec_to_text(
            GameSpec(
                name="",
                teams=1,
                agents_per_team=1,
                observation_space=space_of(spaces.Text(3)),
                action_space=space_of(spaces.Discrete(2)),
            )
        )


def space_of(space: spaces.Space[Any]) -> spaces.Dict:
    return spaces.Dict({"only": space})
