"""The PPO loss against a loop over rows, and rows that do not count."""

from __future__ import annotations

import math
from collections import defaultdict
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from quintet.optimizer.ppo import Loss, explained_variance, masked_mean, ppo_loss

NUMBERS: dict[str, Any] = {
    "clip": 0.2, "value_clip": 0.0, "value_coefficient": 0.5, "entropy_coefficient": 0.01, "ratio": "joint",
    "dual_clip": 0.0,
}  # fmt: skip
HEADS = ("act", "target", "push")  # the first is always read
BY_HEAD = ("log_prob", "old_log_prob", "entropy", "read")
LEARNED = ("log_prob", "entropy", "value")
Rows = dict[str, Any]  # what `ppo_loss` takes: tensors, and dicts of them by head


def random_rows(seed: int = 0, shape: tuple[int, ...] = (5, 3, 2), heads: tuple[str, ...] = HEADS) -> Rows:
    random = torch.Generator().manual_seed(seed)

    def normal(scale: float = 1.0) -> Tensor:
        return scale * torch.randn(shape, generator=random)

    old_log_prob, value = {head: -normal().abs() for head in heads}, normal()
    counts = torch.rand(shape, generator=random) < 0.7
    return {
        "log_prob": {head: (old_log_prob[head] + normal(0.3)).requires_grad_() for head in heads},
        "old_log_prob": old_log_prob,
        "entropy": {head: normal().abs().requires_grad_() for head in heads},
        "read": {head: torch.rand(shape, generator=random) < (2.0 if head == "act" else 0.5) for head in heads},
        "advantage": normal(),
        "value": value.requires_grad_(),
        "old_value": value.detach() + normal(0.3),
        "target": normal(),
        "policy_mask": (counts & (torch.rand(shape, generator=random) < 0.7)).float(),
        "value_mask": counts.float(),
    }


def loss_of(rows: Rows, **numbers: Any) -> Loss:
    return ppo_loss(**rows, **(NUMBERS | numbers))


def leaves(rows: Rows) -> dict[str, Tensor]:
    """Every tensor that is learned, by a name that says which head it is of."""
    flat = {name: rows[name] if isinstance(rows[name], dict) else {"": rows[name]} for name in LEARNED}
    return {f"{name}/{head}": x for name, by_head in flat.items() for head, x in by_head.items()}


def slow_surrogate(log_ratio: float, advantage: float, n: Rows) -> float:
    ratio, clip = math.exp(log_ratio), float(n["clip"])
    bounded = max(1 - clip, min(1 + clip, ratio))
    kept = min(ratio * advantage, bounded * advantage)
    return max(kept, float(n["dual_clip"]) * advantage) if n["dual_clip"] and advantage < 0 else kept


def slow_loss(rows: Rows, **numbers: Any) -> dict[str, float]:
    """Row by row and head by head, in plain Python; a mean over no rows is 0."""
    n = NUMBERS | numbers
    sums: dict[str, list[float]] = defaultdict(list)
    for at in np.ndindex(tuple(rows["value"].shape)):
        r = {name: x[at].item() for name, x in rows.items() if name not in BY_HEAD}
        if r["policy_mask"]:
            h = {
                head: {name: rows[name][head][at].item() for name in BY_HEAD}
                for head in rows["read"]
                if rows["read"][head][at]
            }
            moves = {head: x["log_prob"] - x["old_log_prob"] for head, x in h.items()}
            joint = sum(moves.values())
            sums["joint"].append(slow_surrogate(joint, r["advantage"], n))
            sums["losses/entropy"].append(sum(x["entropy"] for x in h.values()))
            sums["losses/approx_kl"].append(math.exp(joint) - 1 - joint)
            sums["losses/clipfrac_joint"].append(float(abs(math.exp(joint) - 1) > n["clip"]))
            for head, move in moves.items():
                sums[f"surrogate/{head}"].append(slow_surrogate(move, r["advantage"], n))
                sums[f"heads/{head}/entropy"].append(h[head]["entropy"])
                sums[f"heads/{head}/kl"].append(math.exp(move) - 1 - move)
                sums[f"heads/{head}/clipfrac"].append(float(abs(math.exp(move) - 1) > n["clip"]))
                sums["losses/clipfrac_per_head"].append(float(abs(math.exp(move) - 1) > n["clip"]))
        if r["value_mask"]:
            error = (r["value"] - r["target"]) ** 2
            if n["value_clip"]:
                move = max(-n["value_clip"], min(n["value_clip"], r["value"] - r["old_value"]))
                error = max(error, (r["old_value"] + move - r["target"]) ** 2)
            sums["losses/value_loss"].append(0.5 * error)
    mean = defaultdict(float, {name: sum(x) / len(x) for name, x in sums.items()})
    surrogate = mean["joint"] if n["ratio"] == "joint" else sum(mean[f"surrogate/{head}"] for head in rows["read"])
    mean["losses/policy_loss"] = -surrogate
    mean["losses/clipfrac"] = mean[f"losses/clipfrac_{n['ratio']}"]
    value_loss = n["value_coefficient"] * mean["losses/value_loss"]
    mean["total"] = value_loss - surrogate - n["entropy_coefficient"] * mean["losses/entropy"]
    return mean


