"""The clipped surrogate of PPO (arXiv 1707.06347, equation 7), value loss and entropy: pure functions of tensors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Loss:
    """The loss and what to log of it; all scalars, `stats` detached."""

    total: Tensor
    stats: dict[str, Tensor]


def masked_mean(x: Tensor, mask: Tensor) -> Tensor:
    """The mean of x over the rows that count; 0 where none does. `mask` is f32 of x's shape."""
    return (x * mask).sum() / mask.sum().clamp(min=1.0)


def ppo_loss(
    *,
    log_prob: Mapping[str, Tensor],
    old_log_prob: Mapping[str, Tensor],
    entropy: Mapping[str, Tensor],
    read: Mapping[str, Tensor],
    advantage: Tensor,
    value: Tensor,
    old_value: Tensor,
    target: Tensor,
    policy_mask: Tensor,
    value_mask: Tensor,
    clip: float,
    value_clip: float,
    value_coefficient: float,
    entropy_coefficient: float,
    ratio: Literal["joint", "per_head"] = "joint",
    dual_clip: float = 0.0,
) -> Loss:
    """Loss of one minibatch; every tensor, and every head's, is [T, B, A], f32 unless said otherwise.

    Args:
        log_prob: per head, log-probability of the taken action under the weights being optimised.
        old_log_prob: the same by the behaviour policy, as it travelled with the chunk.
        entropy: per head, of the current policy given the primary action that was taken.
        read: per head, bool: whether that primary action reads it. No other number of an unread head matters.
        advantage: of the action.
        value: predicted, normalised.
        old_value: predicted by the behaviour policy, normalised with today's statistics.
        target: normalised value target.
        policy_mask: 1 where an agent acted in a valid, fresh row.
        value_mask: 1 where a row is valid and fresh.
        clip: epsilon of the surrogate.
        value_clip: bound on the value's move; 0 turns it off.
        value_coefficient: weight of the value loss.
        entropy_coefficient: weight of the joint entropy, whatever the ratio.
        ratio: one per row; or one per head (arXiv 1912.09729), the sum of each head's mean over the rows that read it.
        dual_clip: bound on the surrogate where the advantage is negative; 0 turns it off.
    """
    # Rows that do not count are cut off first: 0 x infinity would be NaN, in the loss or in its gradient.
    reads = torch.stack([read[name] for name in log_prob]) & (policy_mask > 0)  # [heads, T, B, A]
    log_ratios = torch.where(reads, torch.stack([x - old_log_prob[name] for name, x in log_prob.items()]), 0.0)
    entropies = torch.where(reads, torch.stack([entropy[name] for name in log_prob]), 0.0)
    advantage = torch.where(policy_mask > 0, advantage, 0.0)
    head_masks = reads * policy_mask
    ratios = (log_ratios.sum(dim=0) if ratio == "joint" else log_ratios).exp()
    gain = surrogate(ratios, advantage, clip=clip, dual_clip=dual_clip)
    gain = masked_mean(gain, policy_mask) if ratio == "joint" else head_means(gain, head_masks).sum()
    value_loss = _value_loss(value, old_value, target, value_mask, value_clip)
    mean_entropy = masked_mean(entropies.sum(dim=0), policy_mask)
    total = value_coefficient * value_loss - gain - entropy_coefficient * mean_entropy
    with torch.no_grad():
        means = {"policy_loss": -gain, "value_loss": value_loss, "entropy": mean_entropy}
        stats = {f"losses/{name}": x.detach() for name, x in means.items()}
        stats |= _move_stats(list(log_prob), log_ratios, entropies, head_masks, policy_mask, clip)
        stats["losses/clipfrac"] = stats[f"losses/clipfrac_{ratio}"]
        if dual_clip > 0:
            bounded = ((advantage < 0) & (ratios > dual_clip)).float()
            stats["losses/dual_clipfrac"] = masked_mean(bounded, policy_mask if ratio == "joint" else head_masks)
    return Loss(total, stats)


def surrogate(ratio: Tensor, advantage: Tensor, *, clip: float, dual_clip: float) -> Tensor:
    """min(r A, clip(r) A); with `dual_clip` c, where A < 0, no less than c A (arXiv 1912.09729, equation 5)."""
    clipped = torch.minimum(ratio * advantage, ratio.clamp(1 - clip, 1 + clip) * advantage)
    if dual_clip <= 0:
        return clipped
    return torch.where(advantage < 0, torch.maximum(clipped, dual_clip * advantage), clipped)


def head_means(x: Tensor, masks: Tensor) -> Tensor:
    """[heads, T, B, A] -> [heads]: each head's mean over the rows in which it was read; 0 where it never was."""
    return (x * masks).flatten(1).sum(dim=1) / masks.flatten(1).sum(dim=1).clamp(min=1.0)


def _value_loss(value: Tensor, old_value: Tensor, target: Tensor, mask: Tensor, value_clip: float) -> Tensor:
    value, old_value, target = (torch.where(mask > 0, x, 0.0) for x in (value, old_value, target))
    error = (value - target).square()
    if value_clip > 0:
        clipped = old_value + (value - old_value).clamp(-value_clip, value_clip)
        error = torch.maximum(error, (clipped - target).square())
    return 0.5 * masked_mean(error, mask)


def _move_stats(
    names: list[str], log_ratios: Tensor, entropies: Tensor, head_masks: Tensor, policy_mask: Tensor, clip: float
) -> dict[str, Tensor]:
    """How far the policy has moved, jointly and head by head, and what either ratio clips of it."""
    ratios, log_joint = log_ratios.exp(), log_ratios.sum(dim=0)
    joint = log_joint.exp()
    outside = ((ratios - 1).abs() > clip).float()
    stats = {
        # The low-variance, non-negative estimator (r - 1) - log r of KL(old || new).
        "losses/approx_kl": masked_mean(joint - 1 - log_joint, policy_mask),
        "losses/clipfrac_joint": masked_mean(((joint - 1).abs() > clip).float(), policy_mask),
        "losses/clipfrac_per_head": masked_mean(outside, head_masks),
    }
    by_head = {
        "entropy": head_means(entropies, head_masks),
        "kl": head_means(ratios - 1 - log_ratios, head_masks),
        "clipfrac": head_means(outside, head_masks),
    }
    return stats | {f"heads/{name}/{what}": x[k] for what, x in by_head.items() for k, name in enumerate(names)}


def explained_variance(value: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """1 - Var(target - value) / Var(target) over the rows that count; NaN-free: 0 where the target does not vary."""
    value, target = (torch.where(mask > 0, x, 0.0) for x in (value, target))
    residual = target - value
    variance = masked_mean((target - masked_mean(target, mask)).square(), mask)
    unexplained = masked_mean((residual - masked_mean(residual, mask)).square(), mask)
    return torch.where(variance > 1e-12, 1 - unexplained / variance.clamp(min=1e-12), 0.0)
