"""Turning the map and swapping the teams changes nothing but signs, and a seed with its actions gives the same game."""

from __future__ import annotations

import numpy as np
import pytest

from quintet.games.api import Actions
from quintet.games.contract import random_actions
from quintet.games.registry import make_game
from quintet.games.skirmish.game import SkirmishGame
from quintet.games.skirmish.rules import PRESETS
from quintet.games.skirmish.state import NEUTRAL_TEAM, NEVER, State, state_hash
from tests.support.skirmish_mirror import mirrored_state

GAMES = 2
STEPS = {"skirmish-1v1": 700, "skirmish-3v3": 450, "skirmish-5v5": 450}
LOOK_EVERY = 9


def played(preset: str) -> SkirmishGame:
    """Different line-ups, high levels: everything that heroes can do happens soon."""
    game = make_game(preset, GAMES, 0, {"line_up": "random", "start_level": [3, 8], "rune_kinds": "random"})
    assert isinstance(game, SkirmishGame)
    return game


def chosen(game: SkirmishGame, step: int, random: np.random.Generator) -> Actions:
    """By a strong bot most of the time, so that there are fights and buildings fall; else by chance."""
    observation = game._pages[0].observation
    actions = random_actions(game.spec, observation, random)
    bots = game.bot_actions("strong" if step % 100 < 60 else "weak")
    by_bot = random.random(observation["acting"].shape) < 0.8
    return {head: np.where(by_bot, bots[head], actions[head]) for head in actions}


def same_state(a: State, b: State, game: int) -> None:
    """Equal, or the fields that differ are named."""
    if state_hash(a, game) == state_hash(b, game):
        return
    for left, right in ((a.game, b.game), (a.unit, b.unit), (a.hero, b.hero)):
        for name in left.dtype.names or ():
            differs = left[name][game] != right[name][game]
            assert not np.any(differs), f"{name} differs in {np.argwhere(differs)[:3].tolist()}"
    raise AssertionError("the hashes differ, but no field does")


@pytest.mark.slow
@pytest.mark.parametrize("preset", PRESETS)
def test_a_mirrored_start_with_mirrored_actions_is_the_mirrored_game_and_looks_the_same(preset: str) -> None:
    game, turned, random = played(preset), played(preset), np.random.default_rng(3)
    game.reset(11)
    turned.reset(11)
    for part, mirror in zip(turned.state, mirrored_state(game.state, game.tables.layout), strict=True):
        part[...] = mirror
    seen, also_seen = game._observe(), turned._observe()
    for step in range(STEPS[preset]):
        actions = chosen(game, step, random)
        for name, array in seen.items():
            assert np.array_equal(array, also_seen[name][:, ::-1]), f"{name} looks different at step {step}"
        result = game.step(actions)
        other = turned.step({head: array[:, ::-1] for head, array in actions.items()})
        seen, also_seen = result.observation, other.observation
        if step % LOOK_EVERY == 0:
            expected = mirrored_state(game.state, game.tables.layout)
            for slot in range(GAMES):
                same_state(turned.state, expected, slot)
        np.testing.assert_allclose(result.reward, other.reward[:, ::-1], rtol=0, atol=1e-6)
        if result.ended.any():
            break
    assert (game.state.hero["experience"] > 0).any()
    assert (game.state.hero["hurt_at"] > NEVER).any()


def test_mirroring_twice_gives_the_first_state_back() -> None:
    game, random = played("skirmish-3v3"), np.random.default_rng(0)
    observation = game.reset(4)
    for _ in range(60):
        observation = game.step(random_actions(game.spec, observation, random)).observation
    layout = game.tables.layout
    once = mirrored_state(game.state, layout)
    assert state_hash(once, 0) != state_hash(game.state, 0)
    assert (once.unit["team"] == NEUTRAL_TEAM).sum() == GAMES * (layout.neutrals + 1)
    same_state(mirrored_state(once, layout), game.state, 0)


def test_a_seed_and_its_actions_give_the_same_states_in_any_number_of_slots() -> None:
    first, second = (
        played("skirmish-1v1"),
        make_game("skirmish-1v1", 5, 0, {"line_up": "random", "start_level": [3, 8], "rune_kinds": "random"}),
    )
    assert isinstance(second, SkirmishGame)
    random = np.random.default_rng(1)
    observation, _ = first.reset(8), second.reset(8)
    for _ in range(150):
        actions = random_actions(first.spec, observation, random)
        observation = first.step(actions).observation
        second.step({head: np.concatenate([array, array, array[:1]]) for head, array in actions.items()})
    for slot in range(GAMES):
        assert state_hash(first.state, slot) == state_hash(second.state, slot)


def test_another_seed_gives_another_game() -> None:
    game = played("skirmish-1v1")
    game.reset(1)
    before = state_hash(game.state, 0)
    game.reset(2)
    assert state_hash(game.state, 0) != before
    game.reset(1)
    assert state_hash(game.state, 0) == before
