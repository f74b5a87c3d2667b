"""Orders, reports and the latest row for the threads of one process: the part of `memory_link` that stands alone."""

# ruff: noqa: D102  (what each method promises is said once, in the protocols of wire.link)

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Mapping

from wire.keys import REPORTS_KEPT
from wire.link import Report
from wire.reports import decode_report, encode_report


class MemoryDesk:
    """What processes tell one another besides chunks, weights and signs of life."""

    def __init__(self) -> None:
        self._changed = threading.Condition(threading.RLock())
        self._wanted_workers = 0
        self._autoscale = ""
        self._game_spec = ""
        self._stopping = False
        self._lease_until_s = 0.0
        self._reports: deque[tuple[int, Report]] = deque(maxlen=REPORTS_KEPT)
        self._next_report = 1
        self._latest_row: dict[str, float] = {}

    def stopping(self) -> bool:
        with self._changed:
            return self._stopping

    def keep_game_spec(self, text: str) -> None:
        with self._changed:
            self._game_spec = text

    def game_spec(self) -> str:
        with self._changed:
            return self._game_spec

    def set_wanted_workers(self, n: int) -> None:
        with self._changed:
            self._wanted_workers = n

    def wanted_workers(self) -> int:
        with self._changed:
            return self._wanted_workers

    def set_autoscale(self, bounds: str) -> None:
        with self._changed:
            self._autoscale = bounds

    def autoscale(self) -> str:
        with self._changed:
            return self._autoscale

    def hold_lease(self, ttl_s: float) -> None:
        with self._changed:
            self._lease_until_s = time.monotonic() + ttl_s

    def set_stopping(self, stopping: bool) -> None:
        with self._changed:
            self._stopping = stopping

    def read_reports(self, after: str, timeout_s: float) -> tuple[str, list[Report]]:
        with self._changed:
            self._changed.wait_for(lambda: self._next_report - 1 > int(after), timeout=max(0.0, timeout_s))
            found = [report for number, report in self._reports if number > int(after)]
            return str(max(int(after), self._next_report - 1)), found

    def keep_latest_row(self, row: Mapping[str, float]) -> None:
        with self._changed:
            self._latest_row |= {name: float(value) for name, value in row.items()}

    def latest_row(self) -> dict[str, float]:
        with self._changed:
            return dict(self._latest_row)

    def report(self, process: str, kind: str, data: dict[str, object]) -> None:
        with self._changed:
            report = Report(process=process, kind=kind, time_s=time.time(), data=data)
            # Through the encoding, so that what one link refuses or changes the other does too.
            self._reports.append((self._next_report, decode_report(encode_report(report))))
            self._next_report += 1
            self._changed.notify_all()
