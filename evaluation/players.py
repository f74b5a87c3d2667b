"""Who may sit on a seat in an evaluation: a policy with its memory, a game's bot, or somebody who takes any choice."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import torch

from quintet.games.api import ACTING, Actions, Array, GameSpec, GameWithBots, Observation
from quintet.games.contract import random_actions
from quintet.model.policy import Policy
from quintet.rollout_workers.self_play import keep_taken, no_action
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


class PolicyPlayer:
    """A policy with the LSTM states and previous actions of its streams."""

    def __init__(self, policy: Policy, spec: ChunkSpec, streams: int, *, seed: int, greedy: bool) -> None:
        self.policy, self.spec, self.greedy = policy, spec, greedy
        self.seen = [name for name in spec.observation if policy.spec.uses.get(name, "policy") == "policy"]
        self.generator = torch.Generator().manual_seed(seed)
        self.state = policy.initial_state(streams)
        self.previous = {
            name: no_action(head.dtype, (streams, spec.agents, *head.shape)) for name, head in spec.heads.items()
        }

    def act(self, observation: Observation, first: Array, ignored: Array) -> Actions:
        """As rollout workers act: on what the wire carries. What only the critic sees is not needed."""
        acted = self.policy.act(
            {
                name: torch.from_numpy(observation[name].astype(self.spec.observation[name].dtype, copy=False))
                for name in self.seen
            },
            torch.from_numpy(first),
            {name: torch.from_numpy(array) for name, array in self.previous.items()},
            self.state,
            self.generator,
            greedy=self.greedy,
        )
        self.state = acted.state
        action = {name: tensor.numpy() for name, tensor in acted.action.items()}
        counts = observation[ACTING] & ~ignored[:, None]
        for name, array in action.items():
            keep_taken(array, counts, out=self.previous[name])
        return action

    def keep(self, streams: Array) -> None:
        """Forget the memory of the others."""
        self.state = self.state[torch.from_numpy(streams)]
        self.previous = {name: array[streams] for name, array in self.previous.items()}


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
