"""Real runs that are killed in parts: nothing is counted twice or lost from the books, and nobody is left behind."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path

import pytest

from quintet.cluster.processes.spawn import wait_gone
from tests.support.live_run import assert_conserved, live_run, quintet

pytestmark = [pytest.mark.slow, pytest.mark.redis]


def test_a_run_goes_on_and_every_step_is_accounted_for_when_worker_and_optimizer_are_killed(tmp_path: Path) -> None:
    with live_run(tmp_path) as run:
        run.wait_for_versions(6)
        run.find("ray::RolloutActor").kill()
        run.wait_for(lambda: run.journal("worker died"), "waiting for the worker's death to be noticed")
        run.wait_for_versions(6)
        optimizer = run.find("quintet optimizer")
        run.wait_for(lambda: run.versions_unsaved() >= 2, "waiting for versions that no checkpoint holds")
        optimizer.kill()
        run.wait_for(lambda: run.journal("optimizer died"), "waiting for the optimizer's death to be noticed")
        run.wait_for_versions(6)
        family = run.family()
        assert run.interrupt() == 130, run.output.read_text()
        assert wait_gone(family, timeout_s=2.0) == []

        summary, checkpoint = run.summary(), run.checkpoint()
        assert_conserved(summary)
        assert summary["steps_undone"] > 0
        assert checkpoint["trained_net"] + summary["steps_undone"] == summary["steps_trained"]
        versions = run.versions()
        assert versions == sorted(set(versions))
        assert run.journal("resumed")


def test_nobody_is_left_when_quintet_train_is_killed_and_its_run_can_be_resumed(tmp_path: Path) -> None:
    with live_run(tmp_path) as run:
        run.wait_for_versions(6)
        family = run.family()
        names = " ".join(process.name() for process in family)
        assert "raylet" in names, names
        assert "gcs_server" in names, names
        assert "redis-server" in names, names
        run.process.kill()
        assert wait_gone(family, timeout_s=10.0) == []
    with live_run(tmp_path, "--resume") as resumed:
        resumed.wait_for_versions(2)
        assert resumed.interrupt() == 130, resumed.output.read_text()
        assert_conserved(resumed.summary())
        versions = resumed.versions()
        assert versions == sorted(set(versions))


def test_two_ctrl_c_in_a_row_end_the_run_at_once_and_leave_nobody(tmp_path: Path) -> None:
    with live_run(tmp_path) as run:
        run.wait_for_versions(2)
        family = run.family()
        os.kill(run.process.pid, signal.SIGINT)
        time.sleep(0.05)
        os.kill(run.process.pid, signal.SIGINT)
        assert run.process.wait(10.0) == 130
        assert wait_gone(family, timeout_s=10.0) == []


def test_redis_and_ray_are_brought_back_when_they_die_and_no_step_is_lost_from_the_books(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # An environment that changes the folder, prints, and of which no two copies can be there for one worker and slot.
    monkeypatch.setenv("RESTLESS_PLACES", str(tmp_path))
    with live_run(tmp_path, "--set", "game=gymnasium:tests.envs.restless_env:Restless-v0") as run:
        run.wait_for_versions(6)
        run.find("redis-server").kill()
        run.wait_for(lambda: run.journal("restarted"), "waiting for Redis to be started again")
        run.wait_for_versions(3)
        run.find("--raylet_socket_name").kill()
        run.wait_for(lambda: len(run.journal("restarted")) == 2, "waiting for Ray to be started again")
        run.wait_for_versions(3)
        status = quintet("status", "--json", cwd=tmp_path)
        assert json.loads(status.stdout)["steps"]["unaccounted"] == 0, status
        family = run.family()
        assert run.interrupt() == 130, run.output.read_text()
        assert wait_gone(family, timeout_s=2.0) == []
        assert_conserved(run.summary())
