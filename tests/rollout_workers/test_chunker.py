"""The chunker by itself: when chunks close, and that what was given out is never touched again."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from quintet.rollout_workers.chunker import Chunker
from quintet.wire.chunk import ArraySpec, TrajectoryChunk
from quintet.wire.link import Registration
from tests.support.chunk_factory import RUN, make_spec

BPTT = 4


def make_chunker(slots: int, windows_per_chunk: int, teams: int = 1) -> Chunker:
    spec = make_spec(
        teams=teams,
        bptt_steps=BPTT,
        chunk_steps=BPTT * windows_per_chunk,
        auxiliary={"win": ArraySpec(shape=(1,), dtype="float32")},
    )
    chunker = Chunker(spec, run=RUN, slots=slots)
    chunker.register(Registration(worker=3, incarnation=8))
    return chunker


def write_row(chunker: Chunker, t: int, number: float) -> None:
    """Fill row t of the open window with its own number."""
    row = chunker.row(t)
    for array in (*row.observation.values(), *row.action.values(), *row.log_prob.values(), row.value, row.reward):
        array[...] = number
    for flags in (row.first, row.terminated, row.truncated):
        flags[...] = False
    row.acting[...] = row.valid[...] = True


def begin_window(chunker: Chunker, *, everything: bool = False) -> list[TrajectoryChunk]:
    """Open a window; the chunks that end before it, bootstrapped with the number of its first row."""
    spec, b, window = chunker.spec, chunker.streams, chunker.window + 1
    state = np.full((b, spec.agents, 2, spec.lstm_units), window, np.float16)
    none = {n: np.full((b, spec.agents, *s.shape), -1, s.dtype) for n, s in spec.heads.items()}
    chunker.begin_window(state, version=100 + window, previous_action=none)
    write_row(chunker, 0, window * BPTT)
    auxiliary = {
        name: np.full((b, spec.agents, *s.shape), window / 64, np.float32) for name, s in spec.auxiliary.items()
    }
    return chunker.close(chunker.row(0).value, auxiliary, everything=everything)


def play(chunker: Chunker, windows: int) -> list[list[TrajectoryChunk]]:
    """Windows of rows numbered from 0; the chunks that closed at each border."""
    closed = []
    for _ in range(windows):
        closed.append(begin_window(chunker))
        for t in range(1, BPTT):
            write_row(chunker, t, chunker.window * BPTT + t)
    return closed


@pytest.mark.parametrize("everything", [False, True])
def test_nothing_closes_before_anything_was_played(everything: bool) -> None:
    assert begin_window(make_chunker(3, 2), everything=everything) == []


@pytest.mark.parametrize("windows_per_chunk", [1, 2, 3, 4])
@pytest.mark.parametrize("teams", [1, 2])
def test_the_same_number_of_chunks_closes_at_every_border_once_all_are_under_way(
    windows_per_chunk: int, teams: int
) -> None:
    closed = play(make_chunker(4 * windows_per_chunk, windows_per_chunk, teams), 12)
    assert [len(chunks) for chunks in closed[windows_per_chunk:]] == [4 * teams] * (12 - windows_per_chunk)


def test_every_row_is_in_exactly_one_chunk_of_its_stream() -> None:
    chunker = make_chunker(5, 3)
    chunks = [c for chunks in play(chunker, 10) for c in chunks] + begin_window(chunker, everything=True)
    for slot in range(5):
        rewards = np.concatenate([c.reward[:, 0] for c in chunks if c.slot == slot])
        assert rewards.tolist() == list(range(40))
    assert Counter(c.rows for c in chunks if c.slot == 1)[8] >= 1  # its first chunk is one window short


def test_a_chunk_given_out_is_not_changed_by_what_is_played_afterwards() -> None:
    chunker = make_chunker(2, 2)
    (chunk,) = (c for c in play(chunker, 3)[2] if c.slot == 0)
    before = {name: array.copy() for name, array in chunk.observation.items()}
    fields = ("reward", "value", "lstm_state", "version", "first", "valid", "acting")
    arrays = {name: getattr(chunk, name).copy() for name in fields}
    play(chunker, 6)
    assert all(np.array_equal(before[name], array) for name, array in chunk.observation.items())
    assert all(np.array_equal(array, getattr(chunk, name)) for name, array in arrays.items())
    assert chunk.lstm_state[:, 0, 0, 0].tolist() == [0, 1]
    assert chunk.version.tolist() == [100, 101]
    assert chunk.value[:, 0].tolist() == list(range(9))
    assert chunk.auxiliary["win"].tolist() == [[2 / 64]]
    assert chunk.action["action"][:, 0].tolist() == [-1, *range(8)]


def test_a_new_incarnation_counts_from_one() -> None:
    chunker = make_chunker(2, 1)
    play(chunker, 4)
    assert chunker.sequence == 6
    assert chunker.cumulative_steps == 6 * BPTT
    chunker.register(Registration(worker=3, incarnation=9))
    (one, two) = begin_window(chunker)
    assert [(c.incarnation, c.sequence, c.cumulative_steps) for c in (one, two)] == [(9, 1, BPTT), (9, 2, 2 * BPTT)]
