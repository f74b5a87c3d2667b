"""Heads: by brute force over all joint actions, against the paper's formulas, and what is not read."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from torch import Tensor

from quintet.games.api import UnsupportedSpaceError
from quintet.model.config import PolicyConfig
from quintet.model.distributions import DiagonalGaussian, MaskedCategorical
from quintet.model.heads import ActionHeads, GaussianHead, TargetHead
from quintet.model.layers import Linear
from quintet.model.policy import Policy, joint
from quintet.wire.link import Precision
from tests.support.policy_factory import (
    CPU,
    Rows,
    every_kind,
    make_policy,
    plain,
    random_actions,
    random_rows,
    targeting,
)

TARGETS = targeting()


def test_a_bounded_box_is_covered_by_an_untrained_head() -> None:
    head = GaussianHead(4, spaces.Box(np.array([-2.0, 10.0], np.float32), np.array([6.0, 11.0], np.float32)))
    distribution = head(head.layer(torch.zeros(4)))
    torch.testing.assert_close(distribution.mode(), torch.tensor([2.0, 10.5]))
    torch.testing.assert_close(distribution.spread().detach(), math.exp(-0.5) * torch.tensor([4.0, 0.5]))


def test_a_box_without_bounds_is_centred_at_zero_with_the_scale_of_one() -> None:
    head = GaussianHead(4, spaces.Box(np.array([0.0], np.float32), np.array([np.inf], np.float32)))
    distribution = head(head.layer(torch.zeros(4)))
    assert distribution.mode().tolist() == [0.0]
    assert distribution.spread().tolist() == pytest.approx([math.exp(-0.5)])


def test_there_is_one_distribution_per_head_and_the_mask_goes_to_its_own() -> None:
    heads = ActionHeads(every_kind(), 8, 32)
    mask = {"action_mask/move": torch.tensor([[True, False, True, False]])}
    hidden = torch.randn(1, 8)
    queries = {name: layer(hidden) for name, layer in zip(heads.names, heads.layers, strict=True)}
    move, arm, push = (heads.distribution(name, queries, {}, mask, None) for name in ("move", "arm.x", "push"))
    assert isinstance(move, MaskedCategorical)
    assert move.log_probs.exp()[0, [1, 3]].tolist() == [0.0, 0.0]
    assert isinstance(arm, MaskedCategorical)
    assert bool((arm.log_probs > -10).all())
    assert isinstance(push, DiagonalGaussian)
    assert push.mean.shape == (1, 2)


def test_a_missing_mask_is_an_error_and_not_everything_legal() -> None:
    with pytest.raises(KeyError, match="action_mask/move"):
        ActionHeads(every_kind(), 8, 32).distribution("move", {"move": torch.randn(1, 4)}, {}, {}, None)


def test_a_game_without_a_primary_head_reads_every_head_always() -> None:
    spec = every_kind()
    policy, rows = make_policy(spec), random_rows(spec, 8)
    evaluated = policy.evaluate(rows.unroll(policy), rows.observation, random_actions(spec, rows))
    assert all(bool(read.all()) for read in evaluated.read.values())
    assert all(read.shape == (7, 3, 2) for read in evaluated.read.values())


def combinations() -> list[dict[str, int]]:
    """Every action of `targeting` that differs in what is read; -1 stands for a head that is not."""
    found = []
    for act, reads in enumerate(TARGETS.reads):
        for target in range(3) if "target" in reads else [-1]:
            found += [
                {"act": act, "target": target, "offset.x": x} for x in (range(2) if "offset.x" in reads else [-1])
            ]
    return found


def is_legal(action: dict[str, int], observation: dict[str, Tensor], at: tuple[int, int, int]) -> bool:
    """Straight from the words of the contract, for row, team and agent."""
    if not observation["action_mask/act"][at][action["act"]]:
        return False
    for head in ("target", "offset.x"):
        if action[head] >= 0 and not observation[f"action_mask/{head}"][at][action["act"]][action[head]]:
            return False
    return action["target"] < 0 or bool(observation["units_mask"][at[:2]][action["target"]])


@pytest.mark.parametrize("relations", [True, False])
@pytest.mark.parametrize("seed", range(3))
def test_the_probabilities_of_all_legal_joint_actions_sum_to_one_and_the_mean_entropy_of_a_step_is_their_entropy(
    seed: int, relations: bool
) -> None:
    spec = targeting(relations=relations)
    policy, rows = make_policy(spec, seed=seed), random_rows(spec, 8, seed=seed)
    with torch.no_grad():
        unrolled = rows.unroll(policy)
        shape = unrolled.value.shape
        everything, joint_entropy, mean_entropy = torch.zeros(shape), torch.zeros(shape), torch.zeros(shape)
        for action in combinations():
            taken = {head: torch.full(shape, choice) for head, choice in action.items()}
            evaluated = policy.evaluate(unrolled, rows.observation, taken)
            log_prob, entropy = joint(evaluated.log_prob), joint(evaluated.entropy)
            probability = log_prob.exp()
            legal = torch.tensor([is_legal(action, rows.observation, at) for at in np.ndindex(*shape)]).view(shape)
            assert not probability[~legal].any()
            assert bool((probability[legal] > 0).all())
            everything += probability
            joint_entropy -= torch.where(legal, probability * log_prob, 0.0)
            mean_entropy += probability * entropy
    torch.testing.assert_close(everything, torch.ones(shape), rtol=0, atol=1e-5)
    torch.testing.assert_close(mean_entropy, joint_entropy, rtol=1e-4, atol=1e-5)
    assert float(joint_entropy.std()) > 0.1  # the masks differ


def test_heads_that_are_not_read_have_neither_log_probability_nor_entropy_nor_gradient() -> None:
    policy, rows = make_policy(TARGETS), random_rows(TARGETS, 8)
    unrolled = rows.unroll(policy)
    actions = random_actions(TARGETS, rows)
    evaluated = policy.evaluate(unrolled, rows.observation, actions)
    for head in ("act", "target", "offset.x"):
        read = torch.tensor(
            [act >= 0 and (head == "act" or head in TARGETS.reads[act]) for act in actions["act"].flatten().tolist()]
        ).view(7, 3, 2)
        assert torch.equal(evaluated.read[head], read)
        assert read.any()
        assert not read.all()
        for numbers in (evaluated.log_prob[head], evaluated.entropy[head]):
            assert not numbers[~read].any()
            (gradient,) = torch.autograd.grad(numbers.sum(), [unrolled.hidden], retain_graph=True)
            assert not gradient[~read].any()
            assert gradient[read].any()


def test_what_is_played_agrees_with_what_is_evaluated_and_unread_heads_are_minus_one(precision: Precision) -> None:
    policy, rows = make_policy(TARGETS, precision=precision), random_rows(TARGETS, 8, rows=1, teams=60)
    acted = policy.act(*rows.row(0), rows.state, torch.Generator().manual_seed(3))
    evaluated = policy.evaluate(
        rows.unroll(policy), rows.observation, {head: x.unsqueeze(0) for head, x in acted.action.items()}
    )
    for head, log_prob in evaluated.log_prob.items():
        torch.testing.assert_close(acted.log_prob[head], log_prob[0].detach())
        assert torch.equal(acted.action[head] >= 0, evaluated.read[head][0])
    for at in np.ndindex(1, 60, 2):
        assert is_legal({h: int(x[at[1:]]) for h, x in acted.action.items()}, rows.observation, at)


def test_an_untrained_network_chooses_almost_evenly_among_what_is_legal() -> None:
    torch.manual_seed(0)
    policy = Policy(TARGETS, PolicyConfig(lstm_units=8, precision="float32")).use_device(CPU)
    rows = random_rows(TARGETS, 8)
    unrolled = rows.unroll(policy)
    for name in ("act", "target", "offset.x"):
        chosen = None if name == "act" else torch.full((7, 3, 2), 3)
        found = policy.heads.distribution(name, unrolled.queries, unrolled.keys, rows.observation, chosen)
        assert isinstance(found, MaskedCategorical)
        probability = found.log_probs.exp()
        legal = probability > 0
        even = legal / legal.sum(dim=-1, keepdim=True)
        torch.testing.assert_close(probability, even, rtol=0.1, atol=0)


@pytest.mark.parametrize("relations", [True, False])
def test_target_logits_are_the_papers_dot_products_of_query_and_gated_key(relations: bool) -> None:
    spec = targeting(relations=relations)
    policy, rows = make_policy(spec), random_rows(spec, 8)
    unrolled, act = rows.unroll(policy), torch.randint(0, 4, (7, 3, 2))
    index = policy.heads.names.index("target")
    head = policy.heads.modules_by_head[index]
    assert isinstance(head, TargetHead)
    assert head.gate is not None
    found = head(unrolled.queries["target"], unrolled.keys["units"], act)
    embedding = unrolled.keys["units"].embedding.unflatten(0, (7, 3))  # type: ignore[no-untyped-call]
    for t, b, a in np.ndindex(7, 3, 2):
        query = head.query(unrolled.hidden[t, b, a])
        for n in range(3):
            key = embedding[t, b, a if relations else 0, n]
            gated = key * torch.sigmoid(head.gate[act[t, b, a]])
            assert float(found[t, b, a, n].detach()) == pytest.approx(
                float((query @ gated).detach()) / 32**0.5, abs=1e-5
            )


def test_the_order_of_the_slots_moves_the_target_logits_along_and_nothing_else() -> None:
    policy, rows = make_policy(TARGETS), random_rows(TARGETS, 8)
    order = torch.tensor([0, 2, 1])
    units: Any = policy.encoders.get_submodule(str(policy.entries.index("units")))
    units.own = None  # those who are slot 1 are so no more
    policy.layer = Linear(policy.layer.in_features - 32, policy.layer.out_features)
    observation = rows.observation | {n: rows.observation[n][:, :, order] for n in ("units", "units_mask")}
    shuffled = Rows(observation=observation, first=rows.first, previous_action=rows.previous_action, state=rows.state)
    one, other = rows.unroll(policy), shuffled.unroll(policy)
    torch.testing.assert_close(one.hidden, other.hidden)
    head = policy.heads.modules_by_head[policy.heads.names.index("target")]
    act = torch.ones(7, 3, 2, dtype=torch.int64)
    logits = [head(u.queries["target"], u.keys["units"], act) for u in (one, other)]
    torch.testing.assert_close(logits[0][..., order], logits[1])
    assert not torch.allclose(logits[0], logits[1])


def test_a_target_head_whose_set_has_no_built_in_encoder_is_refused_by_name() -> None:
    spec = replace(TARGETS, uses={**TARGETS.uses, "units": "critic", "units_mask": "critic"})
    with pytest.raises(UnsupportedSpaceError, match=r"head 'target' points at 'units'.*there are \['items'\]"):
        make_policy(spec)


def test_a_head_of_a_space_that_is_not_supported_is_refused_by_name() -> None:
    spec = replace(plain(), action_space=spaces.Dict({"keys": spaces.MultiBinary(3)}))
    with pytest.raises(UnsupportedSpaceError, match=r"plain: action head 'keys' is a MultiBinary"):
        make_policy(spec)


def test_a_gaussians_spread_is_learned() -> None:
    head = GaussianHead(4, spaces.Box(-1.0, 1.0, (2,)))
    head(torch.randn(3, 2)).log_prob(torch.ones(3, 2)).sum().backward()
    assert head.log_std.grad is not None
    assert bool(head.log_std.grad.all())
