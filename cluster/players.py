"""Who may sit on a seat in an evaluation: a policy with its memory, or somebody who takes any legal choice."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import torch
from gymnasium import spaces

from games.api import ACTING, ACTION_MASK_PREFIX, Actions, Array, GameSpec, Observation
from model.policy import Policy
from rollout_workers.self_play import no_action, taken
from wire.chunk import ChunkSpec


class Player(Protocol):
    """Whoever sits on some of the seats: B streams, each one team in one slot."""

    def act(self, observation: Observation, first: Array, ignored: Array) -> Actions:
        """Choose for one row.

        Args:
            observation: per entry [B, A, ...] (team-shared: [B, ...]), `acting` [B, A], `action_mask/<head>` [B, A, n].
            first: [B] bool, this row begins a game.
            ignored: [B] bool, this row is a finished game's last observation.

        Returns:
            Per head [B, A] or [B, A, dims].
        """
        ...


class PolicyPlayer:
    """A policy with the LSTM states and previous actions of its streams."""

    def __init__(self, policy: Policy, spec: ChunkSpec, streams: int, *, seed: int, greedy: bool) -> None:
        self.policy, self.spec, self.greedy = policy, spec, greedy
        self.generator = torch.Generator().manual_seed(seed)
        self.state = policy.initial_state(streams)
        self.previous = {
            name: no_action(head.dtype, (streams, spec.agents, *head.shape)) for name, head in spec.heads.items()
        }

    def act(self, observation: Observation, first: Array, ignored: Array) -> Actions:
        """As rollout workers act: on what the wire carries."""
        acted = self.policy.act(
            {
                name: torch.from_numpy(observation[name].astype(entry.dtype, copy=False))
                for name, entry in self.spec.observation.items()
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
        self.previous = {name: taken(array, counts, self.spec.heads[name].dtype) for name, array in action.items()}
        return action


class RandomPlayer:
    """Takes any legal choice, each as likely as the others."""

    def __init__(self, game: GameSpec, *, seed: int) -> None:
        self.game = game
        self.random = np.random.default_rng(seed)

    def act(self, observation: Observation, first: Array, ignored: Array) -> Actions:
        """Discrete heads by their masks; Box heads uniformly, or normally where they have no bounds."""
        actions: Actions = {}
        for name, space in self.game.action_space.spaces.items():
            if isinstance(space, spaces.Discrete):
                n = int(space.n)
                legal = observation.get(f"{ACTION_MASK_PREFIX}{name}", np.ones((*observation[ACTING].shape, n), bool))
                lots = self.random.random(legal.shape)
                actions[name] = np.where(legal, lots, -1.0).argmax(axis=-1)
            elif isinstance(space, spaces.Box):
                shape = (*observation[ACTING].shape, *space.shape)
                bounded = np.isfinite(space.low) & np.isfinite(space.high)
                low, high = np.where(bounded, space.low, 0.0), np.where(bounded, space.high, 1.0)
                uniform = self.random.uniform(low, high, shape)
                actions[name] = np.where(bounded, uniform, self.random.standard_normal(shape)).astype(np.float32)
        return actions
