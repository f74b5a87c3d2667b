"""Running statistics against numpy over everything seen, and PopArt's promise that values do not move."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from quintet.games.api import Array
from quintet.model.layers import Linear
from quintet.model.normalizer import INPUT_CLIP, InputNormalizer, PixelNormalizer, ReturnNormalizer


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


@pytest.mark.parametrize("unit", [1e-9, 1e-3, 1e3, 1e6, 1e11])
def test_the_units_of_an_input_do_not_matter(unit: float) -> None:
    rows = np.random.default_rng(0).normal([0.0, 3.0], [1.0, 0.01], (2000, 2))
    expected = fed([rows])(torch.from_numpy(rows))
    found = fed([(unit * rows).astype(np.float32)])(torch.from_numpy(unit * rows))
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3)


def test_a_feature_that_varies_by_rounding_alone_keeps_its_scale() -> None:
    normalizer = fed([np.array([[1e6], [np.nextafter(np.float32(1e6), np.float32(2e6))]], np.float32)])
    assert abs(float(normalizer(torch.tensor([[1e6 + 1.0]])))) < 1.1


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


def rare(*others: float) -> torch.Tensor:
    """A thousand pixels of 0 and 1, and some that are seldom seen."""
    return torch.tensor([[k % 2] for k in range(1000)] + [[x] for x in others], dtype=torch.float32)


def test_pixels_that_are_rare_do_not_look_alike() -> None:
    x = rare(8.0, 9.0)
    plain, pixels = InputNormalizer(1), PixelNormalizer(1)
    plain.update(x)
    pixels.update(x)
    assert plain(x)[-1] == plain(x)[-2] == INPUT_CLIP
    assert 0.5 < float(pixels(x)[-1] - pixels(x)[-2]) < 1
    assert float(pixels(x).max()) == pytest.approx(INPUT_CLIP)


def test_pixels_within_the_clip_are_standardised_as_other_inputs_are() -> None:
    x = rare()
    plain, pixels = InputNormalizer(1), PixelNormalizer(1)
    plain.update(x)
    pixels.update(x)
    assert torch.equal(pixels(x), plain(x))


def test_a_pixel_seen_once_counts_for_good_and_what_was_never_seen_is_clipped() -> None:
    pixels = PixelNormalizer(1)
    for x in (rare(-9.0), rare(), rare()):
        pixels.update(x)
    torch.testing.assert_close(pixels(torch.tensor([[-9.0], [-20.0]])), torch.full((2, 1), -INPUT_CLIP))
    assert float(pixels(torch.tensor([[-8.0]]))) > -INPUT_CLIP


def test_pixels_without_statistics_stay_as_they_are_for_good() -> None:
    pixels, x = PixelNormalizer(1), rare()
    assert torch.equal(pixels(x), x)
    pixels.load_state_dict(pixels.left_alone())
    pixels.update(x)
    assert torch.equal(pixels(x), x)


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
    returns.update(torch.randn(64), decay=0.9, value_head=value_head)  # now the units are known
    for k in range(6):
        with torch.no_grad():
            before = returns.denormalize(value_head(hidden))
            normalized_before = value_head(hidden)
        returns.update(torch.randn(64) * 10**k + 3 * k, decay=0.9, value_head=value_head)
        with torch.no_grad():
            after = returns.denormalize(value_head(hidden))
            assert not torch.allclose(value_head(hidden), normalized_before)
        torch.testing.assert_close(after, before, rtol=1e-5, atol=2e-6 * float(returns.scale))


@pytest.mark.parametrize("unit", [1e-4, 1e4])
@pytest.mark.parametrize("base", [0.0, 10_000.0])
def test_the_scale_is_the_deviation_however_far_from_zero_and_in_whatever_units(unit: float, base: float) -> None:
    random = np.random.default_rng(0)
    returns, value_head = ReturnNormalizer(), Linear(2, 1)
    for _ in range(100):
        batch = torch.from_numpy(unit * (base + random.standard_normal(256))).float()
        returns.update(batch, decay=0.95, value_head=value_head)
    assert float(returns.scale) == pytest.approx(unit, rel=0.1)
    assert float(returns.mean) == pytest.approx(unit * base, abs=0.1 * unit)


def test_until_returns_differ_the_value_is_their_mean_and_the_first_that_do_set_the_units() -> None:
    returns, value_head = ReturnNormalizer(), Linear(2, 1, gain=1.0)
    head = [p.clone() for p in value_head.parameters()]
    says = torch.tensor([-3.0, 0.0, 2.0])
    assert returns.denormalize(says).tolist() == [0.0, 0.0, 0.0]
    returns.update(torch.zeros(10), decay=0.9, value_head=value_head)
    assert not returns.knows_units()
    returns.update(torch.full((10,), 50.0), decay=0.0, value_head=value_head)  # nothing of the old is left
    assert not returns.knows_units()
    assert returns.denormalize(says).tolist() == [50.0, 50.0, 50.0]
    assert float(returns.scale) == 1.0
    returns.update(torch.tensor([1000.0, 5000.0]), decay=0.0, value_head=value_head)
    assert returns.knows_units()
    assert returns.denormalize(says).tolist() == [-3000.0, 3000.0, 7000.0]
    assert all(torch.equal(a, b) for a, b in zip(head, value_head.parameters(), strict=True))


def test_where_rewards_stop_the_scale_shrinks_no_further_than_to_a_hundredth() -> None:
    returns, value_head = ReturnNormalizer(), Linear(2, 1)
    returns.update(torch.tensor([-20.0, 20.0]), decay=0.9, value_head=value_head)
    for _ in range(300):
        returns.update(torch.zeros(10), decay=0.9, value_head=value_head)
    assert float(returns.scale) == pytest.approx(0.2)
    assert bool(torch.isfinite(value_head.weight).all())


def test_normalize_undoes_denormalize() -> None:
    returns = ReturnNormalizer()
    returns.update(torch.tensor([10.0, 30.0, -5.0]), decay=0.9, value_head=Linear(2, 1))
    x = torch.tensor([-4.0, 0.0, 17.0])
    torch.testing.assert_close(returns.denormalize(returns.normalize(x)), x)
    torch.testing.assert_close(returns.normalize(returns.mean + 2 * returns.scale), torch.tensor(2.0))


def test_returns_that_become_all_alike_leave_a_usable_scale() -> None:
    returns, value_head = ReturnNormalizer(), Linear(2, 1)
    returns.update(torch.tensor([999.9, 1000.1]), decay=0.0, value_head=value_head)
    for _ in range(3):
        returns.update(torch.full((10,), 1000.0), decay=0.0, value_head=value_head)
    assert float(returns.scale) == pytest.approx(1e-3)  # a millionth of the mean: f32 tells no less apart
    assert bool(torch.isfinite(value_head.weight).all())
    assert bool(torch.isfinite(returns.normalize(torch.tensor([1000.0, 1001.0]))).all())


def test_no_returns_change_nothing() -> None:
    returns, value_head = ReturnNormalizer(), Linear(2, 1)
    returns.update(torch.tensor([1.0, 2.0]), decay=0.9, value_head=value_head)
    before = {name: x.clone() for name, x in returns.state_dict().items()}
    returns.update(torch.zeros(0), decay=0.9, value_head=value_head)
    assert all(torch.equal(before[name], x) for name, x in returns.state_dict().items())
