"""How a policy plays row by row, whoever plays with it: what it is shown, and what it remembers from row to row.

Rollout workers, evaluations, the Arena and `quintet.load_policy` all act through `PolicyActor`, on what the wire
carries.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from quintet.games.api import Actions, Array
from quintet.model.policy import Acted, Policy
from quintet.wire.chunk import NO_ACTION, ChunkSpec


class PolicyActor:
    """A policy with the LSTM states and previous actions of B streams, each one team in one game.

    Attributes:
        seen: the entries and masks that `act` needs.
        state: [B, A, 2, H] f32, before the next row.
        previous: per head [B, A, ...] in the wire's dtype, the action before the next row; none after an end.
    """

    def __init__(
        self, policy: Policy, spec: ChunkSpec, streams: int, *, seed: int, greedy: bool = False, critic: bool = False
    ) -> None:
        """With `critic` the entries that only the critic sees are needed too, and the value is worth looking at."""
        self.policy, self.greedy = policy, greedy
        unseen = ("label",) if critic else ("label", "critic")
        self.seen = [name for name in spec.observation if policy.spec.uses.get(name) not in unseen]
        self.generator = torch.Generator().manual_seed(seed)
        self.state = policy.initial_state(streams)
        self.previous = {
            name: no_action(head.dtype, (streams, spec.agents, *head.shape)) for name, head in spec.heads.items()
        }

    def act(self, observation: Mapping[str, Array], first: Array, taken: Actions | None = None) -> Acted:
        """One row; `remember` what came of it before the next.

        Args:
            observation: per entry [B, A, ...] (team-shared: [B, ...]) in the wire's dtypes, masks [B, A, n].
            first: [B] bool, this row begins a game.
            taken: what was done, where that is known and need not be chosen; see `Policy.act`.
        """
        acted = self.policy.act(
            {name: torch.from_numpy(observation[name]) for name in self.seen},
            torch.from_numpy(first),
            {name: torch.from_numpy(array) for name, array in self.previous.items()},
            self.state,
            self.generator,
            greedy=self.greedy,
            taken=None if taken is None else {name: torch.from_numpy(array) for name, array in taken.items()},
        )
        self.state = acted.state
        return acted

    def remember(self, action: Actions, counts: Array, out: Actions | None = None) -> None:
        """The row's actions [B, A, ...] where they count [B, A] bool are the next row's previous ones.

        They are written to `out`, which is kept, or over the ones before.
        """
        self.previous = self.previous if out is None else out
        for name, array in action.items():
            keep_taken(array, counts, out=self.previous[name])

    def forget_action(self, streams: Array) -> None:
        """Where `streams` [B] bool is true, the next row follows no action: it begins a game."""
        for array in self.previous.values():
            array[streams] = no_action(str(array.dtype), ())

    def round_state(self) -> Tensor:
        """Round the live state to what the wire carries, at a window's border; returns it, [B, A, 2, H] f16."""
        half = self.state.to(torch.float16)
        self.state = half.to(torch.float32)
        return half

    def keep(self, streams: Array) -> None:
        """Forget all streams but those where `streams` [B] bool is true."""
        self.state = self.state[torch.from_numpy(streams)]
        self.previous = {name: array[streams] for name, array in self.previous.items()}


def no_action(dtype: str, shape: tuple[int, ...]) -> Array:
    """The action of nobody: -1 for Discrete heads, 0 for Box heads."""
    return np.full(shape, 0 if dtype == "float32" else NO_ACTION, dtype)


def keep_taken(action: Array, acting: Array, *, out: Array) -> None:
    """Write `action` [B, A, ...] to `out`, in its wire dtype, where `acting` [B, A], and no action elsewhere."""
    mask = acting.reshape(*acting.shape, *([1] * (action.ndim - acting.ndim)))
    out[...] = 0 if out.dtype.kind == "f" else NO_ACTION
    np.copyto(out, action, where=mask, casting="same_kind")
