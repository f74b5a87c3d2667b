"""Plays a batch of games with one policy on every seat (mirror self-play), a window at a time.

The policy acts on what the wire carries: observations are cast to their wire dtype before `act`, and the live LSTM
state is rounded to f16 at each window border, so that the optimizer replays a window from the very same numbers.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from gymnasium import spaces

from games.api import ACTING, Array, GameSpec, Observation, Transition, VectorGame
from model.policy import Policy
from rollout_workers.chunker import Chunker, Row
from wire.chunk import NO_ACTION, ChunkSpec, TrajectoryChunk
from wire.reports import PhaseTimer

Episode = dict[str, Any]  # "return", "length", "outcome", "version", "components": see `EpisodeBooks.add`


class SelfPlay:
    """`game.n_games` slots in one inference batch; B = n_games x teams streams, team fastest."""

    def __init__(self, game: VectorGame, policy: Policy, chunker: Chunker, *, seed: int, timer: PhaseTimer) -> None:
        self.game, self.policy, self.chunker, self.timer = game, policy, chunker, timer
        self.spec: ChunkSpec = chunker.spec
        self.generator = torch.Generator().manual_seed(seed)
        self.observation = game.reset(seed)
        n, b, a = game.n_games, chunker.streams, self.spec.agents
        self.state = policy.initial_state(b)
        self.first = np.ones(n, np.bool_)
        self.last_row = np.zeros(n, np.bool_)  # this row holds a finished game's true last observation
        self.gone = np.zeros((n, self.spec.teams, a), np.bool_)  # agents that left their game for good
        self.previous = {name: no_action(s.dtype, (b, a, *s.shape)) for name, s in self.spec.heads.items()}
        self.episodes = EpisodeBooks(game.spec, n)

    def play_window(self, version: int) -> list[TrajectoryChunk]:
        """Play bptt_steps rows with the policy as it is; returns the chunks that closed at the border before them."""
        half = self.state.to(torch.float16)
        self.state = half.to(torch.float32)
        chunks: list[TrajectoryChunk] = []
        for t in range(self.spec.bptt_steps):
            observation, action, log_prob, value = self._act()
            if t == 0:
                chunks = self.chunker.close(value)
                self.chunker.begin_window(half.numpy(), version, self.previous)
            acting, valid = self._who(observation)
            stored = {name: taken(array, acting, self.spec.heads[name].dtype) for name, array in action.items()}
            transition = self._step(action)
            self.chunker.add(
                t,
                Row(
                    observation=observation,
                    first=np.repeat(self.first, self.spec.teams),
                    action=stored,
                    log_prob={name: np.where(acting, array, np.float32(0)) for name, array in log_prob.items()},
                    value=value,
                    reward=np.where(valid, self._streams(transition.reward), np.float32(0)),
                    terminated=self._streams(transition.terminated) & valid,
                    truncated=np.repeat(transition.truncated & ~self.last_row, self.spec.teams),
                    acting=acting,
                    valid=valid,
                ),
            )
            self._advance(transition, stored, version)
        return chunks

    def finish(self) -> list[TrajectoryChunk]:
        """Close every open chunk at this border without playing on: one more look for the bootstrap value."""
        _, _, _, value = self._act()
        return self.chunker.close(value, everything=True)

    def _act(self) -> tuple[Observation, dict[str, Array], dict[str, Array], Array]:
        """One inference over all streams: wire-cast observation, action, log-prob per head, value in reward units."""
        with self.timer.phase("infer"):
            observation = {
                name: self._streams(self.observation[name]).astype(s.dtype, copy=False)
                for name, s in self.spec.observation.items()
            }
            acted = self.policy.act(
                {name: torch.from_numpy(array) for name, array in observation.items()},
                torch.from_numpy(np.repeat(self.first, self.spec.teams)),
                {name: torch.from_numpy(array) for name, array in self.previous.items()},
                self.state,
                self.generator,
            )
            self.state = acted.state
            action = {name: tensor.numpy() for name, tensor in acted.action.items()}
            return observation, action, {n: x.numpy() for n, x in acted.log_prob.items()}, acted.value.numpy()

    def _who(self, observation: Observation) -> tuple[Array, Array]:
        """(acting, valid), each [B, A]: rows of finished games and of agents that left are not valid."""
        valid = self._streams(~self.gone & ~self.last_row[:, None, None])
        return self._streams(self.observation[ACTING]) & valid, valid

    def _step(self, action: dict[str, Array]) -> Transition:
        with self.timer.phase("play"):
            n, teams, a = self.game.n_games, self.spec.teams, self.spec.agents
            legal = {}
            for name, array in action.items():
                space = self.game.spec.action_space[name]
                shaped = array.reshape(n, teams, a, *array.shape[2:])
                legal[name] = np.clip(shaped, space.low, space.high) if isinstance(space, spaces.Box) else shaped
            return self.game.step(legal)

    def _advance(self, transition: Transition, stored: dict[str, Array], version: int) -> None:
        """Move to the next row: the one after an end holds the last observation, the one after that begins a game."""
        self.episodes.add(transition, self.last_row, version)
        self.first = self.last_row
        self.last_row = transition.ended & ~self.last_row
        self.gone = (self.gone | transition.terminated) & ~self.last_row[:, None, None] & ~self.first[:, None, None]
        self.previous = stored
        self.observation = transition.observation

    def _streams(self, array: Array) -> Array:
        """[n_games, teams, ...] -> [B, ...]."""
        return array.reshape(self.chunker.streams, *array.shape[2:])


def no_action(dtype: str, shape: tuple[int, ...]) -> Array:
    """The action of nobody: -1 for Discrete heads, 0 for Box heads."""
    return np.full(shape, 0 if dtype == "float32" else NO_ACTION, dtype)


def taken(action: Array, acting: Array, dtype: str) -> Array:
    """`action` [B, A, ...] in its wire dtype where `acting` [B, A], no action elsewhere."""
    mask = acting.reshape(*acting.shape, *([1] * (action.ndim - acting.ndim)))
    chosen: Array = np.where(mask, action, 0 if dtype == "float32" else NO_ACTION).astype(dtype, copy=False)
    return chosen


class EpisodeBooks:
    """Return, length and outcome of the episodes under way, and the finished ones that wait to be reported."""

    def __init__(self, spec: GameSpec, n_games: int) -> None:
        self.returns = np.zeros((n_games, spec.teams), np.float64)
        self.lengths = np.zeros(n_games, np.int64)
        self.finished: list[Episode] = []

    def add(self, transition: Transition, last_row: Array, version: int) -> None:
        """Count one row; `last_row` rows belong to no episode."""
        self.returns += np.where(last_row[:, None], 0.0, transition.reward.mean(axis=2))
        self.lengths += ~last_row
        for k in np.flatnonzero(transition.ended & ~last_row):
            outcome = transition.outcome[k]
            self.finished.append(
                {
                    "return": self.returns[k].tolist(),  # per team, mean over its agents
                    "length": int(self.lengths[k]),
                    "outcome": [None if np.isnan(x) else float(x) for x in outcome],
                    "version": version,
                    "components": {name: array[k].tolist() for name, array in transition.episode.items()},
                }
            )
            self.returns[k] = 0.0
            self.lengths[k] = 0

    def drain(self) -> list[Episode]:
        """The episodes finished since the last call."""
        finished, self.finished = self.finished, []
        return finished
