"""A real run whose parts are stopped, filled up, killed and scaled: it goes on, and its books balance."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from quintet.wire.link import Counters
from quintet.wire.redis_link.client import RedisServer
from quintet.wire.redis_link.link import RedisLink
from tests.support.live_run import LiveRun, assert_conserved, live_run, quintet

pytestmark = [pytest.mark.slow, pytest.mark.redis]

AWAY_S = 11.0  # longer than any command waits
SHARED = ("--cores-per-worker", "0.25")


@contextmanager
def link_of(run: LiveRun) -> Iterator[RedisLink]:
    with RedisLink((run.folder / "redis_url").read_text(), "live") as link:
        yield link


def playing(link: RedisLink) -> list[str]:
    return sorted(b.process for b in link.heartbeats() if b.process.startswith("worker/") and b.data.get("version"))


def scale(run: LiveRun, link: RedisLink, workers: int) -> None:
    """Scale, and wait until exactly these play and the controller has seen the wish, as it does once a second."""
    done = quintet("scale", str(workers), "--run", "live", cwd=run.cwd)
    assert done.returncode == 0, done
    names = [f"worker/{worker}" for worker in range(workers)]
    run.wait_for(lambda: playing(link) == names, f"waiting for {workers} workers to play")
    # Workers read the wish themselves: the last of them may have left before the controller looks.
    seen = f"-> {workers} workers"
    run.wait_for(lambda: run.journal("scaled")[-1:] and seen in run.journal("scaled")[-1]["text"], "waiting for a note")


def assert_goes_on(run: LiveRun, link: RedisLink) -> Counters:
    """More steps are trained than were before, and none is unaccounted for."""
    before = link.counters()
    assert before.unaccounted == 0, before
    run.wait_for(lambda: link.counters().trained >= before.trained + 2 * 512, "waiting for steps to be trained")
    after = link.counters()
    assert after.unaccounted == 0, after
    return after


def doctor(run: LiveRun) -> tuple[int, dict[str, Any]]:
    done = quintet("doctor", "--json", "--run", "live", cwd=run.cwd)
    return done.returncode, dict(json.loads(done.stdout))


@contextmanager
def stopped(process: psutil.Process) -> Iterator[None]:
    """Meanwhile the process stands still."""
    process.suspend()
    try:
        yield
    finally:
        process.resume()


def test_workers_are_scaled_up_and_down_killed_and_called_back_and_every_step_is_accounted_for(tmp_path: Path) -> None:
    with live_run(tmp_path, *SHARED) as run:
        run.wait_for_versions(4)
        with link_of(run) as link:
            assert doctor(run)[0] == 0
            scale(run, link, 3)
            assert_goes_on(run, link)
            scale(run, link, 1)
            assert assert_goes_on(run, link).lost == 0  # who leaves finishes the window and hands everything on
            refused = quintet("scale", "--auto", "1:99", "--run", "live", cwd=tmp_path)
            assert refused.returncode == 2
            assert "99 workers do not fit: run live has cores for" in refused.stderr

            scale(run, link, 2)
            for process in [p for p in run.family() if p.name().startswith("ray::RolloutAct")]:
                process.send_signal(signal.SIGKILL)
            run.wait_for(lambda: len(run.journal("worker died")) == 2, "waiting for both deaths to be noticed")
            run.wait_for(lambda: playing(link) == ["worker/0", "worker/1"], "waiting for both to be replaced")
            assert_goes_on(run, link)
            code, found = doctor(run)
            assert code == 1
            assert {f["about"] for f in found["findings"] if f["severity"] == "warning"} >= {"worker/0", "worker/1"}

            scale(run, link, 0)
            run.wait_for(lambda: link.counters().in_flight < 512, "waiting for the optimizer to empty the stream")
            trained = link.counters().trained
            time.sleep(0.5)
            assert link.counters().trained == trained
            scale(run, link, 1)
            assert_goes_on(run, link)
        assert run.interrupt() == 130, run.output.read_text()
        assert_conserved(run.summary())
        assert len(run.journal("scaled")) >= 5


def test_a_run_outlasts_a_redis_that_is_away_or_full_a_full_disk_and_processes_that_stand_still(tmp_path: Path) -> None:
    with live_run(tmp_path, *SHARED, "--set", "rollout.workers=2") as run:
        run.wait_for_versions(4)
        with link_of(run) as link:
            run.wait_for(lambda: playing(link) == ["worker/0", "worker/1"], "waiting for both workers to play")
            with stopped(run.find("redis-server")):
                time.sleep(AWAY_S)
            assert_goes_on(run, link)

            server = RedisServer((run.folder / "redis_url").read_text(), timeout_s=5.0)
            room = server.info("memory")["maxmemory"]
            server.command("CONFIG", "SET", "maxmemory", 1)
            run.wait_for(lambda: not link.has_room(64, 1000), "waiting for Redis to be full")
            code, found = doctor(run)
            assert (code, "Redis") in [(1, f["about"]) for f in found["findings"] if f["severity"] == "error"]
            server.command("CONFIG", "SET", "maxmemory", room)
            server.close()
            assert_goes_on(run, link)

            optimizer = run.find("quintet optimizer")
            optimizer.rlimit(psutil.RLIMIT_FSIZE, (1000, psutil.RLIM_INFINITY))  # as if the disk were full
            run.wait_for(lambda: run.journal("checkpoint failed"), "waiting for a checkpoint to fail")
            assert_goes_on(run, link)
            failed = len(run.journal("checkpoint"))
            optimizer.rlimit(psutil.RLIMIT_FSIZE, (psutil.RLIM_INFINITY, psutil.RLIM_INFINITY))
            run.wait_for(lambda: len(run.journal("checkpoint")) > failed, "waiting for a checkpoint to succeed")

            worker = next(p for p in run.family() if p.name().startswith("ray::RolloutAct"))
            with stopped(worker):
                assert_goes_on(run, link)  # the other one plays
            with stopped(optimizer):
                time.sleep(6.0)  # longer than its lease lasts: nobody took it meanwhile
            assert_goes_on(run, link)
        assert run.journal("worker died") + run.journal("optimizer died") == []
        assert run.interrupt() == 130, run.output.read_text()
        assert_conserved(run.summary())
