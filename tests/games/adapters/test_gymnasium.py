"""A Gymnasium environment plays the same through the adapter as by hand, whichever way it is stepped."""

from __future__ import annotations

import re
import tomllib
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

import tests.envs.game_zoo
from quintet.games.adapters.gymnasium import GymnasiumLoopGame, GymnasiumVectorGame
from quintet.games.adapters.spaces import ActionLayout, ObservationLayout
from quintet.games.api import (
    GameContractError,
    GameError,
    GameSpec,
    Observation,
    UnsupportedSpaceError,
    VectorGame,
    entry_kind,
)
from quintet.games.checks.rehearsal import rehearse_rows
from quintet.games.contract import check_game, random_actions
from quintet.games.registry import make_game

HIDE = {"wrappers": [{"name": "quintet.games.adapters.wrappers:mask_observation", "hide": [1, 3]}]}


def _env(game: VectorGame, slot: int) -> Any:
    assert isinstance(game, GymnasiumLoopGame)
    return game._envs[slot].unwrapped


def _balancing(observation: Observation) -> Any:
    x, x_dot, theta, theta_dot = np.moveaxis(observation["observation"], -1, 0)
    return (0.1 * x + 0.3 * x_dot + 4 * theta + theta_dot > 0).astype(np.int64)


@pytest.mark.parametrize("env_id", ["Pendulum-v1", "Taxi-v4", "Acrobot-v1"])
def test_a_loop_plays_what_single_environments_play_by_hand(env_id: str) -> None:
    game = make_game(f"gymnasium:{env_id}", 2, seed=0)
    observation = game.reset(seed=11)
    seeds = np.random.SeedSequence(11).generate_state(2).tolist()
    envs = [gymnasium.make(env_id) for _ in seeds]
    seen = [env.reset(seed=seed)[0] for env, seed in zip(envs, seeds, strict=True)]
    random, ended, ends = np.random.default_rng(1), [False, False], 0
    for _ in range(520):
        np.testing.assert_array_equal(observation["observation"][:, 0, 0], np.array(seen, dtype=np.float32))
        actions = random_actions(game.spec, observation, random)
        result = game.step(actions)
        for slot, env in enumerate(envs):
            if ended[slot]:
                seen[slot], expected, ended[slot] = env.reset()[0], (np.float32(0), False, False), False
            else:
                seen[slot], reward, terminated, truncated, _ = env.step(actions["action"][slot, 0, 0])
                expected, ended[slot] = (np.float32(reward), terminated, truncated), terminated or truncated
                ends += ended[slot]
            assert (result.reward[slot, 0, 0], result.terminated[slot, 0, 0], result.truncated[slot]) == expected
        observation = result.observation
    assert ends >= 2


def test_vectorised_cartpole_plays_what_single_environments_play_by_hand() -> None:
    game = make_game("gymnasium:CartPole-v1", 3, seed=0)
    assert isinstance(game, GymnasiumVectorGame)
    observation = game.reset(seed=5)
    envs = [gymnasium.make("CartPole-v1") for _ in range(3)]
    random, ends = np.random.default_rng(2), 0
    fresh, ended = np.ones(3, dtype=bool), np.zeros(3, dtype=bool)
    for _ in range(150):
        for slot in np.flatnonzero(fresh):  # take over where the new game starts; from there the rules must agree
            envs[slot].reset(seed=0)
            envs[slot].unwrapped.state = game._env.unwrapped.state[:, slot].copy()  # type: ignore[attr-defined]
        actions = random_actions(game.spec, observation, random)
        result = game.step(actions)
        for slot in np.flatnonzero(~ended):
            seen, reward, terminated, truncated, _info = envs[slot].step(actions["action"][slot, 0, 0])
            np.testing.assert_allclose(result.observation["observation"][slot, 0, 0], seen, rtol=1e-5, atol=1e-6)
            expected = (reward, terminated, truncated)
            assert (result.reward[slot, 0, 0], result.terminated[slot, 0, 0], result.truncated[slot]) == expected
        fresh, ended, observation = ended, result.ended, result.observation
        ends += int(ended.sum())
    assert ends >= 6


def test_cartpole_is_truncated_at_500_and_not_terminated() -> None:
    game = make_game("gymnasium:CartPole-v1", 4, seed=0)
    assert game.spec.max_steps == 500
    observation = game.reset(seed=3)
    for _ in range(499):
        result = game.step({"action": _balancing(observation)})
        assert not result.ended.any()
        observation = result.observation
    result = game.step({"action": _balancing(observation)})
    assert result.truncated.all()
    assert not result.terminated.any()
    assert not result.observation["acting"].any()
    last = np.abs(result.observation["observation"])
    result = game.step({"action": _balancing(result.observation)})
    assert not result.ended.any()
    assert not result.reward.any()
    assert np.abs(result.observation["observation"]).max() <= 0.05 < last.max()


