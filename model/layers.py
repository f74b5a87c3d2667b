"""The linear layer that runs in the policy's compute dtype whatever its weights are stored in."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class Linear(nn.Linear):
    """`nn.Linear` that casts input, weight and bias to `compute_dtype` and returns that dtype.

    The optimizer keeps f32 masters and a worker the very bf16 numbers that were published; both run the same products.
    """

    def __init__(self, inputs: int, outputs: int, *, gain: float = 2**0.5, bias: bool = True) -> None:
        super().__init__(inputs, outputs, bias)
        self.compute_dtype = torch.float32
        nn.init.orthogonal_(self.weight, gain)
        if bias:
            nn.init.zeros_(self.bias)

    def forward(self, x: Tensor) -> Tensor:
        """[..., inputs] -> [..., outputs]."""
        dtype = self.compute_dtype
        bias = None if self.bias is None else self.bias.to(dtype)
        return nn.functional.linear(x.to(dtype), self.weight.to(dtype), bias)


def side_by_side(layers: Sequence[Linear], x: Tensor) -> list[Tensor]:
    """What each of these layers makes of x [..., inputs]: [..., outputs] each, views of one product where they can be.

    A narrow layer costs little more than reading x and, on the way back, adding to the gradient of x. Layers that
    compute in the same number format do that once for all.
    """
    found: dict[int, Tensor] = {}
    for dtype in dict.fromkeys(layer.compute_dtype for layer in layers):
        group = [k for k, layer in enumerate(layers) if layer.compute_dtype == dtype]
        weight = torch.cat([layers[k].weight for k in group]).to(dtype)
        bias = torch.cat([layers[k].bias for k in group]).to(dtype)
        out = nn.functional.linear(x.to(dtype), weight, bias)
        parts = torch.split(out, [layers[k].out_features for k in group], dim=-1)
        found.update(zip(group, parts, strict=True))
    return [found[k] for k in range(len(layers))]


def set_compute_dtype(module: nn.Module, dtype: torch.dtype) -> None:
    """Make every `Linear` under `module` run in `dtype`."""
    for child in module.modules():
        if isinstance(child, Linear):
            child.compute_dtype = dtype