@settings(deadline=None, max_examples=40)
@given(
    seed=st.integers(0, 2**31),
    clip=st.sampled_from([0.05, 0.2, 1.0]),
    value_clip=st.sampled_from([0.0, 0.1, 0.5]),
    shape=st.sampled_from([(1, 1, 1), (4, 3, 1), (5, 2, 3)]),
    heads=st.sampled_from([HEADS[:1], HEADS[:2], HEADS]),
    ratio=st.sampled_from(["joint", "per_head"]),
    dual_clip=st.sampled_from([0.0, 1.0, 3.0]),
)
def test_loss_and_statistics_equal_a_loop_over_rows(
    seed: int,
    clip: float,
    value_clip: float,
    shape: tuple[int, ...],
    heads: tuple[str, ...],
    ratio: str,
    dual_clip: float,
) -> None:
    rows = random_rows(seed, shape, heads)
    numbers = {
        "clip": clip, "value_clip": value_clip, "entropy_coefficient": 0.3, "ratio": ratio, "dual_clip": dual_clip,
    }  # fmt: skip
    found, expected = loss_of(rows, **numbers), slow_loss(rows, **numbers)
    assert found.total.item() == pytest.approx(expected["total"], abs=1e-5)
    assert {f"heads/{head}/{what}" for head in heads for what in ("entropy", "kl", "clipfrac")} <= found.stats.keys()
    for name in found.stats.keys() - {"losses/dual_clipfrac"}:
        assert found.stats[name].item() == pytest.approx(expected[name], abs=1e-5), name


def test_the_value_clip_makes_a_difference_only_where_the_value_moved_beyond_it() -> None:
    rows = random_rows()
    assert loss_of(rows, value_clip=0.1).total != loss_of(rows).total
    assert loss_of(rows, value_clip=1e3).total == loss_of(rows).total


@pytest.mark.parametrize("garbage", [1e30, -1e30, float("nan"), float("inf")])
@pytest.mark.parametrize("numbers", [{}, {"value_clip": 0.2}, {"ratio": "per_head", "dual_clip": 3.0}])
def test_rows_that_do_not_count_and_heads_that_are_not_read_change_nothing_whatever_they_hold(
    garbage: float, numbers: dict[str, Any]
) -> None:
    clean, dirty = random_rows(), random_rows()
    with torch.no_grad():
        for k, name in enumerate(("log_prob", "old_log_prob", "entropy")):
            for head, x in dirty[name].items():
                x[(dirty["policy_mask"] == 0) | ~dirty["read"][head]] = garbage / (k + 1)
        dirty["advantage"][dirty["policy_mask"] == 0] = garbage
        for k, name in enumerate(("value", "old_value", "target")):
            dirty[name][dirty["value_mask"] == 0] = garbage / (k + 1)
    a, b = loss_of(clean, **numbers), loss_of(dirty, **numbers)
    assert torch.equal(a.total, b.total)
    assert all(torch.equal(a.stats[name], b.stats[name]) for name in a.stats)
    for name, leaf in leaves(clean).items():
        (expected,) = torch.autograd.grad(a.total, [leaf], retain_graph=True)
        (found,) = torch.autograd.grad(b.total, [leaves(dirty)[name]], retain_graph=True)
        assert torch.equal(found, expected)
        head = name.partition("/")[2]
        mask = clean["policy_mask"] * clean["read"][head] if head else clean["value_mask"]
        assert not found[mask == 0].any()
        assert found[mask == 1].any()


def test_a_batch_in_which_nothing_counts_is_a_loss_of_zero() -> None:
    for ratio in ("joint", "per_head"):
        rows = random_rows()
        rows["policy_mask"] = torch.zeros(5, 3, 2)
        rows["value_mask"] = torch.zeros(5, 3, 2)
        loss = loss_of(rows, ratio=ratio)
        assert loss.total.item() == 0.0
        gradients = torch.autograd.grad(loss.total, list(leaves(rows).values()))
        assert not any(g.any() for g in gradients)


def test_with_one_head_both_ratios_are_the_same() -> None:
    rows = random_rows(heads=("act",))
    joint, per_head = loss_of(rows, dual_clip=3.0), loss_of(rows, dual_clip=3.0, ratio="per_head")
    torch.testing.assert_close(joint.total, per_head.total)
    assert joint.stats["losses/clipfrac_joint"] == joint.stats["losses/clipfrac_per_head"]


