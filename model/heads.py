"""The action heads: LSTM output -> one distribution per head, the primary head first, and what a taken action gives.

Discrete heads have a mask; Box heads are diagonal Gaussians whose mean is in the units of the box, scaled so that an
untrained network covers it. A head that the chosen primary action does not read has log-probability and entropy 0.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from gymnasium import spaces
from torch import Tensor, nn

from games.api import ACTION_MASK_PREFIX, GameSpec
from model.layers import Linear
from model.masked_dist import DiagonalGaussian, Distribution, MaskedCategorical

TensorDict = Mapping[str, Tensor]


@dataclass(frozen=True, slots=True)
class Evaluated:
    """Actions that were taken, as the policy sees them; where a head is not read, log-prob and entropy are exactly 0.

    The entropy of a step is that of the primary head plus those of the heads that the taken primary action reads: its
    expectation is the joint entropy.
    """

    log_prob: dict[str, Tensor]  # per head [T, B, A] f32
    entropy: dict[str, Tensor]  # per head [T, B, A] f32, nats
    read: dict[str, Tensor]  # per head [T, B, A] bool


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

    reads: Tensor

    def __init__(self, spec: GameSpec, inputs: int) -> None:
        super().__init__()
        self.masked, self.masked_by_primary, self.primary = spec.masked_heads, spec.masked_by_primary, spec.primary_head
        heads: dict[str, nn.Module] = {}
        for name, space in spec.action_space.spaces.items():
            if isinstance(space, spaces.Discrete):
                heads[name] = Linear(inputs, int(space.n), gain=0.01)
            elif isinstance(space, spaces.Box):
                heads[name] = GaussianHead(inputs, space)
        self.names = list(heads)
        self.modules_by_head = nn.ModuleList(heads.values())  # a ModuleDict forbids names with dots
        table = [[name in read or name == self.primary for name in self.names] for read in spec.reads]
        self.register_buffer("reads", torch.tensor(table or [[True] * len(self.names)]), persistent=False)

    def evaluate(self, hidden: Tensor, keys: TensorDict, observation: TensorDict, action: TensorDict) -> Evaluated:
        """[..., inputs] and actions per head [...] -> log-probability, entropy and read of every head."""
        chosen = None if self.primary is None else action[self.primary].to(torch.int64)
        found = Evaluated({}, {}, {})
        for k, name in enumerate(self.names):
            distribution = self.distribution(name, hidden, keys, observation, chosen)
            read = self._read(k, hidden, chosen)
            log_prob, entropy = distribution.log_prob(action[name]), distribution.entropy()
            if chosen is not None:
                log_prob, entropy = torch.where(read, log_prob, 0.0), torch.where(read, entropy, 0.0)
            found.log_prob[name], found.entropy[name], found.read[name] = log_prob, entropy, read
        return found

    def choose(
        self,
        hidden: Tensor,
        keys: TensorDict,
        observation: TensorDict,
        generator: torch.Generator | None,
        *,
        greedy: bool,
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """[..., inputs] -> an action per head (-1, or 0 for Box heads, where not read) and its log-probability."""
        action: dict[str, Tensor] = {}
        log_prob: dict[str, Tensor] = {}
        chosen: Tensor | None = None
        for name in sorted(self.names, key=lambda name: name != self.primary):  # the primary head decides first
            distribution = self.distribution(name, hidden, keys, observation, chosen)
            taken = distribution.mode() if greedy else distribution.sample(generator)
            log_prob[name] = distribution.log_prob(taken)
            if name == self.primary:
                chosen = taken
            elif chosen is not None:
                read = self._read(self.names.index(name), hidden, chosen)
                log_prob[name] = torch.where(read, log_prob[name], 0.0)
                discrete = isinstance(distribution, MaskedCategorical)
                taken = torch.where(read, taken, -1) if discrete else torch.where(read.unsqueeze(-1), taken, 0.0)
            action[name] = taken
        return {n: action[n] for n in self.names}, {n: log_prob[n] for n in self.names}

    def distribution(
        self, name: str, hidden: Tensor, keys: TensorDict, observation: TensorDict, chosen: Tensor | None
    ) -> Distribution:
        """One head, given the chosen primary action [...] (None: there is none, or this head is the primary one)."""
        head = self.modules_by_head[self.names.index(name)]
        if isinstance(head, GaussianHead):
            gaussian: DiagonalGaussian = head(hidden)
            return gaussian
        return MaskedCategorical(head(hidden), self._mask(name, observation, chosen))

    def _mask(self, name: str, observation: TensorDict, chosen: Tensor | None) -> Tensor | None:
        """[..., n] bool: what is legal, in the row of the chosen primary action where the mask has such rows."""
        if name not in self.masked:
            return None
        mask = observation[f"{ACTION_MASK_PREFIX}{name}"]
        if name not in self.masked_by_primary or chosen is None:
            return mask
        row = chosen.clamp(min=0)[..., None, None].expand(*chosen.shape, 1, mask.shape[-1])
        return mask.gather(-2, row).squeeze(-2)

    def _read(self, k: int, hidden: Tensor, chosen: Tensor | None) -> Tensor:
        """[...] bool: whether head k counts; nothing does where nobody chose a primary action (-1)."""
        if chosen is None:
            return torch.ones(hidden.shape[:-1], dtype=torch.bool, device=hidden.device)
        column = self.reads[:, k]
        always = column.shape[0] == 1
        return (chosen >= 0) & (column[0] if always else column[chosen.clamp(min=0)])


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
