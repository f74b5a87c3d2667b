"""metrics.jsonl as columns, read as it grows, and few points that stand for many."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quintet.control.metrics import AGENT_STEPS, TIME_S, VERSION
from quintet.control.sinks import read_line

Column = NDArray[np.floating[Any]]

EXACT = (TIME_S, VERSION, AGENT_STEPS)
"""Columns kept as float64; seven digits are plenty for everything that is drawn against them."""
SLICE_BYTES = 8 * 2**20
"""Read at a time, so that a large file fills in while one looks on."""
FIRST_ROWS = 1024
MAX_LINE_BYTES = 2**20
"""A line without an end that is longer is no row: it is dropped."""


class LineTail:
    """The objects of a growing file of JSON lines, each handed out once.

    A torn last line waits for its end; a line that is no object is skipped; a file that was replaced or cut is read
    from its beginning.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.restarts = 0
        self._offset = 0
        self._size = 0
        self._inode = 0
        self._rest = b""

    @property
    def share_read(self) -> float:
        """Of the file's bytes, 0 to 1; 1 for a file that is missing or empty."""
        return self._offset / self._size if self._size else 1.0

    def read(self, max_bytes: int = SLICE_BYTES) -> list[dict[str, Any]]:
        """What was appended since the last call, at most about `max_bytes` of it."""
        try:
            file = self.path.open("rb")
        except FileNotFoundError:
            self._begin(0)
            return []
        with file:
            status = os.fstat(file.fileno())
            if status.st_ino != self._inode or status.st_size < self._offset:
                self._begin(status.st_ino)
            self._size = status.st_size
            file.seek(self._offset)
            data = file.read(max_bytes)
        self._offset += len(data)
        lines = (self._rest + data).split(b"\n")
        self._rest = lines.pop()
        if len(self._rest) > MAX_LINE_BYTES:
            self._rest = b""
        return [record for line in lines if (record := read_line(line)) is not None]

    def _begin(self, inode: int) -> None:
        self.restarts += self._offset > 0
        self._offset, self._size, self._inode, self._rest = 0, 0, inode, b""


class MetricsTable:
    """The columns of one metrics.jsonl. One thread refreshes it; any thread may read.

    Columns are [rows] float32 (those of EXACT float64), NaN where a row lacks the number. An array that was handed out
    never changes: it is a view of rows that are written once.
    """

    def __init__(self, path: Path) -> None:
        self._tail = LineTail(path)
        self._columns: dict[str, Column] = {}
        self._rows = 0
        self._capacity = FIRST_ROWS
        self._restarts = 0
        self.latest: dict[str, float] = {}
        """The newest row, exactly as it was written; numbers that are not finite are left out."""

    def __len__(self) -> int:
        return self._rows

    @property
    def share_read(self) -> float:
        """How much of the file is in the table, 0 to 1."""
        return self._tail.share_read

    @property
    def names(self) -> list[str]:
        """Every metric that was seen, sorted."""
        return sorted(set(self._columns) - set(EXACT))

    def column(self, name: str) -> Column:
        """One column, [rows]; all NaN for a name that never came."""
        rows = self._rows
        column = self._columns.get(name)
        return np.full(rows, np.nan, np.float32) if column is None else column[:rows]

    def refresh(self, max_bytes: int = SLICE_BYTES) -> bool:
        """Take in what was appended; True when there is more to read at once."""
        records = self._tail.read(max_bytes)
        if self._tail.restarts != self._restarts:
            self._restarts = self._tail.restarts
            self._columns, self._rows, self._capacity, self.latest = {}, 0, FIRST_ROWS, {}
        if records:
            self._append(records)
        return self._tail.share_read < 1.0

    def _append(self, records: Sequence[Mapping[str, Any]]) -> None:
        start, end = self._rows, self._rows + len(records)
        if end > self._capacity:
            self._grow(end)
        for name in dict.fromkeys(name for record in records for name in record):
            column = self._columns.get(name)
            if column is None:
                column = self._columns[name] = self._empty(name)
            column[start:end] = [_number(record.get(name)) for record in records]
        self.latest = {name: float(v) for name, v in records[-1].items() if math.isfinite(_number(v))}
        self._rows = end  # last: until now nobody saw these rows

    def _grow(self, rows: int) -> None:
        self._capacity = max(2 * self._capacity, rows)
        for name, old in list(self._columns.items()):
            new = self._empty(name)
            new[: self._rows] = old[: self._rows]
            self._columns[name] = new

    def _empty(self, name: str) -> Column:
        return np.full(self._capacity, np.nan, np.float64 if name in EXACT else np.float32)


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else math.nan


def kept_rows(agent_steps: Column) -> NDArray[np.bool_]:
    """[rows] bool: rows that no later resume threw away, so that a curve never runs backwards."""
    if not len(agent_steps):
        return np.zeros(0, bool)
    return np.asarray(agent_steps <= np.fmin.accumulate(agent_steps[::-1])[::-1], bool)


@dataclass(frozen=True, slots=True)
class ThinCurve:
    """A curve in few points, each of which stands for `width` rows; all arrays [points]."""

    x: Column
    mean: Column
    low: Column
    high: Column
    width: int


def thin(x: Column, y: Column, points: int) -> ThinCurve:
    """At most `points` points that keep every peak: mean, least and greatest of equally many rows each.

    Widths are powers of two and buckets are aligned to the first row, so a growing curve does not shimmer. NaN is left
    out; a bucket without a number is NaN. Cost: a few passes over y.
    """
    rows = len(y)
    width = 1 if rows <= points else 2 ** math.ceil(math.log2(rows / points))
    if width == 1:
        return ThinCurve(x, y, y, y, 1)
    starts = np.arange(0, rows, width)
    ends = np.minimum(starts + width, rows) - 1
    missing = np.isnan(y)
    if not missing.any():
        total, count = np.add.reduceat(y, starts, dtype=np.float64), (ends - starts + 1).astype(np.float64)
        low, high = np.minimum.reduceat(y, starts), np.maximum.reduceat(y, starts)
    else:
        total = np.add.reduceat(np.where(missing, 0, y), starts, dtype=np.float64)
        count = np.add.reduceat(~missing, starts, dtype=np.float64)
        low, high = np.fmin.reduceat(y, starts), np.fmax.reduceat(y, starts)
    mean = np.divide(total, count, out=np.full(len(starts), np.nan), where=count > 0)
    return ThinCurve(x[ends], mean.astype(y.dtype), low, high, width)


def trend(y: Column, rows: int = 50) -> float | None:
    """How much the last `rows` numbers lie above the `rows` before them, in means; None where there are too few."""
    numbers = y[~np.isnan(y)]
    rows = min(rows, len(numbers) // 2)
    if rows < 3:
        return None
    return float(numbers[-rows:].mean(dtype=np.float64) - numbers[-2 * rows : -rows].mean(dtype=np.float64))
