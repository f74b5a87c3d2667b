"""Running statistics against numpy over everything seen, and PopArt's promise that values do not move."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from games.api import Array
from model.layers import Linear
from model.normalizer import INPUT_CLIP, InputNormalizer, ReturnNormalizer


def fed(batches: list[Array]) -> InputNormalizer:
    normalizer = InputNormalizer(batches[0].shape[1])
    for batch in batches:
        normalizer.update(torch.from_numpy(batch))
    return normalizer


def assert_is_numpys(normalizer: InputNormalizer, batches: list[Array]) -> None:
    rows = np.concatenate(batches).astype(np.float64)
    np.testing.assert_allclose(normalizer.mean.numpy(), rows.mean(axis=0), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(normalizer.variance.numpy(), rows.var(axis=0), rtol=1e-4, atol=1e-6)
    assert float(normalizer.count) == len(rows)


@settings(deadline=None, max_examples=40)
@given(sizes=st.lists(st.integers(1, 9), min_size=1, max_size=6), seed=st.integers(0, 2**31))
def test_mean_and_variance_are_numpys_over_all_rows_seen(sizes: list[int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    center, spread = rng.uniform(-10, 10, 3), rng.uniform(0.1, 10, 3)
    batches = [(center + spread * rng.standard_normal((n, 3))).astype(np.float32) for n in sizes]
    assert_is_numpys(fed(batches), batches)


def test_a_feature_of_ones_and_minus_ones_has_variance_one_however_many_batches_say_so() -> None:
    signs = np.array([[1.0], [-1.0]] * 8, np.float32)
    batches = [signs, signs, 0.1 * signs, signs]
    for n in range(1, 5):
        assert_is_numpys(fed(batches[:n]), batches[:n])


def test_a_feature_that_never_changes_stays_finite_and_keeps_its_scale() -> None:
    normalizer = fed([np.full((5, 1), 7.0, np.float32)] * 3)
    out = normalizer(torch.tensor([[7.0], [8.0]]))
    torch.testing.assert_close(out, torch.tensor([[0.0], [1.0]]))


def test_a_feature_that_changes_after_many_constant_rows_is_numpys_again() -> None:
    batches = [np.full((5, 1), 7.0, np.float32), np.full((5, 1), 7.0, np.float32), np.array([[9.0], [7.0]], np.float32)]
    assert_is_numpys(fed(batches), batches)


def test_two_constant_batches_at_different_levels_have_the_variance_between_them() -> None:
    batches = [np.full((4, 1), 1.0, np.float32), np.full((12, 1), 3.0, np.float32)]
    assert_is_numpys(fed(batches), batches)


def test_before_the_first_update_nothing_but_the_clip_happens() -> None:
    x = torch.tensor([[0.5, -3.0, 100.0]])
    torch.testing.assert_close(InputNormalizer(3)(x), torch.tensor([[0.5, -3.0, INPUT_CLIP]]))


def test_no_rows_change_nothing() -> None:
    normalizer = fed([np.array([[1.0], [2.0]], np.float32)])
    before = {name: x.clone() for name, x in normalizer.state_dict().items()}
    normalizer.update(torch.zeros(0, 1))
    assert all(torch.equal(before[name], x) for name, x in normalizer.state_dict().items())


def test_outputs_are_standardised_and_clipped() -> None:
    rows = np.random.default_rng(0).normal(50.0, 4.0, (2000, 1)).astype(np.float32)
    normalizer = fed([rows])
    out = normalizer(torch.from_numpy(rows))
    assert abs(float(out.mean())) < 1e-3
    assert float(out.std()) == pytest.approx(1.0, abs=0.01)
    torch.testing.assert_close(normalizer(torch.tensor([[50.0 + 400.0], [-1e30]])), torch.tensor([[5.0], [-5.0]]))


def test_the_input_is_left_as_it_was() -> None:
    x = torch.tensor([[100.0]])
    InputNormalizer(1)(x)
    assert float(x) == 100.0


def slow_averages(batches: list[Array], decay: float) -> tuple[float, float]:
    """Weights decay^(age) of each batch's moments, normalised to sum 1: a debiased exponential average."""
    weights = np.array([decay ** (len(batches) - 1 - k) for k in range(len(batches))])
    weights /= weights.sum()
    mean = sum(w * b.mean(dtype=np.float64) for w, b in zip(weights, batches, strict=True))
    square = sum(w * (b.astype(np.float64) ** 2).mean() for w, b in zip(weights, batches, strict=True))
    return mean, (square - mean**2) ** 0.5


@settings(deadline=None, max_examples=25)
@given(n=st.integers(1, 6), decay=st.sampled_from([0.0, 0.5, 0.95, 0.999]), seed=st.integers(0, 2**31))
def test_returns_mean_and_scale_are_debiased_exponential_averages(n: int, decay: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    batches = [rng.normal(rng.uniform(-5, 5), rng.uniform(0.5, 4), 50).astype(np.float32) for _ in range(n)]
    returns, value_head = ReturnNormalizer(), Linear(4, 1)
    for batch in batches:
        returns.update(torch.from_numpy(batch), decay=decay, value_head=value_head)
    mean, scale = slow_averages(batches, decay)
    assert float(returns.mean) == pytest.approx(mean, rel=1e-3, abs=1e-3)
    assert float(returns.scale) == pytest.approx(scale, rel=1e-3)


def test_the_denormalised_value_does_not_move_when_the_statistics_do() -> None:
    torch.manual_seed(0)
    returns, value_head = ReturnNormalizer(), Linear(8, 1, gain=1.0)
    torch.nn.init.normal_(value_head.bias)
    hidden = torch.randn(100, 8)
    for k in range(6):
        with torch.no_grad():
            before = returns.denormalize(value_head(hidden))
            normalized_before = value_head(hidden)
        returns.update(torch.randn(64) * 10**k + 3 * k, decay=0.9, value_head=value_head)
        with torch.no_grad():
            after = returns.denormalize(value_head(hidden))
            assert not torch.allclose(value_head(hidden), normalized_before)
        torch.testing.assert_close(after, before, rtol=1e-5, atol=2e-6 * float(returns.scale))


def test_normalize_undoes_denormalize() -> None:
    returns = ReturnNormalizer()
    returns.update(torch.tensor([10.0, 30.0, -5.0]), decay=0.9, value_head=Linear(2, 1))
    x = torch.tensor([-4.0, 0.0, 17.0])
    torch.testing.assert_close(returns.denormalize(returns.normalize(x)), x)
    torch.testing.assert_close(returns.normalize(returns.mean + 2 * returns.scale), torch.tensor(2.0))


def test_returns_that_are_all_alike_leave_a_usable_scale() -> None:
    returns, value_head = ReturnNormalizer(), Linear(2, 1)
    for _ in range(3):
        returns.update(torch.full((10,), 1000.0), decay=0.9, value_head=value_head)
    assert float(returns.scale) == pytest.approx(1e-2)
    assert bool(torch.isfinite(value_head.weight).all())
    assert bool(torch.isfinite(returns.normalize(torch.tensor([1000.0, 1001.0]))).all())


def test_no_returns_change_nothing() -> None:
    returns, value_head = ReturnNormalizer(), Linear(2, 1)
    returns.update(torch.tensor([1.0, 2.0]), decay=0.9, value_head=value_head)
    before = {name: x.clone() for name, x in returns.state_dict().items()}
    returns.update(torch.zeros(0), decay=0.9, value_head=value_head)
    assert all(torch.equal(before[name], x) for name, x in returns.state_dict().items())
