"""Auxiliary predictions: their shapes, what they mean, and how much of their gradient reaches the LSTM."""

from __future__ import annotations

import pytest
import torch

from quintet.model.auxiliary import AuxiliaryHeads
from quintet.model.policy import Policy
from tests.support.policy_factory import every_kind, make_policy, random_rows, targeting

SPEC = targeting()


def trunk_gradient(policy: Policy, name: str) -> torch.Tensor:
    """Of the sum of a prediction's logits, with respect to the LSTM's output."""
    hidden = torch.randn(5, 8, generator=torch.Generator().manual_seed(0), requires_grad=True)
    (gradient,) = torch.autograd.grad(policy.auxiliary(hidden)[name].square().sum(), [hidden], allow_unused=True)
    return torch.zeros_like(hidden) if gradient is None else gradient


def test_predictions_have_the_shapes_of_their_labels_and_are_probabilities() -> None:
    policy, rows = make_policy(SPEC), random_rows(SPEC, 8)
    unrolled = rows.unroll(policy)
    assert {name: tuple(x.shape) for name, x in unrolled.auxiliary.items()} == {
        "win": (7, 3, 2, 1),
        "rank": (7, 3, 2, 3),
    }
    acted = policy.act(*rows.row(0), rows.state)
    assert bool(((acted.auxiliary["win"] > 0) & (acted.auxiliary["win"] < 1)).all())
    torch.testing.assert_close(acted.auxiliary["rank"].sum(dim=-1), torch.ones(3, 2))
    torch.testing.assert_close(acted.auxiliary["win"], unrolled.auxiliary["win"][0].sigmoid().detach())
    torch.testing.assert_close(acted.auxiliary["rank"], unrolled.auxiliary["rank"][0].softmax(-1).detach())


def test_a_game_without_auxiliaries_predicts_nothing() -> None:
    policy, rows = make_policy(every_kind()), random_rows(every_kind(), 8)
    assert rows.unroll(policy).auxiliary == {}
    assert policy.act(*rows.row(0), rows.state).auxiliary == {}


def test_behind_a_stop_gradient_nothing_reaches_the_lstm_and_the_heads_own_weights_learn() -> None:
    policy, rows = make_policy(SPEC), random_rows(SPEC, 8)
    assert not trunk_gradient(policy, "win").any()
    rows.unroll(policy).auxiliary["win"].square().sum().backward()  # type: ignore[no-untyped-call]
    moved = {name.split(".")[0] for name, p in policy.named_parameters() if p.grad is not None and p.grad.any()}
    assert moved == {"auxiliary"}


@pytest.mark.parametrize("share", [0.25, 1.0])
def test_a_share_of_the_gradient_reaches_the_lstm_where_the_game_says_so(share: float) -> None:
    policy = make_policy(SPEC)
    assert policy.auxiliary.wanted["rank"].trunk_gradient == 0.25
    whole = AuxiliaryHeads(SPEC, 8, 32)
    whole.load_state_dict(policy.auxiliary.state_dict())
    hidden = torch.randn(5, 8, generator=torch.Generator().manual_seed(0), requires_grad=True)
    full = torch.autograd.grad(whole.networks[1](hidden).square().sum(), [hidden])[0]
    object.__setattr__(policy.auxiliary.wanted["rank"], "trunk_gradient", share)
    try:
        torch.testing.assert_close(trunk_gradient(policy, "rank"), share * full)
    finally:
        object.__setattr__(policy.auxiliary.wanted["rank"], "trunk_gradient", 0.25)
