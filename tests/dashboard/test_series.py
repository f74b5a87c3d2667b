"""Metrics as columns: growing, torn and replaced files; few points that stand for many."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quintet.dashboard.series import FIRST_ROWS, LineTail, MetricsTable, kept_rows, thin, trend


def append(path: Path, *rows: dict[str, Any], torn: str = "") -> None:
    with path.open("a") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)
        file.write(torn)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "metrics.jsonl"


def test_a_file_that_is_not_there_yet_is_an_empty_table(path: Path) -> None:
    table = MetricsTable(path)
    assert not table.refresh()
    assert (len(table), table.names, table.share_read) == (0, [], 1.0)
    assert len(table.column("losses/entropy")) == 0


def test_every_row_is_read_once_as_the_file_grows(path: Path) -> None:
    table = MetricsTable(path)
    for version in range(5):
        append(path, {"version": version, "agent_steps": 100 * version, "losses/entropy": version / 8})
        table.refresh()
    assert table.column("losses/entropy").tolist() == [0, 0.125, 0.25, 0.375, 0.5]
    assert table.column("agent_steps").dtype == np.float64
    assert table.latest["version"] == 4


def test_a_torn_last_line_waits_for_its_end(path: Path) -> None:
    tail = LineTail(path)
    append(path, {"a": 1}, torn='{"a": ')
    assert tail.read() == [{"a": 1}]
    assert tail.read() == []
    append(path, torn="2}\n")
    assert tail.read() == [{"a": 2}]


def test_lines_that_are_no_object_are_skipped(path: Path) -> None:
    append(path, {"a": 1}, torn='{"a": \n[1]\nnull\n')
    append(path, {"a": 2})
    assert LineTail(path).read() == [{"a": 1}, {"a": 2}]


def test_a_line_without_an_end_does_not_fill_the_memory(path: Path) -> None:
    path.write_text("x" * (2**20 + 10))
    tail = LineTail(path)
    tail.read()
    assert tail._rest == b""


def test_a_file_that_was_replaced_is_read_from_its_beginning(path: Path) -> None:
    table = MetricsTable(path)
    append(path, *({"version": k, "game/kill": 1.0} for k in range(4)))
    table.refresh()
    path.unlink()
    table.refresh()
    append(path, {"version": 1, "game/tower": 2.0})
    table.refresh()
    assert (len(table), table.names) == (1, ["game/tower"])


def test_what_a_row_lacks_is_nan_and_a_column_may_come_late(path: Path) -> None:
    append(path, {"version": 1}, {"version": 2, "game/win_rate_0": None}, {"version": 3, "game/win_rate_0": 0.5})
    table = MetricsTable(path)
    table.refresh()
    assert np.isnan(table.column("game/win_rate_0")).tolist() == [True, True, False]
    assert table.latest == {"version": 3, "game/win_rate_0": 0.5}


def test_an_array_that_was_handed_out_stays_as_it_is_while_the_table_grows(path: Path) -> None:
    table = MetricsTable(path)
    append(path, *({"version": k} for k in range(FIRST_ROWS)))
    table.refresh()
    before = table.column("version")
    append(path, *({"version": k, "losses/entropy": 1.0} for k in range(FIRST_ROWS, 3 * FIRST_ROWS)))
    table.refresh()
    assert before.tolist() == list(range(FIRST_ROWS))
    assert table.column("version").tolist() == list(range(3 * FIRST_ROWS))
    assert np.isnan(table.column("losses/entropy")[:FIRST_ROWS]).all()


def test_a_large_file_is_read_in_slices_and_says_how_far_it_is(path: Path) -> None:
    append(path, *({"version": k} for k in range(1000)))
    table = MetricsTable(path)
    assert table.refresh(max_bytes=4000)
    assert 0 < table.share_read < 1
    while table.refresh(max_bytes=4000):
        pass
    assert table.column("version").tolist() == list(range(1000))


def test_rows_that_a_resume_threw_away_are_left_out() -> None:
    steps = np.array([10.0, 20, 30, 40, 20, 30, 40, 50])  # killed at 40, resumed from the checkpoint at 10
    assert kept_rows(steps).tolist() == [True, True, False, False, True, True, True, True]


@given(st.lists(st.integers(0, 20), max_size=40))
def test_a_row_is_kept_if_no_later_row_lies_behind_it(steps: list[int]) -> None:
    slow = [all(later >= step for later in steps[k:]) for k, step in enumerate(steps)]
    assert kept_rows(np.array(steps, np.float64)).tolist() == slow


@given(
    st.lists(st.one_of(st.floats(-1e3, 1e3, width=32), st.just(math.nan)), min_size=1, max_size=400),
    st.integers(1, 50),
)
def test_few_points_hold_the_mean_and_every_peak_of_the_many(values: list[float], points: int) -> None:
    y = np.array(values, np.float32)
    curve = thin(np.arange(len(y), dtype=np.float64), y, points)
    assert len(curve.x) <= points
    for k in range(len(curve.x)):
        bucket = [v for v in y[k * curve.width : (k + 1) * curve.width].tolist() if not math.isnan(v)]
        if not bucket:
            assert math.isnan(curve.mean[k])
            continue
        assert curve.low[k] == min(bucket)
        assert curve.high[k] == max(bucket)
        assert curve.mean[k] == pytest.approx(math.fsum(bucket) / len(bucket), rel=1e-5, abs=1e-3)
    assert curve.x[-1] == len(y) - 1


def test_old_points_stay_where_they_are_while_a_curve_grows() -> None:
    y = np.random.default_rng(1).normal(size=1000).astype(np.float32)
    x = np.arange(1000, dtype=np.float64)
    short, long = thin(x[:900], y[:900], 100), thin(x, y, 100)
    assert short.width == long.width
    whole = 900 // short.width
    assert np.array_equal(short.mean[:whole], long.mean[:whole])


def test_the_trend_is_how_far_the_last_numbers_lie_above_those_before() -> None:
    assert trend(np.array([1.0] * 50 + [3.0] * 50), 50) == 2.0
    assert trend(np.array([1.0, math.nan, 2.0])) is None
