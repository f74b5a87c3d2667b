"""The element-wise clip against a loop over single elements."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from quintet.optimizer.gradient_clip import ElementwiseClip


@pytest.mark.parametrize("beta2", [0.99, 0.999])
def test_every_element_is_bounded_by_five_deviations_of_its_own_unclipped_history(beta2: float) -> None:
    rng = np.random.default_rng(0)
    clip = ElementwiseClip([torch.zeros(3, 4)], beta2=beta2)
    moment = np.zeros((3, 4))
    clipped_any = False
    for step in range(1, 40):
        gradient = rng.standard_normal((3, 4)) * (100.0 if step in (30, 39) else 1.0)
        found = torch.from_numpy(gradient.astype(np.float32))
        clip([found])
        for i, j in np.ndindex(3, 4):
            moment[i, j] = beta2 * moment[i, j] + (1 - beta2) * gradient[i, j] ** 2
            bound = 5 * (moment[i, j] / (1 - beta2**step)) ** 0.5
            expected = max(-bound, min(bound, gradient[i, j]))
            clipped_any |= expected != gradient[i, j]
            assert float(found[i, j]) == pytest.approx(expected, rel=1e-3)
    assert clipped_any


def test_several_tensors_are_clipped_each_by_itself() -> None:
    together = ElementwiseClip([torch.zeros(2), torch.zeros(3, 2)], beta2=0.999)
    alone = ElementwiseClip([torch.zeros(3, 2)], beta2=0.999)
    for scale in [1.0] * 40 + [50.0]:
        one, other = torch.randn(2), torch.randn(3, 2) * scale
        again = other.clone()
        together([one, other])
        alone([again])
        assert torch.equal(other, again)


def test_the_first_gradient_passes_and_an_outlier_after_many_small_ones_does_not() -> None:
    clip = ElementwiseClip([torch.zeros(1)], beta2=0.999)
    first = torch.tensor([1000.0])
    clip([first])
    assert first.item() == 1000.0
    clip = ElementwiseClip([torch.zeros(1)], beta2=0.999)
    for _ in range(500):
        clip([torch.tensor([1.0])])
    outlier = torch.tensor([-1000.0])
    clip([outlier])
    assert -300.0 < outlier.item() < -100.0


def test_a_parameter_that_never_has_a_gradient_stays_at_zero_without_nan() -> None:
    clip = ElementwiseClip([torch.zeros(2)], beta2=0.999)
    gradient = torch.zeros(2)
    for _ in range(3):
        clip([gradient])
    assert gradient.tolist() == [0.0, 0.0]