@pytest.mark.parametrize("options", [{}, HIDE])
def test_a_shorter_time_limit_reaches_the_vectorised_environment(options: dict[str, Any]) -> None:
    game = make_game("gymnasium:CartPole-v1", 2, 0, {**options, "kwargs": {"max_episode_steps": 4}})
    assert isinstance(game, GymnasiumVectorGame)
    assert game.spec.max_steps == 4
    game.reset(seed=0)
    ended = [bool(game.step({"action": np.zeros((2, 1, 1), dtype=np.int64)}).truncated.all()) for _ in range(9)]
    assert ended == [False, False, False, True, False, False, False, False, True]


@pytest.mark.parametrize(
    "options",
    [
        {"wrappers": ["gymnasium.wrappers:NormalizeReward"]},
        {"kwargs": {"disable_env_checker": True}},
    ],
)
def test_cartpole_is_played_in_a_loop_where_the_vectorised_form_cannot_serve(options: dict[str, Any]) -> None:
    assert isinstance(make_game("gymnasium:CartPole-v1", 2, 0, options), GymnasiumLoopGame)


def test_a_vectorised_form_that_resets_in_the_same_step_is_not_used() -> None:
    assert isinstance(make_game("gymnasium:zoo/SameStep-v0", 2, 0), GymnasiumLoopGame)
    with pytest.raises(GameContractError, match="has only a vectorised form"):
        make_game("gymnasium:zoo/VectorOnly-v0", 2, 0)


def test_nested_spaces_are_flattened_and_typed() -> None:
    spec = make_game("gymnasium:zoo/Nested-v0", 2, 0).spec
    assert {name: str(space) for name, space in spec.observation_space.spaces.items()} == {
        "inner.bits": "MultiBinary(4)",
        "inner.kind": "Discrete(3)",
        "pair.0": "MultiDiscrete([2 3])",
        "pair.1": "Box(0.0, 9.0, (4,), float32)",
        "pos": "Box(-1.0, 1.0, (3,), float32)",
        "units": "Box(-1.0, 1.0, (4, 2), float32)",
        "units_mask": "MultiBinary(4)",
    }
    assert {name: str(space) for name, space in spec.action_space.spaces.items()} == {
        "aim": "Box(-0.1, 0.1, (2,), float32)",
        "move_0": "Discrete(3)",
        "move_1": "Discrete(2)",
        "pick": "Discrete(3)",
    }


def test_nested_observations_arrive_as_the_environment_gave_them() -> None:
    game = make_game("gymnasium:zoo/Nested-v0", 2, seed=0)
    observation = game.reset(seed=4)
    env = tests.envs.game_zoo.Nested()
    raw, _ = env.reset(seed=int(np.random.SeedSequence(4).generate_state(2)[1]))
    np.testing.assert_array_equal(observation["pos"][1, 0, 0], raw["pos"].astype(np.float32))
    np.testing.assert_array_equal(observation["inner.bits"][1, 0, 0], raw["inner"]["bits"].ravel().astype(bool))
    assert observation["inner.kind"][1, 0, 0] == raw["inner"]["kind"] - 5
    np.testing.assert_array_equal(observation["pair.0"][1, 0, 0], raw["pair"][0] - [0, 4])
    np.testing.assert_array_equal(observation["pair.1"][1, 0, 0], raw["pair"][1].ravel())
    np.testing.assert_array_equal(observation["units"][1, 0, 0], raw["units"])


def test_nested_actions_reach_the_environment_in_its_own_form() -> None:
    game = make_game("gymnasium:zoo/Nested-v0", 2, seed=0)
    game.reset(seed=0)
    actions = {
        "aim": np.array([[0.1, -0.1], [0.05, 0.0]], dtype=np.float32).reshape(2, 1, 1, 2),
        "move_0": np.array([2, 0]).reshape(2, 1, 1),
        "move_1": np.array([1, 0]).reshape(2, 1, 1),
        "pick": np.array([0, 2]).reshape(2, 1, 1),
    }
    game.step(actions)
    (first,), (second,) = _env(game, 0).actions, _env(game, 1).actions
    assert (first["move"].tolist(), first["pick"], first["aim"].shape) == ([2, 8], 1, (2, 1))
    assert (second["move"].tolist(), second["pick"]) == ([0, 7], 3)
    assert first["aim"].max() == 0.1  # in the box, although 0.1 rounded to float32 is not
    np.testing.assert_allclose(second["aim"].ravel(), [0.05, 0.0])


