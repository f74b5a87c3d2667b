"""A policy that one plays with oneself does what it does in a `VectorGame`, on the environment's own observations."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.vector import SyncVectorEnv

import tests.envs.game_zoo
from quintet.control.errors import UsageError
from quintet.evaluation.loaded_policy import LoadedPolicy, load_policy
from quintet.games.api import ACTING, Actions, Array, GameDataError, GameError
from quintet.games.registry import make_game
from tests.support.untrained import save_untrained

MASK = 'wrappers = [{ name = "quintet.games.adapters.wrappers:mask_observation", hide = [1, 3] }]\n'
CARTPOLE, OUTPOST = "gymnasium:CartPole-v1", "tests.envs.full_spec_game:make_outpost"
TICTACTOE = "pettingzoo:pettingzoo.classic.tictactoe_v3"


def saved(folder: Path, game: str, options: str = "") -> Path:
    return save_untrained(folder, f'game = "{game}"\n[game_options]\n{options}\n[model]\nlstm_units = 8\n')


def two(folder: Path, game: str, options: str = "") -> tuple[LoadedPolicy, LoadedPolicy]:
    path = saved(folder, game, options)
    return load_policy(path, seed=4), load_policy(path, seed=4)


def same(one: LoadedPolicy, other: LoadedPolicy) -> None:
    np.testing.assert_array_equal(one.memory, other.memory)
    np.testing.assert_array_equal(one.value, other.value)


class AddOne(gymnasium.ActionWrapper[Any, Any, Any]):
    """Shifts a Discrete action."""

    def __init__(self, env: Any) -> None:
        super().__init__(env)
        self.action_space = spaces.Discrete(2, start=0)

    def action(self, action: Any) -> Any:
        return 1 - action


class TwoSteps(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Makes two steps in one."""

    def step(self, action: Any) -> Any:
        self.env.step(action)
        return self.env.step(action)


@pytest.mark.parametrize("name", ["zoo/Nested-v0", "zoo/Image-v0", "zoo/Masked-v0"])
def test_a_gymnasium_environment_is_played_as_the_game_that_it_was_trained_as(name: str, tmp_path: Path) -> None:
    own, whole = two(tmp_path, f"gymnasium:{name}")
    game, env = make_game(f"gymnasium:{name}", 1, 0), gymnasium.make(name, disable_env_checker=True)
    seen = game.reset(3)
    shown, _ = env.reset(seed=int(np.random.SeedSequence(3).generate_state(1)[0]))
    for _ in range(30):
        action = own.act(shown)
        assert env.action_space.contains(action)
        actions = whole.act(seen)
        same(own, whole)
        shown, _, terminated, truncated, _ = env.step(action)
        seen = game.step(actions).observation
        if terminated or truncated:
            break
    assert set(own.probabilities) | set(own.gaussians) == set(own.spec.action_space)


def test_the_runs_wrappers_lie_around_what_the_bare_environment_shows(tmp_path: Path) -> None:
    bare, whole = two(tmp_path, CARTPOLE, MASK)
    wrapped = load_policy(tmp_path / "000003", seed=4, wrapped=True)
    env = gymnasium.make("CartPole-v1")
    shown, _ = env.reset(seed=1)
    for _ in range(5):
        part = shown[[0, 2]]
        action = bare.act(shown)
        assert env.action_space.contains(action)
        taken: Actions = whole.act({"observation": part[None, None, None], ACTING: np.ones((1, 1, 1), bool)})
        assert action == taken["action"].item() == wrapped.act(part)
        same(bare, whole)
        same(bare, wrapped)
        shown, *_ = env.step(action)
    with pytest.raises(GameDataError, match=r"CartPole-v1: observation has shape \(4,\); expected \(2,\)"):
        wrapped.act(shown)


def test_wrappers_that_remember_or_change_actions_do_so_and_those_that_play_are_refused(tmp_path: Path) -> None:
    stack = '{ name = "gymnasium.wrappers:FrameStackObservation", stack_size = 3 }'
    policy = load_policy(saved(tmp_path, CARTPOLE, f'wrappers = [{stack}, "{__name__}:AddOne"]'), seed=4)
    assert policy.spec.observation_space["observation"].shape == (12,)
    turned = load_policy(saved(tmp_path / "turned", CARTPOLE, f"wrappers = [{stack}]"), seed=4)
    env = gymnasium.make("CartPole-v1")
    shown, _ = env.reset(seed=1)
    for _ in range(4):
        action = policy.act(shown)
        assert turned.act(shown) == 1 - action
        same(policy, turned)
        shown, *_ = env.step(action)
    hasty = load_policy(saved(tmp_path / "hasty", CARTPOLE, f'wrappers = ["{__name__}:TwoSteps"]'))
    hasty.act(shown)
    with pytest.raises(GameError, match=r"TwoSteps\) need the environment itself: one of them makes 2 steps in one"):
        hasty.act(shown)
    masked = load_policy(saved(tmp_path / "masked", CARTPOLE, MASK))
    for wrong in (shown[:2], env.reset(), None):
        with pytest.raises(GameDataError, match=r"the observation is .*; expected one of Box\("):
            masked.act(wrong)


