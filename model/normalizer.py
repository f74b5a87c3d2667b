"""Running mean and scale of inputs and returns: f32 buffers of the policy that travel with its weights.

They change once per version, between the last update and the publish, so that every row of a window was played, and is
trained on, with the statistics of one version.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

INPUT_CLIP = 5.0  # OpenAI Five clips normalised inputs to (-5, 5)


class InputNormalizer(nn.Module):
    """Mean and variance per feature over all data seen; (x - mean) / std clipped to +-5. Identity until updated."""

    mean: Tensor
    variance: Tensor
    count: Tensor

    def __init__(self, features: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(features))
        self.register_buffer("variance", torch.ones(features))
        self.register_buffer("count", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        """[..., features] -> the same shape, f32.

        A feature that never changed is not scaled: dividing by next to nothing would blow up its first change.
        """
        scale = torch.rsqrt(torch.where(self.variance > 1e-12, self.variance, 1.0) + 1e-8)
        return ((x - self.mean) * scale).clamp_(-INPUT_CLIP, INPUT_CLIP)

    @torch.no_grad()
    def update(self, x: Tensor) -> None:
        """Merge rows [n, features] by the parallel form of Welford's update (Chan et al. 1979)."""
        n = x.shape[0]
        if x.numel() == 0:  # no rows, or rows of nothing
            return
        rows = x.to(torch.float64)
        mean, variance = rows.mean(0), rows.var(0, unbiased=False)
        old = self.count.to(torch.float64)
        total = old + n
        delta = mean - self.mean.to(torch.float64)
        merged = (self.variance.to(torch.float64) * old + variance * n + delta.square() * old * n / total) / total
        self.mean.copy_(self.mean.to(torch.float64) + delta * n / total)
        self.variance.copy_(merged)
        self.count.copy_(total)


class ReturnNormalizer(nn.Module):
    """Mean and scale of the return, debiased exponential averages over versions (PopArt, arXiv 1602.07714).

    The value head predicts normalised returns; `denormalize` turns them into reward units.
    """

    mean: Tensor
    scale: Tensor
    averages: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(()))
        self.register_buffer("scale", torch.ones(()))
        self.register_buffer("averages", torch.zeros(3))  # of return, return squared, 1

    def normalize(self, returns: Tensor) -> Tensor:
        """Reward units -> what the value head predicts."""
        return (returns - self.mean) / self.scale

    def denormalize(self, value: Tensor) -> Tensor:
        """What the value head predicts -> reward units."""
        return value * self.scale + self.mean

    @torch.no_grad()
    def update(self, returns: Tensor, *, decay: float, value_head: nn.Linear) -> None:
        """Merge one batch of returns [n]; `value_head` is rescaled so that its denormalised output does not move."""
        if returns.numel() == 0:
            return
        batch = torch.stack([returns.mean(), returns.square().mean(), torch.ones_like(self.mean)])
        self.averages.mul_(decay).add_(batch, alpha=1 - decay)
        mean, square = self.averages[0] / self.averages[2], self.averages[1] / self.averages[2]
        scale = (square - mean.square()).clamp_(min=1e-8).sqrt_().clamp_(min=1e-2)
        value_head.weight.mul_(self.scale / scale)
        value_head.bias.copy_((value_head.bias * self.scale + self.mean - mean) / scale)
        self.mean.copy_(mean)
        self.scale.copy_(scale)
