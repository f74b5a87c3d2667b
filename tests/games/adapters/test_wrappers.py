"""Wrappers are loaded by name, and `mask_observation` hides the same entries on single and vector environments."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

from quintet.games.adapters.wrappers import mask_observation, named_wrappers
from quintet.games.api import GameError, MissingExtraError, UnknownGameError, UnsupportedSpaceError
from quintet.games.registry import make_game

MASK = "quintet.games.adapters.wrappers:mask_observation"


def test_hidden_entries_are_removed_from_a_single_environment() -> None:
    whole, masked = gymnasium.make("CartPole-v1"), mask_observation(gymnasium.make("CartPole-v1"), hide=[1, 3])
    (seen, _), (kept, _) = whole.reset(seed=1), masked.reset(seed=1)
    np.testing.assert_array_equal(kept, seen[[0, 2]])
    np.testing.assert_array_equal(masked.step(1)[0], whole.step(1)[0][[0, 2]])
    assert masked.observation_space.shape == (2,)
    bounds = whole.observation_space
    assert isinstance(bounds, spaces.Box)
    np.testing.assert_array_equal(masked.observation_space.high, bounds.high[[0, 2]])


def test_hidden_entries_are_removed_from_a_vector_environment() -> None:
    whole, masked = (gymnasium.make_vec("CartPole-v1", num_envs=5) for _ in range(2))
    masked = mask_observation(masked, hide=[0])
    (seen, _), (kept, _) = whole.reset(seed=1), masked.reset(seed=1)
    np.testing.assert_array_equal(kept, seen[:, 1:])
    action = np.ones(5, dtype=np.int64)
    np.testing.assert_array_equal(masked.step(action)[0], whole.step(action)[0][:, 1:])
    assert masked.observation_space.shape == (5, 3)


def test_the_game_without_velocities_is_the_same_game() -> None:
    hide = {"wrappers": [{"name": MASK, "hide": [1, 3]}]}
    whole, masked = make_game("gymnasium:CartPole-v1", 4, 0), make_game("gymnasium:CartPole-v1", 4, 0, hide)
    seen, kept = whole.reset(seed=2), masked.reset(seed=2)
    np.testing.assert_array_equal(kept["observation"], seen["observation"][..., [0, 2]])
    assert kept["observation"].flags.c_contiguous


@pytest.mark.parametrize("hide", [[4], [-1], [0, 1, 2, 3]])
def test_hiding_what_is_not_there_or_everything_is_refused(hide: list[int]) -> None:
    with pytest.raises(UnsupportedSpaceError, match="the observation has 4 entries"):
        mask_observation(gymnasium.make("CartPole-v1"), hide=hide)


def test_only_vectors_can_be_masked() -> None:
    with pytest.raises(UnsupportedSpaceError, match="one-dimensional Box"):
        mask_observation(gymnasium.make("Taxi-v4"), hide=[0])


def test_the_name_that_older_runs_have_in_their_configuration_is_known() -> None:
    (wrapper,) = named_wrappers([{"name": "games.wrappers:mask_observation", "hide": [1, 3]}])
    assert wrapper.apply(gymnasium.make("CartPole-v1")).observation_space.shape == (2,)


def test_wrappers_are_loaded_with_their_arguments() -> None:
    plain, table = named_wrappers(["gymnasium.wrappers:ClipReward", {"name": MASK, "hide": [1]}])
    assert not plain.takes_vectors
    assert table.takes_vectors
    assert table.apply(gymnasium.make("CartPole-v1")).observation_space.shape == (3,)
    assert named_wrappers(["gymnasium.wrappers.vector:NormalizeReward"])[0].takes_vectors


@pytest.mark.parametrize(
    ("entry", "error", "message"),
    [
        ("mask_observation", UnknownGameError, 'not of the form "module:name"'),
        ("games.wrapper:mask_observation", UnknownGameError, r"no module 'games\.wrapper'"),
        ("quintet.games.adapters.wrappers:mask_observations", UnknownGameError, "did you mean 'mask_observation'"),
        ({"hide": [1]}, GameError, "expected"),
        (3, GameError, "expected"),
    ],
)
def test_a_wrong_wrapper_gives_one_line(entry: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        named_wrappers([entry])


def test_a_wrapper_outside_a_list_gives_one_line() -> None:
    with pytest.raises(GameError, match="expected a list of wrappers"):
        named_wrappers(MASK)


def test_a_wrapper_that_gets_wrong_arguments_is_named() -> None:
    options = {"wrappers": [{"name": MASK, "hidden": [1]}]}
    with pytest.raises(
        GameError, match=r"wrapper quintet\.games\.adapters\.wrappers:mask_observation cannot be laid around .*'hidden'"
    ):
        make_game("gymnasium:CartPole-v1", 1, 0, options)


def _of_another_shape(env: Any) -> Any:
    raise ValueError(f"made for three numbers, not {env.observation_space.shape}")


def _of_more_packages(env: Any) -> Any:
    raise gymnasium.error.DependencyNotInstalled("opencv is not installed, run `pip install opencv`")


@pytest.mark.parametrize(
    ("function", "error", "message"),
    [
        (
            _of_another_shape,
            GameError,
            r"laid around <.*CartPole.*: ValueError: made for three numbers, not \(4,\) \(.*:\d+\)$",
        ),
        (_of_more_packages, MissingExtraError, "wrapper .* needs what is not installed: .*`pip install opencv`"),
    ],
)
def test_a_wrapper_that_does_not_fit_gives_one_line(function: Any, error: type[GameError], message: str) -> None:
    with pytest.raises(error, match=message) as caught:
        make_game("gymnasium:CartPole-v1", 1, 0, {"wrappers": [f"{__name__}:{function.__name__}"]})
    assert "\n" not in str(caught.value)