def test_a_mask_in_the_observation_becomes_one_mask_per_head() -> None:
    game = make_game("gymnasium:zoo/Masked-v0", 4, seed=0)
    assert game.spec.masked_heads == {"action_0", "action_1"}
    assert list(game.spec.observation_space.spaces) == ["observation"]
    observation = game.reset(seed=0)
    for slot in range(4):
        legal = _env(game, slot).legal
        assert np.flatnonzero(observation["action_mask/action_0"][slot, 0, 0]).tolist() == [legal[0]]
        assert np.flatnonzero(observation["action_mask/action_1"][slot, 0, 0]).tolist() == [legal[1]]


def test_a_mask_in_the_infos_becomes_the_mask_of_the_head() -> None:
    game = make_game("gymnasium:Taxi-v4", 8, seed=0)
    observation = game.reset(seed=0)
    for slot in range(8):
        env = _env(game, slot)
        np.testing.assert_array_equal(observation["action_mask/action"][slot, 0, 0], env.action_mask(env.s) == 1)


def test_a_plain_tuple_is_named_after_what_it_is() -> None:
    spec = make_game("gymnasium:Blackjack-v1", 1, 0).spec
    assert list(spec.observation_space.spaces) == ["observation.0", "observation.1", "observation.2"]


@pytest.mark.parametrize(
    ("name", "kwargs"), [("Aim", {"width": 1000.0}), ("BitPlanes", {}), ("BitPlanes", {"as_uint8": False})]
)
def test_the_environments_of_the_results_keep_the_contract(name: str, kwargs: dict[str, Any]) -> None:
    check_game(lambda n_games: make_game(f"gymnasium:tests.envs.unit_envs:{name}-v0", n_games, 0, {"kwargs": kwargs}))


@pytest.mark.parametrize(
    ("space", "kind"),
    [
        (spaces.Box(0, 1, (5, 5, 3), np.uint8), "image"),
        (spaces.Box(0, 1, (5, 5, 3), np.float32), "image"),
        (spaces.Box(0, 1, (5, 5, 3), np.float64), "image"),
        (spaces.Box(0, 1, (5, 5, 3), np.int8), "vector"),
        (spaces.Box(-np.inf, np.inf, (5, 5, 3), np.float32), "vector"),
        (spaces.Box(0, np.finfo(np.float32).max, (5, 5, 3), np.float32), "vector"),
        (spaces.Box(0, 1, (5, 15), np.float32), "vector"),
    ],
)
def test_three_axes_of_bytes_or_of_floats_between_bounds_are_an_image_and_all_else_is_a_vector(
    space: spaces.Box, kind: str
) -> None:
    layout = ObservationLayout(space, "picture")
    spec = GameSpec(
        name="picture",
        teams=1,
        agents_per_team=1,
        observation_space=layout.space,
        action_space=spaces.Dict({"action": spaces.Discrete(2)}),
    )
    assert entry_kind(spec, "observation") == kind
    entry = layout.space["observation"]
    assert entry.shape == ((5, 5, 3) if kind == "image" else (75,))
    assert entry.dtype == (np.uint8 if space.dtype == np.uint8 else np.float32)


def test_images_keep_their_shape_and_dtype_and_time_limits_truncate() -> None:
    game = make_game("gymnasium:zoo/Image-v0", 2, seed=0)
    assert game.reset(seed=0)["observation"].dtype == np.uint8
    results = [game.step({"action": np.ones((2, 1, 1), dtype=np.int64)}) for _ in range(20)]
    assert results[-1].observation["observation"].shape == (2, 1, 1, 6, 5, 3)
    assert results[-1].truncated.all()
    assert not any(result.terminated.any() for result in results)


def test_spaces_that_cannot_be_served_are_refused_by_name() -> None:
    with pytest.raises(UnsupportedSpaceError, match="'words' is a Text"):
        make_game("gymnasium:zoo/Unsupported-v0", 1, 0)
    with pytest.raises(UnsupportedSpaceError, match="'action' is Box"):
        ActionLayout(spaces.Box(0, 5, (2,), np.int64), "g")
    with pytest.raises(UnsupportedSpaceError, match=r"two parts of the observation space flatten to 'a\.b'"):
        ObservationLayout(spaces.Dict({"a.b": spaces.Discrete(2), "a": spaces.Dict({"b": spaces.Discrete(2)})}), "g")
    with pytest.raises(UnsupportedSpaceError, match="'acting' has a reserved name"):
        ObservationLayout(spaces.Dict({"acting": spaces.Discrete(2)}), "g")


