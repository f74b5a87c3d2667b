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

from optimizer.ppo import Loss, explained_variance, masked_mean, ppo_loss

NUMBERS = {"clip": 0.2, "value_clip": 0.0, "value_coefficient": 0.5, "entropy_coefficient": 0.01}
LEARNED = ("log_prob", "entropy", "value")


def random_rows(seed: int = 0, shape: tuple[int, ...] = (5, 3, 2)) -> dict[str, Tensor]:
    random = torch.Generator().manual_seed(seed)

    def normal(scale: float = 1.0) -> Tensor:
        return scale * torch.randn(shape, generator=random)

    old_log_prob, value = -normal().abs(), normal()
    counts = torch.rand(shape, generator=random) < 0.7
    rows = {
        "log_prob": old_log_prob + normal(0.3),
        "old_log_prob": old_log_prob,
        "advantage": normal(),
        "entropy": normal().abs(),
        "value": value,
        "old_value": value + normal(0.3),
        "target": normal(),
        "policy_mask": (counts & (torch.rand(shape, generator=random) < 0.7)).float(),
        "value_mask": counts.float(),
    }
    return {name: x.requires_grad_(name in LEARNED) for name, x in rows.items()}


def loss_of(rows: dict[str, Tensor], **numbers: float) -> Loss:
    return ppo_loss(**rows, **(NUMBERS | numbers))  # type: ignore[arg-type]


def slow_loss(rows: dict[str, Tensor], **numbers: float) -> dict[str, float]:
    """Row by row, in plain Python; a mean over no rows is 0."""
    n = NUMBERS | numbers
    sums: dict[str, list[float]] = defaultdict(list)
    plain = {name: x.detach().double().flatten().tolist() for name, x in rows.items()}
    for k in range(len(plain["value"])):
        r = {name: x[k] for name, x in plain.items()}
        if r["policy_mask"]:
            ratio = math.exp(r["log_prob"] - r["old_log_prob"])
            bounded = max(1 - n["clip"], min(1 + n["clip"], ratio))
            sums["policy_loss"].append(-min(ratio * r["advantage"], bounded * r["advantage"]))
            sums["entropy"].append(r["entropy"])
            sums["approx_kl"].append(ratio - 1 - math.log(ratio))
            sums["clipfrac"].append(float(abs(ratio - 1) > n["clip"]))
        if r["value_mask"]:
            error = (r["value"] - r["target"]) ** 2
            if n["value_clip"]:
                move = max(-n["value_clip"], min(n["value_clip"], r["value"] - r["old_value"]))
                error = max(error, (r["old_value"] + move - r["target"]) ** 2)
            sums["value_loss"].append(0.5 * error)
    names = ("policy_loss", "value_loss", "entropy", "approx_kl", "clipfrac")
    mean = {name: sum(sums[name]) / max(1, len(sums[name])) for name in names}
    value_loss, entropy = n["value_coefficient"] * mean["value_loss"], n["entropy_coefficient"] * mean["entropy"]
    return mean | {"total": mean["policy_loss"] + value_loss - entropy}


@settings(deadline=None, max_examples=30)
@given(
    seed=st.integers(0, 2**31),
    clip=st.sampled_from([0.05, 0.2, 1.0]),
    value_clip=st.sampled_from([0.0, 0.1, 0.5]),
    shape=st.sampled_from([(1, 1, 1), (4, 3, 1), (5, 2, 3)]),
)
def test_loss_and_statistics_equal_a_loop_over_rows(
    seed: int, clip: float, value_clip: float, shape: tuple[int, ...]
) -> None:
    rows, numbers = random_rows(seed, shape), {"clip": clip, "value_clip": value_clip, "entropy_coefficient": 0.3}
    found, expected = loss_of(rows, **numbers), slow_loss(rows, **numbers)
    assert found.total.item() == pytest.approx(expected["total"], abs=1e-5)
    for name in ("policy_loss", "value_loss", "entropy", "approx_kl", "clipfrac"):
        assert found.stats[f"losses/{name}"].item() == pytest.approx(expected[name], abs=1e-5)


def test_the_value_clip_makes_a_difference_only_where_the_value_moved_beyond_it() -> None:
    rows = random_rows()
    assert loss_of(rows, value_clip=0.1).total != loss_of(rows).total
    assert loss_of(rows, value_clip=1e3).total == loss_of(rows).total


@pytest.mark.parametrize("garbage", [1e30, -1e30, float("nan"), float("inf")])
@pytest.mark.parametrize("value_clip", [0.0, 0.2])
def test_rows_that_do_not_count_change_nothing_whatever_they_hold(garbage: float, value_clip: float) -> None:
    clean, dirty = random_rows(), random_rows()
    with torch.no_grad():
        for k, name in enumerate(("log_prob", "old_log_prob", "advantage", "entropy")):
            dirty[name][dirty["policy_mask"] == 0] = garbage / (k + 1)
        for k, name in enumerate(("value", "old_value", "target")):
            dirty[name][dirty["value_mask"] == 0] = garbage / (k + 1)
    a, b = loss_of(clean, value_clip=value_clip), loss_of(dirty, value_clip=value_clip)
    assert torch.equal(a.total, b.total)
    assert all(torch.equal(a.stats[name], b.stats[name]) for name in a.stats)
    for name in LEARNED:
        (expected,) = torch.autograd.grad(a.total, [clean[name]], retain_graph=True)
        (found,) = torch.autograd.grad(b.total, [dirty[name]], retain_graph=True)
        assert torch.equal(found, expected)
        mask = clean["value_mask" if name == "value" else "policy_mask"]
        assert not found[mask == 0].any()
        assert found[mask == 1].any()


def test_a_batch_in_which_nothing_counts_is_a_loss_of_zero() -> None:
    rows = random_rows()
    rows["policy_mask"] = torch.zeros(5, 3, 2)
    rows["value_mask"] = torch.zeros(5, 3, 2)
    loss = loss_of(rows)
    assert loss.total.item() == 0.0
    gradients = torch.autograd.grad(loss.total, [rows[name] for name in LEARNED])
    assert not any(g.any() for g in gradients)


def test_means_divide_by_the_rows_that_count() -> None:
    x, mask = torch.tensor([1.0, 2.0, 30.0, 4.0]), torch.tensor([1.0, 1.0, 0.0, 0.0])
    assert masked_mean(x, mask).item() == 1.5
    assert masked_mean(x, torch.zeros(4)).item() == 0.0


def test_the_surrogate_stops_pulling_once_the_ratio_is_beyond_the_clip_on_the_gaining_side() -> None:
    def gradient(log_ratio: float, advantage: float) -> float:
        rows: dict[str, Any] = {name: torch.zeros(1, 1, 1) for name in random_rows()}
        rows |= {"policy_mask": torch.ones(1, 1, 1), "advantage": torch.full((1, 1, 1), advantage)}
        rows["log_prob"] = torch.full((1, 1, 1), log_ratio, requires_grad=True)
        loss_of(rows).total.backward()  # type: ignore[no-untyped-call]
        return float(rows["log_prob"].grad)

    assert gradient(0.5, 1.0) == 0.0
    assert gradient(-0.5, -1.0) == 0.0
    assert gradient(0.5, -1.0) > 0.0
    assert gradient(-0.5, 1.0) < 0.0
    assert gradient(0.0, 1.0) == -1.0


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 2**31))
def test_explained_variance_is_numpys_over_the_rows_that_count(seed: int) -> None:
    rows = random_rows(seed)
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
