"""Targets of auxiliary predictions against a loop that follows the definition, and their losses."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from quintet.optimizer.auxiliary import auxiliary_loss, label_targets


def random_chunks(seed: int, shape: tuple[int, int, int, int]) -> dict[str, Tensor]:
    """Labels known now and then, games that begin now and then, chunks of different lengths."""
    t, b, a, k = shape
    random = np.random.default_rng(seed)
    known = random.random((t, b, a, 1)) < 0.2
    return {
        "label": torch.from_numpy(np.where(known, random.random(shape), -1).astype(np.float32)),
        "bootstrap": torch.from_numpy(random.random((b, a, k), np.float32)),
        "first": torch.from_numpy(random.random((t, b)) < 0.2),
        "rows": torch.from_numpy(random.integers(1, t + 1, b)),
    }


def slow_targets(chunks: dict[str, Tensor], discount: float) -> np.ndarray:
    """For each row look ahead: to the first known label of this game, or to the end of the chunk."""
    label, first = chunks["label"].numpy(), chunks["first"].numpy()
    out = np.full(label.shape, -1.0)
    for t, b, a in np.ndindex(label.shape[:3]):
        rows = int(chunks["rows"][b])
        for ahead in range(t, rows):
            if ahead > t and first[ahead, b]:
                break
            if label[ahead, b, a, 0] >= 0:
                out[t, b, a] = discount ** (ahead - t) * label[ahead, b, a]
                break
        else:
            if t < rows:
                out[t, b, a] = discount ** (rows - t) * chunks["bootstrap"].numpy()[b, a]
    return out


@settings(deadline=None, max_examples=40)
@given(
    seed=st.integers(0, 2**31),
    shape=st.sampled_from([(1, 1, 1, 1), (8, 3, 2, 1), (12, 4, 1, 3)]),
    discount=st.sampled_from([1.0, 0.9, 0.5]),
)
def test_targets_are_those_of_a_look_ahead_row_by_row(
    seed: int, shape: tuple[int, int, int, int], discount: float
) -> None:
    chunks = random_chunks(seed, shape)
    found = label_targets(**chunks, discount=discount)
    np.testing.assert_allclose(found.numpy(), slow_targets(chunks, discount), rtol=1e-5, atol=1e-6)


def test_a_game_won_in_the_chunk_teaches_its_own_rows_and_the_next_game_learns_from_its_own_prediction() -> None:
    """Row 2 ends a game, row 3 is its last observation and knows who won, row 4 begins another game."""
    label = torch.tensor([-1.0, -1.0, -1.0, 1.0, -1.0, -1.0]).reshape(6, 1, 1, 1)
    first = torch.tensor([False, False, False, False, True, False]).reshape(6, 1)
    targets = label_targets(
        label=label, bootstrap=torch.full((1, 1, 1), 0.25), first=first, rows=torch.tensor([6]), discount=0.5
    )
    assert targets.flatten().tolist() == [0.125, 0.25, 0.5, 1.0, 0.0625, 0.125]


def test_a_game_that_ends_without_a_known_label_teaches_nothing() -> None:
    label = torch.full((4, 1, 1, 1), -1.0)
    first = torch.tensor([False, False, True, False]).reshape(4, 1)
    targets = label_targets(
        label=label, bootstrap=torch.full((1, 1, 1), 0.5), first=first, rows=torch.tensor([4]), discount=1.0
    )
    assert targets.flatten().tolist() == [-1.0, -1.0, 0.5, 0.5]


def slow_loss(logits: Tensor, target: Tensor, mask: Tensor, kind: str) -> tuple[float, float]:
    losses, errors = [], []
    for at in np.ndindex(tuple(mask.shape)):
        y, x = target[at].double().tolist(), logits[at].double().tolist()
        if not mask[at] or y[0] < 0:
            continue
        if kind == "binary":
            p = [1 / (1 + math.exp(-v)) for v in x]
            losses.append(-sum(t * math.log(q) + (1 - t) * math.log(1 - q) for t, q in zip(y, p, strict=True)) / len(y))
        else:
            total = sum(math.exp(v) for v in x)
            p = [math.exp(v) / total for v in x]
            losses.append(-sum(t * math.log(q) for t, q in zip(y, p, strict=True)))
        errors.append(sum(abs(t - q) for t, q in zip(y, p, strict=True)) / len(y))
    return sum(losses) / max(1, len(losses)), sum(errors) / max(1, len(errors))


@pytest.mark.parametrize("kind", ["binary", "categorical"])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_losses_equal_a_loop_over_rows(kind: str, seed: int) -> None:
    random = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(5, 3, 2, 3, generator=random)
    target = torch.rand(5, 3, 2, 3, generator=random)
    target[torch.rand(5, 3, 2, generator=random) < 0.3] = -1.0
    mask = (torch.rand(5, 3, 2, generator=random) < 0.7).float()
    loss, error = auxiliary_loss(logits, target, mask, kind)  # type: ignore[arg-type]
    expected_loss, expected_error = slow_loss(logits, target, mask, kind)
    assert loss.item() == pytest.approx(expected_loss, abs=1e-5)
    assert error.item() == pytest.approx(expected_error, abs=1e-5)


@pytest.mark.parametrize("kind", ["binary", "categorical"])
def test_rows_that_do_not_count_change_nothing_whatever_they_hold(kind: str) -> None:
    random = torch.Generator().manual_seed(0)
    logits = torch.randn(4, 2, 1, 2, generator=random).requires_grad_()
    target = torch.rand(4, 2, 1, 2, generator=random)
    target[0] = -1.0
    mask = torch.ones(4, 2, 1)
    mask[1] = 0.0
    dirty = logits.detach().clone()
    dirty[:2] = float("nan")
    dirty.requires_grad_()
    expected, found = (auxiliary_loss(x, target, mask, kind) for x in (logits, dirty))  # type: ignore[arg-type]
    assert torch.equal(expected[0], found[0])
    (gradient,) = torch.autograd.grad(found[0], [dirty])
    assert not gradient[:2].any()
    assert gradient[2:].any()
    assert auxiliary_loss(logits, target, torch.zeros(4, 2, 1), kind)[0].item() == 0.0  # type: ignore[arg-type]
