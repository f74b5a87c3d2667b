"""All entries of one use through their encoders, side by side in one vector per agent."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import torch
from torch import Tensor, nn

from quintet.games.api import EntryUse, GameSpec, entry_kind
from quintet.model.config import PolicyConfig
from quintet.model.encoders import Encoder, make_encoder
from quintet.model.entity_sets import EncodedSet, EntitySetEncoder
from quintet.model.kernels.entity_embedding import SlotKeys

TensorDict = Mapping[str, Tensor]
Shape = tuple[int, int, int]  # T rows, B teams, A agents


def entry_names(spec: GameSpec, use: EntryUse = "policy") -> list[str]:
    """The entries of a use, without the masks that belong to entity sets; `act` needs no others than "policy"."""
    names = [n for n in spec.observation_space.spaces if spec.uses.get(n, "policy") == use]
    sets = {n for n in names if entry_kind(spec, n) == "entity_set"}
    return [n for n in names if not (n.endswith("_mask") and n.removesuffix("_mask") in sets)]


class EntryEncoders(nn.ModuleList):
    """One encoder per entry, in the order of `names`.

    Raises:
        UnsupportedSpaceError: an entry that no encoder serves.
    """

    def __init__(self, spec: GameSpec, use: EntryUse, config: PolicyConfig) -> None:
        self.names = entry_names(spec, use)
        super().__init__(make_encoder(spec, name, config) for name in self.names)
        self.spec = spec
        self.sets = {name for name in self.names if entry_kind(spec, name) == "entity_set"}
        self.keyed = {name for name, encoder in self.items() if isinstance(encoder, EntitySetEncoder)}
        self.outputs = sum(encoder.outputs for _, encoder in self.items())

    def items(self) -> list[tuple[str, Encoder | EntitySetEncoder]]:
        """(name, encoder) of every entry."""
        return list(zip(self.names, cast("list[Encoder | EntitySetEncoder]", list(self)), strict=True))

    def forward(self, observation: TensorDict, shape: Shape) -> tuple[Tensor, dict[str, SlotKeys]]:
        """All entries of T rows [T, B, A, outputs], and of every set what pointers point at."""
        t, b, a = shape
        parts: list[Tensor] = []
        keys: dict[str, SlotKeys] = {}
        for name, encoder in self.items():
            if isinstance(encoder, EntitySetEncoder):
                encoded = self._encode_set(name, encoder, observation)
                keys[name] = encoded.keys
                parts += [encoded.pooled] if encoded.own is None else [encoded.pooled, encoded.own]
            else:
                agents = 1 if name in self.spec.team_shared else a
                parts.append(encoder(*self._rows(observation, name)).view(t * b, agents, encoder.outputs))
        encoded_rows = [part.view(t, b, part.shape[1], part.shape[2]).expand(t, b, a, part.shape[2]) for part in parts]
        return torch.cat(encoded_rows, dim=-1), keys

    def _encode_set(self, name: str, encoder: EntitySetEncoder, observation: TensorDict) -> EncodedSet:
        shared = name in self.spec.team_shared
        x, mask = observation[name].flatten(0, 1), observation[f"{name}_mask"].flatten(0, 1)
        position = None
        if encoder.relation is not None:
            position = observation[encoder.relation.agent_entry].flatten(0, 1)[
                ..., list(encoder.relation.agent_columns)
            ]
        encoded: EncodedSet = (
            encoder(x.unsqueeze(1), mask.unsqueeze(1), position) if shared else encoder(x, mask, position)
        )
        return encoded

    def _rows(self, observation: TensorDict, name: str) -> tuple[Tensor, Tensor | None]:
        """An entry with its leading axes (time, team and, unless shared, agent) flattened, and its mask."""
        lead = 2 if name in self.spec.team_shared else 3
        mask = observation[f"{name}_mask"].flatten(0, lead - 1) if name in self.sets else None
        return observation[name].flatten(0, lead - 1), mask

    @torch.no_grad()
    def update_statistics(self, observation: TensorDict, valid: Tensor) -> None:
        """Merge rows [T, B, A, ...] into the running statistics; rows where `valid` [T, B, A] is false stay out."""
        for name, encoder in self.items():
            keep = (valid.any(dim=-1) if name in self.spec.team_shared else valid).flatten()
            rows, mask = self._rows(observation, name)
            encoder.update_statistics(rows[keep], None if mask is None else mask[keep])
