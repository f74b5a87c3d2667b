"""Reports in, rows out: running means, rates, phases, and the value that ends a run."""

from __future__ import annotations

import math
from typing import Any

import pytest

from quintet.control import metrics as names
from quintet.control.metrics import MetricsAggregator, Until, parse_until
from quintet.wire.link import Counters, Report


def report(kind: str, data: dict[str, object], *, process: str = "optimizer", time_s: float = 100.0) -> Report:
    return Report(process=process, kind=kind, time_s=time_s, data=data)


def episodes(*finished: dict[str, Any]) -> Report:
    full = [{"return": [0.0], "length": 1, "outcome": [None], "version": 1, "components": {}} | e for e in finished]
    return report("episodes", {"episodes": full}, process="worker/0")


def test_each_report_of_the_optimizer_makes_one_row_with_the_episodes_that_came_before_it() -> None:
    rows = MetricsAggregator().consume(
        [
            episodes({"return": [10.0], "length": 4}),
            report("metrics", {"version": 1, "agent_steps": 100, names.ENTROPY: 0.5}),
            episodes({"return": [20.0], "length": 8}),
            report("metrics", {"version": 2, "agent_steps": 200, names.ENTROPY: 0.4}, time_s=101.0),
        ]
    )
    assert [row["version"] for row in rows] == [1, 2]
    assert [row["agent_steps"] for row in rows] == [100, 200]
    assert [row["time_s"] for row in rows] == [100.0, 101.0]
    assert [row[names.EPISODIC_RETURN] for row in rows] == [10.0, 15.0]
    assert [row[names.EPISODIC_LENGTH] for row in rows] == [4.0, 6.0]
    assert [row[names.EPISODES] for row in rows] == [1, 2]
    assert [row[names.ENTROPY] for row in rows] == [0.5, 0.4]


def test_a_row_given_out_does_not_change_afterwards() -> None:
    aggregator = MetricsAggregator()
    (row,) = aggregator.consume([report("metrics", {"version": 1, "agent_steps": 1})])
    aggregator.consume([report("metrics", {"version": 2, "agent_steps": 2})])
    assert row["version"] == 1


def test_means_are_over_the_last_hundred_episodes() -> None:
    aggregator = MetricsAggregator()
    aggregator.consume([episodes(*({"return": [float(i)]} for i in range(150)))])
    assert aggregator.latest[names.EPISODIC_RETURN] == pytest.approx(sum(range(50, 150)) / 100)
    assert aggregator.latest[names.EPISODES] == 150


def test_a_zero_sum_game_shows_outcome_shares_because_its_mean_return_is_zero() -> None:
    aggregator = MetricsAggregator()
    outcomes = [[1.0, -1.0], [1.0, -1.0], [-1.0, 1.0], [0.0, 0.0]]
    aggregator.consume([episodes(*({"return": o, "outcome": o} for o in outcomes))])
    latest = aggregator.latest
    assert latest[names.EPISODIC_RETURN] == 0.0
    assert latest[names.DRAW_RATE] == 0.25
    assert latest[f"{names.WIN_RATE}_0"] == 0.5
    assert latest[f"{names.WIN_RATE}_1"] == 0.25


@pytest.mark.parametrize("none", [None, math.nan])
def test_a_game_without_a_winner_has_no_outcome_shares(none: float | None) -> None:
    aggregator = MetricsAggregator()
    aggregator.consume([episodes({"outcome": [none]})])
    assert not [name for name in aggregator.latest if name.startswith("game/")]


def test_a_games_own_numbers_are_averaged_over_teams_and_episodes_under_its_name() -> None:
    aggregator = MetricsAggregator()
    first = {"components": {"gold": [2.0, 4.0]}, "return": [0.0, 0.0]}
    second = {"components": {"gold": [6.0, 8.0], "kills": [1.0, 3.0]}, "return": [0.0, 0.0]}
    aggregator.consume([episodes(first, second)])
    assert aggregator.latest["game/gold"] == 5.0
    assert aggregator.latest["game/kills"] == 2.0


