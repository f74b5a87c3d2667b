"""summary.json has exactly its documented fields, with the run's own numbers."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from quintet.control.config import RunConfig
from quintet.control.metrics import MetricsAggregator
from quintet.control.summary import Summary, build_summary, summary_json, write_summary
from quintet.wire.link import Counters, Report

FIELDS = [
    *("agent_steps", "agent_steps_per_s", "wall_s", "versions"),
    *("steps_produced", "steps_trained", "steps_stale", "steps_rejected", "steps_lost", "steps_in_flight"),
    *("steps_undone", "staleness_mean", "staleness_p95", "sample_reuse"),
    *("episode_return_mean", "episodes", "win_rate", "rating", "lstm_units", "peak_rss_bytes"),
]


def summary(*, before_first_version: bool = False) -> Summary:
    metrics = MetricsAggregator()
    numbers: dict[str, object] = {"version": 120, "agent_steps": 5000, "lag/staleness_mean": 0.5}
    numbers |= {"lag/staleness_p95": 1.0, "lag/sample_reuse": 1.5}
    finished = {"return": [7.0], "length": 3, "outcome": [None], "version": 3, "components": {}}
    reports = [
        Report(process="worker/0", kind="episodes", time_s=1.0, data={"episodes": [finished]}),
        Report(process="optimizer", kind="metrics", time_s=2.0, data=numbers),
    ]
    if not before_first_version:
        metrics.consume(reports)
    counters = Counters(produced=9, trained=4, stale=1, rejected=1, lost=1, in_flight=2, undone=3)
    return build_summary(RunConfig(), metrics, counters, wall_s=10.0, first_agent_steps=1000, peak_rss_bytes=123)


def test_the_fields_are_the_documented_ones_in_their_order() -> None:
    assert list(json.loads(summary_json(summary()))) == FIELDS


def test_the_numbers_are_the_runs() -> None:
    found = summary()
    assert (found.agent_steps, found.versions, found.episodes, found.lstm_units) == (5000, 120, 1, 128)
    assert found.agent_steps_per_s == 400.0  # 4,000 steps of this start in 10 s
    assert (found.staleness_mean, found.staleness_p95, found.sample_reuse) == (0.5, 1.0, 1.5)
    assert found.episode_return_mean == 7.0
    steps = (found.steps_trained, found.steps_stale, found.steps_rejected, found.steps_lost, found.steps_in_flight)
    assert found.steps_produced == sum(steps)
    assert (found.steps_undone, found.peak_rss_bytes) == (3, 123)


def test_a_run_that_ended_before_its_first_version_has_nulls_and_no_invented_numbers() -> None:
    plain = json.loads(summary_json(summary(before_first_version=True)))
    assert plain["agent_steps"] == 1000
    assert plain["agent_steps_per_s"] == 0.0
    nulls = [name for name, value in plain.items() if value is None]
    assert nulls == ["staleness_mean", "staleness_p95", "sample_reuse", "episode_return_mean", "win_rate", "rating"]


def test_writing_replaces_an_older_summary_in_one_step(tmp_path: Path) -> None:
    path = tmp_path / "summary.json"
    path.write_text("{}")
    write_summary(path, summary())
    assert list(json.loads(path.read_text())) == FIELDS
    assert [p.name for p in tmp_path.iterdir()] == ["summary.json"]


def test_the_one_line_form_is_one_line() -> None:
    assert "\n" not in summary_json(summary())


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_not_finite_is_null(value: float) -> None:
    assert json.loads(summary_json(replace(summary(), episode_return_mean=value)))["episode_return_mean"] is None
