"""Entity sets: a network shared by all slots, what each slot is to each agent, and the maximum over the slots.

OpenAI Five's "process set" (arXiv 1912.06680). The network over a slot runs once per team where the team shares the
set; where a slot stands from an agent is added before the last relu, so that every agent has its own embeddings of the
same table. The embeddings are carried beside the LSTM: they are the keys of pointer heads.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from gymnasium import spaces
from torch import Tensor, nn

from quintet.games.api import GameSpec
from quintet.model.kernels.entity_embedding import (
    RelativePosition,
    SlotKeys,
    compilable,
    embed_slots,
    embed_slots_compiled,
)
from quintet.model.layers import Linear
from quintet.model.normalizer import InputNormalizer


@dataclass(frozen=True, slots=True)
class EncodedSet:
    """One entity set of R = T x B rows; the agents axis is 1 where all agents of a team see the same."""

    keys: SlotKeys
    pooled: Tensor  # [R, A or 1, S], 0 where all slots are empty
    own: Tensor | None  # [R, A, S], of the slot that each agent is; None where the spec names none


class EntitySetEncoder(nn.Module):
    """W2 relu(W1 numbers + categories) per slot, plus W_r (offset, distance) per agent, relu, then the maximum."""

    numeric: Tensor
    category_offsets: Tensor
    category_sizes: Tensor

    def __init__(self, spec: GameSpec, name: str, units: int) -> None:
        super().__init__()
        space = spec.observation_space[name]
        assert isinstance(space, spaces.Box)
        sizes = spec.set_categories.get(name, {})
        columns = [k for k in range(space.shape[1]) if k not in sizes]
        self.own = torch.tensor(spec.own_slots[name]) if name in spec.own_slots else None
        self.units, self.outputs = units, units if self.own is None else 2 * units
        self.numeric_columns, self.category_columns = _range(columns), list(sizes)
        self.normalizer = InputNormalizer(len(columns))
        self.first = Linear(len(columns), units)
        self.second = Linear(units, units)
        self.categories: nn.Parameter | None = None
        if sizes:
            self.categories = nn.Parameter(0.5 * torch.randn(sum(sizes.values()), units))
            starts = torch.tensor([0, *sizes.values()]).cumsum(0)[:-1]
            self.register_buffer("category_offsets", starts, persistent=False)
            self.register_buffer("category_sizes", torch.tensor(list(sizes.values())), persistent=False)
        self.relation = spec.relations.get(name)
        self.related: Linear | None = None
        if self.relation is not None:
            self.position_columns = _range(list(self.relation.set_columns))
            self.related = Linear(len(self.relation.set_columns) + 1, units, bias=False)  # the second layer has one

    def forward(self, x: Tensor, mask: Tensor | None, agent_position: Tensor | None = None) -> EncodedSet:
        """[R, 1 or A, N, F], [R, 1 or A, N], and the raw columns of the agents' own positions [R, A, d]."""
        there = torch.ones(x.shape[:-1], dtype=torch.bool, device=x.device) if mask is None else mask.to(torch.bool)
        relative = None
        if self.relation is not None and self.related is not None and agent_position is not None:
            position, agent = x[..., self.position_columns].to(torch.float32), agent_position.to(torch.float32)
            weight = self.related.weight.to(self.related.compute_dtype)
            relative = RelativePosition(position, agent, weight, self.relation.scale)
        dimensions = 0 if relative is None else relative.position.shape[-1]
        fast = compilable(x, self.first.weight, self.first.compute_dtype, dimensions)
        return EncodedSet(*(embed_slots_compiled if fast else embed_slots)(self._slots, x, there, relative, self.own))

    def _slots(self, x: Tensor) -> Tensor:
        """[..., N, F] -> [..., N, S], what a slot is to everybody."""
        first: Tensor = self.first(self.normalizer(x[..., self.numeric_columns].to(torch.float32)))
        if self.categories is not None:
            first = first + self._categories(x)
        slots: Tensor = self.second(torch.relu(first))
        return slots

    def _categories(self, x: Tensor) -> Tensor:
        """[..., F] -> [..., S], the sum of one embedding per column: what a one-hot column adds to a linear layer."""
        assert self.categories is not None
        values = x[..., self.category_columns].to(torch.int64).clamp_(min=0)
        rows = torch.minimum(values, self.category_sizes - 1) + self.category_offsets
        flat = rows.reshape(-1, rows.shape[-1])
        return nn.functional.embedding_bag(flat, self.categories, mode="sum").view(*x.shape[:-1], self.units)

    def update_statistics(self, x: Tensor, mask: Tensor | None) -> None:
        """Rows [R, N, F] of slots that are there."""
        flat = x.reshape(-1, x.shape[-1])
        if mask is not None:
            flat = flat[mask.reshape(-1).to(torch.bool)]
        self.normalizer.update(flat[:, self.numeric_columns])


def _range(columns: list[int]) -> slice | list[int]:
    """A slice where the columns stand side by side, because indexing by a list copies."""
    if columns and columns == list(range(columns[0], columns[-1] + 1)):
        return slice(columns[0], columns[-1] + 1)
    return columns
