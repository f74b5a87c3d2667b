"""Hosts whose clocks jump, or that run another version of the code: Redis keeps the time, and says no."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from quintet.control.metrics import MetricsAggregator
from quintet.wire import chunk as chunk_module
from quintet.wire.errors import SpecMismatchError
from quintet.wire.redis_link.link import RedisLink
from tests.conftest import delete_run
from tests.support.chunk_factory import RUN
from tests.support.in_process_run import InProcessRun

pytestmark = pytest.mark.redis

DAY_S = 86_400.0


@pytest.fixture
def run(redis_url: str, tmp_path: Path) -> Iterator[InProcessRun]:
    with RedisLink(redis_url, RUN) as link:
        yield InProcessRun(folder=tmp_path, link=cast(Any, link))
    delete_run(redis_url, RUN)


@pytest.mark.parametrize("jump_s", [-DAY_S, DAY_S])
def test_a_worker_whose_clock_jumps_is_heard_counted_and_trained_from_as_before(
    run: InProcessRun, jump_s: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    optimizer, worker = run.optimizer(), run.worker()
    run.train(optimizer, worker, 2)
    true_time = time.time
    monkeypatch.setattr(time, "time", lambda: true_time() + jump_s)
    worker.beaten_s = float("-inf")
    run.train(optimizer, worker, 2)
    worker.beaten_s = float("-inf")
    worker._beat()
    monkeypatch.undo()

    assert worker._reason_to_leave() is None
    (beat,) = [beat for beat in run.link.heartbeats() if beat.process == "worker/0"]
    assert beat.age_s < 30
    _, reports = run.link.read_reports("0", 0.0)
    times_s = [report.time_s for report in reports]
    assert times_s == sorted(times_s)
    assert abs(times_s[-1] - time.time()) < 30
    counters = run.link.counters()
    assert (counters.unaccounted, counters.trained) == (0, 4 * run.batch_steps)


def test_phases_of_a_worker_whose_clock_is_wrong_count_like_all_others(
    run: InProcessRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    true_time = time.time
    monkeypatch.setattr(time, "time", lambda: true_time() - DAY_S)
    run.link.report("worker/1", "phases", {"play": 1.0, "wait": 3.0})
    monkeypatch.undo()
    run.link.report("worker/0", "phases", {"play": 3.0, "wait": 1.0})
    run.link.report("optimizer", "metrics", {"version": 1, "agent_steps": 10})
    metrics = MetricsAggregator()
    (row,) = metrics.consume(run.link.read_reports("0", 0.0)[1])
    assert row["phase/worker/play_s"] == 0.5


def test_a_worker_of_another_version_of_the_wire_is_refused_by_name(
    run: InProcessRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chunk_module, "WIRE_VERSION", chunk_module.WIRE_VERSION - 1)
    with pytest.raises(SpecMismatchError, match="version of Quintet") as refused:
        run.worker(index=3)
    monkeypatch.undo()
    assert run.spec.hash in str(refused.value)
    assert [beat.process for beat in run.link.heartbeats()] == []
    assert run.worker(index=3).registration.incarnation == 1
