"""The clipped surrogate of PPO (arXiv 1707.06347, equation 7), value loss and entropy: pure functions of tensors."""

from __future__ import annotations

from dataclasses import dataclass

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
    log_prob: Tensor,
    old_log_prob: Tensor,
    advantage: Tensor,
    entropy: Tensor,
    value: Tensor,
    old_value: Tensor,
    target: Tensor,
    policy_mask: Tensor,
    value_mask: Tensor,
    clip: float,
    value_clip: float,
    value_coefficient: float,
    entropy_coefficient: float,
) -> Loss:
    """Loss of one minibatch; every tensor is [T, B, A] f32.

    Args:
        log_prob: joint log-probability of the taken action under the weights being optimised.
        old_log_prob: the same by the behaviour policy, as it travelled with the chunk.
        advantage: of that action.
        entropy: joint entropy of the current policy.
        value: predicted, normalised.
        old_value: predicted by the behaviour policy, normalised with today's statistics.
        target: normalised value target.
        policy_mask: 1 where an agent acted in a valid, fresh row.
        value_mask: 1 where a row is valid and fresh.
        clip: epsilon of the surrogate.
        value_clip: bound on the value's move; 0 turns it off.
        value_coefficient: weight of the value loss.
        entropy_coefficient: weight of the entropy bonus.
    """
    # Rows that do not count are cut off first: 0 x infinity would be NaN, in the loss or in its gradient.
    acted, counted = policy_mask > 0, value_mask > 0
    log_ratio = torch.where(acted, log_prob - old_log_prob, 0.0)
    advantage, entropy = (torch.where(acted, x, 0.0) for x in (advantage, entropy))
    value, old_value, target = (torch.where(counted, x, 0.0) for x in (value, old_value, target))
    ratio = log_ratio.exp()
    surrogate = torch.minimum(ratio * advantage, ratio.clamp(1 - clip, 1 + clip) * advantage)
    policy_loss = -masked_mean(surrogate, policy_mask)
    error = (value - target).square()
    if value_clip > 0:
        clipped = old_value + (value - old_value).clamp(-value_clip, value_clip)
        error = torch.maximum(error, (clipped - target).square())
    value_loss = 0.5 * masked_mean(error, value_mask)
    mean_entropy = masked_mean(entropy, policy_mask)
    total = policy_loss + value_coefficient * value_loss - entropy_coefficient * mean_entropy
    with torch.no_grad():
        stats = {
            "losses/policy_loss": policy_loss.detach(),
            "losses/value_loss": value_loss.detach(),
            "losses/entropy": mean_entropy.detach(),
            # The low-variance, non-negative estimator (r - 1) - log r of KL(old || new).
            "losses/approx_kl": masked_mean(ratio - 1 - log_ratio, policy_mask),
            "losses/clipfrac": masked_mean(((ratio - 1).abs() > clip).float(), policy_mask),
        }
    return Loss(total, stats)


def explained_variance(value: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """1 - Var(target - value) / Var(target) over the rows that count; NaN-free: 0 where the target does not vary."""
    value, target = (torch.where(mask > 0, x, 0.0) for x in (value, target))
    residual = target - value
    variance = masked_mean((target - masked_mean(target, mask)).square(), mask)
    unexplained = masked_mean((residual - masked_mean(residual, mask)).square(), mask)
    return torch.where(variance > 1e-12, 1 - unexplained / variance.clamp(min=1e-12), 0.0)
