"""Heads from LSTM output to distributions, and the previous action as features."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from gymnasium import spaces

from model.heads import ActionHeads, GaussianHead, PreviousAction
from model.masked_dist import DiagonalGaussian, MaskedCategorical
from tests.policy_factory import every_kind


def test_a_bounded_box_is_covered_by_an_untrained_head() -> None:
    head = GaussianHead(4, spaces.Box(np.array([-2.0, 10.0], np.float32), np.array([6.0, 11.0], np.float32)))
    distribution = head(torch.zeros(4))
    torch.testing.assert_close(distribution.mean, torch.tensor([2.0, 10.5]))
    torch.testing.assert_close(distribution.log_std.exp(), math.exp(-0.5) * torch.tensor([4.0, 0.5]))


def test_a_box_without_bounds_is_centred_at_zero_with_the_scale_of_one() -> None:
    head = GaussianHead(4, spaces.Box(np.array([0.0], np.float32), np.array([np.inf], np.float32)))
    distribution = head(torch.zeros(4))
    assert distribution.mean.tolist() == [0.0]
    assert distribution.log_std.tolist() == [-0.5]


def test_there_is_one_distribution_per_head_and_the_mask_goes_to_its_own() -> None:
    heads = ActionHeads(every_kind(), 8)
    mask = torch.tensor([[True, False, True, False]])
    found = heads(torch.randn(1, 8), {"action_mask/move": mask})
    assert list(found) == list(every_kind().action_space.spaces)
    move, arm, push = found["move"], found["arm.x"], found["push"]
    assert isinstance(move, MaskedCategorical)
    assert move.log_probs.exp()[0, [1, 3]].tolist() == [0.0, 0.0]
    assert isinstance(arm, MaskedCategorical)
    assert bool((arm.log_probs > -10).all())
    assert isinstance(push, DiagonalGaussian)
    assert push.mean.shape == (1, 2)


def test_a_missing_mask_is_an_error_and_not_everything_legal() -> None:
    with pytest.raises(KeyError, match="action_mask/move"):
        ActionHeads(every_kind(), 8)(torch.randn(1, 8), {})


def test_the_previous_action_is_one_hot_and_nothing_for_none() -> None:
    previous = PreviousAction(every_kind())
    names = list(every_kind().action_space.spaces)
    action = {
        "move": torch.tensor([2, -1], dtype=torch.int16),
        "arm.x": torch.tensor([-1, 0], dtype=torch.int16),
        "push": torch.tensor([[0.5, -7.0], [0.0, 0.0]]),
    }
    expected = {
        "move": [[0, 0, 1, 0], [0, 0, 0, 0]],
        "arm.x": [[0, 0, 0], [1, 0, 0]],
        "push": [[0.5, -7.0], [0.0, 0.0]],
    }
    out = previous(action)
    assert torch.equal(out, torch.cat([torch.tensor(expected[name], dtype=torch.float32) for name in names], dim=-1))
    assert previous.outputs == 9


def test_a_gaussians_spread_is_learned() -> None:
    head = GaussianHead(4, spaces.Box(-1.0, 1.0, (2,)))
    head(torch.randn(3, 4)).log_prob(torch.ones(3, 2)).sum().backward()
    assert head.log_std.grad is not None
    assert bool(head.log_std.grad.all())
