"""Plays a batch of games with one policy on every seat (mirror self-play), a window at a time.

The policy acts on what the wire carries: observations are cast to their wire dtype as they are written into the
chunker's ring, `act` reads them there, and the live LSTM state is rounded to f16 at each window border. So the
optimizer replays a window from the very same numbers.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from quintet.games.actions import for_game
from quintet.games.api import ACTING, Array, Transition, VectorGame
from quintet.games.attendance import Attendance
from quintet.games.episodes import EpisodeBooks
from quintet.model.acting import PolicyActor
from quintet.model.policy import Acted, Policy
from quintet.rollout_workers.chunker import Chunker, Row
from quintet.rollout_workers.guarded_game import guard
from quintet.rollout_workers.sound_rows import SoundRows
from quintet.wire.chunk import ChunkSpec, TrajectoryChunk
from quintet.wire.reports import PhaseTimer


class SelfPlay:
    """`game.n_games` slots in one inference batch; B = n_games x teams streams, team fastest."""

    def __init__(self, game: VectorGame, policy: Policy, chunker: Chunker, *, seed: int, timer: PhaseTimer) -> None:
        self.game, self.chunker, self.timer = guard(game), chunker, timer
        self.spec: ChunkSpec = chunker.spec
        self.sound = SoundRows(self.spec, self.game.code)
        self.actor = PolicyActor(policy, self.spec, chunker.streams, seed=seed, critic=True)
        self.observation = self.game.reset(seed)
        self.attendance = Attendance(game.spec, self.observation)  # at the row about to be played
        self.episodes = EpisodeBooks(game.spec, game.n_games)

    def play_window(self, version: int, between_rows: Callable[[int], bool] = lambda _: False) -> list[TrajectoryChunk]:
        """Play bptt_steps rows with the policy as it is; returns the chunks that closed at the border before them.

        `between_rows(t)` is asked before every row; where it says so, but for the first, the games are cut off there.
        """
        self._begin_window(version)
        chunks: list[TrajectoryChunk] = []
        for t in range(self.spec.bptt_steps):
            if between_rows(t) and t:
                self._cut_off(t)
                break
            row = self.chunker.row(t)
            acted = self._act(row)
            if t == 0:
                chunks = self._close(row, acted)
            valid = self._streams(self.attendance.valid)
            np.logical_and(self._streams(self.observation[ACTING]), valid, out=row.acting)
            action = {name: tensor.numpy() for name, tensor in acted.action.items()}
            transition = self._step(action)
            row.valid[...] = valid
            self.actor.remember(action, row.acting, out=row.action)
            for name, log_prob in acted.log_prob.items():
                np.multiply(log_prob.numpy(), row.acting, out=row.log_prob[name])
            np.multiply(self._streams(transition.reward), valid, out=row.reward)
            self.sound.check_reward(row.reward, self._row_of)
            ends = self.attendance.ends(transition)
            row.terminated[...], row.truncated[...] = map(self._streams, ends)
            self._advance(transition, ends, version)
        return chunks

    def _cut_off(self, t: int) -> None:
        """Fill the window up from row t on without playing: what was played before it is whole, and can be sent.

        To the optimizer it is a time limit: row t holds the true last observation, whose value bootstraps.
        """
        last = self.chunker.row(t - 1)
        last.truncated[...] |= last.valid & ~last.terminated
        for u in range(t, self.spec.bptt_steps):
            row = self.chunker.row(u)
            acted = self._act(row)
            for array in (row.reward, row.valid, row.acting, row.terminated, row.truncated, *row.log_prob.values()):
                array[...] = 0
            self.actor.remember({name: x.numpy() for name, x in acted.action.items()}, row.acting, out=row.action)
            self.attendance.first[...] = True

    def finish(self) -> list[TrajectoryChunk]:
        """Close every open chunk at this border: one more look for what bootstraps. Nothing is played afterwards."""
        self._begin_window(version=0)
        row = self.chunker.row(0)
        return self._close(row, self._act(row), everything=True)

    def begin_anew(self, seed: int) -> SelfPlay:
        """Drop every game and every open chunk, and play others; finished episodes still wait to be reported."""
        self.chunker.forget()
        successor = SelfPlay(self.game, self.actor.policy, self.chunker, seed=seed, timer=self.timer)
        successor.episodes.finished = self.episodes.drain()
        return successor

    def _begin_window(self, version: int) -> None:
        """Round the live state to what the wire carries, and save it."""
        self.chunker.begin_window(self.actor.round_state().numpy(), version, self.actor.previous)

    def _close(self, row: Row, acted: Acted, *, everything: bool = False) -> list[TrajectoryChunk]:
        """The chunks that end before this row. A label that the row knows is better than its prediction."""
        bootstraps = {}
        for name, auxiliary in self.game.spec.auxiliary.items():
            label = row.observation[auxiliary.label]
            label = label if self.spec.observation[auxiliary.label].per_agent else label[:, None]
            bootstraps[name] = np.where(label[..., :1] >= 0, label, acted.auxiliary[name].numpy())
        return self.chunker.close(row.value, bootstraps, everything=everything)

    def _act(self, row: Row) -> Acted:
        """One inference over all streams, on the row's own observation, in wire dtypes."""
        with self.timer.phase("infer"):
            for name, array in row.observation.items():
                write_cast(self._streams(self.observation[name]), out=array)
            self.sound.check_observation(row.observation, self._row_of)
            row.first[...] = np.repeat(self.attendance.first, self.spec.teams)
            acted = self.actor.act(row.observation, row.first)
            row.value[...] = acted.value.numpy()
            return acted

    def _row_of(self, slot: int) -> str:
        """Which row of its game a slot is at, in words."""
        return "the last observation" if self.attendance.last[slot] else f"row {self.episodes.lengths[slot]}"

    def _step(self, action: dict[str, Array]) -> Transition:
        """Hand the game what it can take: numbers in the box, and some legal number for heads that were not read."""
        with self.timer.phase("play"):
            return self.game.step(for_game(action, self.game.spec))

    def _advance(self, transition: Transition, ends: tuple[Array, Array], version: int) -> None:
        """Move to the next row: the one after an end holds the last observation, the one after that begins a game."""
        self.episodes.add(transition, self.attendance, version)
        self.attendance.advance(transition, ends)
        self.observation = transition.observation

    def _streams(self, array: Array) -> Array:
        """[n_games, teams, ...] -> [B, ...]."""
        return array.reshape(self.chunker.streams, *array.shape[2:])


def write_cast(array: Array, *, out: Array) -> None:
    """Write `array` to `out` in the wire's dtype; torch halves floats 20 times as fast as numpy, to the same."""
    if out.dtype == np.float16 and array.flags.writeable:  # torch warns of memory that may not be written
        torch.from_numpy(out).copy_(torch.from_numpy(array))
    else:
        out[...] = array
