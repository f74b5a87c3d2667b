"""The previous action as features of the next row."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor, nn

from quintet.games.api import GameSpec, Target
from quintet.games.box_units import box_units
from quintet.model.box_scale import BoxScale
from quintet.model.normalizer import INPUT_CLIP, InputNormalizer

ONE_HOT_CHOICES = 32  # heads with more choices are looked up in a table
EMBEDDING_UNITS = 16


class PreviousBox(nn.Module):
    """The previous action of a Box head in units of the box, clipped to +-5; none, which travels as all 0, is all 0.

    Where the box has no bounds, running statistics of what was done take the place of its units.
    """

    free: Tensor  # [dims] int64, the dimensions without bounds

    def __init__(self, space: spaces.Box) -> None:
        super().__init__()
        units = box_units(space)
        free = np.flatnonzero(units.varies & ~units.bounded)
        self.register_buffer("free", torch.as_tensor(free), persistent=False)
        self.scale = BoxScale(space)
        self.normalizer = InputNormalizer(len(free)) if len(free) else None

    def forward(self, action: Tensor) -> Tensor:
        """[..., dims], unclipped -> the same shape, f32."""
        x = self.scale.inwards(action)
        if self.normalizer is not None:
            x[..., self.free] = self.normalizer(x[..., self.free])
        return torch.where(_taken(action), x.clamp(-INPUT_CLIP, INPUT_CLIP), 0.0)

    def update_statistics(self, action: Tensor) -> None:
        """Merge actions [n, dims]; rows without one stay out."""
        if self.normalizer is not None:
            self.normalizer.update(self.scale.inwards(action[_taken(action).squeeze(-1)])[:, self.free])


def _taken(action: Tensor) -> Tensor:
    """[..., dims] -> [..., 1] bool. Nobody draws exactly 0 in every dimension that there is to choose."""
    return (action != 0).any(dim=-1, keepdim=True)


class PreviousAction(nn.Module):
    """One-hot or embedded per Discrete head (none: zeros), the numbers of Box heads in units of the box (none: 0).

    Target heads are left out: a slot number names somebody else by the next row.
    """

    def __init__(self, spec: GameSpec) -> None:
        super().__init__()
        kept = {name: space for name, space in spec.action_space.spaces.items() if not isinstance(space, Target)}
        discrete = {name: int(space.n) for name, space in kept.items() if isinstance(space, spaces.Discrete)}
        self.one_hot = {name: n for name, n in discrete.items() if n <= ONE_HOT_CHOICES}
        self.embedded = [name for name in discrete if name not in self.one_hot]
        boxes = {name: space for name, space in kept.items() if isinstance(space, spaces.Box)}
        self.box_names = list(boxes)
        self.boxes = nn.ModuleList(PreviousBox(space) for space in boxes.values())
        self.tables = nn.ModuleList(nn.Embedding(discrete[name], EMBEDDING_UNITS) for name in self.embedded)
        numbers = sum(int(space.shape[0]) for space in boxes.values())
        self.outputs = sum(self.one_hot.values()) + EMBEDDING_UNITS * len(self.embedded) + numbers

    def forward(self, action: Mapping[str, Tensor]) -> Tensor:
        """Per head [..., A] or [..., A, dims] -> [..., A, outputs] f32."""
        parts = [_one_hot(action[name], n) for name, n in self.one_hot.items()]
        for name, table in zip(self.embedded, self.tables, strict=True):
            taken = action[name].to(torch.int64)
            parts.append(table(taken.clamp(min=0)) * (taken >= 0).unsqueeze(-1))
        parts += [box(action[name]) for name, box in zip(self.box_names, self.boxes, strict=True)]
        return torch.cat(parts, dim=-1)

    @torch.no_grad()
    def update_statistics(self, action: Mapping[str, Tensor], valid: Tensor) -> None:
        """Merge previous actions, per head [..., A, dims], into the running statistics where `valid` [..., A]."""
        for name, box in zip(self.box_names, self.boxes, strict=True):
            cast(PreviousBox, box).update_statistics(action[name][valid])


def _one_hot(choice: Tensor, n: int) -> Tensor:
    return (choice.unsqueeze(-1) == torch.arange(n, dtype=choice.dtype, device=choice.device)).to(torch.float32)
