"""Team spirit and generalised advantage estimation: pure functions over [T, B, A]."""

from __future__ import annotations

import torch
from torch import Tensor


def team_spirit(reward: Tensor, valid: Tensor, tau: float) -> Tensor:
    """r_i = (1 - tau) rho_i + tau mean(rho) over the agents of a team (arXiv 1912.06680, appendix G).

    Args:
        reward: [T, B, A].
        valid: [T, B, A] bool; the mean is over these alone: who has left or is yet to come is no part of the team.
        tau: 0 is one's own reward, 1 the team's.

    Returns:
        [T, B, A]; a row that is not valid keeps its own reward, which nothing reads.
    """
    if tau == 0:
        return reward
    mean = (reward * valid).sum(dim=-1, keepdim=True) / valid.sum(dim=-1, keepdim=True).clamp(min=1)
    return torch.where(valid, (1 - tau) * reward + tau * mean, reward)


def gae(
    *,
    reward: Tensor,
    value: Tensor,
    terminated: Tensor,
    truncated: Tensor,
    valid: Tensor,
    discount: float,
    gae_lambda: float,
) -> Tensor:
    """Generalised advantage estimation (arXiv 1506.02438, equation 16) with ends kept apart.

        delta_t = r_t + gamma (1 - terminated_t) v_{t+1} - v_t
        A_t = delta_t + gamma lambda (1 - terminated_t)(1 - truncated_t) A_{t+1}

    A row that is not valid gets A = 0 and so never enters another row's: an agent that leaves and comes back has two
    stretches, and the first ends with what its own end says, whatever the second is worth.

    Args:
        reward: [T, B, A].
        value: [T + 1, B, A] in reward units; the last row bootstraps.
        terminated: [T, B, A] bool.
        truncated: [T, B, A] bool; the row after it holds that agent's last observation, whose value bootstraps.
        valid: [T, B, A] bool.
        discount: gamma.
        gae_lambda: lambda.

    Returns:
        [T, B, A]; the value target of a row is its advantage plus its value.
    """
    goes_on = torch.logical_not(terminated).to(reward.dtype)
    counts = valid.to(reward.dtype)
    delta = (reward + discount * goes_on * value[1:] - value[:-1]) * counts
    carry = discount * gae_lambda * goes_on * torch.logical_not(truncated) * counts
    advantage = torch.empty_like(reward)
    running = torch.zeros_like(reward[0])
    for t in reversed(range(reward.shape[0])):
        running = torch.addcmul(delta[t], carry[t], running)
        advantage[t] = running
    return advantage
