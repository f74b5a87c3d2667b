"""Distributions of one action head: masked categorical and diagonal Gaussian."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from quintet.model.box_scale import BoxScale

UNAVAILABLE_LOGIT = -1e9  # exp() of it is exactly 0, and differences of it stay finite


class MaskedCategorical:
    """Softmax over the legal choices.

    Args:
        logits: [..., n] f32.
        mask: [..., n] bool, or None where everything is legal. A row without a legal choice (an agent that does not
            act) is treated as if all were legal, so that no NaN is ever made; the caller masks such rows out.
    """

    def __init__(self, logits: Tensor, mask: Tensor | None) -> None:
        logits = logits.to(torch.float32)
        if mask is not None:
            legal = mask | ~mask.any(dim=-1, keepdim=True)
            logits = torch.where(legal, logits, UNAVAILABLE_LOGIT)
        self.log_probs = torch.log_softmax(logits, dim=-1)

    def sample(self, generator: torch.Generator | None) -> Tensor:
        """[...] int64, by the Gumbel-max trick."""
        uniform = torch.rand(self.log_probs.shape, generator=generator, device=self.log_probs.device)
        exponential = uniform.clamp_(min=1e-20).log_().neg_()
        return (self.log_probs - exponential.log_()).argmax(dim=-1)

    def mode(self) -> Tensor:
        """[...] int64, the likeliest choice."""
        return self.log_probs.argmax(dim=-1)

    def log_prob(self, action: Tensor) -> Tensor:
        """[...] f32; choices that were not taken (-1) read entry 0 and are masked out by the caller."""
        index = action.to(torch.int64).clamp(min=0).unsqueeze(-1)
        return self.log_probs.gather(-1, index).squeeze(-1)

    def entropy(self) -> Tensor:
        """[...] f32 nats; illegal choices add exactly 0.

        A softmax of log-probabilities is their exponential; `exp` itself is ten times slower where it underflows.
        """
        return -(torch.softmax(self.log_probs, dim=-1) * self.log_probs).sum(dim=-1)


class DiagonalGaussian:
    """Independent normals over the dimensions of a Box head.

    Mean, spread, log-probability and entropy are in units of the box (`games.box_units`), in which they do not change
    when the environment's own units do; actions are in the environment's. A constant dimension has log-probability and
    entropy 0.

    Args:
        mean: [..., dims], in units of the box.
        log_std: [dims], likewise, the same in every state.
        scale: what turns them into the environment's units.
    """

    def __init__(self, mean: Tensor, log_std: Tensor, scale: BoxScale) -> None:
        self.mean, self.log_std, self.scale = mean.to(torch.float32), log_std.to(torch.float32), scale

    def sample(self, generator: torch.Generator | None) -> Tensor:
        """[..., dims] f32, not clipped to the box: the game gets a clipped copy."""
        noise = torch.randn(self.mean.shape, generator=generator, device=self.mean.device)
        return self.scale.outwards(self.mean + self.log_std.exp() * noise)

    def mode(self) -> Tensor:
        """[..., dims] f32."""
        return self.scale.outwards(self.mean)

    def spread(self) -> Tensor:
        """[dims] f32: the standard deviation in the environment's units."""
        return self.log_std.exp() * self.scale.half_range * self.scale.varies

    def log_prob(self, action: Tensor) -> Tensor:
        """[...] f32, summed over dimensions."""
        z = (self.scale.inwards(action) - self.mean) * torch.exp(-self.log_std)
        log_probs = -(0.5 * z.square() + self.log_std + 0.5 * math.log(2 * math.pi))
        return torch.where(self.scale.varies, log_probs, 0.0).sum(dim=-1)

    def entropy(self) -> Tensor:
        """[...] f32 nats, summed over dimensions."""
        each = self.log_std + 0.5 * math.log(2 * math.pi * math.e)
        return torch.where(self.scale.varies, each, 0.0).sum().expand(self.mean.shape[:-1])


Distribution = MaskedCategorical | DiagonalGaussian
