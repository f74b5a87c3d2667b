"""Rollout workers as real Ray actors, on a real private node."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import psutil
import pytest

from quintet.cluster.assembly import check_game, open_link
from quintet.cluster.processes.spawn import family, living, wait_gone
from quintet.cluster.ray_cluster.launcher import RayLauncher
from quintet.cluster.ray_cluster.private_node import TEMP_PREFIX, LocalRay, remove_stale_folders
from quintet.control.config import parse_config
from quintet.wire.redis_link.link import RedisLink
from tests.conftest import delete_run
from tests.support.live_run import assert_conserved, environment, live_run

pytestmark = [pytest.mark.slow, pytest.mark.redis]

CONFIG = """
game = "counting"
[model]
lstm_units = 8
[rollout]
games_per_worker = 2
"""
PATIENCE_S = 60.0
Found = TypeVar("Found")


@pytest.fixture(scope="module")
def ray_node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalRay]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", environment()["PYTHONPATH"])  # for workers that another process asks for
        node = LocalRay(workers=1)
        yield node
        members = node.processes()
        node.close(keep_logs_in=tmp_path_factory.mktemp("logs"))
    assert living(members) == []
    assert not list(Path("/tmp").glob(f"{TEMP_PREFIX}{psutil.Process().pid}-*"))


@pytest.fixture
def link(redis_url: str, run_name: str) -> Iterator[RedisLink]:
    with RedisLink(redis_url, run_name) as link:
        look = check_game(parse_config(CONFIG))
        open_link(link, look.config, look.spec)
        yield link
    delete_run(redis_url, run_name)


@pytest.fixture
def launcher(ray_node: LocalRay, redis_url: str, run_name: str) -> RayLauncher:
    return RayLauncher(ray_node, redis_url=redis_url, run=run_name, cores_per_worker=1.0, detached=False)


def wait_for(look: Callable[[], Found | None]) -> Found:
    deadline = time.monotonic() + PATIENCE_S
    while (found := look()) is None:
        assert time.monotonic() < deadline, "it took too long"
        time.sleep(0.05)
    return found


def worker_pid(link: RedisLink) -> int | None:
    """The process of worker 0 as its own heartbeat says, once it has one."""
    return next((int(beat.data["pid"]) for beat in link.heartbeats() if "pid" in beat.data), None)


def test_a_worker_plays_until_it_is_killed_and_again_until_it_is_not_wanted(
    ray_node: LocalRay, launcher: RayLauncher, link: RedisLink
) -> None:
    launcher.start(0)
    pid = wait_for(lambda: worker_pid(link))
    assert launcher.poll(0) is None
    assert pid in [process.pid for process in ray_node.processes()]
    psutil.Process(pid).kill()
    end = wait_for(lambda: launcher.poll(0))
    assert end["error"] == "its process was killed or crashed"
    link.close_worker(0)

    launcher.start(0)
    assert wait_for(lambda: worker_pid(link)) != pid
    link.set_wanted_workers(0)
    assert wait_for(lambda: launcher.poll(0)) == {"reason": "scaled_down"}
    assert link.heartbeats() == []


def test_what_a_worker_fails_with_comes_back_as_one_line_and_a_traceback(ray_node: LocalRay, run_name: str) -> None:
    launcher = RayLauncher(ray_node, redis_url="nonsense://", run=run_name, cores_per_worker=0.5, detached=False)
    launcher.start(3)
    end = wait_for(lambda: launcher.poll(3))
    assert "Redis URL" in end["error"]
    assert "\n" not in end["error"]
    assert end["traceback"].startswith("Traceback")
    assert end["exit_code"] == "2"


def test_nothing_of_the_node_listens_beyond_loopback_or_shows_a_secret(
    ray_node: LocalRay, launcher: RayLauncher, link: RedisLink, redis_url: str
) -> None:
    launcher.start(0)
    wait_for(lambda: worker_pid(link))
    password = redis_url.partition("@")[0].rpartition(":")[2]
    for process in ray_node.processes():
        assert password not in " ".join(process.cmdline())
        for connection in process.net_connections(kind="inet"):
            if connection.status == psutil.CONN_LISTEN:
                assert connection.laddr.ip.removeprefix("::ffff:").startswith("127."), (process, connection)
    launcher.kill(0)


def test_a_node_that_died_is_started_again_and_plays(
    ray_node: LocalRay, launcher: RayLauncher, link: RedisLink
) -> None:
    launcher.start(0)
    pid = wait_for(lambda: worker_pid(link))
    assert not launcher.ensure()
    next(process for process in ray_node.processes() if process.name() == "raylet").kill()
    wait_for(lambda: True if launcher.ensure() else None)
    assert launcher.poll(0) == {"error": "its Ray node died"}
    assert living(family(pid)) == []
    link.close_worker(0)
    launcher.start(0)
    assert wait_for(lambda: worker_pid(link)) != pid
    launcher.kill(0)


def test_folders_of_killed_runs_are_removed_and_those_of_living_ones_stay(tmp_path: Path) -> None:
    dead = Path("/tmp") / f"{TEMP_PREFIX}{2**22 + 1}-test"
    living = Path("/tmp") / f"{TEMP_PREFIX}{psutil.Process().pid}-test"
    dead.mkdir()
    living.mkdir()
    try:
        remove_stale_folders()
        assert not dead.exists()
        assert living.exists()
    finally:
        living.rmdir()


def test_workers_on_a_cluster_outlive_their_controller_and_are_adopted_by_the_next_one(
    ray_node: LocalRay, redis_url: str, tmp_path: Path
) -> None:
    place = ("--redis-url", redis_url, "--ray-address", ray_node.address, "--set", "wire.max_queue_bytes=1_000_000")
    with live_run(tmp_path, *place) as run:
        run.wait_for_versions(2)
        (worker,) = [p for p in ray_node.processes() if p.name().startswith("ray::RolloutAct")]
        run.process.kill()
    with live_run(tmp_path, *place, "--resume") as resumed:
        resumed.wait_for_versions(2)
        assert [note["process"] for note in resumed.journal("note") if "already" in note["text"]] == ["worker/0"]
        assert living([worker]) == [worker]
        assert resumed.interrupt() == 130, resumed.output.read_text()
        assert wait_gone([worker], timeout_s=10.0) == []
        assert_conserved(resumed.summary())
    delete_run(redis_url, "live")
