"""Auxiliary heads: what else the network is asked to predict, behind a stop-gradient."""

from __future__ import annotations

from math import prod

import torch
from torch import Tensor, nn

from quintet.games.api import GameSpec
from quintet.model.layers import Linear


class AuxiliaryHeads(nn.Module):
    """A small network per prediction on the LSTM's output; `trunk_gradient` of its gradient reaches the LSTM."""

    def __init__(self, spec: GameSpec, inputs: int, units: int) -> None:
        super().__init__()
        self.wanted = dict(spec.auxiliary)
        sizes = [prod(spec.observation_space[wanted.label].shape or ()) for wanted in self.wanted.values()]
        self.networks = nn.ModuleList(
            nn.Sequential(Linear(inputs, units), nn.ReLU(), Linear(units, size, gain=0.01)) for size in sizes
        )

    def forward(self, hidden: Tensor) -> dict[str, Tensor]:
        """[..., inputs] -> name -> logits [..., k] f32."""
        logits = {}
        for (name, wanted), network in zip(self.wanted.items(), self.networks, strict=True):
            seen = hidden.detach()
            if wanted.trunk_gradient:
                seen = seen + wanted.trunk_gradient * (hidden - seen)
            logits[name] = network(seen).to(torch.float32)
        return logits

    def probabilities(self, logits: dict[str, Tensor]) -> dict[str, Tensor]:
        """Logits [..., k] -> probabilities [..., k]: one for each question, or over the answers to one question."""
        return {
            name: x.sigmoid() if self.wanted[name].kind == "binary" else x.softmax(dim=-1) for name, x in logits.items()
        }
