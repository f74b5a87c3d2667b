"""The rules of primary actions, entity sets, labels and bots: each can be broken, and what is legal is drawn evenly."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces

from quintet.games.api import ACTING, Actions, Auxiliary, GameContractError, GameSpec, Observation, Target, Transition
from quintet.games.contract import check_game, random_actions
from quintet.games.masks import is_read, mask_given
from tests.envs.full_spec_game import Outpost, outpost_spec

SPEC = outpost_spec()
UNITS = SPEC.relations["units"]


def heads(**changed: spaces.Space[Any]) -> spaces.Dict:
    return spaces.Dict({**SPEC.action_space.spaces, **changed})


def test_a_game_that_uses_every_feature_keeps_the_contract() -> None:
    check_game(Outpost, random=True, rows=120)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"action_space": heads(target=Target("units", 5))}, "points at 5 slots of 'units', which has 4"),
        ({"action_space": heads(target=Target("self", 4))}, "names 'self'; expected an entity set"),
        ({"primary_head": "push"}, "reads names"),
        ({"primary_head": "push", "reads": (), "masked_by_primary": frozenset()}, "expected the name of a Discrete"),
        ({"primary_head": None, "reads": ()}, "need a primary_head"),
        ({"reads": SPEC.reads[:4]}, "reads has 4 entries; head 'act' has 5 actions"),
        ({"reads": (frozenset({"shout"}),) * 5}, r"reads names \['shout'\]"),
        ({"reads": (frozenset({"act"}),) * 5}, r"reads names \['act'\]"),
        ({"masked_by_primary": frozenset({"dx"})}, r"masked_by_primary names \['dx'\]"),
        ({"masked_by_primary": frozenset({"act"})}, r"masked_by_primary names \['act'\]"),
        ({"uses": {**SPEC.uses, "self": "eyes"}}, r"uses names \['eyes'\]"),
        ({"set_categories": {"self": {0: 2}}}, "set_categories names 'self'"),
        ({"set_categories": {"units": {4: 2}}}, r"columns \[4\]; there are 0 to 3"),
        ({"set_categories": {"units": {2: 0}}}, "column 2 of 'units' has 0 categories"),
        ({"set_categories": {"units": {2: 5000}}}, "1 to 2049, which is what float16 holds"),
        ({"relations": {"self": UNITS}}, "relations names 'self'"),
        ({"relations": {"units": dataclasses.replace(UNITS, agent_entry="heard")}}, "names 'heard'; expected a vector"),
        ({"relations": {"units": dataclasses.replace(UNITS, set_columns=(0, 9))}}, r"columns \[9\]"),
        (
            {"relations": {"units": dataclasses.replace(UNITS, agent_columns=(0, 3))}},
            r"columns \[3\]; there are 0 to 2",
        ),
        ({"relations": {"units": dataclasses.replace(UNITS, agent_columns=(0,))}}, "as many of both"),
        ({"relations": {"units": dataclasses.replace(UNITS, scale=0.0)}}, "positive scale"),
        ({"own_slots": {"units": (0,)}}, "expected 2 different slots"),
        ({"own_slots": {"units": (1, 1)}}, "expected 2 different slots"),
        ({"own_slots": {"units": (0, 4)}}, "from 0 to 3"),
        ({"own_slots": {"heard": (0, 1)}}, "own_slots names 'heard'"),
        ({"auxiliary": {"win": Auxiliary(label="plan", kind="binary")}}, "whose use is label"),
        ({"auxiliary": {"win": Auxiliary(label="who", kind="binary")}}, "has the label 'who'"),
        ({"auxiliary": {"win": Auxiliary(label="won", kind="ternary")}}, "has the kind 'ternary'"),  # type: ignore[arg-type]
        ({"auxiliary": {"win": Auxiliary(label="won", kind="binary", discount=0.0)}}, "has discount 0.0"),
        ({"auxiliary": {"win": Auxiliary(label="won", kind="binary", trunk_gradient=-1.0)}}, "trunk_gradient -1.0"),
    ],
)
def test_a_spec_whose_parts_do_not_go_together_is_found(spec: dict[str, Any], message: str) -> None:
    with pytest.raises(GameContractError, match=message):
        check_game(lambda n_games: Outpost(n_games, **spec))


class Bent(Outpost):
    """The outpost with one entry of the observation changed."""

    change: tuple[str, Callable[[Any], Any]] = ("self", lambda x: x)

    def _observe(self) -> Observation:
        name, change = self.change
        observation = super()._observe()
        return {**observation, name: change(observation[name].copy())}


def put(index: tuple[Any, ...], value: Any) -> Callable[[Any], Any]:
    def change(array: Any) -> Any:
        array[index] = value
        return array

    return change


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("action_mask/target", put((0, 1, 0, Outpost.HEAL), False), "3 is legal in slot 0, team 1, agent 0, but head"),
        ("action_mask/target", lambda mask: mask.any(axis=-2), r"action_mask/target is bool \(3, 2, 2, 4\); expected"),
        ("units_mask", put((0, 0, [2, 3]), False), "2 is legal in slot 0, team 0, agent 0, but head 'target'"),
        ("action_mask/word", put((0, 0, 0), False), "action_mask/word allows nothing in slot 0, team 0, agent 0"),
        ("action_mask/act", lambda mask: mask & False, "action_mask/act allows nothing"),
        ("units", put((..., 2), 0.5), "column 2 of units has values from 0.5 to 0.5; expected whole numbers from 0"),
        ("units", put((..., 2), 2.0), "column 2 of units has values from 2.0 to 2.0"),
        ("units", put((..., 2), -1.0), "column 2 of units|outside its space"),
        ("units_mask", put((0, 1, 1), False), "own_slots of units: the own slot is masked out in slot 0, team 1, age"),
        ("won", put((0, 0, 0), -0.5), r"label won of win is \[-0.5\]"),
        ("strongest", put((0, 0, 0), 0.2), r"label strongest of strongest is \[0.2.* sum to 1, or all -1"),
        ("strongest", put((0, 0, 0), [1.0, -1.0]), r"label strongest of strongest is \[1.0, -1.0\]"),
        ("won", lambda label: np.full_like(label, -1), r"label won is unknown \(-1\) on a last observation"),
    ],
)
def test_an_observation_that_breaks_the_rules_is_found(name: str, change: Callable[[Any], Any], message: str) -> None:
    bent = type("Bent", (Bent,), {"change": (name, change)})
    with pytest.raises(GameContractError, match=message):
        check_game(bent)


def test_an_own_slot_of_a_set_that_each_agent_has_for_itself_is_looked_up_per_agent() -> None:
    class PerAgent(Outpost):
        def __init__(self, n_games: int) -> None:
            super().__init__(n_games, team_shared=frozenset())

        def _observe(self) -> Observation:
            observation = super()._observe()
            shared = {name: observation[name][:, :, None].repeat(2, axis=2) for name in ("units", "units_mask")}
            shared["units_mask"][:, :, 0, 1] = False  # the first agent does not see the second: that is allowed
            shared["units"][:, :, 0, 1] = 0.0
            return {**observation, **shared}

    check_game(PerAgent, rows=40)

    class Blind(PerAgent):
        def _observe(self) -> Observation:
            observation = super()._observe()
            observation["units_mask"][:, :, 1, 1] = False
            return observation

    with pytest.raises(GameContractError, match="masked out in slot 0, team 0, agent 1"):
        check_game(Blind, rows=40)


def test_a_game_that_reads_what_its_primary_action_does_not_read_is_found() -> None:
    class Curious(Outpost):
        def step(self, actions: Actions) -> Transition:
            result = super().step(actions)
            return dataclasses.replace(result, observation={**result.observation, "heard": actions["word"]})

    with pytest.raises(GameContractError, match="an action that must be ignored had an effect"):
        check_game(Curious)


def bot_that(change: Callable[[Outpost, Actions], Any]) -> type[Outpost]:
    class Changed(Outpost):
        def bot_actions(self, name: str) -> Actions:
            actions = super().bot_actions(name)
            changed = change(self, actions)
            return actions if changed is None else changed

    return Changed


def without_word(_: Outpost, actions: Actions) -> Actions:
    return {head: array for head, array in actions.items() if head != "word"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (without_word, r"bot 'lazy' gives \['act', 'dx', 'push', 'target'\]"),
        (lambda _, actions: {**actions, "word": actions["word"] + 3}, "bot 'lazy', head 'word' has values from 3"),
        (lambda _, actions: {**actions, "word": actions["word"].astype(np.int16)}, "head 'word' is int16"),
        (lambda _, a: {**a, "act": a["act"] * 0 + Outpost.HIT}, "bot 'lazy' takes [02] of head '(act|target)'"),
        (lambda game, a: {**a, "dx": a["dx"] + int(game.random.integers(3))}, "does two things in the same state"),
    ],
)
def test_a_bot_that_breaks_the_rules_is_found(change: Callable[[Outpost, Actions], Any], message: str) -> None:
    with pytest.raises(GameContractError, match=message):
        check_game(bot_that(change))


def test_a_bot_whose_asking_changes_the_game_is_found() -> None:
    def push_everybody(game: Outpost, _: Actions) -> None:
        game.health[0] = 1.0

    with pytest.raises(GameContractError, match="the same seed and actions gave different games"):
        check_game(bot_that(push_everybody))


def test_a_bot_without_a_hash_is_found() -> None:
    with pytest.raises(GameContractError, match="bot 'lazy' has the hash ''"):
        check_game(type("Nameless", (Outpost,), {"bots": {"lazy": ""}}))


def test_random_actions_draw_each_legal_choice_equally_often_from_the_row_of_the_primary_action() -> None:
    game = Outpost(2000)
    observation = {name: array[:1].repeat(2000, axis=0) for name, array in game.reset(1).items()}
    actions = random_actions(SPEC, observation, np.random.default_rng(0))
    act, target = actions["act"].reshape(-1), actions["target"].reshape(-1)
    legal = observation["action_mask/act"][0, 0, 0]
    counts = np.bincount(act, minlength=5)
    assert (counts[legal] > 8000 / legal.sum() * 0.9).all()
    assert not counts[~legal].any()
    allowed = observation["action_mask/target"].reshape(8000, 5, 4)[np.arange(8000), act]
    assert allowed[np.isin(act, (Outpost.HIT, Outpost.HEAL)), target[np.isin(act, (Outpost.HIT, Outpost.HEAL))]].all()
    healed = np.bincount(target[act == Outpost.HEAL], minlength=4)
    assert (healed[:2] > healed.sum() * 0.45).all()
    assert actions["word"].max() == 2
    assert set(actions["word"].reshape(-1)) == {1, 2}, "the word last heard is masked"


def test_what_is_read_and_which_mask_applies_follow_from_the_primary_action() -> None:
    actions = {"act": np.array([[0, 1], [2, 4]])}
    assert is_read(SPEC, "target", actions, (2, 2)).tolist() == [[False, False], [True, False]]
    assert is_read(SPEC, "push", actions, (2, 2)).tolist() == [[False, True], [False, False]]
    assert is_read(SPEC, "act", actions, (2, 2)).all()
    plain = GameSpec(
        name="plain",
        teams=1,
        agents_per_team=1,
        observation_space=spaces.Dict({"x": spaces.Discrete(2)}),
        action_space=spaces.Dict({"a": spaces.Discrete(2)}),
    )
    assert is_read(plain, "a", {}, (3,)).all()
    mask = np.zeros((2, 2, 5, 4), bool)
    mask[1, 0, 2, 3] = mask[0, 1, 1, 0] = True
    there = np.ones((2, 4), bool)
    seen = {"action_mask/target": mask, "units_mask": there, ACTING: np.ones((2, 2), bool)}
    row = mask_given(SPEC, seen, "target", actions)
    assert row is not None
    assert np.argwhere(row).tolist() == [[0, 1, 0], [1, 0, 3]]
    assert mask_given(SPEC, seen, "dx", actions) is None
    there[1, 3] = False
    without = mask_given(SPEC, seen, "target", actions)
    assert without is not None
    assert np.argwhere(without).tolist() == [[0, 1, 0]], "a slot that is empty is no target"