def test_a_refused_entry_comes_with_the_line_that_trains_without_it() -> None:
    with pytest.raises(UnsupportedSpaceError, match=r"'more\.many' is a Sequence, .*'roads' is a Graph;") as refused:
        make_game("gymnasium:zoo/Talking-v0", 1, 0, {"leave_out": ["place"]})
    line = re.search(r"--set 'game_options\.(.*?)'\.", str(refused.value))
    assert line is not None
    options = tomllib.loads(line[1])
    game = make_game("gymnasium:zoo/Talking-v0", 1, 0, options)
    assert list(game.reset(seed=0)) == ["more.few", "acting"]
    with pytest.raises(UnsupportedSpaceError) as refused:
        make_game("gymnasium:zoo/Unsupported-v0", 1, 0)
    assert "leave_out" not in str(refused.value)  # nothing else would be left


def test_texts_are_left_out_with_a_remark_each_unless_they_are_left_out_by_name() -> None:
    game = make_game("gymnasium:zoo/Instructed-v0", 1, 0)
    assert list(game.reset(seed=0)) == ["more.few", "place", "acting"]
    remarks = rehearse_rows(game, 0, rows=3).remarks
    assert [re.sub(r"^\S+: ", "", remark) for remark in remarks] == [
        f"Instructed.step: {name!r} is a text ({kind}), and no text is read: it is left out; "
        f'game_options.leave_out=["{name}"] does so without a warning'
        for name, kind in (("more.mission", "Mission"), ("words", "Text"))
    ]
    named = make_game("gymnasium:zoo/Instructed-v0", 1, 0, {"leave_out": ["words", "more.mission"]})
    assert rehearse_rows(named, 0, rows=3).remarks == []
    assert named.spec == game.spec


def test_an_entry_is_left_out_with_all_that_lies_in_it() -> None:
    game = make_game("gymnasium:zoo/Nested-v0", 1, 0, {"leave_out": ["pair", "inner.kind", "units_mask"]})
    assert list(game.spec.observation_space.spaces) == ["inner.bits", "pos", "units"]
    check_game(lambda n: make_game("gymnasium:zoo/Nested-v0", n, 0, {"leave_out": ["pair", "units"]}), rows=20)


@pytest.mark.parametrize(
    ("leave_out", "message"),
    [
        (["pairs"], "leave_out names 'pairs'; did you mean 'pair"),
        ("pos", r"leave_out is 'pos'; expected a list of names, as in \[\"mission\"\]"),
        (["inner", "pair", "pos", "units", "units_mask"], "nothing is left of the observation"),
    ],
)
def test_leaving_out_what_is_not_there_or_everything_is_refused(leave_out: Any, message: str) -> None:
    with pytest.raises(GameError, match=message):
        make_game("gymnasium:zoo/Nested-v0", 1, 0, {"leave_out": leave_out})


def test_an_observation_with_nothing_in_it_is_refused() -> None:
    with pytest.raises(UnsupportedSpaceError, match="there is nothing in the observation; expected at least one"):
        ObservationLayout(spaces.Dict({}), "g")


def test_a_mask_of_another_size_than_the_heads_is_refused() -> None:
    layout = ActionLayout(spaces.MultiDiscrete([3, 2]), "g")
    assert layout.flat_mask(([1, 0, 1], [0, 1]), "g").tolist() == [1, 0, 1, 0, 1]
    with pytest.raises(UnsupportedSpaceError, match="has 4 entries"):
        layout.flat_mask(np.ones(4), "g")


def test_masks_shaped_like_a_nested_action_space_skip_the_box() -> None:
    space = spaces.Dict(
        {"aim": spaces.Box(-1, 1, (2,)), "go": spaces.Tuple((spaces.Discrete(2), spaces.MultiBinary(1)))}
    )
    layout = ActionLayout(space, "g")
    assert layout.choices == {"go.0": 2, "go.1_0": 2}
    masks = layout.split_mask(layout.flat_mask({"go": ([0, 1], [1, 0])}, "g"))
    assert {name: mask.tolist() for name, mask in masks.items()} == {
        "action_mask/go.0": [0, 1],
        "action_mask/go.1_0": [1, 0],
    }


def test_arguments_that_an_environment_does_not_take_give_one_line() -> None:
    with pytest.raises(GameError, match=r"does not take these kwargs: .*'wind'"):
        make_game("gymnasium:CartPole-v1", 1, 0, {"kwargs": {"wind": 3}})
