"""Skirmish as a PettingZoo environment, by PettingZoo's own tests."""

from __future__ import annotations

import warnings
from functools import partial

import numpy as np
import pytest

pytest.importorskip("pettingzoo", reason="pettingzoo is not installed: pip install -e '.[pettingzoo]'")

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # of an example that its tests import
    from pettingzoo.test import api_test, max_cycles_test, parallel_api_test, parallel_seed_test

from quintet.games.api import GameError
from quintet.games.skirmish import pettingzoo_env
from quintet.games.skirmish.pettingzoo_env import env, parallel_env

CYCLES = 40


@pytest.mark.parametrize("preset", ["skirmish-1v1", "skirmish-5v5"])
def test_it_passes_the_parallel_api_test(preset: str) -> None:
    parallel_api_test(parallel_env(preset=preset), num_cycles=CYCLES)


def test_it_passes_the_seed_test() -> None:
    parallel_seed_test(partial(parallel_env, preset="skirmish-3v3"), num_cycles=CYCLES)


def test_it_passes_the_max_cycles_test() -> None:
    max_cycles_test(pettingzoo_env)


@pytest.mark.filterwarnings("ignore:(Observation|Action space):UserWarning")  # both are dicts here
def test_it_passes_the_turn_by_turn_api_test() -> None:
    api_test(env(preset="skirmish-1v1"), num_cycles=CYCLES)


def test_observations_are_in_their_spaces_and_without_a_word_the_hero_goes_on() -> None:
    skirmish = parallel_env(preset="skirmish-3v3", max_cycles=3)
    observations, infos = skirmish.reset(seed=1)
    assert list(observations) == skirmish.possible_agents == [f"{t}_{k}" for t in ("blue", "red") for k in range(3)]
    for agent, observation in observations.items():
        assert skirmish.observation_space(agent).contains(observation)
        assert infos[agent] == {"acting": True}
    for cycle in range(3):
        observations, rewards, terminated, truncated, _ = skirmish.step({})
        assert set(rewards) == set(skirmish.possible_agents)
        assert not any(terminated.values())
        assert all(truncated.values()) == (cycle == 2)
    assert skirmish.agents == []
    assert skirmish.step({}) == ({}, {}, {}, {}, {})


def test_its_own_limit_terminates_a_game() -> None:
    skirmish = parallel_env(preset="skirmish-1v1")
    skirmish.reset(seed=1)
    skirmish.game.state.game["tick"] = skirmish.game.tables.limit - 1
    _, _, terminated, truncated, _ = skirmish.step({})
    assert all(terminated.values())
    assert not any(truncated.values())


def test_without_a_seed_the_next_game_is_another_one() -> None:
    skirmish = parallel_env(preset="skirmish-5v5")
    line_ups = []
    for seed in (3, None, 3):
        skirmish.reset(seed=seed)
        line_ups.append(skirmish.game.seeds[0])
    assert line_ups[0] == line_ups[2] != line_ups[1]


def test_it_draws_a_picture() -> None:
    skirmish = parallel_env(preset="skirmish-1v1", render_mode="rgb_array")
    skirmish.reset(seed=0)
    first = skirmish.render()
    assert first is not None
    assert first.dtype == np.uint8
    assert first.ndim == 3
    assert first.shape[2] == 3
    for _ in range(5):
        skirmish.step({agent: {"primary": 1, "target": 0, "x": 8, "y": 8, "item": 0} for agent in skirmish.agents})
    then = skirmish.render()
    assert then is not None
    assert not np.array_equal(first, then)
    assert parallel_env(preset="skirmish-1v1").render() is None


def test_a_wrong_render_mode_is_refused() -> None:
    with pytest.raises(GameError, match=r"'human'; expected rgb_array or None"):
        parallel_env(render_mode="human")
