"""Cuts what is played into trajectory chunks by the row rules of `quintet.wire.chunk`.

Rows of every stream (one team in one slot) are written into a ring of W + 1 windows, W = chunk_steps / bptt_steps: the
policy acts on the very memory that a chunk is cut from, and the window being played never lies on one that a chunk
still needs. Slot s starts s mod W windows into its first chunk, so that the slots' chunks close at different window
borders, not in bursts.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from quintet.wire.chunk import MIRROR, Array, ChunkSpec, TrajectoryChunk
from quintet.wire.link import Registration


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One row of all B streams, in wire dtypes: views of the ring, to be written; B = slots x teams, team fastest."""

    observation: dict[str, Array]  # [B, A, ...] or, team-shared, [B, ...]
    first: Array  # [B] bool
    action: dict[str, Array]  # [B, A, ...], none where not acting and where not read
    log_prob: dict[str, Array]  # [B, A] f32
    value: Array  # [B, A] f32
    reward: Array  # [B, A] f32
    terminated: Array  # [B, A] bool
    truncated: Array  # [B, A] bool
    acting: Array  # [B, A] bool
    valid: Array  # [B, A] bool


class Chunker:
    """The ring and the counters of one incarnation of one worker."""

    def __init__(self, spec: ChunkSpec, *, run: str, slots: int) -> None:
        self.spec, self.run, self.teams, self.slots = spec, run, spec.teams, slots
        self.bptt = spec.bptt_steps
        self.spec_hash = spec.hash
        self.chunk_windows = spec.chunk_steps // spec.bptt_steps
        self.ring_windows = self.chunk_windows + 1
        self.streams = slots * spec.teams
        self.window = -1  # windows begun so far, minus one
        self.start = np.zeros(self.chunk_windows, np.int64)  # per phase, the first window of its streams' open chunks
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
            "truncated": np.zeros((*rows, a), np.bool_),
            "acting": np.zeros((*rows, a), np.bool_),
            "valid": np.zeros((*rows, a), np.bool_),
        }
        self.lstm_state = np.zeros((*windows, a, 2, spec.lstm_units), np.float16)
        self.version = np.zeros(self.ring_windows, np.uint32)

    def register(self, registration: Registration) -> None:
        """Begin the counters of a new incarnation."""
        self.registration = registration
        self.sequence = self.cumulative_steps = 0

    def forget(self) -> None:
        """Drop what is open: its rows were never produced. The counters of closed chunks go on."""
        self.window = -1
        self.start[:] = 0

    def begin_window(self, state: Array, version: int, previous_action: Mapping[str, Array]) -> None:
        """Open the next window: the LSTM state [B, A, 2, H] f16 before it, who plays it, the action before it."""
        self.window += 1
        w = self.window % self.ring_windows
        self.lstm_state[w] = state
        self.version[w] = version
        for name, array in previous_action.items():
            self.previous[name][w] = array

    def row(self, t: int) -> Row:
        """Row t of the open window, to be written."""
        at = self.window % self.ring_windows, t
        return Row(
            observation={name: ring[at] for name, ring in self.observation.items()},
            action={name: ring[at] for name, ring in self.action.items()},
            log_prob={name: ring[at] for name, ring in self.log_prob.items()},
            **{name: ring[at] for name, ring in self.per_row.items()},
        )

    def close(self, value: Array, auxiliary: Mapping[str, Array], *, everything: bool = False) -> list[TrajectoryChunk]:
        """The chunks that end where the open window begins.

        Args:
            value: [B, A], of the open window's first row: it bootstraps.
            auxiliary: name -> [B, A, k], the labels or predictions of that row.
            everything: the open chunks of all streams end here (a worker that leaves): some are shorter.
        """
        chunks: list[TrajectoryChunk] = []
        for phase, begin in enumerate(self.start.tolist()):
            due = everything or (self.window + phase) % self.chunk_windows == 0
            if due and begin < self.window and phase < self.slots:
                windows = [w % self.ring_windows for w in range(begin, self.window)]
                chunks += self._cut(phase, windows, value, auxiliary)
            if due:
                self.start[phase] = max(self.window, 0)
        return chunks

    def _cut(
        self, phase: int, windows: list[int], value: Array, auxiliary: Mapping[str, Array]
    ) -> Iterator[TrajectoryChunk]:
        """Copy these windows of a phase's streams out of the ring, stream first, and cut them into chunks."""
        n_rows = len(windows) * self.bptt

        def of_phase(array: Array) -> Array:
            """[..., B, ...] with B in front -> [slots of the phase, teams, ...], a view."""
            return array.reshape(self.slots, self.teams, *array.shape[1:])[phase :: self.chunk_windows]

        def rows(ring: Array, before: int = 0, after: int = 0) -> Array:
            """[slots, teams, rows, ...], with room for so many rows before and after."""
            out = np.empty((*of_phase(ring[0, 0]).shape[:2], before + n_rows + after, *ring.shape[3:]), ring.dtype)
            for k, w in enumerate(windows):
                begin = before + k * self.bptt
                part = ring[w].reshape(self.bptt, self.slots, self.teams, *ring.shape[3:])
                out[:, :, begin : begin + self.bptt] = np.moveaxis(part[:, phase :: self.chunk_windows], 0, 2)
            return out

        observation = {name: rows(ring) for name, ring in self.observation.items()}
        log_prob = {name: rows(ring) for name, ring in self.log_prob.items()}
        action = {name: rows(ring, before=1) for name, ring in self.action.items()}
        for name, array in action.items():
            array[:, :, 0] = of_phase(self.previous[name][windows[0]])
        arrays = {name: rows(ring, after=int(name == "value")) for name, ring in self.per_row.items()}
        arrays["value"][:, :, -1] = of_phase(value)
        bootstraps = {name: np.array(of_phase(array)) for name, array in auxiliary.items()}
        state = np.stack([of_phase(self.lstm_state[w]) for w in windows], axis=2)
        version = self.version[windows]
        opponent = np.full(n_rows, MIRROR, np.int32)
        for at in np.ndindex(*state.shape[:2]):
            self.sequence += 1
            self.cumulative_steps += n_rows * self.spec.agents
            yield TrajectoryChunk(
                run=self.run,
                spec_hash=self.spec_hash,
                worker=self.registration.worker,
                incarnation=self.registration.incarnation,
                sequence=self.sequence,
                cumulative_steps=self.cumulative_steps,
                slot=phase + at[0] * self.chunk_windows,
                team=at[1],
                observation={name: array[at] for name, array in observation.items()},
                action={name: array[at] for name, array in action.items()},
                log_prob={name: array[at] for name, array in log_prob.items()},
                opponent_version=opponent,
                auxiliary={name: array[at] for name, array in bootstraps.items()},
                lstm_state=state[at],
                version=version,
                **{name: array[at] for name, array in arrays.items()},
            )
