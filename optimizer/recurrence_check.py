"""`recurrent/...`: replay a window with the very bytes that played it and compare what comes out.

Whatever goes wrong silently with recurrence (a state saved one row late, a missed reset, a normaliser that moved, a
cast on one side only) shows up in `recurrent/replay_error`. How far gradients reach is measured on the same windows.
"""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import Tensor

from quintet.games.api import GameSpec
from quintet.model.config import PolicyConfig
from quintet.model.policy import Policy, joint
from quintet.model.weights import load_weights
from quintet.optimizer.batch import Batch, Freshness, Windows, cut_windows
from quintet.wire.link import EncodedWeights

KEPT_VERSIONS = 4
REPLAYED_WINDOWS = 64
NAME = "recurrent/gradient_norm_by_step"


class RecurrenceCheck:
    """Keeps the last published weights and replays windows that they played."""

    def __init__(self, spec: GameSpec, config: PolicyConfig, device: torch.device, bptt_steps: int) -> None:
        self.policy = Policy(spec, config).use_device(device)
        self.bptt_steps = bptt_steps
        self.kept: OrderedDict[int, EncodedWeights] = OrderedDict()

    def keep(self, weights: EncodedWeights) -> None:
        """Remember a published version."""
        self.kept[weights.version] = weights
        while len(self.kept) > KEPT_VERSIONS:
            self.kept.popitem(last=False)

    @torch.no_grad()
    def __call__(self, batch: Batch, freshness: Freshness) -> dict[str, float]:
        """Largest difference of log-probability, summed over heads, and of value in units of the return's scale, and
        `gradient_norm_by_step`; empty if the batch holds no window of a kept version.
        """
        versions = batch.version.reshape(-1)
        for version in reversed(self.kept):
            columns = (freshness.fresh.reshape(-1) & (versions == version)).nonzero()[0][:REPLAYED_WINDOWS]
            if len(columns):
                return self._replay(batch, torch.from_numpy(columns), self.kept[version])
        return {}

    def _replay(self, batch: Batch, columns: Tensor, weights: EncodedWeights) -> dict[str, float]:
        load_weights(self.policy, weights)
        rows = {"value": batch.value[:-1], "valid": batch.valid, "acting": batch.acting & batch.valid}
        windows = cut_windows(batch, rows, self.bptt_steps).pick(columns.to(batch.first.device))
        unrolled = self.policy.unroll(windows.observation, windows.first, windows.previous_action, windows.state)
        evaluated = self.policy.evaluate(unrolled, windows.observation, windows.action)
        differences = [(x - windows.log_prob[head]).abs() for head, x in evaluated.log_prob.items()]
        value = self.policy.returns.denormalize(unrolled.value)
        log_prob_error = torch.stack(differences).sum(dim=0) * windows.rows["acting"]
        value_error = (value - windows.rows["value"]).abs() / self.policy.returns.scale
        return {
            "recurrent/replay_error": float(log_prob_error.max()),
            "recurrent/replay_value_error": float(value_error.max()),
            **gradient_norm_by_step(self.policy, windows),
        }


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
