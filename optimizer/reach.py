"""`recurrent/gradient_norm_by_step`: how much of the gradient of a window's last row reaches the rows before it.

Truncated back-propagation can teach memory only as far as gradients reach (Pascanu et al. 2013, section 2). What is
differentiated is what the loss reads of the last row: the log-probability of its action and its value.
"""

from __future__ import annotations

import torch
from torch import Tensor

from model.policy import Policy, joint
from optimizer.batch import Windows

NAME = "recurrent/gradient_norm_by_step"


@torch.enable_grad()
def gradient_norm_by_step(policy: Policy, windows: Windows) -> dict[str, float]:
    """Mean norm of d(last row)/d(state k rows before its end), for k = 2, 4, 8 ..., in units of the norm at k = 1.

    Args:
        policy: its parameters keep the gradients they have.
        windows: with rows `valid` and `acting` [T, n, A] bool; those in which a game begins are left out.

    Returns:
        `recurrent/gradient_norm_by_step/<k>`; empty where every window has a game's border in it, or nothing is kept
        from row to row.
    """
    acting = windows.rows["acting"][-1] & windows.rows["valid"].all(dim=0)
    columns = (~windows.first.any(dim=0) & acting.any(dim=-1)).nonzero().flatten()
    norms = _norms_back(policy, windows.pick(columns), acting[columns]) if len(columns) else [0.0]
    if norms[0] == 0.0:
        return {}
    steps = [2**power for power in range(1, len(norms).bit_length())]
    return {f"{NAME}/{k}": norms[k - 1] / norms[0] for k in steps}


def _norms_back(policy: Policy, windows: Windows, acting: Tensor) -> list[float]:
    """Index k - 1 is the norm at the state k rows before the end. Row by row, so that autograd meets every state."""
    states = [windows.state.requires_grad_()]
    for t in range(len(windows.first)):
        row = slice(t, t + 1)
        observation = {name: x[row] for name, x in windows.observation.items()}
        previous = {name: x[row] for name, x in windows.previous_action.items()}
        unrolled = policy.unroll(observation, windows.first[row], previous, states[-1])
        states.append(unrolled.state)
    evaluated = policy.evaluate(unrolled, observation, {name: x[row] for name, x in windows.action.items()})
    read = ((joint(evaluated.log_prob) + unrolled.value)[0] * acting).sum()
    gradients = torch.autograd.grad(read, states[:-1])
    per_agent = [torch.linalg.vector_norm(gradient.flatten(2), dim=-1)[acting] for gradient in reversed(gradients)]
    return [float(norm.mean()) for norm in per_agent]
