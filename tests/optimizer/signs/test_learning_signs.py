"""What a batch shows of whether anything can be learned from it, on batches of which that is known."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from torch import Tensor

from quintet.games.api import VectorGame
from quintet.model.config import PolicyConfig
from quintet.model.policy import Policy
from quintet.optimizer.batch import Batch
from quintet.optimizer.config import OptimizerConfig, PPOConfig
from quintet.optimizer.learner import Learner
from quintet.optimizer.signs.action_effect import ActionEffect, since_first
from quintet.optimizer.signs.learning_signs import LearningSigns, value_gradient_share
from tests.envs.signpost import Fault, Signpost
from tests.support.in_process_run import CPU, batch_of, counting_game, play_chunks

BPTT = 8
CHANCE = 5.0


def a_learner(game: VectorGame, **ppo: Any) -> Learner:
    torch.manual_seed(0)
    policy = Policy(game.spec, PolicyConfig(lstm_units=8, precision="float32")).use_device(CPU)
    config = OptimizerConfig(batch_steps=1024, max_staleness=8)
    return Learner(policy, spec=game.spec, ppo=PPOConfig(**ppo), config=config, bptt_steps=BPTT, seed=0)


def batches(game: VectorGame, policy: Policy, count: int) -> list[Batch]:
    spec, chunks = play_chunks(game, policy, bptt=BPTT, chunk=4 * BPTT, windows=4 * count)
    return [batch_of(spec, chunks[k::count]) for k in range(count)]


def signs_of(fault: Fault, **ppo: Any) -> dict[str, float]:
    game = Signpost(16, fault)
    learner = a_learner(game, **ppo)
    batch = batches(game, learner.policy, 1)[0]
    update = learner.update(batch, version=1, agent_steps=0)
    return LearningSigns(learner)(batch, update, 512)


def test_a_sound_game_shows_that_inputs_and_rewards_vary_and_games_end() -> None:
    signs = signs_of("none", epochs=2, minibatches=2)
    assert signs["learning/gradient_steps"] == 4
    assert signs["learning/inputs_that_vary"] == 1.0
    assert signs["learning/reward_mean"] == pytest.approx(0.5, abs=0.1)
    assert signs["learning/reward_std"] == pytest.approx(0.5, abs=0.1)
    assert signs["learning/episodes_ended"] > 20
    assert signs["learning/entropy_share"] == pytest.approx(1.0, abs=0.01)


def test_what_does_not_vary_is_exactly_that() -> None:
    assert signs_of("blind")["learning/inputs_that_vary"] == 0.0
    unpaid = signs_of("unpaid")
    assert (unpaid["learning/reward_mean"], unpaid["learning/reward_std"]) == (1.0, 0.0)
    assert signs_of("endless")["learning/episodes_ended"] == 0.0


def test_nothing_is_said_of_a_batch_that_was_not_trained_on() -> None:
    game = Signpost(4)
    learner = a_learner(game)
    batch = batches(game, learner.policy, 1)[0]
    update = learner.update(batch, version=100, agent_steps=0)
    assert LearningSigns(learner)(batch, update, 0) == {}


def test_entropy_of_a_fresh_policy_is_its_own_measure_whatever_is_legal() -> None:
    for options in ({"masks": True, "box_dims": 2}, {"masks": True}, {"box_dims": 3}):
        game = counting_game(8, **options)
        learner = a_learner(game)
        batch = batches(game, learner.policy, 1)[0]
        update = learner.update(batch, version=1, agent_steps=0)
        assert LearningSigns(learner)(batch, update, 0)["learning/entropy_share"] == pytest.approx(1.0, abs=0.02)


def decided(policy: Policy) -> Policy:
    """A policy that is far from even odds, and goes by what it is shown."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, parameter in policy.named_parameters():
            if parameter.ndim == 2 and not name.startswith("value"):
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * 1.5 / parameter.shape[1] ** 0.5)
    return policy


