"""A policy on some seats, and what it thinks: probabilities of every head, value, win probability and LSTM state."""

from __future__ import annotations

from base64 import b64encode
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from quintet.games.api import ACTING, Actions, Array, GameSpec, Observation
from quintet.model.distributions import DiagonalGaussian, MaskedCategorical
from quintet.model.heads import TensorDict
from quintet.model.policy import Policy, Unrolled
from quintet.rollout_workers.self_play import keep_taken, no_action
from quintet.wire.chunk import ChunkSpec

WIN = "win"  # the auxiliary prediction that is a win probability, where a game has one
MOST_UNITS = 1024  # of the hidden state that are shown
THOUSANDTHS = 1000


@dataclass(frozen=True, kw_only=True, slots=True)
class Head:
    """What one head of one agent would do.

    For a head that the taken primary action does not read, `given` is the likeliest primary action that reads it.
    """

    probs: list[int] | None = None  # of a Discrete head, in thousandths
    mean: list[float] | None = None  # of a Box head
    std: list[float] | None = None
    given: int | None = None  # the primary action that the numbers suppose; None: the game has no primary head
    read: bool = True  # whether the taken primary action reads it


@dataclass(frozen=True, kw_only=True, slots=True)
class PolicyTrace:
    """What one agent thinks at one step."""

    value: float  # reward units
    win: float | None
    heads: dict[str, Head]  # empty while it does not act
    hidden: str  # base64 of int8 [units]: the LSTM's output, 127 is 1
    cell: str  # the LSTM's cell, squashed by tanh


class PolicyView:
    """A policy with the LSTM states and previous actions of B streams, each one team."""

    def __init__(self, policy: Policy, spec: ChunkSpec, streams: int, *, seed: int, greedy: bool) -> None:
        self.policy, self.spec, self.greedy = policy, spec, greedy
        game = policy.spec
        self.seen = [name for name in spec.observation if game.uses.get(name) != "label"]
        self.generator = torch.Generator().manual_seed(seed)
        self.state = policy.initial_state(streams)
        self.previous = {name: no_action(h.dtype, (streams, spec.agents, *h.shape)) for name, h in spec.heads.items()}

    @torch.inference_mode()
    def think(
        self, observation: Observation, first: Array, ignored: Array, taken: Actions | None = None
    ) -> tuple[Actions, list[list[PolicyTrace]]]:
        """One row: as rollout workers act, with the same numbers drawn for the same seed.

        Args:
            observation: per entry [B, A, ...] (team-shared: [B, ...]).
            first: [B] bool, this row begins a game.
            ignored: [B] bool, this row is a finished game's last observation.
            taken: what was done, where that is known and need not be chosen: per head [B, A], -1 where not read.

        Returns:
            The actions, per head [B, A] or [B, A, dims], and a thought per stream and agent.
        """
        seen = {
            name: torch.from_numpy(observation[name].astype(self.spec.observation[name].dtype, copy=False))[None]
            for name in self.seen
        }
        previous = {name: torch.from_numpy(array)[None] for name, array in self.previous.items()}
        row = self.policy.unroll(seen, torch.from_numpy(first)[None], previous, self.state)
        self.state = row.state
        if taken is None:
            action, _ = self.policy.heads.choose(row.queries, row.keys, seen, self.generator, greedy=self.greedy)
        else:
            action = {name: torch.from_numpy(array)[None] for name, array in taken.items()}
        counts = observation[ACTING] & ~ignored[:, None]
        thoughts = _Reader(self.policy, row, seen, action).read(counts)
        chosen = {name: tensor[0].numpy() for name, tensor in action.items()}
        for name, array in chosen.items():
            keep_taken(array, counts, out=self.previous[name])
        return chosen, thoughts


class _Reader:
    """One row's thoughts in the making; tensors are [1, B, A, ...]."""

    def __init__(self, policy: Policy, row: Unrolled, seen: TensorDict, action: TensorDict) -> None:
        self.policy, self.row, self.seen, self.action = policy, row, seen, action
        self.game: GameSpec = policy.spec
        self.primary = self.game.primary_head
        self.log_probs = self._primary_log_probs()

    def read(self, counts: Array) -> list[list[PolicyTrace]]:
        """A thought per stream and agent; `counts` [B, A] says who acts."""
        value = self.policy.returns.denormalize(self.row.value[0]).tolist()
        auxiliary = self.policy.auxiliary.probabilities({name: x[0] for name, x in self.row.auxiliary.items()})
        win = auxiliary[WIN][..., 0].tolist() if WIN in auxiliary else None
        heads = {name: self._head(k, name) for k, name in enumerate(self.policy.heads.names)}
        hidden, cell = self.row.hidden[0], torch.tanh(self.row.state[:, :, 1])
        return [
            [
                PolicyTrace(
                    value=value[b][a],
                    win=None if win is None else win[b][a],
                    heads={name: found[b][a] for name, found in heads.items()} if counts[b, a] else {},
                    hidden=packed(hidden[b, a]),
                    cell=packed(cell[b, a]),
                )
                for a in range(counts.shape[1])
            ]
            for b in range(counts.shape[0])
        ]

    def _primary_log_probs(self) -> Tensor | None:
        """[1, B, A, n], or None where the game has no primary head."""
        if self.primary is None:
            return None
        found = self.policy.heads.distribution(self.primary, self.row.queries, self.row.keys, self.seen, None)
        assert isinstance(found, MaskedCategorical)
        return found.log_probs

    def _head(self, k: int, name: str) -> list[list[Head]]:
        """What head number k says, per stream and agent."""
        if self.primary is None or self.log_probs is None or name == self.primary:
            return self._heads(name, None, None)
        chosen = self.action[self.primary]
        readers = self.policy.heads.reads[:, k].expand(self.log_probs.shape[-1])
        likeliest = self.log_probs.masked_fill(~readers, -torch.inf).argmax(dim=-1)
        read = (chosen >= 0) & readers[chosen.clamp(min=0)]
        return self._heads(name, torch.where(read, chosen, likeliest), read)

    def _heads(self, name: str, given: Tensor | None, read: Tensor | None) -> list[list[Head]]:
        found = self.policy.heads.distribution(name, self.row.queries, self.row.keys, self.seen, given)
        b, a = self.row.hidden.shape[1:3]
        assumed = [[None] * a] * b if given is None else given[0].tolist()
        used = [[True] * a] * b if read is None else read[0].tolist()

        def say(i: int, j: int) -> Head:
            about: dict[str, Any] = {"given": assumed[i][j], "read": used[i][j]}
            if isinstance(found, DiagonalGaussian):
                means = found.mode()
                return Head(mean=means[0, i, j].tolist(), std=found.spread().tolist(), **about)
            probs = found.log_probs[0, i, j].exp() * THOUSANDTHS
            return Head(probs=probs.round().int().tolist(), **about)

        return [[say(i, j) for j in range(a)] for i in range(b)]


def packed(numbers: Tensor) -> str:
    """Numbers of -1 ... 1 as a browser takes them: base64 of int8; evenly chosen ones where there are too many."""
    every = -(-numbers.shape[-1] // MOST_UNITS)
    small = (numbers[::every].clamp(-1, 1) * 127).round().to(torch.int8)
    return b64encode(small.numpy().tobytes()).decode("ascii")