def test_the_rate_is_steps_over_time_and_forgets_what_is_long_ago() -> None:
    aggregator = MetricsAggregator()
    assert names.AGENT_STEPS_PER_S not in aggregator.consume([report("metrics", {"agent_steps": 0}, time_s=0.0)])[0]
    slow = [report("metrics", {"agent_steps": 10 * t}, time_s=float(t)) for t in range(1, 51)]
    assert aggregator.consume(slow)[-1][names.AGENT_STEPS_PER_S] == pytest.approx(10.0)
    fast = [report("metrics", {"agent_steps": 500 + 100 * t}, time_s=50.0 + t) for t in range(1, 51)]
    assert aggregator.consume(fast)[-1][names.AGENT_STEPS_PER_S] == pytest.approx(100.0)


def test_a_resume_that_goes_back_does_not_make_a_negative_rate() -> None:
    aggregator = MetricsAggregator()
    aggregator.consume([report("metrics", {"agent_steps": s}, time_s=t) for s, t in [(0, 0.0), (1000, 10.0)]])
    aggregator.consume([report("metrics", {"agent_steps": s}, time_s=t) for s, t in [(500, 20.0), (700, 21.0)]])
    assert aggregator.latest[names.AGENT_STEPS_PER_S] == pytest.approx(200.0)


def test_an_update_of_seconds_is_seen_though_the_last_report_is_one_of_waiting() -> None:
    aggregator = MetricsAggregator()
    for cycle_s in (0.0, 10.0, 20.0):
        aggregator.consume(
            [
                report("phases", {"learn": 7.0}, process="optimizer", time_s=cycle_s + 7),
                *(report("phases", {"wait": 1.0}, process="optimizer", time_s=cycle_s + 7 + k) for k in (1, 2, 3)),
            ]
        )
    (row,) = aggregator.consume([report("metrics", {"version": 1, "agent_steps": 1}, time_s=37.0)])
    assert row["phase/optimizer/learn_s"] == pytest.approx(0.7)
    assert row["phase/optimizer/wait_s"] == pytest.approx(0.3)


def test_phases_are_averaged_over_workers_and_silent_ones_leave_the_mean() -> None:
    aggregator = MetricsAggregator()
    aggregator.consume(
        [
            report("phases", {"play": 0.9}, process="worker/7", time_s=10.0),
            report("phases", {"play": 0.2, "wait": 0.8}, process="worker/0", time_s=100.0),
            report("phases", {"play": 0.6, "wait": 0.4}, process="worker/1", time_s=100.0),
            report("phases", {"learn": 1.0}, process="optimizer", time_s=100.0),
            report("phases", {"decode": 0.1, "wait": 0.9}, process="optimizer/prefetch", time_s=100.0),
        ]
    )
    phases = aggregator.phases(101.0)
    assert phases.keys() == {"worker", "optimizer", "optimizer/prefetch"}
    assert phases["worker"] == pytest.approx({"play": 0.4, "wait": 0.6})
    assert phases["optimizer"] == {"learn": 1.0}
    (row,) = aggregator.consume([report("metrics", {"version": 1, "agent_steps": 1})])
    assert row["phase/worker/wait_s"] == pytest.approx(0.6)
    assert row["phase/optimizer/learn_s"] == 1.0
    assert row["phase/optimizer/prefetch/wait_s"] == 0.9
    assert row[names.QUEUE_WAIT_S] == pytest.approx(0.6)


def test_counters_and_workers_appear_in_the_rows_that_follow() -> None:
    aggregator = MetricsAggregator()
    counters = Counters(produced=10, trained=4, stale=1, rejected=2, lost=1, in_flight=2, undone=3, queued_bytes=9)
    aggregator.observe(counters, workers_wanted=3, workers_live=2)
    (row,) = aggregator.consume([report("metrics", {"version": 1, "agent_steps": 4})])
    steps = [
        row[f"steps/{name}"] for name in ("produced", "trained", "stale", "rejected", "lost", "in_flight", "undone")
    ]
    assert steps == [10, 4, 1, 2, 1, 2, 3]
    assert (row[names.QUEUE_BYTES], row[names.WORKERS_WANTED], row[names.WORKERS_LIVE]) == (9, 3, 2)


