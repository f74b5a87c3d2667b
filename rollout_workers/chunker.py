"""Cuts what is played into trajectory chunks by the row rules of `wire.chunk`.

Rows of every stream (one team in one slot) go into a ring of W = chunk_steps / bptt_steps windows. Slot s starts s mod
W windows into its first chunk, so that the slots' chunks close at different window borders, not in bursts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from wire.chunk import MIRROR, Array, ChunkSpec, TrajectoryChunk
from wire.link import Registration


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One row of all B streams, in wire dtypes; B = slots x teams, team fastest."""

    observation: Mapping[str, Array]  # [B, A, ...] or, team-shared, [B, ...]
    first: Array  # [B] bool
    action: Mapping[str, Array]  # [B, A, ...], none where not acting
    log_prob: Mapping[str, Array]  # [B, A] f32
    value: Array  # [B, A] f32
    reward: Array  # [B, A] f32
    terminated: Array  # [B, A] bool
    truncated: Array  # [B] bool
    acting: Array  # [B, A] bool
    valid: Array  # [B, A] bool


class Chunker:
    """The ring and the books of one incarnation of one worker."""

    def __init__(self, spec: ChunkSpec, *, run: str, slots: int) -> None:
        self.spec, self.run, self.teams = spec, run, spec.teams
        self.bptt = spec.bptt_steps
        self.spec_hash = spec.hash
        self.ring_windows = spec.chunk_steps // spec.bptt_steps
        self.streams = slots * spec.teams
        self.window = -1  # windows begun so far, minus one
        slot = np.arange(self.streams) // spec.teams
        self.phase = slot % self.ring_windows
        self.start = np.zeros(self.streams, np.int64)  # first window of each stream's open chunk
        self.registration = Registration(worker=0, incarnation=0)
        self.sequence = 0
        self.cumulative_steps = 0
        self._allocate()

    def _allocate(self) -> None:
        spec, b, a = self.spec, self.streams, self.spec.agents
        rows = (self.ring_windows, self.bptt, b)
        windows = (self.ring_windows, b)
        self.observation = {
            name: np.zeros((*rows, *((a,) if s.per_agent else ()), *s.shape), s.dtype)
            for name, s in spec.observation.items()
        }
        self.action = {name: np.zeros((*rows, a, *s.shape), s.dtype) for name, s in spec.heads.items()}
        self.previous = {name: np.zeros((*windows, a, *s.shape), s.dtype) for name, s in spec.heads.items()}
        self.log_prob = {name: np.zeros((*rows, a), np.float32) for name in spec.heads}
        self.per_row: dict[str, Array] = {
            "first": np.zeros(rows, np.bool_),
            "value": np.zeros((*rows, a), np.float32),
            "reward": np.zeros((*rows, a), np.float32),
            "terminated": np.zeros((*rows, a), np.bool_),
            "truncated": np.zeros(rows, np.bool_),
            "acting": np.zeros((*rows, a), np.bool_),
            "valid": np.zeros((*rows, a), np.bool_),
        }
        self.lstm_state = np.zeros((*windows, a, 2, spec.lstm_units), np.float16)
        self.version = np.zeros(self.ring_windows, np.uint32)

    def register(self, registration: Registration) -> None:
        """Begin the books of a new incarnation."""
        self.registration = registration
        self.sequence = self.cumulative_steps = 0

    def close(self, bootstrap: Array, *, everything: bool = False) -> list[TrajectoryChunk]:
        """The chunks that end at this window border; `bootstrap` [B, A] is the value of the row that comes next.

        `everything` closes the open chunks of all streams (a worker that leaves): some are shorter.
        """
        border = self.window + 1
        if border == 0:
            return []
        due = self.start < border
        if not everything:
            due &= (border + self.phase) % self.ring_windows == 0
        chunks: list[TrajectoryChunk] = []
        for begin in np.unique(self.start[due]):
            streams = np.flatnonzero(due & (self.start == begin))
            chunks += self._gather(streams, np.arange(begin, border) % self.ring_windows, bootstrap)
        self.start[due] = border
        return chunks

    def begin_window(self, state: Array, version: int, previous_action: Mapping[str, Array]) -> None:
        """Open the next window: the LSTM state [B, A, 2, H] f16 before it, who plays it, the action before it."""
        self.window += 1
        w = self.window % self.ring_windows
        self.lstm_state[w] = state
        self.version[w] = version
        for name, array in previous_action.items():
            self.previous[name][w] = array

    def add(self, t: int, row: Row) -> None:
        """Store row t of the open window."""
        w = self.window % self.ring_windows
        for name, array in row.observation.items():
            self.observation[name][w, t] = array
        for name, array in row.action.items():
            self.action[name][w, t] = array
            self.log_prob[name][w, t] = row.log_prob[name]
        for name, ring in self.per_row.items():
            ring[w, t] = getattr(row, name)

    def _gather(self, streams: Array, windows: Array, bootstrap: Array) -> list[TrajectoryChunk]:
        """Copy the windows of these streams out of the ring, stream first, and cut them into chunks."""

        def rows(ring: Array) -> Array:
            picked = ring[windows][:, :, streams]  # [w, t, s, ...]
            return np.ascontiguousarray(np.moveaxis(picked, 2, 0)).reshape(
                len(streams), len(windows) * self.bptt, *ring.shape[3:]
            )

        def borders(ring: Array) -> Array:
            return np.ascontiguousarray(np.moveaxis(ring[windows][:, streams], 1, 0))

        observation = {name: rows(ring) for name, ring in self.observation.items()}
        log_prob = {name: rows(ring) for name, ring in self.log_prob.items()}
        action = {
            name: np.concatenate([self.previous[name][windows[0]][streams][:, None], rows(ring)], axis=1)
            for name, ring in self.action.items()
        }
        arrays = {name: rows(ring) for name, ring in self.per_row.items()}
        arrays["value"] = np.concatenate([arrays["value"], bootstrap[streams][:, None]], axis=1)
        state, version = borders(self.lstm_state), self.version[windows].copy()
        opponent = np.full(len(windows) * self.bptt, MIRROR, np.int32)
        chunks = []
        for k, stream in enumerate(streams):
            self.sequence += 1
            self.cumulative_steps += len(windows) * self.bptt * self.spec.agents
            chunks.append(
                TrajectoryChunk(
                    run=self.run,
                    spec_hash=self.spec_hash,
                    worker=self.registration.worker,
                    incarnation=self.registration.incarnation,
                    sequence=self.sequence,
                    cumulative_steps=self.cumulative_steps,
                    slot=int(stream) // self.teams,
                    team=int(stream) % self.teams,
                    observation={name: array[k] for name, array in observation.items()},
                    action={name: array[k] for name, array in action.items()},
                    log_prob={name: array[k] for name, array in log_prob.items()},
                    opponent_version=opponent,
                    lstm_state=state[k],
                    version=version,
                    **{name: array[k] for name, array in arrays.items()},
                )
            )
        return chunks
