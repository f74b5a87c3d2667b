"""The spec hash: it changes with whatever gives numbers a meaning, and the text behind it says what differs."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces

from quintet.games.api import Auxiliary, GameSpec, Target
from quintet.wire.chunk import ChunkSpec, chunk_spec
from quintet.wire.meaning import MOST_BOUNDS, difference
from tests.envs.full_spec_game import outpost_spec

IMAGE = (84, 84, 3)


def game(**changes: Any) -> GameSpec:
    """Outpost with an image, and with these parts of its spec replaced."""
    spec = outpost_spec()
    seen = spaces.Dict({**spec.observation_space.spaces, "screen": spaces.Box(0, 255, IMAGE, np.uint8)})
    return replace(spec, **{"observation_space": seen} | changes)


def wire(spec: GameSpec, **changes: Any) -> ChunkSpec:
    return chunk_spec(spec, **{"lstm_units": 8, "bptt_steps": 4, "chunk_steps": 8} | changes)


def heads(**changes: Any) -> dict[str, Any]:
    return {"action_space": spaces.Dict({**game().action_space.spaces, **changes})}


def entries(**changes: Any) -> dict[str, Any]:
    return {"observation_space": spaces.Dict({**game().observation_space.spaces, **changes})}


RELATION = outpost_spec().relations["units"]
UNEVEN = np.full(IMAGE, 255, np.uint8)
UNEVEN[0, 0, 0] = 9
CHANGES: dict[str, tuple[dict[str, Any], str]] = {
    "bounds of a Box head": (heads(push=spaces.Box(-50.0, 50.0, (1,))), "meaning.action_bounds.push is"),
    "one bound of a Box head": (heads(push=spaces.Box(-1.0, 2.0, (1,))), "meaning.action_bounds.push is"),
    "no bounds": (heads(push=spaces.Box(-np.inf, np.inf, (1,))), "meaning.action_bounds.push is"),
    "choices of a head": (heads(dx=spaces.Discrete(4)), "heads.dx.choices is"),
    "what a head points at": (
        {
            **heads(target=Target("others", 4)),
            **entries(others=spaces.Box(-1, 2, (4, 4)), others_mask=spaces.MultiBinary(4)),
        },
        "meaning.targets.target is units there and others here",
    ),
    "a pointer that is none": (heads(target=spaces.Discrete(4)), "meaning.targets.target is new"),
    "what a primary action reads": ({"reads": (frozenset(), *game().reads[2:], frozenset({"dx"}))}, "meaning.reads is"),
    "the primary head": ({"primary_head": "dx"}, "meaning.primary_head is act there and dx here"),
    "a mask by primary action": ({"masked_by_primary": frozenset({"word"})}, "meaning.masked_by_primary is"),
    "categories of a set": ({"set_categories": {"units": {2: 3}}}, "observation.units.categories is"),
    "a relation's scale": (
        {"relations": {"units": replace(RELATION, scale=1.0)}},
        "meaning.relations.units.scale is 0.5 there and 1.0 here",
    ),
    "a relation's columns": (
        {"relations": {"units": replace(RELATION, set_columns=(0, 3))}},
        "meaning.relations.units.set_columns is",
    ),
    "no relation": ({"relations": {}}, "meaning.relations.units is new"),
    "own slots": ({"own_slots": {"units": (1, 0)}}, "meaning.own_slots.units is"),
    "who sees an entry": ({"uses": {**game().uses, "heard": "critic"}}, "meaning.uses.heard is missing"),
    "which label is predicted": (
        {"auxiliary": {**game().auxiliary, "win": Auxiliary(label="plan", kind="binary")}},
        "meaning.auxiliary.win is",
    ),
    "values of a category": (entries(heard=spaces.Discrete(4)), "observation.heard.choices is"),
    "a shape": (entries(plan=spaces.Box(0.0, 2.0, (2,))), "observation.plan.shape is"),
    "a dtype": ({"wire_dtypes": {}}, "observation.units.dtype is float16 there and float32 here"),
    "brightest pixel": (entries(screen=spaces.Box(0, 1, IMAGE, np.uint8)), "meaning.image_bounds.screen is"),
    "one pixel's bound": (entries(screen=spaces.Box(0, UNEVEN, dtype=np.uint8)), "meaning.image_bounds.screen is"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_the_hash_changes_with_whatever_gives_numbers_a_meaning_and_the_text_says_what_did(change: str) -> None:
    changes, words = CHANGES[change]
    before, after = wire(game()), wire(game(**changes))
    assert before.hash != after.hash
    assert words in difference(json.loads(before.text), json.loads(after.text))


def test_the_hash_stays_where_nothing_that_a_network_reads_changes() -> None:
    before = wire(game())
    for changes in ({}, {"team_names": ("a", "b")}, {"max_steps": 99}, entries(plan=spaces.Box(0.0, 3.0, (1,)))):
        assert wire(game(**changes)).hash == before.hash, changes
    assert difference(json.loads(before.text), json.loads(wire(game()).text)) == ""


def test_bounds_of_very_many_numbers_take_little_room() -> None:
    rng = np.random.default_rng(0)
    low, high = -rng.random(MOST_BOUNDS + 1, np.float32), rng.random(MOST_BOUNDS + 1, np.float32)
    one, other = (wire(game(**heads(push=spaces.Box(low, top)))) for top in (high, high * 2))
    assert one.hash != other.hash
    bounds = one.meaning["action_bounds"]["push"]
    assert [len(side) for side in bounds] == [16, 16]
