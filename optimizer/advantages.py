"""Team spirit and generalised advantage estimation: pure functions over [T, B, A]."""

from __future__ import annotations

import torch
from torch import Tensor


def team_spirit(reward: Tensor, tau: float) -> Tensor:
    """r_i = (1 - tau) rho_i + tau mean(rho) over the agents of a team (arXiv 1912.06680, appendix G). [T, B, A]."""
    return reward if tau == 0 else (1 - tau) * reward + tau * reward.mean(dim=-1, keepdim=True)


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

    A row that is not valid gets A = 0 and so never enters another row's.

    Args:
        reward: [T, B, A].
        value: [T + 1, B, A] in reward units; the last row bootstraps.
        terminated: [T, B, A] bool.
        truncated: [T, B] bool; the row after it holds the true last observation, whose value bootstraps.
        valid: [T, B, A] bool.
        discount: gamma.
        gae_lambda: lambda.

    Returns:
        [T, B, A]; the value target of a row is its advantage plus its value.
    """
    goes_on = torch.logical_not(terminated).to(reward.dtype)
    counts = valid.to(reward.dtype)
    delta = (reward + discount * goes_on * value[1:] - value[:-1]) * counts
    carry = discount * gae_lambda * goes_on * torch.logical_not(truncated).unsqueeze(-1) * counts
    advantage = torch.empty_like(reward)
    running = torch.zeros_like(reward[0])
    for t in reversed(range(reward.shape[0])):
        running = torch.addcmul(delta[t], carry[t], running)
        advantage[t] = running
    return advantage
