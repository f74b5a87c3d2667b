"""The previous action as features of the next row."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from gymnasium import spaces
from torch import Tensor, nn

from games.api import GameSpec, Target

ONE_HOT_CHOICES = 32  # heads with more choices are looked up in a table
EMBEDDING_UNITS = 16


class PreviousAction(nn.Module):
    """One-hot or embedded per Discrete head (none: zeros), the numbers of Box heads (none: 0).

    Target heads are left out: a slot number names somebody else by the next row.
    """

    def __init__(self, spec: GameSpec) -> None:
        super().__init__()
        kept = {name: space for name, space in spec.action_space.spaces.items() if not isinstance(space, Target)}
        discrete = {name: int(space.n) for name, space in kept.items() if isinstance(space, spaces.Discrete)}
        self.one_hot = {name: n for name, n in discrete.items() if n <= ONE_HOT_CHOICES}
        self.embedded = [name for name in discrete if name not in self.one_hot]
        self.boxes = {name: int(space.shape[0]) for name, space in kept.items() if isinstance(space, spaces.Box)}
        self.tables = nn.ModuleList(nn.Embedding(discrete[name], EMBEDDING_UNITS) for name in self.embedded)
        self.outputs = sum(self.one_hot.values()) + EMBEDDING_UNITS * len(self.embedded) + sum(self.boxes.values())

    def forward(self, action: Mapping[str, Tensor]) -> Tensor:
        """Per head [..., A] or [..., A, dims] -> [..., A, outputs] f32."""
        parts = [_one_hot(action[name], n) for name, n in self.one_hot.items()]
        for name, table in zip(self.embedded, self.tables, strict=True):
            taken = action[name].to(torch.int64)
            parts.append(table(taken.clamp(min=0)) * (taken >= 0).unsqueeze(-1))
        parts += [action[name].to(torch.float32) for name in self.boxes]
        return torch.cat(parts, dim=-1)


def _one_hot(choice: Tensor, n: int) -> Tensor:
    return (choice.unsqueeze(-1) == torch.arange(n, dtype=choice.dtype, device=choice.device)).to(torch.float32)
