"""The observation as plain numbers [T, B, A, n]: which of them vary, and a few of those for statistics."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from quintet.games.api import GameSpec
from quintet.model.normalizer import INPUT_CLIP, INPUT_ROUNDING
from quintet.optimizer.batch import Batch

SAMPLED_ROWS = 256
"""Rows that are looked at for what varies: an image has too many numbers for all."""
CHOSEN = 16
"""Numbers that stand for the observation; every pair of them is a test, and each test wants rows."""
MOST_NUMBERS = 64
"""Of a larger observation so few numbers say too little: what an action changes may be elsewhere in an image."""


def few_stand_for_all(spec: GameSpec) -> bool:
    """Whether a few numbers can stand for the observation."""
    shown = [space for name, space in spec.observation_space.items() if spec.uses.get(name, "policy") == "policy"]
    return sum(math.prod(space.shape or ()) for space in shown) <= MOST_NUMBERS


def sampled_numbers(spec: GameSpec, batch: Batch) -> Tensor:
    """Everything that the policy is shown in some valid rows, evenly spaced over the batch: [rows, n] f32."""
    at = batch.valid.nonzero()
    at = at[:: max(1, len(at) // SAMPLED_ROWS)][:SAMPLED_ROWS]
    t, b, a = at.unbind(dim=1)
    parts = [entry[t, b, a].to(torch.float32) for entry in _entries(spec, batch)]
    return torch.cat(parts, dim=-1) if parts else torch.zeros(len(at), 0, device=at.device)


def which_vary(rows: Tensor) -> Tensor:
    """[rows, n] -> [n] bool: numbers that differ between rows by more than f32's rounding."""
    if len(rows) == 0:
        return torch.zeros(rows.shape[1], dtype=torch.bool, device=rows.device)
    low, high = rows.amin(dim=0), rows.amax(dim=0)
    return high - low > INPUT_ROUNDING * torch.maximum(low.abs(), high.abs())


@dataclass(frozen=True, slots=True)
class ChosenNumbers:
    """A few numbers that vary, and the units that make them one."""

    columns: tuple[Tensor, ...]  # per entry, which of its numbers
    mean: Tensor  # [n]
    scale: Tensor  # [n]

    @classmethod
    def of(cls, spec: GameSpec, batch: Batch) -> ChosenNumbers | None:
        """Evenly spaced among those that vary in this batch; None where none does."""
        rows = sampled_numbers(spec, batch)
        vary = which_vary(rows).nonzero().flatten()
        if len(vary) == 0:
            return None
        chosen = vary[torch.linspace(0, len(vary) - 1, min(CHOSEN, len(vary)), device=vary.device).round().long()]
        ends = torch.tensor([0, *(entry.shape[-1] for entry in _entries(spec, batch))]).cumsum(0).tolist()
        columns = tuple(chosen[(chosen >= begin) & (chosen < end)] - begin for begin, end in pairwise(ends))
        return cls(columns, rows[:, chosen].mean(dim=0), rows[:, chosen].std(dim=0))

    def of_batch(self, spec: GameSpec, batch: Batch) -> Tensor:
        """[T, B, A, n] f32 of about unit size."""
        entries = zip(_entries(spec, batch), self.columns, strict=True)
        x = torch.cat([entry[..., columns].to(torch.float32) for entry, columns in entries], dim=-1)
        return ((x - self.mean) / self.scale).clamp_(-INPUT_CLIP, INPUT_CLIP)


def _entries(spec: GameSpec, batch: Batch) -> list[Tensor]:
    """What the policy is shown, each [T, B, A, n]; nothing is copied."""
    t, b, a = batch.valid.shape
    found = []
    for name in spec.observation_space.spaces:
        if spec.uses.get(name, "policy") != "policy":
            continue
        shared = name in spec.team_shared
        rows = batch.observation[name].reshape(t, b, 1 if shared else a, -1)
        found.append(rows.expand(t, b, a, rows.shape[-1]))
    return found
