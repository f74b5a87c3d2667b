"""What every process spends its time on, from its newest reports that together cover some seconds.

One report alone would mislead: an optimizer reports once a second while it waits, and once after an update, however
long that took. The last report before a new version is nearly always one of waiting.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping

COVERED_S = 15.0
"""Reports older than those that cover this much no longer count."""
MOST_REPORTS = 100


class RecentPhases:
    """Reports of phases by process; see `wire.reports.PhaseTimer` for where they come from."""

    def __init__(self) -> None:
        self._reports: dict[str, deque[Mapping[str, float]]] = {}
        self._shares: dict[str, dict[str, float]] = {}  # worked out once per report: rows and pages ask more often
        self._heard_s: dict[str, float] = {}

    def add(self, process: str, seconds: Mapping[str, float], time_s: float) -> None:
        """Take in one report: seconds by phase, sent at `time_s`."""
        self._heard_s[process] = time_s
        kept = self._reports.setdefault(process, deque(maxlen=MOST_REPORTS))
        kept.append(seconds)
        covered_s = sum(sum(report.values()) for report in kept)
        while covered_s - sum(kept[0].values()) >= COVERED_S:
            covered_s -= sum(kept.popleft().values())
        self._shares[process] = _shares(kept)

    def shares(self) -> dict[str, dict[str, float]]:
        """By process and phase: seconds per second, of what the newest reports cover."""
        return dict(self._shares)

    def silent_s(self, process: str, now_s: float) -> float:
        """How long ago a process reported last; infinite if it never did."""
        return now_s - self._heard_s.get(process, float("-inf"))


def _shares(reports: deque[Mapping[str, float]]) -> dict[str, float]:
    names = sorted(set().union(*reports))
    covered_s = sum(sum(report.values()) for report in reports)
    return {name: sum(r.get(name, 0.0) for r in reports) / covered_s for name in names} if covered_s > 0 else {}
