"""Running mean and scale of inputs and returns: f32 buffers of the policy that travel with its weights.

They change once per version, between the last update and the publish, so that every row of a window was played, and is
trained on, with the statistics of one version.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

INPUT_CLIP = 5.0  # OpenAI Five clips normalised inputs to (-5, 5)
INPUT_ROUNDING = 2**-23  # a feature that varies by less, as a share of its mean, varies by f32's rounding alone
RETURN_ROUNDING = 1e-6  # the same of returns, which are sums
LEAST_SCALE = 1e-2  # of the largest scale so far: where rewards stop, or all games are drawn, it must not vanish


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

        Whatever units x comes in, the same goes on from here. A feature that never changed is not scaled.
        """
        return ((x - self.mean) * self.factor()).clamp_(-INPUT_CLIP, INPUT_CLIP)

    def factor(self) -> Tensor:
        """[features], what the distance from the mean is multiplied by."""
        varies = self.variance > (INPUT_ROUNDING * self.mean).square()
        return torch.rsqrt(torch.where(varies, self.variance, 1.0))

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


class PixelNormalizer(InputNormalizer):
    """The same of an image's channels, but the clip reaches to the farthest number seen.

    What is rare in an image is often what it is about: one goal among hundreds of empty cells lies more than 5 standard
    deviations off, and so do a door that is closed and one that is locked, which must not look alike.
    """

    least: Tensor
    most: Tensor

    def __init__(self, features: int) -> None:
        super().__init__(features)
        self.register_buffer("least", torch.zeros(features))
        self.register_buffer("most", torch.zeros(features))

    def factor(self) -> Tensor:
        """[features]; 1 / std, or less where the clip would cut off something seen before."""
        reach = torch.maximum(self.most - self.mean, self.mean - self.least)
        return torch.minimum(super().factor(), INPUT_CLIP / reach)

    @torch.no_grad()
    def update(self, x: Tensor) -> None:
        """Merge pixels [n, features]."""
        if x.numel() == 0 or bool(self.count < 0):
            return
        least, most = x.amin(0), x.amax(0)
        first = self.count == 0
        self.least.copy_(torch.where(first, least, torch.minimum(self.least, least)))
        self.most.copy_(torch.where(first, most, torch.maximum(self.most, most)))
        super().update(x)

    def left_alone(self) -> dict[str, Tensor]:
        """The buffers of one that is the identity for good.

        For weights that were trained without statistics: normalised images would be something new to them.
        """
        untouched = type(self)(len(self.mean)).state_dict()
        return {**untouched, "count": torch.tensor(-1.0)}


class ReturnNormalizer(nn.Module):
    """Mean and scale of the return, debiased exponential averages over versions (PopArt, arXiv 1602.07714).

    The value head predicts normalised returns; `denormalize` turns them into reward units. Until one return has
    differed from another nothing is known of those units, and the value is the mean, whatever the head says.
    """

    mean: Tensor
    scale: Tensor
    variance: Tensor
    weight: Tensor
    largest: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(()))
        self.register_buffer("scale", torch.ones(()))
        self.register_buffer("variance", torch.zeros(()))  # about the mean: E[x^2] - E[x]^2 cancels in f32
        self.register_buffer("weight", torch.zeros(()))  # of all batches so far, below 1
        self.register_buffer("largest", torch.zeros(()))  # scale so far; 0: nothing is known of the rewards' units

    def knows_units(self) -> bool:
        """Whether returns have varied."""
        return bool(self.largest > 0)

    def normalize(self, returns: Tensor) -> Tensor:
        """Reward units -> what the value head predicts."""
        return (returns - self.mean) / self.scale

    def denormalize(self, value: Tensor) -> Tensor:
        """What the value head predicts -> reward units."""
        return value * (self.scale * (self.largest > 0)) + self.mean

    @torch.no_grad()
    def update(self, returns: Tensor, *, decay: float, value_head: nn.Linear) -> None:
        """Merge one batch of returns [n], as Chan et al. 1979 do, with weights that decay.

        `value_head` is rescaled so that its denormalised output does not move, once the units are known.
        """
        if returns.numel() == 0:
            return
        rows = returns.to(torch.float64)
        weight = self.weight.to(torch.float64) * decay + (1 - decay)
        share = (1 - decay) / weight
        delta = rows.mean() - self.mean.to(torch.float64)
        mean = (self.mean.to(torch.float64) + share * delta).to(torch.float32)
        variance = (1 - share) * (self.variance + share * delta.square()) + share * rows.var(unbiased=False)
        spread, rounding = variance.sqrt().to(torch.float32), RETURN_ROUNDING * mean.abs()
        largest = torch.where(spread > rounding, torch.maximum(spread, self.largest), self.largest)
        scale = torch.maximum(torch.maximum(spread, rounding), LEAST_SCALE * largest)
        scale = torch.where(largest > 0, scale, 1.0)
        known, bias = self.largest > 0, (value_head.bias * self.scale + (self.mean - mean)) / scale
        value_head.weight.mul_(torch.where(known, self.scale / scale, 1.0))
        value_head.bias.copy_(torch.where(known, bias, value_head.bias))
        for buffer, number in (
            (self.mean, mean), (self.scale, scale), (self.variance, variance), (self.weight, weight),
            (self.largest, largest),
        ):  # fmt: skip
            buffer.copy_(number)
