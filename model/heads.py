"""The action heads: LSTM output -> one distribution per head, the primary head first, the others given its choice.

Each head begins with a linear layer over the LSTM's output, its query; `Policy` computes all of them in one product.

The only link between heads is from the primary action to the others (arXiv 1912.06680, section on the action space). A
head that the chosen primary action does not read has log-probability and entropy 0.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

import torch
from gymnasium import spaces
from torch import Tensor, nn

from quintet.games.api import ACTION_MASK_PREFIX, GameSpec, Target, UnsupportedSpaceError
from quintet.model.box_scale import BoxScale
from quintet.model.distributions import DiagonalGaussian, Distribution, MaskedCategorical
from quintet.model.kernels.entity_embedding import SlotKeys, pointed
from quintet.model.layers import Linear

TensorDict = Mapping[str, Tensor]

FIRST_LOG_STD = -0.5
"""Of an untrained Box head, in units of the box."""


@dataclass(frozen=True, slots=True)
class Evaluated:
    """Actions that were taken, as the policy sees them; where a head is not read, log-prob and entropy are exactly 0.

    The entropy of a step is that of the primary head plus those of the heads that the taken primary action reads: its
    expectation is the joint entropy.
    """

    log_prob: dict[str, Tensor]  # per head [T, B, A] f32
    entropy: dict[str, Tensor]  # per head [T, B, A] f32, nats
    read: dict[str, Tensor]  # per head [T, B, A] bool


class LinearHead(nn.Module):
    """One logit per choice, to which the chosen primary action adds a learned number per choice."""

    def __init__(self, inputs: int, choices: int, primary_choices: int) -> None:
        super().__init__()
        self.logits = Linear(inputs, choices, gain=0.01)
        self.given = nn.Parameter(torch.zeros(primary_choices, choices)) if primary_choices else None

    @property
    def layer(self) -> Linear:
        """What makes the query."""
        return self.logits

    def forward(self, query: Tensor, chosen: Tensor | None) -> Tensor:
        """[..., choices] and the chosen primary action [...] -> [..., choices] f32."""
        logits = query.to(torch.float32)
        return logits if self.given is None or chosen is None else logits + self.given[chosen.clamp(min=0)]


class PrimaryHead(nn.Module):
    """Dot products of a query with one embedding per action."""

    def __init__(self, inputs: int, choices: int, units: int) -> None:
        super().__init__()
        self.query = Linear(inputs, units, gain=0.01)
        self.embeddings = nn.Parameter(torch.randn(choices, units) / units**0.5)

    @property
    def layer(self) -> Linear:
        """What makes the query."""
        return self.query

    def forward(self, query: Tensor) -> Tensor:
        """[..., units] -> [..., choices] f32."""
        return query.to(torch.float32) @ self.embeddings.t()


class TargetHead(nn.Module):
    """A pointer: dot products of a query with the keys of the slots, gated by the chosen primary action.

    query . (key x sigmoid(gate of the action)) is computed as (query x gate) . key, so that the keys are read but once.
    """

    def __init__(self, inputs: int, group: str, units: int, primary_choices: int) -> None:
        super().__init__()
        self.group = group
        self.query = Linear(inputs, units, gain=0.01)
        self.gate = nn.Parameter(torch.randn(primary_choices, units)) if primary_choices else None

    @property
    def layer(self) -> Linear:
        """What makes the query."""
        return self.query

    def forward(self, query: Tensor, keys: SlotKeys, chosen: Tensor | None) -> Tensor:
        """[T, B, A, units] and the chosen primary action [T, B, A] -> [T, B, A, N] f32."""
        query = query.to(torch.float32) / keys.embedding.shape[-1] ** 0.5
        if self.gate is not None and chosen is not None:
            query = query * torch.sigmoid(self.gate)[chosen.clamp(min=0)]
        return pointed(keys, query.flatten(0, 1)).view(*query.shape[:-1], -1)


class GaussianHead(nn.Module):
    """A Box head: mean by a linear layer, a learned log standard deviation that is the same in every state.

    Both are in units of the box, so that an untrained network covers it.
    """

    def __init__(self, inputs: int, space: spaces.Box) -> None:
        super().__init__()
        self.scale = BoxScale(space)
        self.mean = Linear(inputs, int(space.shape[0]), gain=0.01)
        self.log_std = nn.Parameter(torch.full((int(space.shape[0]),), FIRST_LOG_STD))

    @property
    def layer(self) -> Linear:
        """What makes the query."""
        return self.mean

    def forward(self, query: Tensor) -> DiagonalGaussian:
        """[..., dims] -> a distribution over [..., dims]."""
        return DiagonalGaussian(query, self.log_std, self.scale)


class ActionHeads(nn.Module):
    """All heads of an action space, in the order in which the space names them."""

    reads: Tensor

    def __init__(self, spec: GameSpec, inputs: int, units: int) -> None:
        super().__init__()
        self.masked, self.masked_by_primary, self.primary = spec.masked_heads, spec.masked_by_primary, spec.primary_head
        self.names = list(spec.action_space.spaces)
        self.modules_by_head = nn.ModuleList(  # a ModuleDict forbids names with dots
            make_head(spec, name, inputs, units) for name in self.names
        )
        table = [[name in read or name == self.primary for name in self.names] for read in spec.reads]
        self.register_buffer("reads", torch.tensor(table or [[True] * len(self.names)]), persistent=False)

    @property
    def layers(self) -> list[Linear]:
        """What makes the query of each head, in the order of `names`."""
        return [cast("Head", head).layer for head in self.modules_by_head]

    def evaluate(
        self, queries: TensorDict, keys: Mapping[str, SlotKeys], observation: TensorDict, action: TensorDict
    ) -> Evaluated:
        """Queries [..., units] and actions [...], both per head -> log-probability, entropy and read of every head."""
        chosen = None if self.primary is None else action[self.primary].to(torch.int64)
        found = Evaluated({}, {}, {})
        for k, name in enumerate(self.names):
            distribution = self.distribution(name, queries, keys, observation, chosen)
            read = self._read(k, queries[name], chosen)
            log_prob, entropy = distribution.log_prob(action[name]), distribution.entropy()
            if chosen is not None:
                log_prob, entropy = torch.where(read, log_prob, 0.0), torch.where(read, entropy, 0.0)
            found.log_prob[name], found.entropy[name], found.read[name] = log_prob, entropy, read
        return found

    def choose(
        self,
        queries: TensorDict,
        keys: Mapping[str, SlotKeys],
        observation: TensorDict,
        generator: torch.Generator | None,
        *,
        greedy: bool,
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Queries -> an action per head (-1, or 0 for Box heads, where not read) and its log-probability."""
        action: dict[str, Tensor] = {}
        log_prob: dict[str, Tensor] = {}
        chosen: Tensor | None = None
        for name in sorted(self.names, key=lambda name: name != self.primary):  # the primary head decides first
            distribution = self.distribution(name, queries, keys, observation, chosen)
            taken = distribution.mode() if greedy else distribution.sample(generator)
            log_prob[name] = distribution.log_prob(taken)
            if name == self.primary:
                chosen = taken
            elif chosen is not None:
                read = self._read(self.names.index(name), queries[name], chosen)
                log_prob[name] = torch.where(read, log_prob[name], 0.0)
                discrete = isinstance(distribution, MaskedCategorical)
                taken = torch.where(read, taken, -1) if discrete else torch.where(read.unsqueeze(-1), taken, 0.0)
            action[name] = taken
        return {n: action[n] for n in self.names}, {n: log_prob[n] for n in self.names}

    def distribution(
        self,
        name: str,
        queries: TensorDict,
        keys: Mapping[str, SlotKeys],
        observation: TensorDict,
        chosen: Tensor | None,
    ) -> Distribution:
        """One head, given the chosen primary action [...] (None: the game has no primary head, or this is it)."""
        head, query = self.modules_by_head[self.names.index(name)], queries[name]
        if isinstance(head, GaussianHead):
            gaussian: DiagonalGaussian = head(query)
            return gaussian
        mask = self._mask(name, observation, chosen)
        if isinstance(head, PrimaryHead):
            return MaskedCategorical(head(query), mask)
        if isinstance(head, TargetHead):
            there = observation[f"{head.group}_mask"].to(torch.bool)
            there = there if there.ndim == query.ndim else there.unsqueeze(-2)  # shared by the team
            legal = there if mask is None else mask & there
            return MaskedCategorical(head(query, keys[head.group], chosen), legal)
        return MaskedCategorical(head(query, chosen), mask)

    def _mask(self, name: str, observation: TensorDict, chosen: Tensor | None) -> Tensor | None:
        """[..., n] bool: what is legal, in the row of the chosen primary action where the mask has such rows."""
        if name not in self.masked:
            return None
        mask = observation[f"{ACTION_MASK_PREFIX}{name}"]
        if name not in self.masked_by_primary or chosen is None:
            return mask
        agents = torch.arange(chosen.numel(), device=mask.device)
        rows = mask.flatten(0, -3)[agents, chosen.clamp(min=0).flatten()]
        return rows.view(*chosen.shape, mask.shape[-1])

    def _read(self, k: int, query: Tensor, chosen: Tensor | None) -> Tensor:
        """[...] bool: whether head k counts; nothing does where nobody chose a primary action (-1)."""
        if chosen is None:
            return torch.ones(query.shape[:-1], dtype=torch.bool, device=query.device)
        column = self.reads[:, k]
        always = column.shape[0] == 1
        return (chosen >= 0) & (column[0] if always else column[chosen.clamp(min=0)])


Head = LinearHead | PrimaryHead | TargetHead | GaussianHead


def make_head(spec: GameSpec, name: str, inputs: int, units: int) -> Head:
    """The network of one head: by dot product for the primary one, a pointer for targets, else linear or Gaussian.

    Raises:
        UnsupportedSpaceError: a space that no head serves.
    """
    space = spec.action_space[name]
    if isinstance(space, spaces.Box):
        return GaussianHead(inputs, space)
    if not isinstance(space, spaces.Discrete):
        raise UnsupportedSpaceError(
            f"{spec.name}: action head {name!r} is a {type(space).__name__}; supported are Discrete, Target and Box"
        )
    if name == spec.primary_head:
        return PrimaryHead(inputs, int(space.n), units)
    primary = None if spec.primary_head is None else spec.action_space[spec.primary_head]
    primary_choices = int(primary.n) if isinstance(primary, spaces.Discrete) else 0
    if isinstance(space, Target):
        return TargetHead(inputs, space.group, units, primary_choices)
    return LinearHead(inputs, int(space.n), primary_choices)
