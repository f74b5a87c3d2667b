"""What a process spends its time on: its newest reports count, until they cover enough without the older ones."""

from __future__ import annotations

import pytest

from quintet.control.metrics import COVERED_S, MOST_REPORTS, RecentPhases


def test_reports_are_weighed_by_what_they_cover_and_old_ones_fall_out() -> None:
    phases = RecentPhases()
    for second in range(100):
        phases.add("worker/0", {"play": 0.9, "wait": 0.1} if second < 80 else {"play": 0.4, "wait": 0.6}, float(second))
    assert phases.shares() == {"worker/0": {"play": pytest.approx(0.4), "wait": pytest.approx(0.6)}}
    phases.add("worker/0", {"encode": 2 * COVERED_S}, 100.0)
    assert phases.shares() == {"worker/0": {"encode": 1.0}}, "one long report covers enough by itself"


def test_silence_is_counted_from_the_last_report_and_empty_reports_do_not_pile_up() -> None:
    phases = RecentPhases()
    assert phases.silent_s("optimizer", 5.0) == float("inf")
    for _ in range(2 * MOST_REPORTS):
        phases.add("optimizer", {}, 3.0)
    assert phases.silent_s("optimizer", 5.0) == 2.0
    assert phases.shares() == {"optimizer": {}}
