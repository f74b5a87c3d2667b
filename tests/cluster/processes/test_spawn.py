"""Children that end with their parent, whatever ends it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from quintet.cluster.processes import spawn as processes
from quintet.cluster.processes.spawn import family, spawn, stop, wait_gone

PARENT = """
import subprocess, sys, time
from quintet.cluster.processes.spawn import spawn
child = spawn([sys.executable, "-c", "import time; time.sleep(600)"], stdin=subprocess.DEVNULL)
print(child.pid, flush=True)
time.sleep(600)
"""
STUBBORN = (
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('ready', flush=True); time.sleep(600)"
)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells children of their parent's death")
def test_a_child_is_gone_when_its_parent_was_killed() -> None:
    with subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child = psutil.Process(int(parent.stdout.readline()))
        parent.kill()
    assert wait_gone([child], timeout_s=10.0) == []


def test_a_child_has_its_own_session_ignores_ctrl_c_and_leaves_when_asked(tmp_path: Path) -> None:
    log = tmp_path / "log"
    code = "import os, time; print(os.getsid(0), os.environ['WORD'], flush=True); time.sleep(600)"
    child = spawn([sys.executable, "-c", code], env={"WORD": "hello"}, log=log)
    while not (said := log.read_text()):
        time.sleep(0.02)
    assert said.split() == [str(child.pid), "hello"]
    child.send_signal(signal.SIGINT)
    time.sleep(0.1)
    assert child.poll() is None
    assert stop(child, grace_s=10.0) == -signal.SIGTERM
    assert stop(child, grace_s=10.0) == -signal.SIGTERM


def test_a_child_that_does_not_leave_is_killed(tmp_path: Path) -> None:
    log = tmp_path / "log"
    child = spawn([sys.executable, "-c", STUBBORN], log=log)
    while "ready" not in log.read_text():
        time.sleep(0.02)
    assert [process.pid for process in family(child.pid)] == [child.pid]
    assert stop(child, grace_s=0.1) == -signal.SIGKILL
    assert family(child.pid) == []


def test_everybody_who_stays_is_killed(tmp_path: Path) -> None:
    children = [spawn([sys.executable, "-c", STUBBORN]) for _ in range(2)]
    members = [member for child in children for member in family(child.pid)]
    processes.end_all(members, grace_s=0.0)
    assert [child.wait(10.0) for child in children] == [-signal.SIGKILL] * 2


def test_usable_cores_are_no_more_than_this_process_may_use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert 1 <= processes.usable_cores() <= len(os.sched_getaffinity(0))
    limits = tmp_path / "cpu.max"
    limits.write_text("150000 100000\n")
    assert processes._container_quota(limits) == 1.5
    limits.write_text("max 100000\n")
    assert processes._container_quota(limits) is None
    assert processes._container_quota(tmp_path / "missing") is None
    monkeypatch.setattr(processes, "_container_quota", lambda path: 0.5)
    assert processes.usable_cores() == 1
