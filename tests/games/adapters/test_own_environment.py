"""`--game my_module:MyEnv` plays a class or function of the user's own, or says what to write instead."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

from quintet.games.adapters.gymnasium import GymnasiumLoopGame
from quintet.games.adapters.pettingzoo import ParallelGame, TurnGame
from quintet.games.api import GameError
from quintet.games.registry import make_game
from tests.envs.mistaken_envs import Plain, Sound
from tests.support.needs import extra

HERE = "tests.games.adapters.test_own_environment"
ONE = Sound()


class Long(Plain):
    """Takes an argument."""

    def __init__(self, length: int = 8) -> None:
        self.length = length

    def step(self, action: Any) -> Any:
        seen, gain, _, cut, info = super().step(action)
        return seen, gain, self.row >= self.length, cut, info


def make_env(length: int = 3) -> Long:
    return Long(length)


def make_many(n_games: int, seed: int) -> Long:
    return Long(n_games)


def make_nothing() -> str:
    return "nothing"


class Underived:
    """Has all that an environment has, but is none of Gymnasium's."""

    def __init__(self) -> None:
        self.observation_space, self.action_space = Plain.observation_space, Plain.action_space

    def reset(self, seed: int | None = None) -> Any: ...

    def step(self, action: Any) -> Any: ...


class Told(Plain):
    """Shows a text."""

    observation_space = spaces.Dict({"told": spaces.Text(5)})


@pytest.mark.parametrize("name", ["Long", "make_env"])
def test_a_class_or_function_that_makes_an_environment_is_a_game(name: str) -> None:
    game = make_game(f"{HERE}:{name}", 2, 0, {"kwargs": {"length": 2}})
    assert isinstance(game, GymnasiumLoopGame)
    game.reset(0)
    ends = [bool(game.step({"action": np.zeros((2, 1, 1), np.int64)}).ended.all()) for _ in range(5)]
    assert ends == [False, True, False, False, True]


def test_wrappers_are_laid_around_a_class_too() -> None:
    wrappers = [{"name": "gymnasium.wrappers:TimeLimit", "max_episode_steps": 1}]
    game = make_game(f"{HERE}:Long", 1, 0, {"wrappers": wrappers})
    game.reset(0)
    assert game.step({"action": np.zeros((1, 1, 1), np.int64)}).truncated.all()


@pytest.mark.parametrize(
    ("name", "options", "says"),
    [
        ("Long", {"kwargs": {"width": 2}}, "does not take these kwargs: .*'width'"),
        ("Long", {"width": 2}, "has no option 'width'; it has wrappers, leave_out, teams, zero_sum, kwargs"),
        ("Long", {"zero_sum": True}, "is a Gymnasium environment: leave out game_options.teams and zero_sum"),
        ("ONE", {}, "is a single environment; a run needs 2 of them: name its class, Sound, or a function"),
        ("make_many", {}, "make_many returns a Long, an environment, though it takes .* name the class itself"),
        ("make_nothing", {}, r"make_nothing makes a str .*; expected a gymnasium.Env"),
        ("Short", {}, "has no 'Short'"),
        ("Underived", {}, r"^tests/.*:\d+: Underived is no environment .*; derive its class from gymnasium.Env"),
        ("Told", {}, r"^tests/.*:\d+: Told: observation entry 'told' is a Text"),
    ],
)
def test_what_makes_no_environments_is_told_what_to_write(name: str, options: dict[str, Any], says: str) -> None:
    with pytest.raises(GameError, match=says):
        make_game(f"{HERE}:{name}", 2, 0, options)


@pytest.mark.parametrize(
    ("code", "says"),
    [
        (
            "import os\nclass A(\n",
            r"^broken_env.py:2: importing the module raised SyntaxError: '\(' was never closed \(",
        ),
        ("x = 1\nx = 1 / 0\n", "^broken_env.py:2: importing the module raised ZeroDivisionError: division by zero"),
        (
            "import sys\nsys.exit('no display')\n",
            "^broken_env.py:2: importing the module raised SystemExit: no display",
        ),
        ("from os import nothing\n", "^broken_env.py:1: game 'broken_env:A' cannot be imported: cannot import name"),
    ],
)
def test_a_module_that_cannot_be_imported_is_told_the_line(
    code: str, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "broken_env.py").write_text(code)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr("quintet.games.checks.blame.HERE", tmp_path)
    with pytest.raises(GameError, match=says):
        make_game("broken_env:A", 1, 0)
    with pytest.raises(GameError, match=r"broken_env\.py is a module: write broken_env:<class>"):
        make_game("broken_env", 1, 0)


def test_a_class_behind_the_familys_name_is_told_the_right_one() -> None:
    with pytest.raises(GameError, match=f"It is a class: write --game {HERE}:Long"):
        make_game(f"gymnasium:{HERE}:Long", 1, 0)


def test_pettingzoo_classes_are_games_by_either_name() -> None:
    extra("pettingzoo")
    for name in ("pettingzoo:tests.envs.mistaken_parallel:Pair", "tests.envs.mistaken_parallel:Pair"):
        assert isinstance(make_game(name, 2, 0), ParallelGame)
    assert isinstance(make_game("pettingzoo:pettingzoo.classic.rps.rps:raw_env", 1, 0), TurnGame | ParallelGame)
    with pytest.raises(GameError, match=r"it has Pair.*: write --game pettingzoo:tests.envs.mistaken_parallel:Pair"):
        make_game("pettingzoo:tests.envs.mistaken_parallel", 1, 0)


def test_a_single_environment_is_enough_where_one_is_played() -> None:
    assert isinstance(ONE, gymnasium.Env)
    assert make_game(f"{HERE}:ONE", 1, 0).n_games == 1
