"""One glance: progress, the law, and what the tiles say."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from quintet.control.config import RunConfig, parse_config
from quintet.control.doctor.finding import Finding
from quintet.control.journal import Event
from quintet.dashboard import tiles as glance
from quintet.dashboard.series import MetricsTable
from quintet.wire.link import Counters

CONFIG = parse_config("")


def event(kind: str, time_s: float) -> Event:
    return Event(time_s=time_s, agent_steps=0, kind=kind)  # type: ignore[arg-type]


def finding(severity: str) -> Finding:
    return Finding(severity=severity, about="optimizer", seen="it waits", why="w", advice="a")  # type: ignore[arg-type]


def far(config: RunConfig, row: dict[str, float], *, live: bool = True) -> glance.Progress:
    return glance.progress(config, row, [event("started", 1000.0)], now_s=1060.0, live=live)


def test_progress_by_steps_says_what_is_left_at_this_speed() -> None:
    config = replace(CONFIG, agent_steps=1000)
    found = far(config, {"agent_steps": 250.0, "charts/agent_steps_per_s": 75.0})
    assert (found.share, found.left_s) == (0.25, 10.0)


def test_of_two_budgets_the_one_that_ends_first_counts() -> None:
    config = replace(CONFIG, agent_steps=1000, minutes=2.0)
    found = far(config, {"agent_steps": 100.0, "charts/agent_steps_per_s": 9.0})
    assert (found.share, found.left_s) == (0.5, 60.0)


def test_time_counts_from_the_last_start_of_the_run() -> None:
    config = replace(CONFIG, minutes=2.0)
    events = [event("started", 0.0), event("resumed", 1030.0)]
    assert glance.progress(config, {}, events, now_s=1060.0, live=True).share == 0.25


def test_without_a_budget_or_a_configuration_there_is_no_share() -> None:
    assert far(CONFIG, {"agent_steps": 100.0}).share is None
    assert glance.progress(None, {}, [], now_s=0.0, live=False) == glance.Progress(None, None)


def test_a_run_that_ended_has_nothing_left() -> None:
    config = replace(CONFIG, agent_steps=1000)
    assert far(config, {"agent_steps": 500.0, "charts/agent_steps_per_s": 10.0}, live=False).left_s is None


def test_the_law_comes_from_redis_and_else_from_the_last_row() -> None:
    counters = Counters(produced=100, trained=60, in_flight=30, stale=4, rejected=3, lost=2, undone=7)
    from_redis = glance.law({}, counters)
    row = {f"steps/{name}": value for name, value in from_redis.items() if name != "unaccounted"}
    assert from_redis["unaccounted"] == 1
    assert glance.law(row, None) == from_redis
    assert glance.law({}, None) == {}


def test_staleness_is_marked_beside_the_bound_of_the_configuration() -> None:
    bound = CONFIG.optimizer.max_staleness
    assert glance.staleness({}, CONFIG)[0] == "–"
    assert glance.staleness({"lag/staleness_mean": 1.0, "lag/staleness_p95": 2.0}, CONFIG)[2] == ""
    assert glance.staleness({"lag/staleness_mean": 3.5, "lag/staleness_p95": bound}, CONFIG)[2] == "warn"
    assert glance.staleness({"lag/staleness_mean": 4.0, "lag/staleness_p95": bound + 1.0}, CONFIG)[2] == "bad"


def test_the_queue_is_marked_when_it_is_nearly_full() -> None:
    bound = CONFIG.wire.max_queue_bytes
    assert glance.queue({}, Counters(queued_bytes=bound // 2, queued_chunks=3), CONFIG)[1:] == (
        "3 chunks, 50% of the bound",
        "",
    )
    assert glance.queue({"queue/bytes": 0.95 * bound}, None, CONFIG)[2] == "warn"


@pytest.mark.parametrize(
    ("severities", "word", "level"),
    [
        ([], "healthy", "good"),
        (["hint"], "healthy", "good"),
        (["warning", "hint"], "1 to look at", "warn"),
        (["error", "error", "warning"], "2 errors", "bad"),
    ],
)
def test_health_is_the_worst_that_the_doctor_found(severities: list[str], word: str, level: str) -> None:
    said = glance.health([finding(severity) for severity in severities], live=True)
    assert (said[0], said[2]) == (word, level)


def test_health_says_that_the_doctor_is_still_looking() -> None:
    assert glance.health(None, live=True)[0] == "…"


def test_the_newest_win_rate_by_evaluation_says_best_whether_it_learns(tmp_path: Path) -> None:
    table = MetricsTable(tmp_path / "none")
    row = {"charts/episodic_return": 21.5}
    rated = {"win_rate": 0.9, "win_rate_low": 0.85, "win_rate_high": 0.94, "opponent": "bot:easy"}
    assert glance.learning(table, row, [])[0] == "21.5"
    assert glance.learning(table, row, [{"return_mean": 3.0}])[0] == "21.5"
    assert glance.learning(table, row, [rated])[:2] == ("90.0%", "85% to 94% against bot:easy")
    assert glance.learning(table, {}, [])[0] == "–"


@pytest.mark.parametrize(
    ("seconds", "text"), [(45, "45 s"), (720, "12 min"), (12_000, "3 h 20 min"), (187_200, "2 d 4 h")]
)
def test_durations_read_as_people_say_them(seconds: float, text: str) -> None:
    assert glance.duration(seconds) == text


@pytest.mark.parametrize(
    ("n_bytes", "text"), [(512, "512 B"), (2048, "2 KiB"), (22_333_000, "21.3 MiB"), (2**41, "2 TiB")]
)
def test_sizes_read_as_people_say_them(n_bytes: float, text: str) -> None:
    assert glance.data(n_bytes) == text
