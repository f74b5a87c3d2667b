"""A policy on some seats, and its traces: probabilities of every head, value, win probability and LSTM state."""

from __future__ import annotations

from base64 import b64encode
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from quintet.evaluation.players import HeadView, PolicyPlayer
from quintet.games.api import ACTING, Actions, Array, Observation
from quintet.model.distributions import DiagonalGaussian
from quintet.model.policy import Policy
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
    """What one agent's policy computed at one step."""

    value: float  # reward units
    win: float | None
    heads: dict[str, Head]  # empty while it does not act
    hidden: str  # base64 of int8 [units]: the LSTM's output, 127 is 1
    cell: str  # the LSTM's cell, squashed by tanh


class PolicyView(PolicyPlayer):
    """A policy on some seats, with `traces` of the last row, per stream and agent."""

    def __init__(self, policy: Policy, spec: ChunkSpec, streams: int, *, seed: int, greedy: bool) -> None:
        super().__init__(policy, spec, streams, seed=seed, greedy=greedy, critic=True)
        self.traces: list[list[PolicyTrace]] = []

    def act(self, observation: Observation, first: Array, ignored: Array, taken: Actions | None = None) -> Actions:
        """As every `PolicyPlayer`; then trace what it computed."""
        action = super().act(observation, first, ignored, taken)
        self.traces = self._read(observation[ACTING] & ~ignored[:, None])
        return action

    def _read(self, counts: Array) -> list[list[PolicyTrace]]:
        """The last row's traces; `counts` [B, A] says who acts."""
        acted = self.acted
        assert acted is not None
        assert acted.row is not None
        value = acted.value.tolist()
        win = acted.auxiliary[WIN][..., 0].tolist() if WIN in acted.auxiliary else None
        heads = {name: _said(view, counts.shape) for name, view in self.heads().items()}
        hidden, cell = acted.row.hidden[0], torch.tanh(acted.state[:, :, 1])
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


def _said(view: HeadView, shape: tuple[int, ...]) -> list[list[Head]]:
    """One head as a browser takes it, for streams x agents of that shape."""
    b, a = shape
    given = [[None] * a] * b if view.given is None else view.given.tolist()
    read = [[True] * a] * b if view.read is None else view.read.tolist()

    def say(i: int, j: int) -> Head:
        about: dict[str, Any] = {"given": given[i][j], "read": read[i][j]}
        if isinstance(view.distribution, DiagonalGaussian):
            means = view.distribution.mode()
            return Head(mean=means[0, i, j].tolist(), std=view.distribution.spread().tolist(), **about)
        probs = view.distribution.log_probs[0, i, j].exp() * THOUSANDTHS
        return Head(probs=probs.round().int().tolist(), **about)

    return [[say(i, j) for j in range(a)] for i in range(b)]


def packed(numbers: Tensor) -> str:
    """Numbers of -1 ... 1 as a browser takes them: base64 of int8; evenly chosen ones where there are too many."""
    every = -(-numbers.shape[-1] // MOST_UNITS)
    small = (numbers[::every].clamp(-1, 1) * 127).round().to(torch.int8)
    return b64encode(small.numpy().tobytes()).decode("ascii")
