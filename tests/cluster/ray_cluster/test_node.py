"""`quintet node`: it waits for the head, and knows who plays on its machine. Its part of Ray is met in test_compose."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading

import pytest

from quintet.cluster.processes.spawn import family
from quintet.cluster.ray_cluster.node import rollout_workers, split_address, wait_for_port
from quintet.control.errors import UsageError


def test_an_address_is_a_host_and_a_port() -> None:
    assert split_address("ray-head:6379") == ("ray-head", 6379)
    for wrong in ("ray-head", "ray-head:", ":6379", "ray-head:redis"):
        with pytest.raises(UsageError, match="expected host:port"):
            split_address(wrong)


@pytest.mark.slow
def test_it_waits_for_the_head_says_so_and_goes_on_when_it_is_there(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as head:
        head.bind(("127.0.0.1", 0))
        port = int(head.getsockname()[1])
        listening = threading.Timer(0.3, head.listen)
        listening.start()
        assert wait_for_port("127.0.0.1", port, threading.Event())
        listening.join()
    assert f"waiting for the Ray head at 127.0.0.1:{port}" in capsys.readouterr().out


def test_it_does_not_wait_when_it_is_told_to_leave() -> None:
    leaving = threading.Event()
    leaving.set()
    assert not wait_for_port("127.0.0.1", 1, leaving)


def test_a_worker_is_known_by_the_name_that_ray_gives_its_process() -> None:
    sleeper = [sys.executable, "-c", "import time; time.sleep(60)"]
    worker = subprocess.Popen(["ray::RolloutActor.run", *sleeper[1:]], executable=sys.executable)
    other = subprocess.Popen(sleeper)
    try:
        found = rollout_workers(family(os.getpid()))
        assert [process.pid for process in found] == [worker.pid]
    finally:
        for process in (worker, other):
            process.kill()
            process.wait()
