"""A few rows with the policy itself: numbers that are not finite are refused before a run begins."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from quintet.games.api import GameDataError, GameError
from quintet.games.registry import make_game
from quintet.model.config import PolicyConfig
from quintet.model.policy import Policy
from quintet.rollout_workers.policy_rehearsal import rehearse_policy

SMALL = PolicyConfig(lstm_units=16)


def _policy(game: Any) -> Policy:
    return Policy(game.spec, SMALL).use_device(torch.device("cpu"))


@pytest.mark.parametrize("name", ["gymnasium:CartPole-v1", "gymnasium:Pendulum-v1", "counting"])
def test_a_sound_game_plays_with_the_policy(name: str) -> None:
    game = make_game(name, 2, 0)
    rehearse_policy(game, _policy(game), 0)


@pytest.mark.parametrize("part", ["log_prob", "value"])
def test_numbers_of_the_policy_that_are_not_finite_are_refused(part: str, monkeypatch: pytest.MonkeyPatch) -> None:
    game = make_game("gymnasium:tests.envs.mistaken_envs:mistaken/Sound-v0", 2, 0)
    policy = _policy(game)
    act = policy.act

    def broken(*arguments: Any, **named: Any) -> Any:
        with torch.inference_mode():
            acted = act(*arguments, **named)
            for tensor in acted.log_prob.values() if part == "log_prob" else (acted.value,):
                tensor.fill_(float("nan"))
        return acted

    monkeypatch.setattr(policy, "act", broken)
    says = r"^tests/envs/mistaken_envs.py:\d+: Sound.step: the policy answers row 0 with nan as .*look at the bounds"
    with pytest.raises(GameDataError, match=says):
        rehearse_policy(game, policy, 0, within_s=0.0)


def test_a_fault_that_comes_while_the_policy_plays_is_the_games() -> None:
    game = make_game("gymnasium:tests.envs.mistaken_envs:mistaken/NanGain-v0", 2, 0)
    with pytest.raises(GameError, match="the reward is nan"):
        rehearse_policy(game, _policy(game), 0)


def test_a_slow_game_plays_one_row() -> None:
    game = make_game("counting", 1, 0)
    rows = []
    step = game.step
    game.step = lambda actions: (rows.append(1), step(actions))[1]  # type: ignore[method-assign, func-returns-value]
    rehearse_policy(game, _policy(game), 0, within_s=0.0)
    assert len(rows) == 1


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("LaterShort", r"LaterShort.step: action_mask/action is bool \(2, 1, 1, 2\); expected bool \(2, 1, 1, 4\)"),
        ("LaterEmpty", r"LaterEmpty.step: the action mask allows nothing of 'action' .* slot [01]\)"),
        ("LaterPerGame", r"LaterPerGame.step: reward is float32 \(2, 1\); expected float32 \(2, 1, 1\)"),
    ],
)
def test_a_form_that_changes_in_play_is_refused_in_that_row(name: str, says: str) -> None:
    game = make_game(f"tests.envs.mistaken_games:{name}", 2, 0)
    rehearse_policy(game, _policy(game), 0, rows=3, within_s=60.0)
    with pytest.raises(GameDataError, match=f"^tests/envs/mistaken_games.py:\\d+: {says}"):
        rehearse_policy(game, _policy(game), 0, rows=20, within_s=60.0)
