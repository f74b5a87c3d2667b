"""Contestants that take turns, so that a drift of the machine meets all of them."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable


def median_times_s(contestants: dict[str, Callable[[], None]], seconds: float) -> dict[str, float]:
    """Each contestant's median time, taking turns for `seconds`, at least five each, after one that warms up."""
    times: dict[str, list[float]] = {name: [] for name in contestants}
    for work in contestants.values():
        work()
    end, turns = time.perf_counter() + seconds, 0
    while turns < 5 or time.perf_counter() < end:
        for name, work in contestants.items():
            start = time.perf_counter()
            work()
            times[name].append(time.perf_counter() - start)
        turns += 1
    return {name: statistics.median(values) for name, values in times.items()}
