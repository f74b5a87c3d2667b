"""`quintet node`: waits for the head, and leaves a real Ray node without a step lost."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from cluster.failure import DONE, UsageError
from cluster.launch import JoinedRay, LocalRay
from cluster.node import split_address, wait_for_port
from cluster.processes import family, wait_gone
from tests.live_run import environment

PATIENCE_S = 90.0


def test_an_address_is_a_host_and_a_port() -> None:
    assert split_address("ray-head:6379") == ("ray-head", 6379)
    for wrong in ("ray-head", "ray-head:", ":6379", "ray-head:redis"):
        with pytest.raises(UsageError, match="expected host:port"):
            split_address(wrong)


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


@pytest.fixture
def head(tmp_path: Path) -> Iterator[LocalRay]:
    node = LocalRay(workers=0)
    yield node
    node.close(keep_logs_in=tmp_path / "logs")


def wait_for(look: Callable[[], bool], process: subprocess.Popen[bytes], output: Path) -> None:
    deadline_s = time.monotonic() + PATIENCE_S
    while not look():
        assert process.poll() is None, output.read_text()
        assert time.monotonic() < deadline_s, output.read_text()
        time.sleep(0.2)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_its_cores_count_while_it_is_there_and_nothing_of_it_stays(head: LocalRay, tmp_path: Path) -> None:
    class Cluster(JoinedRay):
        """The connection that `head` has made."""

        def __init__(self) -> None:
            """Nothing to connect."""

    cluster, alive, output = Cluster(), tmp_path / "alive", tmp_path / "node.txt"
    before = cluster.cores()
    with output.open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "cluster", "node", "--address", head.address, "--cores", "3"],
            env={**environment(), "QUINTET_ALIVE_FILE": str(alive)},
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    members: list[psutil.Process] = []
    try:
        wait_for(lambda: cluster.cores() == before + 3, process, output)
        wait_for(alive.exists, process, output)
        members = family(process.pid)
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE_S) == DONE, output.read_text()
        assert cluster.cores() == before
        assert wait_gone(members, timeout_s=10.0) == []
    finally:
        if process.poll() is None:
            process.kill()
        for member in wait_gone(members, timeout_s=0.0):
            member.kill()
