"""A game's name leads to the game, or to one line that says what is wrong with it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

import tests.envs.game_zoo
from quintet.games.api import GameContractError, GameError, MissingExtraError, UnknownGameError
from quintet.games.registry import FAMILIES, OWN_GAMES, make_game
from tests.support.needs import extra

OWN_GAME = """
from tests.envs.game_zoo import Lottery

def make(n_games, seed, choices=3):
    return Lottery(n_games, choices)

def make_nothing(n_games, seed):
    return 5

NUMBER = 3
"""


@pytest.mark.parametrize(
    "name",
    [
        "counting",
        "gymnasium:CartPole-v1",
        "tests.envs.game_zoo:make_lottery",
        "gymnasium:tests.envs.game_zoo:zoo/Image-v0",
    ],
)
def test_a_name_leads_to_its_game(name: str) -> None:
    game = make_game(name, 3, seed=1)
    assert game.n_games == 3
    assert game.reset(seed=0)["acting"].shape == (3, game.spec.teams, game.spec.agents_per_team)
    game.close()


def test_a_module_in_the_current_directory_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_own_game.py").write_text(OWN_GAME)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry])
    game = make_game("my_own_game:make", 2, 0, {"choices": 6})
    assert isinstance(game, tests.envs.game_zoo.Lottery)
    assert game.choices == 6
    with pytest.raises(GameContractError, match="returned a int without spec, n_games, reset, step, close"):
        make_game("my_own_game:make_nothing", 2, 0)
    with pytest.raises(UnknownGameError, match=r"is a int; expected a function of \(n_games, seed\)"):
        make_game("my_own_game:NUMBER", 2, 0)
    with pytest.raises(UnknownGameError, match=r"has no 'mak'; did you mean 'make'"):
        make_game("my_own_game:mak", 2, 0)
    with pytest.raises(GameError, match="has no option 'choice'; did you mean 'choices'"):
        make_game("my_own_game:make", 2, 0, {"choice": 6})


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("countin", "did you mean 'counting'"),
        ("CartPole-v1", "did you mean 'gymnasium:CartPole-v1'"),
        ("gymnasium:", "a game is one of counting, skirmish-1v1, .*, or gymnasium:<id>"),
        ("gymnasium:CartPoll-v1", "(?i)did you mean.*CartPole"),
        ("gymnasium:CartPole-v9", r"It provides versioned environments"),
        ("gymnasium:Taxi-v1", "Taxi-v4"),
        ("gymnasium:no_such_module:Id-v0", "there is no module 'no_such_module'"),
        ("no_such_module:make", "there is no module 'no_such_module'"),
        ("pettingzoo:pettingzoo.classic.tictactoe_v2", r"did you mean 'pettingzoo\.classic\.tictactoe_v3'"),
        ("pettingzoo:zoo_empty_v0", "has neither `env` nor `parallel_env`"),
        (
            "pettingzoo:pettingzoo.classic",
            r"it has pettingzoo\.classic\.chess_v6, .*: write --game pettingzoo:pettingzoo\.cl",
        ),
        ("pettingzoo:pettingzoo.classic.go", r"did you mean 'pettingzoo\.classic\.go_v5'"),
    ],
)
def test_an_unknown_name_gives_one_line_with_the_nearest_ones(name: str, message: str) -> None:
    if name.startswith("pettingzoo:"):
        extra("pettingzoo")
    with pytest.raises(UnknownGameError, match=message) as caught:
        make_game(name, 1, 0)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("package", "name", "command"),
    [
        ("pettingzoo", "pettingzoo:pettingzoo.classic.tictactoe_v3", r'pip install "quintet\[pettingzoo\]"'),
        ("pygame", "pettingzoo:pettingzoo.classic.tictactoe_v3", r'pip install "quintet\[pettingzoo\]"'),
        ("popgym", "gymnasium:popgym:popgym-RepeatFirstEasy-v0", r'pip install "quintet\[popgym\]"'),
        ("pymunk", "pettingzoo:pettingzoo.butterfly.pistonball_v6", r'pip install "pettingzoo\[butterfly\]"'),
    ],
)
def test_a_missing_package_gives_the_command_that_brings_it(
    package: str, name: str, command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if package in ("pygame", "pymunk"):
        extra("pettingzoo")
    for module in [m for m in sys.modules if m.startswith((package, "pettingzoo.classic", "pettingzoo.butterfly"))]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setattr(sys, "meta_path", [_Without(package), *sys.meta_path])
    with pytest.raises(MissingExtraError, match=command):
        make_game(name, 1, 0)


class _Without:
    """An import finder on a machine where one package is not installed."""

    def __init__(self, package: str) -> None:
        self.package = package

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> None:
        if name.partition(".")[0] == self.package:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


def test_what_gymnasium_says_is_missing_is_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "meta_path", [_Without("Box2D"), *sys.meta_path])
    with pytest.raises(MissingExtraError, match="Box2D is not installed"):
        make_game("gymnasium:LunarLander-v3", 1, 0)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("gymnasium:CartPole-v1", {"wrapers": []}, "has no option 'wrapers'; did you mean 'wrappers'"),
        ("counting", {"teem": 1}, "has no option 'teem'"),
    ],
)
def test_an_option_that_does_not_exist_gives_one_line(name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(GameError, match=message):
        make_game(name, 1, 0, options)


def test_no_slots_are_refused() -> None:
    with pytest.raises(GameError, match="n_games is 0; it must be at least 1"):
        make_game("counting", 0, 0)


def test_every_name_in_the_tables_can_be_loaded() -> None:
    from quintet.games.dotted import load

    assert all(callable(load(path, what="game")) for path in [*OWN_GAMES.values(), *FAMILIES.values()])