def effect(fault: Fault, *, box: bool = False, policy_is_decided: bool = False, count: int = 12) -> float:
    game = Signpost(64, fault, box=box)
    policy = a_learner(game).policy
    if policy_is_decided:
        decided(policy)
    found = ActionEffect(policy, BPTT)
    for batch in batches(game, policy, count):
        found.add(batch, 0.9)
    assert found.rows > 20_000
    return found.largest


# A Box head's test is exact for a policy that is linear in what it is shown, as a fresh one is; else it errs towards an
# effect, and the doctor is silent.
@pytest.mark.parametrize(("box", "policy_is_decided"), [(False, False), (False, True), (True, False)])
def test_actions_that_the_game_ignores_show_no_effect_even_where_the_policy_goes_by_what_pays(
    box: bool, policy_is_decided: bool
) -> None:
    assert effect("deaf", box=box, policy_is_decided=policy_is_decided) < CHANCE


@pytest.mark.parametrize("fault", ["none", "forgotten"])
@pytest.mark.parametrize("box", [False, True])
def test_an_action_that_is_right_only_by_what_is_or_was_shown_shows_its_effect(fault: Fault, box: bool) -> None:
    assert effect(fault, box=box) > 2 * CHANCE


def test_no_effect_is_looked_for_where_not_finding_one_would_mean_nothing() -> None:
    assert ActionEffect(a_learner(Signpost(1)).policy, BPTT).sees_all
    unread, image = Signpost(1), Signpost(1)
    heads = spaces.Dict({"go": spaces.Discrete(2), "far": spaces.Box(-1.0, 1.0, (1,), np.float32)})
    unread.spec = replace(unread.spec, action_space=heads, primary_head="go", reads=(frozenset(), frozenset({"far"})))
    assert not ActionEffect(a_learner(unread).policy, BPTT).sees_all
    image.spec = replace(image.spec, observation_space=spaces.Dict({"sign": spaces.Box(-1.0, 1.0, (65,), np.float32)}))
    assert not ActionEffect(a_learner(image).policy, BPTT).sees_all


def test_the_sum_since_a_game_began_starts_anew_with_it() -> None:
    x = torch.arange(1.0, 7.0).reshape(6, 1, 1, 1)
    first = torch.tensor([False, False, True, False, True, False]).reshape(6, 1)
    counts = torch.tensor([1.0, 2.0, 1.0, 2.0, 1.0, 2.0]).sqrt()
    assert torch.allclose(since_first(x, first).flatten(), torch.tensor([1.0, 3.0, 3.0, 7.0, 5.0, 11.0]) / counts)


def share(**ppo: Any) -> float:
    game = Signpost(16)
    learner = a_learner(game, **ppo)
    batch = batches(game, learner.policy, 1)[0]
    update = learner.update(batch, version=1, agent_steps=0)
    return value_gradient_share(learner, batch, update.freshness, 0)["learning/value_gradient_share"]


def test_the_value_loss_share_of_the_trunk_follows_its_coefficient() -> None:
    assert share(value_coefficient=0.0) == pytest.approx(0.0, abs=1e-5)
    assert 0.1 < share(value_coefficient=0.5) < 0.99
    assert share(value_coefficient=1e4) > 0.999


def test_looking_changes_nothing_of_what_is_trained() -> None:
    game = Signpost(16)
    learner = a_learner(game, epochs=2, minibatches=2)
    batch = batches(game, learner.policy, 1)[0]
    update = learner.update(batch, version=1, agent_steps=0)
    before: dict[str, Tensor] = learner.snapshot()
    gradients = [None if p.grad is None else p.grad.clone() for p in learner.parameters]
    assert "learning/value_gradient_share" in LearningSigns(learner)(batch, update, 0)
    after = learner.snapshot()
    assert [name for name in before if not torch.equal(before[name], after[name])] == []
    for gradient, parameter in zip(gradients, learner.parameters, strict=True):
        assert (gradient is None) == (parameter.grad is None)
        assert gradient is None or (parameter.grad is not None and torch.equal(gradient, parameter.grad))
