"""What auxiliary predictions are trained towards, and their losses: pure functions (`quintet.games.api.Auxiliary`)."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from quintet.optimizer.ppo import masked_mean

NONE = -1.0  # all numbers of a target that does not exist, as of a label that is unknown


def label_targets(*, label: Tensor, bootstrap: Tensor, first: Tensor, rows: Tensor, discount: float) -> Tensor:
    """The target of every row: its own label if known, else `discount` x the next row's target.

    The recursion runs over the whole chunk and never across a game's border. The row that ends a game is followed by
    the one with its last observation, which knows its label.

    Args:
        label: [T, B, A, k]; all -1 where unknown.
        bootstrap: [B, A, k], what follows a chunk's last row: the network's own prediction there.
        first: [T, B] bool, a game begins at this row.
        rows: [B], how many rows each chunk has; those behind are padding.
        discount: per row.

    Returns:
        [T, B, A, k]; all -1 where there is no target: in padding, and where a game ends without a known label.
    """
    known = label[..., :1] >= 0
    real = (torch.arange(len(label), device=label.device).unsqueeze(1) < rows)[..., None, None]
    begins = first[..., None, None]
    targets = torch.empty_like(label)
    following = bootstrap
    for t in reversed(range(len(label))):
        carried = torch.where(following >= 0, discount * following, NONE)
        target = torch.where(known[t], label[t], carried)
        targets[t] = torch.where(real[t], target, NONE)
        following = torch.where(real[t], torch.where(begins[t], NONE, target), bootstrap)
    return targets


def auxiliary_loss(
    logits: Tensor, target: Tensor, mask: Tensor, kind: Literal["binary", "categorical"]
) -> tuple[Tensor, Tensor]:
    """Cross-entropy of a prediction with its target, and how far its probabilities are from it.

    Args:
        logits: [T, B, A, k].
        target: [T, B, A, k]; all -1 where there is none, which do not count.
        mask: [T, B, A] f32, 1 where a row counts.
        kind: binary: k independent questions, the mean of their losses; categorical: one question with k answers.

    Returns:
        The mean loss and, detached, the mean absolute error, over the rows that count.
    """
    mask = mask * (target[..., 0] >= 0)
    counts = (mask > 0).unsqueeze(-1)
    # Rows that do not count are cut off first: 0 x infinity would be NaN, in the loss or in its gradient.
    logits, target = torch.where(counts, logits, 0.0), torch.where(counts, target, 0.0)
    if kind == "binary":
        loss = functional.binary_cross_entropy_with_logits(logits, target, reduction="none").mean(dim=-1)
        probability = logits.sigmoid()
    else:
        log_probability = torch.log_softmax(logits, dim=-1)
        loss = -(target * log_probability).sum(dim=-1)
        probability = log_probability.exp()
    error = (probability - target).abs().mean(dim=-1).detach()
    return masked_mean(loss, mask), masked_mean(error, mask)
