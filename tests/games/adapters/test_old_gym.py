"""An environment of the old gym trains as it is: its spaces, seeds and its one flag are read as Gymnasium has them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces

import tests.envs.game_zoo
from quintet.games.adapters.old_gym import OldGym, is_old_gym
from quintet.games.api import GameError, UnknownGameError, UnsupportedSpaceError
from quintet.games.contract import check_game
from quintet.games.registry import make_game


def _old(kind: str, **parts: Any) -> Any:
    """A space of the old gym, which is not installed: a class of that name with these parts."""
    return type(kind, (), parts)()


def _box(low: float, high: float, shape: tuple[int, ...], dtype: Any) -> Any:
    return _old("Box", low=low, high=high, shape=shape, dtype=dtype)


class Walk:
    """Five steps to and fro by chance; its seed is an argument, as crafter's is."""

    observation_space = _box(-9, 9, (2,), np.float32)
    action_space = _old("Discrete", n=3)

    def __init__(self, seed: int | None = None, ends: dict[str, Any] | None = None) -> None:
        self.random, self.ends = np.random.RandomState(seed), ends or {}

    def reset(self) -> Any:
        self.row = 0
        return self.random.uniform(-1, 1, 2)

    def step(self, action: int) -> Any:
        self.row += 1
        return self.random.uniform(-1, 1, 2), float(action), self.row == 5, self.ends


class Seeded(Walk):
    """Its seed comes by a method, as gym's own environments have it."""

    def __init__(self) -> None:
        super().__init__()

    def seed(self, seed: int) -> None:
        self.random = np.random.RandomState(seed)


class Late(Seeded):
    """Of gym's last versions: five values and an info from `reset`."""

    def reset(self) -> Any:
        return super().reset(), {"of": "gym"}

    def step(self, action: int) -> Any:
        observation, reward, done, info = super().step(action)
        return observation, reward, False, done, info


tests.envs.game_zoo._module("zoo_old", Walk=Walk, Seeded=Seeded, Late=Late, Newer=tests.envs.game_zoo.Image, number=3)


@pytest.mark.parametrize("name", ["Walk", "Seeded", "Late"])
def test_it_keeps_the_contract_and_its_seeds(name: str) -> None:
    check_game(lambda n_games: make_game(f"gym:zoo_old:{name}", n_games, 0), rows=20, random=True)


@pytest.mark.parametrize(
    ("ends", "cut"),
    [
        ({}, False),
        ({"TimeLimit.truncated": True}, True),
        ({"TimeLimit.truncated": False}, False),
        ({"discount": np.float32(1)}, True),
        ({"discount": 0.0}, False),
    ],
)
def test_the_one_flag_is_a_cut_where_the_infos_say_that_it_would_have_gone_on(ends: dict[str, Any], cut: bool) -> None:
    env = OldGym("g", Walk, {"ends": ends})
    env.reset(seed=0)
    flags = [env.step(1)[2:4] for _ in range(5)]
    assert flags == [(False, False)] * 4 + [(not cut, cut)]


def test_the_last_versions_flags_and_infos_are_kept() -> None:
    env = OldGym("g", Late, {})
    assert env.reset(seed=0)[1] == {"of": "gym"}
    assert [env.step(1)[2:4] for _ in range(5)][-1] == (False, True)


def test_its_spaces_become_gymnasiums() -> None:
    pair = _old("Tuple", spaces=(_old("MultiBinary", n=4), _box(0, 255, (4, 4, 3), np.dtype(np.uint8))))
    seen = _old("DictSpace", spaces={"a": _old("MultiDiscrete", nvec=[2, 3]), "b": pair})
    env = OldGym("g", lambda: SimpleNamespace(observation_space=seen, action_space=spaces.Discrete(2, start=1)), {})
    assert env.observation_space == spaces.Dict(
        {
            "a": spaces.MultiDiscrete([2, 3]),
            "b": spaces.Tuple((spaces.MultiBinary(4), spaces.Box(0, 255, (4, 4, 3), np.uint8))),
        }
    )
    assert env.action_space == spaces.Discrete(2, start=1)
    for text in (_old("Text", max_length=5), _old("MissionSpace", dtype=np.dtype(str))):
        seen = _old("Dict", spaces={"mission": text})
        env = OldGym(
            "g", lambda seen=seen: SimpleNamespace(observation_space=seen, action_space=spaces.Discrete(2)), {}
        )
        assert env.observation_space == spaces.Dict({"mission": spaces.Text(1)})
    odd = SimpleNamespace(observation_space=_old("Graph"), action_space=_old("Discrete", n=2))
    with pytest.raises(UnsupportedSpaceError, match="a Graph of the old gym has no like in Gymnasium"):
        OldGym("g", lambda: odd, {})


def test_gymnasiums_wrappers_lie_around_it() -> None:
    options = {"wrappers": [{"name": "gymnasium.wrappers:TimeLimit", "max_episode_steps": 2}], "kwargs": {"ends": {}}}
    game = make_game("gym:zoo_old:Walk", 1, 0, options)
    game.reset(seed=0)
    results = [game.step({"action": np.ones((1, 1, 1), dtype=np.int64)}) for _ in range(2)]
    assert results[1].truncated.all()
    assert not results[1].terminated.any()


def test_arguments_that_it_does_not_take_give_one_line() -> None:
    with pytest.raises(GameError, match=r"does not take these kwargs: .*'size'"):
        make_game("gym:zoo_old:Walk", 1, 0, {"kwargs": {"size": 4}})


def test_an_unknown_id_of_a_package_of_the_old_gym_says_what_to_write() -> None:
    with pytest.raises(UnknownGameError, match=r"zoo_old is of the old gym: write --game gym:zoo_old:Walk$"):
        make_game("gymnasium:zoo_old:Walk-v1", 1, 0)
    assert [is_old_gym(kind) for kind in (Walk, tests.envs.game_zoo.Image, int, Walk())] == [True, False, False, False]


def test_an_unknown_id_without_a_package_says_how_to_name_one() -> None:
    with pytest.raises(UnknownGameError, match=r"name the package: --game gymnasium:<package>:MiniWorld-Hall-v0$"):
        make_game("gymnasium:MiniWorld-Hall-v0", 1, 0)
