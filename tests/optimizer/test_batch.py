"""Chunks beside each other, padding, staleness, and where every row lands when a batch is cut into windows."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from quintet.optimizer.batch import Batch, collate, cut_windows, judge_freshness, to_windows
from quintet.wire.chunk import ArraySpec, TrajectoryChunk
from quintet.wire.link import Message
from tests.support.chunk_factory import make_chunk, make_spec

SPEC = make_spec(
    agents=2,
    observation={
        "own": ArraySpec(shape=(3,), dtype="float32"),
        "board": ArraySpec(shape=(2,), dtype="float16", per_agent=False),
    },
    heads={"move": ArraySpec(shape=(), dtype="int16"), "push": ArraySpec(shape=(2,), dtype="float32")},
    auxiliary={"win": ArraySpec(shape=(3,), dtype="float32")},
)
CPU = torch.device("cpu")


def chunks_of(*rows: int) -> list[TrajectoryChunk]:
    rng = np.random.default_rng(0)
    return [make_chunk(SPEC, rows=n, rng=rng, sequence=k + 1, version=k + 1) for k, n in enumerate(rows)]


def batch_of(chunks: list[TrajectoryChunk]) -> Batch:
    return collate([Message(id=str(k), steps=c.steps, payload=b"") for k, c in enumerate(chunks)], chunks, CPU)


@pytest.mark.parametrize("rows", [(16, 16, 16), (16, 4, 8), (4, 12), (8,)])
def test_every_chunk_stands_in_its_own_column_and_shorter_ones_are_padded_with_rows_that_are_not_valid(
    rows: tuple[int, ...],
) -> None:
    chunks = chunks_of(*rows)
    batch = batch_of(chunks)
    assert batch.first.shape == (max(rows), len(rows))
    assert batch.windows.tolist() == [n // 4 for n in rows]
    for b, (n, chunk) in enumerate(zip(rows, chunks, strict=True)):
        for name in ("first", "reward", "terminated", "truncated", "acting", "valid"):
            np.testing.assert_array_equal(getattr(batch, name)[:n, b].numpy(), getattr(chunk, name), err_msg=name)
            assert not getattr(batch, name)[n:, b].any()
        np.testing.assert_array_equal(batch.value[: n + 1, b].numpy(), chunk.value)
        np.testing.assert_array_equal(batch.lstm_state[: n // 4, b].numpy(), chunk.lstm_state)
        np.testing.assert_array_equal(batch.version[: n // 4, b], chunk.version)
        for head in SPEC.heads:
            np.testing.assert_array_equal(batch.action[head][: n + 1, b].numpy(), chunk.action[head])
            np.testing.assert_array_equal(batch.log_prob[head][:n, b].numpy(), chunk.log_prob[head])
        np.testing.assert_array_equal(batch.auxiliary["win"][b].numpy(), chunk.auxiliary["win"])
        for entry in SPEC.observation:
            np.testing.assert_array_equal(batch.observation[entry][:n, b].numpy(), chunk.observation[entry])
            assert batch.observation[entry].dtype == getattr(torch, SPEC.observation[entry].dtype)


def test_a_batch_remembers_which_delivery_is_which_column() -> None:
    assert [d.id for d in batch_of(chunks_of(16, 4, 8)).messages] == ["0", "1", "2"]


def test_window_w_of_chunk_b_becomes_column_w_times_b_plus_b() -> None:
    t, b = torch.arange(12)[:, None], torch.arange(5)[None, :]
    windows = to_windows(100 * t + b, 4)
    assert windows.shape == (4, 15)
    for w in range(3):
        for column in range(5):
            for row in range(4):
                assert int(windows[row, 5 * w + column]) == 100 * (4 * w + row) + column


def test_cutting_keeps_further_axes_in_place() -> None:
    x = torch.randn(8, 3, 2, 5)
    windows = to_windows(x, 4)
    assert windows.shape == (4, 6, 2, 5)
    assert torch.equal(windows[1, 3 + 2], x[5, 2])


def test_every_window_has_its_stored_state_and_the_action_before_its_first_row() -> None:
    chunks = chunks_of(16, 8, 12)
    batch = batch_of(chunks)
    windows = cut_windows(batch, {"reward": batch.reward}, 4)
    for b, chunk in enumerate(chunks):
        for w in range(chunk.rows // 4):
            column, rows = 3 * w + b, slice(4 * w, 4 * w + 4)
            np.testing.assert_array_equal(windows.state[column].numpy(), chunk.lstm_state[w].astype(np.float32))
            np.testing.assert_array_equal(windows.first[:, column].numpy(), chunk.first[rows])
            np.testing.assert_array_equal(windows.rows["reward"][:, column].numpy(), chunk.reward[rows])
            np.testing.assert_array_equal(windows.observation["own"][:, column], chunk.observation["own"][rows])
            np.testing.assert_array_equal(windows.observation["board"][:, column], chunk.observation["board"][rows])
            for head in SPEC.heads:
                taken, before = chunk.action[head][4 * w + 1 : 4 * w + 5], chunk.action[head][rows]
                np.testing.assert_array_equal(windows.action[head][:, column].numpy(), taken)
                np.testing.assert_array_equal(windows.previous_action[head][:, column].numpy(), before)
                np.testing.assert_array_equal(windows.log_prob[head][:, column].numpy(), chunk.log_prob[head][rows])


def test_picking_takes_the_same_columns_of_everything() -> None:
    batch = batch_of(chunks_of(16, 16))
    windows = cut_windows(batch, {"reward": batch.reward}, 4, labels={"win": torch.randn(16, 2, 2, 3)})
    columns = torch.tensor([6, 1])
    picked = windows.pick(columns)
    assert torch.equal(picked.state, windows.state[columns])
    assert torch.equal(picked.first, windows.first[:, columns])
    for group in ("observation", "previous_action", "action", "log_prob", "rows", "labels"):
        for name, tensor in getattr(picked, group).items():
            assert torch.equal(tensor, getattr(windows, group)[name][:, columns]), name


@pytest.mark.parametrize(("version", "limit"), [(5, 0), (5, 2), (9, 4), (1, 8), (100, 8)])
def test_staleness_is_judged_window_by_window_and_padding_is_neither_fresh_nor_stale(version: int, limit: int) -> None:
    chunks = chunks_of(16, 4, 12)
    for k, chunk in enumerate(chunks):
        chunk.version[:] = np.arange(len(chunk.version)) + k + 1
    freshness = judge_freshness(batch_of(chunks), version, limit)
    for b, chunk in enumerate(chunks):
        ages = [version - int(v) for v in chunk.version]
        fresh = [age <= limit for age in ages]
        assert freshness.fresh[:, b].tolist() == fresh + [False] * (4 - len(fresh))
        assert freshness.trained_windows[b] == sum(fresh)
        assert freshness.stale_windows[b] == len(fresh) - sum(fresh)
    everything = [version - int(v) for chunk in chunks for v in chunk.version]
    assert sorted(freshness.staleness.tolist()) == sorted(everything)
