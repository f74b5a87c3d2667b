"""A few rows before a run: a fault in a game of the user's own is said with the file and line of its code."""

from __future__ import annotations

import inspect
import time
from typing import Any

import pytest

import tests.envs.mistaken_games
from quintet.games.api import Actions, GameError, Transition
from quintet.games.checks.rehearsal import rehearse_rows
from tests.envs.mistaken_games import Sound


@pytest.mark.parametrize(
    ("name", "method", "says"),
    [
        ("GainPerGame", "step", r"reward is float32 \(1,\); expected float32 \(1, 1, 1\)"),
        ("GainNan", "step", "a reward is not finite"),
        ("GainFloat64", "step", r"reward is float64 \(1, 1, 1\); expected float32"),
        ("SeenFloat64", "reset", r"counter is float64 \(1, 1, 1, 4\); expected float32"),
        ("ShortMask", "reset", r"action_mask/action is bool \(1, 1, 1, 2\); expected bool \(1, 1, 1, 4\)"),
        ("EmptyMask", "reset", "action_mask/action allows nothing in slot 0, team 0, agent 0, who is acting"),
        ("NobodyActs", "reset", r"the observation has the entries .*; expected \['acting', "),
        ("EndsTwice", "step", r"the step after an end has a reward; it must be 0 \(NEXT_STEP autoreset\)"),
        ("EndsPerGame", "step", r"truncated is bool \(1,\); expected bool \(1, 1, 1\)"),
        ("Tuples", "step", "step returned a tuple; expected a Transition"),
    ],
)
def test_a_broken_rule_is_said_with_the_line_of_the_method(name: str, method: str, says: str) -> None:
    kind: Any = getattr(tests.envs.mistaken_games, name)
    line = inspect.getsourcelines(getattr(kind, method))[1]
    with pytest.raises(GameError, match=says) as caught:
        rehearse_rows(kind(1), 0)
    assert str(caught.value).startswith(f"tests/envs/mistaken_games.py:{line}: {name}.{method}: ")


def test_what_a_game_raises_is_said_with_the_line_that_raised_it() -> None:
    line = inspect.getsourcelines(tests.envs.mistaken_games.Stalls.step)[1] + 1
    says = f"^tests/envs/mistaken_games.py:{line}: Stalls.step raised RuntimeError: the board is gone"
    with pytest.raises(GameError, match=says) as caught:
        rehearse_rows(tests.envs.mistaken_games.Stalls(1), 0)
    assert isinstance(caught.value.__cause__, RuntimeError)


def test_numbers_outside_a_box_are_remarked_once() -> None:
    (remark,) = rehearse_rows(tests.envs.mistaken_games.OutsideBox(2), 0).remarks
    assert "counter has values from -1.0" in remark
    assert "taken as they are" in remark


def test_a_sound_game_gets_no_remark() -> None:
    assert rehearse_rows(Sound(2), 0).remarks == []


def test_a_slow_game_plays_a_few_rows_only() -> None:
    class Slow(Sound):
        rows = 0

        def step(self, actions: Actions) -> Transition:
            self.rows += 1
            time.sleep(0.01)
            return super().step(actions)

    slow, quick = Slow(1), Slow(1)
    rehearse_rows(slow, 0, within_s=0.0)  # its rows wait and compute nothing: the clock ends them
    rehearse_rows(quick, 0, rows=5, within_s=1e9)
    assert (slow.rows, quick.rows) == (2, 5)