def test_a_vector_environments_games_begin_anew_one_by_one(tmp_path: Path) -> None:
    path = saved(tmp_path, CARTPOLE)
    several, alone = load_policy(path, greedy=True), load_policy(path, greedy=True)
    envs = SyncVectorEnv([lambda: gymnasium.make("CartPole-v1")] * 3)
    shown, _ = envs.reset(seed=1)
    several.reset(3)
    over = np.zeros(3, bool)
    alone.reset()
    for row in range(60):
        actions = several.act(shown, first=over if row else None)
        assert envs.action_space.contains(actions)
        if over[0]:
            alone.reset()
        assert alone.act(shown[0]) == actions[0]
        np.testing.assert_allclose(several.memory[:1], alone.memory, atol=1e-6)
        shown, _, terminated, truncated, _ = envs.step(actions)
        over = terminated | truncated
    with pytest.raises(UsageError, match="a row of 3 games, and first is"):
        several.act(shown, first=[True])
    assert alone.act(shown[0], first=True) in (0, 1)
    for wrong in (shown[:2], None):
        with pytest.raises(GameError, match="expected those of 3 environments side by side, as reset said"):
            several.act(wrong)


def test_a_turn_based_game_is_played_by_whose_turn_it_is(tmp_path: Path) -> None:
    pytest.importorskip("pettingzoo")
    from pettingzoo.classic.tictactoe import tictactoe

    own, whole = two(tmp_path, TICTACTOE)
    game, env = make_game(TICTACTOE, 1, 0), tictactoe.env()
    seen = game.reset(0)
    env.reset()
    for _ in range(9):
        mover = env.agent_selection
        if env.terminations[mover]:
            break
        action = own.act({agent: env.observe(agent) for agent in env.agents}, acting=mover)
        actions = whole.act(seen)
        same(own, whole)
        assert action == {mover: actions["action"][0, env.possible_agents.index(mover), 0]}
        env.step(action[mover])
        seen = game.step(actions).observation
    with pytest.raises(GameError, match="has no agent 'nobody'; its agents: player_1, player_2"):
        own.act({"nobody": seen})
    with pytest.raises(GameError, match="has no agent 'nobody'; its agents"):
        own.act({mover: env.observe(mover)}, acting="nobody")
    with pytest.raises(GameDataError, match="has no 'action_mask', which its space has"):
        own.act({mover: {"observation": env.observe(mover)["observation"]}})
    with pytest.raises(GameError, match="one environment at a time: leave n_games out"):
        own.reset(2)


def test_a_parallel_game_is_played_by_its_agents_names(tmp_path: Path) -> None:
    pytest.importorskip("pettingzoo")
    own, whole = two(tmp_path, "pettingzoo:zoo_visitors_v0")
    game, env = make_game("pettingzoo:zoo_visitors_v0", 1, 0), tests.envs.game_zoo.Visitors()
    seen = game.reset(0)
    seed = int(np.random.default_rng(np.random.SeedSequence(0).spawn(1)[0]).integers(2**31))
    shown, infos = env.reset(seed=seed)
    for _ in range(4):
        here = {agent: shown[agent] for agent in env.agents}
        action = own.act({**shown}, info=infos, acting=list(env.agents))
        actions = whole.act(seen)
        same(own, whole)
        assert set(action) == set(here)
        shown, _, _, _, infos = env.step(action)
        seen = game.step(actions).observation
        if not env.agents:
            break


class Pair(gymnasium.Env[Any, Any]):
    """Two agents behind Gymnasium's API."""

    observation_space = spaces.Tuple([spaces.Box(-1, 1, (2,), np.float32)] * 2)
    action_space = spaces.Tuple([spaces.Discrete(3, start=1)] * 2)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        return (np.zeros(2, np.float32), np.ones(2, np.float32)), {}

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        assert self.action_space.contains(action)
        return (np.zeros(2, np.float32), np.ones(2, np.float32)), [0.0, 1.0], False, False, {}


def test_a_team_behind_gymnasiums_api_is_played_in_tuples(tmp_path: Path) -> None:
    policy, env = load_policy(saved(tmp_path, f"{__name__}:Pair")), Pair()
    action = policy.act(env.reset()[0])
    assert env.action_space.contains(action)
    assert policy.value.shape == (1, 1, 2)


def test_any_games_own_rows_are_played_with_numbers_for_whoever_asks(tmp_path: Path) -> None:
    policy = load_policy(saved(tmp_path, OUTPOST))
    with pytest.raises(UsageError, match="nothing was played yet"):
        _ = policy.value
    game = make_game(OUTPOST, 3, 0)
    seen = game.reset(1)
    actions = policy.act(seen)
    game.step(actions)
    assert (policy.version, policy.agent_steps) == (3, 10)
    lead = (3, 2, 2)
    assert policy.value.shape == lead
    assert policy.memory.shape == (*lead, 2, 8)
    legal: Array = seen["action_mask/act"]
    found = policy.probabilities["act"]
    np.testing.assert_allclose(found.sum(axis=-1), 1, atol=1e-5)
    assert not found[~legal].any()
    mean, std = next(iter(policy.gaussians.values()))
    assert mean.shape[:3] == lead
    assert std.shape == mean.shape[3:]
    with pytest.raises(UsageError, match="is no environment of Gymnasium or PettingZoo"):
        policy.act(np.zeros(3))
    with pytest.raises(GameDataError, match="the observation has no '"):
        policy.act({ACTING: seen[ACTING]})
    with pytest.raises(UsageError, match="a row of 2 games, and the last was of 3"):
        policy.act(make_game(OUTPOST, 2, 0).reset(1))


def test_what_is_no_checkpoint_is_refused_in_a_line(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no checkpoint at"):
        load_policy(tmp_path / "none")
    policy = load_policy(saved(tmp_path, CARTPOLE))
    with pytest.raises(GameError, match="n_games is 0; it must be at least 1"):
        policy.reset(0)
