"""`recurrent/...`: replay a window with the very bytes that played it and compare what comes out.

Whatever goes wrong silently with recurrence (a state saved one row late, a missed reset, a normaliser that moved, a
cast on one side only) shows up in `recurrent/replay_error`. How far gradients reach is measured on the same windows.
"""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import Tensor

from games.api import GameSpec
from model.config import PolicyConfig
from model.policy import Policy
from model.weights import load_weights
from optimizer.batch import Batch, Freshness, cut_windows
from optimizer.reach import gradient_norm_by_step
from wire.link import EncodedWeights

KEPT_VERSIONS = 4
REPLAYED_WINDOWS = 64


class ReplayCheck:
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
