"""Actions of a Box head between the environment's units and the box's (`games.box_units`), as a module's buffers."""

from __future__ import annotations

import torch
from gymnasium import spaces
from torch import Tensor, nn

from quintet.games.box_units import box_units


class BoxScale(nn.Module):
    """Centre and half-range of every dimension; they follow from the space, so they do not travel with the weights."""

    center: Tensor  # [dims] f32
    half_range: Tensor  # [dims] f32
    varies: Tensor  # [dims] bool

    def __init__(self, space: spaces.Box) -> None:
        super().__init__()
        units = box_units(space)
        self.register_buffer("center", torch.as_tensor(units.center).float(), persistent=False)
        self.register_buffer("half_range", torch.as_tensor(units.half_range).float(), persistent=False)
        self.register_buffer("varies", torch.as_tensor(units.varies), persistent=False)

    def inwards(self, action: Tensor) -> Tensor:
        """The environment's units -> the box's, [..., dims] f32."""
        return (action.to(torch.float32) - self.center) / self.half_range

    def outwards(self, action: Tensor) -> Tensor:
        """The box's units -> the environment's, [..., dims] f32; a constant dimension is that constant."""
        return torch.where(self.varies, self.center + self.half_range * action, self.center)
