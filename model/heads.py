"""The action heads: LSTM output -> one distribution per head, and sums over heads.

Discrete heads have a mask; Box heads are diagonal Gaussians whose mean is in the units of the box, scaled so that an
untrained network covers it.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from gymnasium import spaces
from torch import Tensor, nn

from games.api import ACTION_MASK_PREFIX, GameSpec
from model.layers import Linear
from model.masked_dist import DiagonalGaussian, Distribution, MaskedCategorical


class GaussianHead(nn.Module):
    """Mean by a linear layer, a learned log standard deviation that is the same in every state."""

    center: Tensor
    half_range: Tensor

    def __init__(self, inputs: int, space: spaces.Box) -> None:
        super().__init__()
        low, high = torch.as_tensor(space.low), torch.as_tensor(space.high)
        bounded = torch.isfinite(low) & torch.isfinite(high)
        self.register_buffer("center", torch.where(bounded, (low + high) / 2, 0.0).float(), persistent=False)
        self.register_buffer("half_range", torch.where(bounded, (high - low) / 2, 1.0).float(), persistent=False)
        self.mean = Linear(inputs, int(space.shape[0]), gain=0.01)
        self.log_std = nn.Parameter(torch.full((int(space.shape[0]),), -0.5))

    def forward(self, hidden: Tensor) -> DiagonalGaussian:
        """[..., inputs] -> a distribution over [..., dims]."""
        mean = self.center + self.half_range * self.mean(hidden).to(torch.float32)
        return DiagonalGaussian(mean, self.log_std.to(torch.float32) + self.half_range.log())


class ActionHeads(nn.Module):
    """All heads of an action space, in the order in which the space names them."""

    def __init__(self, spec: GameSpec, inputs: int) -> None:
        super().__init__()
        self.masked = spec.masked_heads
        heads: dict[str, nn.Module] = {}
        for name, space in spec.action_space.spaces.items():
            if isinstance(space, spaces.Discrete):
                heads[name] = Linear(inputs, int(space.n), gain=0.01)
            elif isinstance(space, spaces.Box):
                heads[name] = GaussianHead(inputs, space)
        self.names = list(heads)
        self.modules_by_head = nn.ModuleList(heads.values())  # a ModuleDict forbids names with dots

    def forward(self, hidden: Tensor, observation: Mapping[str, Tensor]) -> dict[str, Distribution]:
        """[..., inputs] and `action_mask/<head>` [..., n] -> a distribution per head."""
        distributions: dict[str, Distribution] = {}
        for name, head in zip(self.names, self.modules_by_head, strict=True):
            if isinstance(head, GaussianHead):
                distributions[name] = head(hidden)
            else:
                mask = observation[f"{ACTION_MASK_PREFIX}{name}"] if name in self.masked else None
                distributions[name] = MaskedCategorical(head(hidden), mask)
        return distributions


class PreviousAction(nn.Module):
    """The previous action as features: one-hot per Discrete head (none: zeros), the numbers of Box heads (none: 0)."""

    def __init__(self, spec: GameSpec) -> None:
        super().__init__()
        self.sizes = {
            name: int(space.n) if isinstance(space, spaces.Discrete) else 0
            for name, space in spec.action_space.spaces.items()
        }
        boxes = sum(int(s.shape[0]) for s in spec.action_space.spaces.values() if isinstance(s, spaces.Box))
        self.outputs = sum(self.sizes.values()) + boxes
        for name, n in self.sizes.items():
            if n:
                self.register_buffer(f"choices_{name.replace('.', '/')}", torch.arange(n), persistent=False)

    def forward(self, action: Mapping[str, Tensor]) -> Tensor:
        """Per head [..., A] or [..., A, dims] -> [..., A, outputs] f32."""
        parts = []
        for name, n in self.sizes.items():
            if n:
                choices = getattr(self, f"choices_{name.replace('.', '/')}")
                parts.append((action[name].unsqueeze(-1) == choices).to(torch.float32))
            else:
                parts.append(action[name].to(torch.float32))
        return torch.cat(parts, dim=-1) if len(parts) > 1 else parts[0]