def test_small_moves_of_many_heads_are_clipped_together_but_not_one_by_one() -> None:
    rows = random_rows()
    for head in HEADS:
        rows["read"][head] = torch.ones(5, 3, 2, dtype=torch.bool)
        rows["log_prob"][head] = (rows["old_log_prob"][head] + 0.1).requires_grad_()
    rows["policy_mask"] = torch.ones(5, 3, 2)
    for ratio, share in (("joint", 1.0), ("per_head", 0.0)):
        stats = loss_of(rows, ratio=ratio).stats
        assert stats["losses/clipfrac"].item() == share
        assert (stats["losses/clipfrac_joint"].item(), stats["losses/clipfrac_per_head"].item()) == (1.0, 0.0)


def test_a_head_that_is_seldom_read_has_the_mean_of_its_own_rows() -> None:
    rows = random_rows(heads=("act", "target"))
    rows["policy_mask"], rows["advantage"] = torch.ones(5, 3, 2), torch.ones(5, 3, 2)
    rows["read"]["target"] = torch.zeros(5, 3, 2, dtype=torch.bool)
    rows["read"]["target"][2, 1, 0] = True
    loss = loss_of(rows, ratio="per_head", clip=1e9)
    (gradient,) = torch.autograd.grad(loss.total, [rows["log_prob"]["target"]])
    ratio = (rows["log_prob"]["target"] - rows["old_log_prob"]["target"])[2, 1, 0].exp()
    assert gradient[2, 1, 0].item() == pytest.approx(-ratio.item(), rel=1e-5)
    assert gradient.count_nonzero() == 1


def test_means_divide_by_the_rows_that_count() -> None:
    x, mask = torch.tensor([1.0, 2.0, 30.0, 4.0]), torch.tensor([1.0, 1.0, 0.0, 0.0])
    assert masked_mean(x, mask).item() == 1.5
    assert masked_mean(x, torch.zeros(4)).item() == 0.0


def test_the_surrogate_stops_pulling_once_the_ratio_is_beyond_the_clip_on_the_gaining_side() -> None:
    def gradient(log_ratio: float, advantage: float, **numbers: Any) -> float:
        one = torch.ones(1, 1, 1)
        log_prob = (log_ratio * one).requires_grad_()
        rows = {name: 0 * one for name in ("value", "old_value", "target")}
        rows |= {"policy_mask": one, "value_mask": one, "advantage": advantage * one}
        heads = {"log_prob": log_prob, "old_log_prob": 0 * one, "entropy": 0 * one, "read": one > 0}
        by_head = {name: {"act": x} for name, x in heads.items()}
        loss_of(rows | by_head, **numbers).total.backward()  # type: ignore[no-untyped-call]
        return float(log_prob.grad)  # type: ignore[arg-type]

    assert gradient(0.5, 1.0) == 0.0
    assert gradient(-0.5, -1.0) == 0.0
    assert gradient(0.5, -1.0) > 0.0
    assert gradient(-0.5, 1.0) < 0.0
    assert gradient(0.0, 1.0) == -1.0
    assert gradient(2.0, -1.0) == pytest.approx(math.exp(2.0))
    assert gradient(2.0, -1.0, dual_clip=3.0) == 0.0, "a ratio beyond the dual clip pulls no longer"
    assert gradient(1.0, -1.0, dual_clip=3.0) == pytest.approx(math.exp(1.0))
    assert gradient(2.0, 1.0, dual_clip=3.0) == 0.0


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 2**31))
def test_explained_variance_is_numpys_over_the_rows_that_count(seed: int) -> None:
    rows = random_rows(seed, heads=("act",))
    value, target, mask = rows["value"].detach(), rows["target"], rows["value_mask"]
    v, y = value[mask == 1].double().numpy(), target[mask == 1].double().numpy()
    expected = 1 - np.var(y - v) / np.var(y)
    assert explained_variance(value, target, mask).item() == pytest.approx(expected, rel=1e-3, abs=1e-3)
    dirty = torch.where(mask == 1, value, torch.tensor(float("nan")))
    assert torch.equal(explained_variance(dirty, target, mask), explained_variance(value, target, mask))


def test_explained_variance_is_one_for_the_truth_and_zero_for_a_constant_or_no_variance() -> None:
    target, ones = torch.randn(20), torch.ones(20)
    assert explained_variance(target, target, ones).item() == pytest.approx(1.0)
    assert explained_variance(torch.zeros(20), target, ones).item() == pytest.approx(0.0, abs=1e-6)
    assert explained_variance(target, ones, ones).item() == 0.0
