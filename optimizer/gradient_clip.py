"""OpenAI Five's gradient clip: every parameter element to +-5 sqrt(v), v its running second moment."""

from __future__ import annotations

import torch
from torch import Tensor

CLIP_FACTOR = 5.0


class ElementwiseClip:
    """g <- clip(g, -5 sqrt(v), +5 sqrt(v)), v the bias-corrected second moment of the *unclipped* gradient.

    Source: arXiv 1912.06680, section 3.2 and appendix C. `beta2` is Adam's.
    """

    def __init__(self, parameters: list[Tensor], *, beta2: float) -> None:
        self.beta2 = beta2
        self.updates = 0
        self.moments = [torch.zeros_like(p, memory_format=torch.preserve_format) for p in parameters]

    @torch.no_grad()
    def __call__(self, gradients: list[Tensor]) -> None:
        """Clip in place."""
        self.updates += 1
        torch._foreach_mul_(self.moments, self.beta2)
        torch._foreach_addcmul_(self.moments, gradients, gradients, value=1 - self.beta2)
        bounds = torch._foreach_sqrt(self.moments)
        torch._foreach_mul_(bounds, CLIP_FACTOR / (1 - self.beta2**self.updates) ** 0.5)
        torch._foreach_minimum_(gradients, bounds)
        torch._foreach_neg_(bounds)
        torch._foreach_maximum_(gradients, bounds)
