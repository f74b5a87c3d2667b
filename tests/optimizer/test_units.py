"""What a policy does and how it learns does not change with the units in which an environment shows, acts and pays."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces

from quintet.games.api import Array
from quintet.games.box_units import box_units
from quintet.model.policy import Policy
from quintet.optimizer.config import OptimizerConfig, PPOConfig, Ramp
from quintet.optimizer.learner import Learner
from tests.envs.aiming import Aiming
from tests.support.in_process_run import CPU, SMALL, batch_of, play_chunks

LARGEST = float(np.finfo(np.float32).max)


def box(*bounds: tuple[float, float]) -> spaces.Box:
    low, high = zip(*bounds, strict=True)
    return spaces.Box(np.array(low, np.float32), np.array(high, np.float32))


def trained(
    game: Aiming, *, seen: bool = True, updates: int = 4, **ppo_config: Any
) -> tuple[list[dict[str, float]], Array]:
    """The losses of some versions, and all actions, unclipped, in units of the box. `seen`: the statistics are warm."""
    torch.manual_seed(0)
    policy = Policy(game.spec, SMALL).use_device(CPU)
    ppo = PPOConfig(epochs=2, minibatches=2, learning_rate=Ramp(value=1e-3), **ppo_config)
    learner = Learner(policy, spec=game.spec, ppo=ppo, config=OptimizerConfig(), bptt_steps=4, seed=0)
    numbers = torch.linspace(-1, 1, 50)[:, None]
    encoder: Any = policy.encoders[0]
    encoder.update_statistics(game.shown * numbers, None)
    if seen:
        policy.returns.update(game.paid * numbers, decay=0.95, value_head=policy.value)
    units, actions, losses = box_units(game.box), [], []
    for version in range(1, updates + 1):
        spec, chunks = play_chunks(game, policy, version=version, seed=version)
        actions += [
            (chunk.action["aim"][1:] - units.center) / units.half_range for chunk in chunks if chunk.valid.all()
        ]
        losses.append(learner.update(batch_of(spec, chunks), version=version, agent_steps=0).stats)
    return losses, np.concatenate(actions)


@cache
def in_units_of_one(seen: bool) -> tuple[list[dict[str, float]], Array]:
    return trained(Aiming(4), seen=seen)


@pytest.mark.slow
@pytest.mark.parametrize(
    "other",
    [
        {"box": box((-1000, 1000))},
        {"box": box((-1e-3, 1e-3))},
        {"box": box((9000, 9004))},
        {"shown": 1e6},
        {"shown": 1e-3},
        {"paid": 1000.0},
        {"paid": 1e-3},
        {"box": box((-7e5, 7e5)), "shown": 3e-3, "paid": 1e6},
    ],
    ids=str,
)
@pytest.mark.parametrize("seen", [True, False])
def test_the_same_seeds_give_the_same_actions_and_losses_in_any_units(other: dict[str, Any], seen: bool) -> None:
    losses, actions = in_units_of_one(seen)
    other_losses, other_actions = trained(Aiming(4, **other), seen=seen)
    np.testing.assert_allclose(other_actions, actions, rtol=0, atol=2e-2 if "9000" in str(other) else 2e-3)
    for one, two in zip(losses, other_losses, strict=True):
        assert two == pytest.approx(one, rel=2e-2, abs=2e-3)
    assert losses[-1]["losses/entropy"] != losses[0]["losses/entropy"]  # it learns


@pytest.mark.parametrize("seen", [True, False])
@pytest.mark.parametrize("paid", [100.0, 1e-3])
def test_advantages_that_are_not_normalised_are_in_their_unit(paid: float, seen: bool) -> None:
    raw: dict[str, Any] = {"seen": seen, "normalize_advantages": False, "updates": 2}
    losses, actions = trained(Aiming(4), **raw)
    others, other_actions = trained(Aiming(4, paid=paid), **raw, advantage_unit=paid)
    np.testing.assert_allclose(other_actions, actions, rtol=0, atol=1e-4)
    for one, two in zip(losses, others, strict=True):
        assert two == pytest.approx(one, rel=1e-3, abs=1e-4)
    (in_ones, *_), _ = trained(Aiming(4, paid=paid), **raw)
    assert in_ones["losses/policy_loss"] != pytest.approx(losses[0]["losses/policy_loss"], rel=0.1)


@pytest.mark.parametrize(
    "space",
    [
        box((-1, 1), (0.5, 0.5)),
        box((-1, 1), (0, 0)),
        box((-1, 1), (-LARGEST, LARGEST)),
        box((-1, 1), (-np.inf, np.inf), (3, np.inf), (-LARGEST, -7), (2, 2)),
    ],
    ids=str,
)
def test_constant_and_unbounded_dimensions_train_and_the_environment_is_handed_what_its_box_holds(
    space: spaces.Box,
) -> None:
    game = Aiming(4, space)  # which refuses an action outside its box
    losses, _ = trained(game)
    assert all(np.isfinite(list(stats.values())).all() for stats in losses)
    handed = np.concatenate([actions.reshape(-1, *space.shape) for actions in game.actions])
    constant = space.low == space.high
    np.testing.assert_array_equal(handed[:, constant], np.broadcast_to(space.low, handed.shape)[:, constant])
    assert (handed[:, ~constant].std(axis=0)[:2] > 0.1).all()


def test_a_constant_dimension_adds_nothing_to_the_losses() -> None:
    """An environment without it: the same policy, but for the random numbers that the constant takes."""
    one, _ = trained(Aiming(4, box((-1, 1))), updates=1)
    two, _ = trained(Aiming(4, box((-1, 1), (0.5, 0.5))), updates=1)
    assert two[0]["losses/entropy"] == pytest.approx(one[0]["losses/entropy"], abs=1e-2)


def test_a_base_of_ten_thousand_in_every_return_hides_nothing_of_what_differs() -> None:
    torch.manual_seed(0)
    game = Aiming(4, base=10_000.0)
    policy = Policy(game.spec, SMALL).use_device(CPU)
    learner = Learner(
        policy, spec=game.spec, ppo=PPOConfig(discount=0.0), config=OptimizerConfig(), bptt_steps=4, seed=0
    )
    rows = []
    for version in range(1, 6):
        spec, chunks = play_chunks(game, policy, version=version, seed=version)
        learner.warm_up(batch_of(spec, chunks))
        rows += [chunk.reward[chunk.valid].astype(np.float64) for chunk in chunks]
    returns = np.concatenate(rows)
    assert returns.mean() > 9_999
    assert float(policy.returns.scale) == pytest.approx(returns.std(), rel=0.1)
