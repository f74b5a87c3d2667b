"""Environments with odd spaces, names and habits go all the way from their rules to a gradient, unchanged."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

from quintet.games.api import Array, VectorGame
from quintet.games.contract import check_game
from quintet.games.registry import make_game
from tests.support.in_process_run import InProcessRun


class Odd(gymnasium.Env[Any, Any]):
    """A number without an axis, nothing at all, whole numbers, names that are words of Python and torch, and more.

    It writes every observation into the same array, and every step hands back a megabyte of infos.
    """

    observation_space = spaces.Dict(
        {
            "forward": spaces.Box(-1.0, 1.0, ()),
            "type": spaces.Box(0.0, 1.0, (0,)),
            "nobody": spaces.Box(0, 255, (0, 8, 3), np.uint8),
            "nowhere": spaces.Box(0.0, 1.0, (4, 0, 3)),
            "a b/c": spaces.Box(-5, 5, (3,), np.int32),
            "": spaces.Box(np.int64(-3), np.int64(3), (), np.int64),
            "π.1": spaces.Discrete(3, start=-1),
            "self": spaces.Tuple((spaces.Discrete(1), spaces.MultiBinary((2, 1)))),
        }
    )
    action_space = spaces.Dict(
        {
            "forward": spaces.Discrete(2, start=7),
            "weight.bias": spaces.Tuple(
                (spaces.MultiDiscrete(np.array([[2, 1], [3, 2]])), spaces.Box(-2.0, -1.0, (1, 2)))
            ),
            "": spaces.MultiBinary(2),
        }
    )

    def __init__(self, rows: int = 3) -> None:
        self.rows, self.whole = rows, np.zeros(3, dtype=np.int32)

    def _show(self) -> tuple[dict[str, Any], dict[str, Any]]:
        self.whole[:] = self.np_random.integers(-5, 6, 3)
        seen = {
            "forward": self.np_random.uniform(-1, 1),  # a Python float
            "type": np.zeros(0, np.float32),
            "nobody": np.zeros((0, 8, 3), np.uint8),
            "nowhere": np.zeros((4, 0, 3), np.float32),
            "a b/c": self.whole,
            "": np.int64(self.row - 3),
            "π.1": int(self.np_random.integers(-1, 2)),
            "self": (0, self.np_random.integers(0, 2, (2, 1), dtype=np.int8)),
        }
        return seen, {"blob": bytes(1 << 20), "again": {"and": [object()]}}

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.row = 0
        return self._show()

    def step(self, action: Any) -> tuple[Any, int, bool, bool, dict[str, Any]]:
        assert self.action_space.contains(action), action
        self.row += 1
        seen, info = self._show()
        return seen, int(action["forward"]) - 7, self.row >= self.rows, False, info


class Bare(gymnasium.Env[Any, Any]):
    """One number, which is a row's or none at all; negative choices."""

    action_space = spaces.Discrete(2, start=-1)

    def __init__(self, empty: bool = False) -> None:
        self.observation_space = spaces.Box(0.0, 9.0, (0,) if empty else ())
        self.empty = empty

    def _show(self) -> Any:
        return np.zeros(0, np.float32) if self.empty else np.float32(self.row)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.row = 0
        return self._show(), {}

    def step(self, action: Any) -> Any:
        assert action in (-1, 0)
        self.row += 1
        return self._show(), np.float64(action), np.bool_(self.row == 4), False, {}


for _name, _kind in (("Odd", Odd), ("Bare", Bare)):
    gymnasium.register(f"odd/{_name}-v0", entry_point=_kind)  # type: ignore[arg-type]

CASES: list[tuple[str, dict[str, Any]]] = [
    ("odd/Odd-v0", {}),
    ("odd/Odd-v0", {"rows": 1}),
    ("odd/Bare-v0", {}),
    ("odd/Bare-v0", {"empty": True}),
]


def _make(n_games: int, env_id: str, kwargs: dict[str, Any]) -> VectorGame:
    return make_game(f"gymnasium:{env_id}", n_games, 0, {"kwargs": kwargs})


@pytest.mark.parametrize(("env_id", "kwargs"), CASES)
def test_it_keeps_the_contract(env_id: str, kwargs: dict[str, Any]) -> None:
    check_game(lambda n_games: _make(n_games, env_id, kwargs), rows=20)


@pytest.mark.parametrize(("env_id", "kwargs"), CASES)
def test_it_trains(env_id: str, kwargs: dict[str, Any], tmp_path: Path) -> None:
    run = InProcessRun(folder=tmp_path, make=lambda n_games: _make(n_games, env_id, kwargs))
    optimizer, worker = run.optimizer(), run.worker()
    run.train(optimizer, worker, 2)
    counters = run.link.counters()
    assert counters.trained == 64
    assert counters.rejected == 0


def test_what_it_shows_and_is_told_is_what_it_says() -> None:
    game = _make(2, "odd/Odd-v0", {})
    observation = game.reset(seed=0)
    assert {name: array.shape[3:] for name, array in observation.items()} == {
        "forward": (1,),
        "type": (0,),
        "nobody": (0,),
        "nowhere": (0,),
        "a b/c": (3,),
        "": (1,),
        "π.1": (),
        "self.0": (),
        "self.1": (2,),
        "acting": (),
    }
    kept: dict[str, Array] = {name: array.copy() for name, array in observation.items()}
    choices = {name: np.zeros((2, 1, 1), np.int64) for name, head in game.spec.action_space.spaces.items()}
    game.step({**choices, "weight.bias.1": np.full((2, 1, 1, 2), -1.5, np.float32)})
    for name, array in observation.items():  # the environment's array has changed since; what was handed out has not
        np.testing.assert_array_equal(array, kept[name])
    assert observation[""].ravel().tolist() == [-3, -3]


def test_a_picture_needs_no_display(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    game = make_game("gymnasium:MountainCar-v0", 1, 0, {"kwargs": {"render_mode": "rgb_array"}})
    game.reset(seed=0)
    picture = game.picture()  # type: ignore[attr-defined]
    assert (picture.shape, picture.dtype) == ((400, 600, 3), np.uint8)
    game.close()
