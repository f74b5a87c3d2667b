"""Kernels are compiled for Python and, once for all widths of whole numbers, for other kernels."""

from __future__ import annotations

from typing import Any, NamedTuple

import numba
import numpy as np

from quintet.games.skirmish.engine.compile import kernel, passed_as_record
from quintet.games.skirmish.state import Array


@kernel
def twice(number: int) -> int:
    return 2 * number


@kernel
def sum_of_twice(numbers: Array, small: Array) -> int:
    total = twice(3)
    for k in range(len(numbers)):
        total += twice(numbers[k]) + twice(small[k])
    return total


@passed_as_record
class Pair(NamedTuple):
    """Two numbers and a grid."""

    record: Array

    @property
    def data(self) -> memoryview:
        return self.record.reshape(1).view(np.uint8).data


@kernel
def trace(pair: Any, factor: int) -> Any:
    return (pair.grid[0, 0] + pair.grid[1, 1]) * factor + pair.number


@kernel
def trace_twice(pair: Any) -> Any:
    return trace(pair, 2)


def test_a_kernel_gives_the_same_to_python_and_to_another_kernel() -> None:
    numbers, small = np.array([1, -2, 40]), np.array([5, 6, -7], np.int8)
    expected = twice(3) + sum(twice(int(n)) for n in [*numbers, *small])
    assert sum_of_twice(numbers, small) == expected == 6 + 2 * 39 + 2 * 4


def test_another_kernel_links_in_one_version_for_all_widths_and_none_has_a_version_for_python() -> None:
    sum_of_twice(np.array([1]), np.array([1], np.int8))
    inner = twice.inner  # type: ignore[attr-defined]
    assert inner.signatures in ([], [(numba.types.int64,)])  # none if the caller came from the cache


def test_tuples_that_are_passed_as_records_are_read_field_by_field() -> None:
    record = np.zeros((), [("number", "i8"), ("grid", "f4", (2, 2))])
    record["number"], record["grid"] = 5, [[1, 2], [3, 4]]
    assert trace(Pair(record), 10) == 55
    assert trace_twice(Pair(record)) == 15
    record["number"] = 6
    assert trace_twice(Pair(record)) == 16


def test_other_numba_code_in_the_process_works_as_before() -> None:
    sum_of_twice(np.array([1]), np.array([1], np.int8))
    plain = numba.njit(lambda a, b: max(a, b) + abs(a))
    assert plain(-3, 2) == 5
