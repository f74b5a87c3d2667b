"""Masked categoricals and Gaussians against numpy, by enumeration and by counting samples."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from gymnasium import spaces
from hypothesis import given, settings
from hypothesis import strategies as st

from quintet.games.api import Array
from quintet.model.box_scale import BoxScale
from quintet.model.distributions import DiagonalGaussian, MaskedCategorical
from quintet.model.policy import joint


def slow_log_probs(logits: Array, mask: Array) -> Array:
    """log softmax over the legal choices of each row, -inf elsewhere."""
    out = np.full(logits.shape, -np.inf)
    for row in range(logits.shape[0]):
        legal = np.flatnonzero(mask[row])
        weights = np.exp(logits[row, legal].astype(np.float64) - logits[row, legal].max())
        out[row, legal] = np.log(weights / weights.sum())
    return out


def random_head(seed: int, rows: int, choices: int) -> tuple[Array, Array]:
    rng = np.random.default_rng(seed)
    logits = (3 * rng.standard_normal((rows, choices))).astype(np.float32)
    mask = rng.random((rows, choices)) < 0.5
    mask[np.arange(rows), rng.integers(0, choices, rows)] = True
    return logits, mask


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 2**31), rows=st.integers(1, 5), choices=st.integers(1, 7))
def test_log_probabilities_and_entropy_equal_an_enumeration_of_the_legal_choices(
    seed: int, rows: int, choices: int
) -> None:
    logits, mask = random_head(seed, rows, choices)
    head = MaskedCategorical(torch.from_numpy(logits), torch.from_numpy(mask))
    expected = slow_log_probs(logits, mask)
    for row in range(rows):
        entropy = 0.0
        for choice in range(choices):
            found = float(head.log_prob(torch.full((rows,), choice))[row])
            if mask[row, choice]:
                assert found == pytest.approx(expected[row, choice], abs=1e-5)
                entropy -= math.exp(expected[row, choice]) * expected[row, choice]
            else:
                assert math.exp(found) == 0.0
        assert float(head.entropy()[row]) == pytest.approx(entropy, abs=1e-5)


def test_without_a_mask_every_choice_is_legal() -> None:
    logits = torch.randn(4, 5)
    everything = MaskedCategorical(logits, torch.ones(4, 5, dtype=torch.bool))
    assert torch.equal(MaskedCategorical(logits, None).log_probs, everything.log_probs)


def test_the_joint_entropy_is_that_of_all_combinations_of_the_heads() -> None:
    heads = {}
    for k, choices in enumerate((3, 2, 4)):
        logits, mask = random_head(k, 1, choices)
        heads[str(k)] = MaskedCategorical(torch.from_numpy(logits), torch.from_numpy(mask))
    enumerated = 0.0
    for actions in itertools.product(range(3), range(2), range(4)):
        taken = dict(zip(heads, actions, strict=True))
        log_prob = float(joint({n: d.log_prob(torch.tensor([taken[n]])) for n, d in heads.items()}))
        enumerated -= math.exp(log_prob) * max(log_prob, -1e6)
    assert float(joint({n: d.entropy() for n, d in heads.items()})) == pytest.approx(enumerated, abs=1e-5)


def test_an_illegal_choice_is_never_sampled_however_much_the_network_wants_it() -> None:
    logits = torch.tensor([[80.0, -80.0, 60.0, -80.0]]).expand(20_000, 4)
    mask = torch.tensor([[False, True, False, True]]).expand(20_000, 4)
    head = MaskedCategorical(logits, mask)
    sampled = head.sample(torch.Generator().manual_seed(0))
    assert set(sampled.tolist()) == {1, 3}
    assert set(head.mode().tolist()) <= {1, 3}


def test_samples_come_as_often_as_their_probabilities_say() -> None:
    n = 40_000
    probabilities = torch.tensor([0.5, 0.3, 0.15, 0.04, 0.01])
    head = MaskedCategorical(probabilities.log().expand(n, 5), None)
    counts = torch.bincount(head.sample(torch.Generator().manual_seed(1)), minlength=5).double()
    sigma = (n * probabilities * (1 - probabilities)).sqrt()
    assert bool(((counts - n * probabilities).abs() < 4 * sigma).all())


def test_the_generator_decides_the_samples() -> None:
    head = MaskedCategorical(torch.zeros(500, 4), None)
    first, again, other = (head.sample(torch.Generator().manual_seed(seed)) for seed in (3, 3, 4))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_a_row_without_a_legal_choice_is_as_if_unmasked_and_makes_no_nan_in_values_or_gradients() -> None:
    logits = torch.randn(2, 3, requires_grad=True)
    mask = torch.tensor([[False, False, False], [True, False, True]])
    head = MaskedCategorical(logits, mask)
    assert torch.equal(head.log_probs[0], MaskedCategorical(logits, None).log_probs[0])
    sampled = head.sample(None)
    total = head.log_prob(sampled).sum() + head.entropy().sum()
    (gradient,) = torch.autograd.grad(total, [logits])
    assert bool(torch.isfinite(total))
    assert bool(torch.isfinite(gradient).all())
    assert float(gradient[1, 1]) == 0.0  # an illegal choice is not taught anything


def test_a_choice_that_was_not_taken_has_a_finite_log_probability() -> None:
    head = MaskedCategorical(torch.randn(3, 4), None)
    assert bool(torch.isfinite(head.log_prob(torch.tensor([-1, 0, -1]))).all())


def test_logits_of_low_precision_become_float32_before_the_softmax() -> None:
    head = MaskedCategorical(torch.randn(3, 4).bfloat16(), None)
    assert head.log_probs.dtype == torch.float32
    torch.testing.assert_close(head.log_probs.exp().sum(-1), torch.ones(3), rtol=0, atol=1e-6)


def slow_normal_log_density(x: float, mean: float, std: float) -> float:
    return math.log(math.exp(-((x - mean) ** 2) / (2 * std**2)) / (std * math.sqrt(2 * math.pi)))


def scale_of(*bounds: tuple[float, float]) -> BoxScale:
    low, high = zip(*bounds, strict=True)
    return BoxScale(spaces.Box(np.array(low, np.float32), np.array(high, np.float32)))


def test_a_gaussian_in_units_of_its_box_is_torchs_in_the_environments_units_but_for_their_size() -> None:
    mean, log_std = torch.tensor([[0.5, -1.0], [0.0, 0.3]]), torch.tensor([0.1, -0.7])
    scale = scale_of((-1000.0, 3000.0), (0.002, 0.003))
    head = DiagonalGaussian(mean, log_std, scale)
    center, half = torch.tensor([1000.0, 0.0025]), torch.tensor([2000.0, 0.0005])
    twin = torch.distributions.Independent(torch.distributions.Normal(center + half * mean, half * log_std.exp()), 1)
    action = head.sample(torch.Generator().manual_seed(1))
    density = twin.log_prob(action)  # type: ignore[no-untyped-call]
    torch.testing.assert_close(head.mode(), twin.mean)
    torch.testing.assert_close(head.spread(), twin.stddev[0])
    torch.testing.assert_close(head.log_prob(action), density + half.log().sum())
    torch.testing.assert_close(head.entropy(), twin.entropy() - half.log().sum())  # type: ignore[no-untyped-call]


def test_a_constant_dimension_is_handed_on_and_has_neither_log_density_nor_entropy_nor_gradient() -> None:
    mean, log_std = torch.tensor([[0.5, 7.0]], requires_grad=True), torch.tensor([0.1, 3.0], requires_grad=True)
    head = DiagonalGaussian(mean, log_std, scale_of((-1.0, 1.0), (0.1, 0.1)))
    plain = DiagonalGaussian(mean[:, :1], log_std[:1], scale_of((-1.0, 1.0)))
    action = head.sample(torch.Generator().manual_seed(1)).detach()
    assert float(action[0, 1]) == float(head.mode().detach()[0, 1]) == float(np.float32(0.1))
    assert head.spread()[1] == 0
    torch.testing.assert_close(head.log_prob(action), plain.log_prob(action[:, :1]))
    torch.testing.assert_close(head.entropy(), plain.entropy())
    (head.log_prob(action) + head.entropy()).sum().backward()  # type: ignore[no-untyped-call]
    assert mean.grad is not None
    assert log_std.grad is not None
    assert mean.grad[0, 1] == log_std.grad[1] == 0
    assert mean.grad[0, 0] != 0


def test_a_gaussians_log_density_is_the_sum_over_its_dimensions() -> None:
    mean = torch.tensor([[0.5, -1.0, 2.0], [0.0, 0.0, 0.0]])
    log_std = torch.tensor([0.1, -0.7, 0.4])
    action = torch.tensor([[0.2, -1.4, 2.2], [1.0, 0.3, -0.5]])
    head = DiagonalGaussian(mean, log_std, scale_of(*[(-1.0, 1.0)] * 3))
    for row in range(2):
        expected = sum(
            slow_normal_log_density(float(action[row, k]), float(mean[row, k]), math.exp(float(log_std[k])))
            for k in range(3)
        )
        assert float(head.log_prob(action)[row]) == pytest.approx(expected, abs=1e-5)


def test_a_gaussians_samples_have_its_mean_deviation_and_entropy() -> None:
    n = 50_000
    mean, log_std = torch.tensor([1.0, -3.0]), torch.tensor([0.3, -1.0])
    head = DiagonalGaussian(mean.expand(n, 2), log_std, scale_of(*[(-1.0, 1.0)] * 2))
    samples = head.sample(torch.Generator().manual_seed(0))
    std = log_std.exp()
    assert bool(((samples.mean(0) - mean).abs() < 4 * std / n**0.5).all())
    assert bool(((samples.std(0) / std - 1).abs() < 0.02).all())
    assert float(-head.log_prob(samples).mean()) == pytest.approx(float(head.entropy()[0]), abs=0.02)
    assert torch.equal(head.mode(), head.mean)
    assert head.entropy().shape == (n,)