def test_metrics_of_other_processes_make_no_row_of_their_own() -> None:
    aggregator = MetricsAggregator()
    assert aggregator.consume([report("metrics", {"league/rating": 3.0}, process="evaluator")]) == []
    assert aggregator.consume([report("metrics", {"version": 1})])[0]["league/rating"] == 3.0


def test_events_and_texts_are_no_metrics() -> None:
    aggregator = MetricsAggregator()
    rows = aggregator.consume(
        [report("event", {"kind": "checkpoint"}), report("metrics", {"version": 1, "device": "cpu", "on_gpu": True})]
    )
    assert rows == [{"time_s": 100.0, "version": 1.0, "agent_steps": 0.0}]


def test_staleness_of_a_run_is_the_mean_over_its_versions() -> None:
    aggregator = MetricsAggregator()
    assert aggregator.staleness[0] is None
    for mean, p95 in ((0.0, 1.0), (1.0, 3.0)):
        aggregator.consume([report("metrics", {names.STALENESS_MEAN: mean, names.STALENESS_P95: p95})])
    aggregator.consume([report("metrics", {"version": 3})])  # a batch that was stale as a whole has none
    assert aggregator.staleness == (0.5, 2.0)


@pytest.mark.parametrize(
    ("text", "until"),
    [
        ("charts/episodic_return=475", Until("charts/episodic_return", "=", 475.0)),
        ("charts/episodic_return>=475", Until("charts/episodic_return", "=", 475.0)),
        (" losses/entropy < 0.1 ", Until("losses/entropy", "<", 0.1)),
        ("game/win_rate_0>0.9", Until("game/win_rate_0", ">", 0.9)),
        ("game/gold=-1e3", Until("game/gold", "=", -1000.0)),
        ("auxiliary/win/loss<0.3", Until("auxiliary/win/loss", "<", 0.3)),
        ("losses/clipfrac_per_head>0.5", Until("losses/clipfrac_per_head", ">", 0.5)),
        ("version=100", Until("version", "=", 100.0)),
    ],
)
def test_the_end_of_a_run_is_read_from_a_name_a_sign_and_a_number(text: str, until: Until) -> None:
    assert parse_until(text) == until


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("charts/episodic_return", "expected NAME=VALUE"),
        ("=3", "expected NAME=VALUE"),
        ("charts/episodic_return=high", "'high' is no number"),
        ("charts/episodic_retrun=3", "did you mean charts/episodic_return?"),
        ("episodic_return=3", "did you mean charts/episodic_return?"),
        ("foo=3", "there is no metric 'foo'; did you mean .* or .* or .*?"),
    ],
)
def test_an_end_that_would_never_come_is_refused(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_until(text)


def test_signs_mean_what_they_say() -> None:
    row = {"losses/entropy": 0.5}
    reached = {sign: Until("losses/entropy", sign, 0.5).reached(row) for sign in ("=", "<", ">")}
    assert reached == {"=": True, "<": False, ">": False}
    assert Until("losses/entropy", "<", 0.6).reached(row)
    assert Until("losses/entropy", ">", 0.4).reached(row)
    assert not Until("losses/entropy", "=", 0.6).reached(row)
    assert not Until("losses/value_loss", "<", 9.0).reached(row)


@pytest.mark.parametrize("name", ["charts/episodic_return", "game/gold"])
def test_a_mean_over_few_episodes_does_not_end_a_run(name: str) -> None:
    until = Until(name, "=", 1.0)
    assert not until.reached({name: 5.0, names.EPISODES: 99})
    assert until.reached({name: 5.0, names.EPISODES: 100})


def test_all_names_are_different_and_belong_to_a_group() -> None:
    assert len(set(names.NAMES)) == len(names.NAMES)
    assert names.EPISODIC_RETURN in names.NAMES
    assert names.STEPS_PRODUCED in names.NAMES
