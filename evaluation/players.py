"""Who may sit on a seat in an evaluation: a policy with its memory, a game's bot, or somebody who takes any choice."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from quintet.games.api import ACTING, Actions, Array, GameSpec, GameWithBots, Observation
from quintet.games.contract import random_actions
from quintet.model.acting import PolicyActor
from quintet.model.distributions import Distribution, MaskedCategorical
from quintet.model.policy import Acted, Policy
from quintet.wire.chunk import ChunkSpec


class Player(Protocol):
    """Whoever sits on some of the seats: B streams, each one team in one slot."""

    def act(self, observation: Observation, first: Array, ignored: Array) -> Actions:
        """Choose for one row.

        Args:
            observation: per entry [B, A, ...] (team-shared: [B, ...]), `acting` [B, A], `action_mask/<head>` [B, A, n].
            first: [B] bool, this row begins a game.
            ignored: [B] bool, this row is a finished game's last observation.

        Returns:
            Per head [B, A] or [B, A, dims]; -1 for a Discrete head that is not read.
        """
        ...

    def keep(self, streams: Array) -> None:
        """Leave the seats of those of its streams where `streams` [B] bool is false."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class HeadView:
    """What one head of a row's B streams would do.

    Where the taken primary action does not read it, `given` is the likeliest primary action that does.
    """

    distribution: Distribution  # over [1, B, A]
    given: Tensor | None = None  # [B, A] i64, the primary action that is supposed; None: none has to be
    read: Tensor | None = None  # [B, A] bool: whether the taken primary action reads it; None: it always is read


class PolicyPlayer:
    """A policy with the LSTM states and previous actions of its streams."""

    def __init__(
        self, policy: Policy, spec: ChunkSpec, streams: int, *, seed: int, greedy: bool, critic: bool = False
    ) -> None:
        """With `critic` what only the critic sees has to be in observations, and values are worth looking at."""
        self.policy, self.spec = policy, spec
        self.actor = PolicyActor(policy, spec, streams, seed=seed, greedy=greedy, critic=critic)
        self.seen: Observation = {}  # the last row's, in wire dtypes
        self.acted: Acted | None = None  # what came of it; None before the first

    def act(self, observation: Observation, first: Array, ignored: Array, taken: Actions | None = None) -> Actions:
        """As rollout workers act: on what the wire carries.

        `taken` is what was done, per head [B, A, ...], where that is known and need not be chosen; -1 where not read.
        """
        self.seen = {
            name: observation[name].astype(self.spec.observation[name].dtype, copy=False) for name in self.actor.seen
        }
        self.acted = self.actor.act(self.seen, first, taken)
        action = {name: tensor.numpy() for name, tensor in self.acted.action.items()}
        self.actor.remember(action, observation[ACTING] & ~ignored[:, None])
        return action

    @torch.inference_mode()
    def heads(self) -> dict[str, HeadView]:
        """What each head would have done at the last row."""
        assert self.acted is not None, "nothing was played yet"
        assert self.acted.row is not None, "this policy does not say what its actions were read from"
        row, heads, chosen = self.acted.row, self.policy.heads, self.acted.action
        seen = {name: torch.from_numpy(array)[None] for name, array in self.seen.items()}

        def distribution(name: str, given: Tensor | None = None) -> Distribution:
            return heads.distribution(name, row.queries, row.keys, seen, None if given is None else given[None])

        if heads.primary is None:
            return {name: HeadView(distribution=distribution(name)) for name in heads.names}
        primary = distribution(heads.primary)
        assert isinstance(primary, MaskedCategorical)
        taken, log_probs = chosen[heads.primary].to(torch.int64), primary.log_probs[0]
        found = {}
        for k, name in enumerate(heads.names):
            if name == heads.primary:
                found[name] = HeadView(distribution=primary)
                continue
            readers = heads.reads[:, k].expand(log_probs.shape[-1])
            read = (taken >= 0) & readers[taken.clamp(min=0)]
            given = torch.where(read, taken, log_probs.masked_fill(~readers, -torch.inf).argmax(dim=-1))
            found[name] = HeadView(distribution=distribution(name, given), given=given, read=read)
        return found

    def keep(self, streams: Array) -> None:
        """Forget the memory of the others."""
        self.actor.keep(streams)


class BotPlayer:
    """A scripted player that the game brings along; `streams` [B] bool says on which seats of the game it sits."""

    def __init__(self, game: GameWithBots, name: str, streams: Array) -> None:
        self.game, self.name, self.streams = game, name, np.flatnonzero(streams)

    def act(self, observation: Observation, first: Array, ignored: Array) -> Actions:
        """What the bot would do on its seats, of what it would do on every seat."""
        actions = self.game.bot_actions(self.name)
        return {head: array.reshape(-1, *array.shape[2:])[self.streams] for head, array in actions.items()}

    def keep(self, streams: Array) -> None:
        """Give no more actions for the others."""
        self.streams = self.streams[streams]


class RandomPlayer:
    """Takes any legal choice, each as likely as the others."""

    def __init__(self, game: GameSpec, *, seed: int) -> None:
        self.game = game
        self.random = np.random.default_rng(seed)

    def act(self, observation: Observation, first: Array, ignored: Array) -> Actions:
        """Discrete heads by their masks; Box heads uniformly, or normally where they have no bounds."""
        return random_actions(self.game, observation, self.random)

    def keep(self, streams: Array) -> None:
        """It remembers nothing."""
