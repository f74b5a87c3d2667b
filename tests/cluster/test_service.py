"""`quintet controller` and `quintet optimizer --service`: a run whose processes nobody here is the parent of."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

import pytest

from quintet.cluster.processes.optimizer_service import ENDED, SAID, OptimizerService
from quintet.cluster.processes.spawn import living, wait_gone
from quintet.cluster.ray_cluster.private_node import LocalRay
from quintet.cluster.service import Filler, first_wish
from quintet.control.errors import CRASHED, DONE, FAILED, REDIS_URL
from quintet.wire.errors import LinkDownError
from quintet.wire.link import Heartbeat
from quintet.wire.memory_link import MemoryLink
from quintet.wire.redis_link.link import RedisLink
from tests.conftest import delete_run
from tests.support.live_run import SMALL, environment

PATIENCE_S = 90.0
Found = TypeVar("Found")
Data = dict[str, float | int | str]


def beat(age_s: float, data: Data) -> Heartbeat:
    return Heartbeat(process="optimizer", incarnation=0, age_s=age_s, cumulative_steps=0, data=data)


class Beats:
    """Heartbeats as Redis would tell them, and a clock."""

    def __init__(self) -> None:
        self.now, self.beats, self.silent = 100.0, [beat(5.0, {"pid": 1, ENDED: DONE})], False
        self.optimizer = OptimizerService(self.read, clock=lambda: self.now)

    def read(self) -> list[Heartbeat]:
        if self.silent:
            raise LinkDownError("nobody answers")
        return self.beats


def test_how_an_earlier_optimizer_ended_is_no_news() -> None:
    beats = Beats()
    assert beats.optimizer.poll() is None
    beats.now += 10.0
    beats.beats = [beat(15.0, {"pid": 1, ENDED: FAILED})]
    assert beats.optimizer.poll() is None


@pytest.mark.parametrize(("code", "seen"), [(DONE, DONE), (FAILED, FAILED), (CRASHED, None)])
def test_the_optimizers_last_heartbeat_says_how_it_ended_and_a_crash_is_for_whoever_keeps_it_up(
    code: int, seen: int | None
) -> None:
    beats = Beats()
    beats.now += 10.0
    beats.beats = [beat(1.0, {"pid": 2, ENDED: code, SAID: "the loss is not finite"})]
    assert beats.optimizer.poll() == seen
    assert beats.optimizer.why_it_ended() == "the loss is not finite"


def test_a_redis_that_does_not_answer_says_nothing_of_the_optimizer() -> None:
    beats = Beats()
    beats.silent = True
    assert beats.optimizer.poll() is None


def test_a_silent_optimizer_is_not_waited_for_at_the_end_and_that_is_said() -> None:
    beats = Beats()
    assert beats.optimizer.stop(30.0) == FAILED
    assert "last checkpoint stays" in beats.optimizer.why_it_ended()


def filler(link: MemoryLink, cores: Callable[[], float], *, automatic: bool = True) -> Filler:
    return Filler(link, cores, 1.0, automatic=automatic)  # type: ignore[arg-type]


@pytest.fixture
def link(run_name: str) -> MemoryLink:
    link = MemoryLink(run_name)
    link.open_run(spec_hash="0123456789abcdef", config_text="game = 1", max_queued_steps=10, max_queue_bytes=10)
    return link


def test_every_core_that_comes_gets_a_worker_and_every_one_that_goes_takes_one_away(link: MemoryLink) -> None:
    cores = [2.0]
    fill = filler(link, lambda: cores[0])
    assert [fill(1), fill.describe["capacity"]] == [2, 2]
    cores[0] = 4.0
    assert [fill(2), link.wanted_workers(), fill.describe["capacity"]] == [4, 4, 4]
    cores[0] = 1.0
    assert fill(4) == 1
    cores[0] = 0.0
    assert fill(1) == 1  # they would only be started again


def test_a_number_that_a_person_asked_for_stays_also_under_the_next_controller(link: MemoryLink) -> None:
    cores = [2.0]
    fill = filler(link, lambda: cores[0])
    fill(2)
    cores[0] = 3.0
    assert fill(2) == 3
    link.set_wanted_workers(1)
    assert fill(1) == 1
    cores[0] = 8.0
    assert fill(1) == 1
    link.beat("controller", fill.describe)
    assert filler(link, lambda: 8.0)(1) == 1


def test_a_controller_takes_over_the_wish_of_one_that_was_killed_but_not_of_one_that_ended(link: MemoryLink) -> None:
    link.set_wanted_workers(3)
    link.hold_lease(60.0)
    assert first_wish(link, 1) == 3  # type: ignore[arg-type]
    link.set_stopping(True)
    assert first_wish(link, 1) == 1  # type: ignore[arg-type]


@pytest.fixture
def ray_node(tmp_path: Path) -> Iterator[LocalRay]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", environment()["PYTHONPATH"])
        node = LocalRay(workers=1)
        yield node
        members = node.processes()
        node.close(keep_logs_in=tmp_path / "logs")
    assert living(members) == []


class Service:
    """A command that runs until the test ends it."""

    def __init__(self, cwd: Path, name: str, url: str, *arguments: str) -> None:
        self.output = cwd / f"{name}.txt"
        with self.output.open("ab") as file:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "quintet", *arguments],
                cwd=cwd,
                env={**environment(), REDIS_URL: url},
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def wait_for(self, look: Callable[[], Found]) -> Found:
        deadline = time.monotonic() + PATIENCE_S
        while not (found := look()):
            assert self.process.poll() is None, self.output.read_text()
            assert time.monotonic() < deadline, self.output.read_text()
            time.sleep(0.1)
        return found

    def end(self, number: int) -> int:
        self.process.send_signal(number)
        return self.process.wait(PATIENCE_S)


@pytest.fixture
def services() -> Iterator[list[Service]]:
    started: list[Service] = []
    yield started
    for service in started:
        if service.process.poll() is None:
            service.process.kill()
            service.process.wait()


def settings(values: Sequence[str]) -> list[str]:
    return [word for value in values for word in ("--set", value)]


@pytest.mark.slow
@pytest.mark.redis
def test_a_run_of_services_survives_the_kill_of_its_controller_and_ends_in_order(
    ray_node: LocalRay, redis_url: str, run_name: str, tmp_path: Path, services: list[Service]
) -> None:
    folder = tmp_path / "runs" / run_name
    controller = ("controller", "--run", run_name, "--ray-address", ray_node.address, "--workers", "1")
    settings_here = settings([*SMALL, "wire.max_queue_bytes=1_000_000"])
    optimizer = Service(tmp_path, "optimizer", redis_url, "optimizer", "--service", "--run-folder", str(folder))
    services.append(optimizer)
    optimizer.wait_for(lambda: "waiting for a controller" in optimizer.output.read_text())
    first = Service(tmp_path, "first", redis_url, *controller, *settings_here)
    services.append(first)
    with RedisLink(redis_url, run_name) as link:
        first.wait_for(lambda: link.counters().trained > 1000)
        (worker,) = [p for p in ray_node.processes() if p.name().startswith("ray::RolloutAct")]
        first.process.kill()
        first.process.wait()

        second = Service(tmp_path, "second", redis_url, *controller)
        services.append(second)
        trained = link.counters().trained
        second.wait_for(lambda: "was playing already" in (folder / "journal.jsonl").read_text())
        second.wait_for(lambda: link.counters().trained > trained + 1000)
        assert living([worker]) == [worker]

        assert second.end(signal.SIGTERM) == 130, second.output.read_text()
        assert optimizer.process.wait(PATIENCE_S) == DONE, optimizer.output.read_text()
        assert wait_gone([worker], timeout_s=10.0) == []
        counters = link.counters()
    assert counters.unaccounted == 0
    assert counters.lost == 0
    delete_run(redis_url, run_name)
