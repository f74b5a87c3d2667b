"""A policy that counts and a game that keeps a log: together they give away every row lost, repeated or swapped.

The policy's LSTM state is the number of rows since the reset and the game that they belong to; its value says what it
saw, and its log-probability says which action it was told it had taken before.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from quintet.games.api import Actions, Array, Observation, Transition
from quintet.games.counting import AGENT, GAME, ROW, SLOT, CountingGame, CountingOptions
from quintet.model.config import PolicyConfig
from quintet.model.policy import Acted, Policy, TensorDict
from quintet.rollout_workers.chunker import Chunker
from quintet.rollout_workers.self_play import SelfPlay
from quintet.wire.chunk import ChunkSpec, TrajectoryChunk, chunk_spec
from quintet.wire.link import Registration
from quintet.wire.reports import PhaseTimer
from tests.support.chunk_factory import RUN

UNITS = 2
BPTT = 4
CHUNK = 12


def saw(counter: Array, count: Array) -> Array:
    """The value of a row: slot, game, row, agent and rows since the reset in one number that f32 holds exactly."""
    code = counter[..., SLOT] * 32 + counter[..., GAME]
    value: Array = ((code * 16 + counter[..., ROW]) * 4 + counter[..., AGENT]) * 32 + count
    return value


def told(count: Array, previous: Array) -> Array:
    """The log-probability of a row: rows since the reset, and the previous action as it was passed in."""
    log_prob: Array = -(1.0 + count + 64.0 * (previous + 1.0))
    return log_prob


def chooses(counter: Array, choices: int) -> Array:
    """Anything but row mod choices, which the counting game may forbid."""
    step = 1 + (counter[..., SLOT] + counter[..., AGENT]) % (choices - 1)
    choice: Array = (counter[..., ROW] + step) % choices
    return choice


class CountingPolicy(Policy):
    """Plays `chooses`; every agent's state is [(count, count / 3), (game, 0)]."""

    def __init__(self, game: CountingGame) -> None:
        super().__init__(game.spec, PolicyConfig(lstm_units=UNITS))
        self.options = game.options
        self.states: list[Array] = []  # as passed to `act`, row by row
        self.dtypes: list[dict[str, torch.dtype]] = []

    def act(
        self,
        observation: TensorDict,
        first: Tensor,
        previous_action: TensorDict,
        state: Tensor,
        generator: torch.Generator | None = None,
        *,
        greedy: bool = False,
        taken: TensorDict | None = None,
    ) -> Acted:
        self.states.append(state.numpy().copy())
        self.dtypes.append({name: x.dtype for name, x in observation.items()})
        counter = observation["counter"].numpy()
        state = torch.where(first[:, None, None, None], torch.zeros_like(state), state)
        count = state[:, :, 0, 0].numpy()
        after = torch.zeros_like(state)
        after[:, :, 0, 0] = state[:, :, 0, 0] + 1
        after[:, :, 0, 1] = after[:, :, 0, 0] / 3  # no f16: shows where the state is rounded
        after[:, :, 1, 0] = torch.from_numpy(counter[..., GAME])
        action = {"action": torch.from_numpy(chooses(counter, self.options.choices).astype(np.int64))}
        log_prob = {"action": torch.from_numpy(told(count, previous_action["action"].numpy()).astype(np.float32))}
        if self.options.box_dims:
            push = np.repeat(counter[..., ROW, None] - 1.5, self.options.box_dims, axis=-1)
            action["push"] = torch.from_numpy(push)
            log_prob["push"] = -torch.from_numpy(counter[..., ROW] + 1)
        return Acted(action, log_prob, torch.from_numpy(saw(counter, count).astype(np.float32)), after)


class LoggedGame:
    """A counting game that remembers every observation, action and transition."""

    def __init__(self, game: CountingGame) -> None:
        self.game, self.spec, self.n_games = game, game.spec, game.n_games
        self.observations: list[Observation] = []
        self.actions: list[Actions] = []
        self.transitions: list[Transition] = []

    def reset(self, seed: int) -> Observation:
        self.observations = [self.game.reset(seed)]
        return _copied(self.observations[0])

    def step(self, actions: Actions) -> Transition:
        self.actions.append(_copied(actions))
        self.transitions.append(self.game.step(actions))
        self.observations.append(_copied(self.transitions[-1].observation))
        return self.transitions[-1]

    def close(self) -> None:
        self.game.close()


def _copied(arrays: dict[str, Array]) -> dict[str, Array]:
    return {name: array.copy() for name, array in arrays.items()}


@dataclass(frozen=True, kw_only=True)
class Played:
    """Everything about some windows of counting self-play."""

    game: LoggedGame
    policy: CountingPolicy
    play: SelfPlay
    spec: ChunkSpec
    chunks: list[TrajectoryChunk]  # in the order in which they closed
    closed_at: list[int] = field(default_factory=list)  # the border (windows played) at which each closed

    def stream(self, slot: int, team: int) -> list[TrajectoryChunk]:
        return [c for c in self.chunks if (c.slot, c.team) == (slot, team)]

    @property
    def streams(self) -> list[tuple[int, int]]:
        return [(slot, team) for slot in range(self.game.n_games) for team in range(self.spec.teams)]


def play_counting(*, windows: int = 11, slots: int = 5, seed: int = 3, **options: Any) -> Played:
    """Play so many windows of 4 rows in chunks of 12, window k by version 100 + k, and close what is open."""
    counting = CountingGame(slots, CountingOptions(**options))
    game, policy = LoggedGame(counting), CountingPolicy(counting)
    spec = chunk_spec(game.spec, lstm_units=UNITS, bptt_steps=BPTT, chunk_steps=CHUNK)
    chunker = Chunker(spec, run=RUN, slots=slots)
    chunker.register(Registration(worker=7, incarnation=9))
    play = SelfPlay(game, policy, chunker, seed=seed, timer=PhaseTimer())
    chunks, closed_at = [], []
    for window in range(windows + 1):
        closed = play.play_window(100 + window) if window < windows else play.finish()
        chunks += closed
        closed_at += [window] * len(closed)
    return Played(game=game, policy=policy, play=play, spec=spec, chunks=chunks, closed_at=closed_at)
