"""Deterministic runs of real processes over a real Redis: killed with -9, they come to the same weights and losses."""

from __future__ import annotations

import multiprocessing
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from quintet.games.api import VectorGame
from quintet.games.registry import make_game
from quintet.optimizer.checkpoint import CheckpointInfo, find_checkpoint, read_info
from quintet.wire.redis_link.link import RedisLink
from quintet.wire.redis_link.weights_cache import clear_weights_cache
from tests.support.in_process_run import InProcessRun

pytestmark = [
    pytest.mark.slow,
    pytest.mark.redis,
    pytest.mark.skipif(sys.platform != "linux", reason="processes that are forked with torch loaded: Linux alone"),
]

CHECKPOINT_EVERY = 5
BUDGET = 1600
PATIENCE_S = 900.0  # a busy machine is no failure
FORK = multiprocessing.get_context("fork")  # torch is loaded once
Process = multiprocessing.context.ForkProcess


def cartpole(slots: int) -> VectorGame:
    return make_game("gymnasium:CartPole-v1", slots, 1)


class Processes:
    """A run's optimizer and worker, each a process of its own."""

    def __init__(self, url: str, run: str, folder: Path) -> None:
        self.url, self.run, self.folder = url, run, folder
        folder.mkdir()
        self.link = RedisLink(url, run)
        self.view = self.on(self.link)

    def on(self, link: RedisLink) -> InProcessRun:
        return InProcessRun(
            folder=self.folder, make=cartpole, slots=8, bptt=8, chunk=16, batch_steps=96, deterministic=True, link=link
        )

    def optimizer(self) -> Process:
        return self._start(self._optimize)

    def worker(self) -> Process:
        return self._start(lambda link: self.on(link).worker().run())

    def _optimize(self, link: RedisLink) -> object:
        resume = (self.folder / "checkpoints" / "latest").exists()
        run = self.on(link)
        optimizer = run.optimizer(resume=resume, agent_steps=BUDGET, checkpoint_versions=CHECKPOINT_EVERY)
        return optimizer.run()

    def _start(self, work: Callable[[RedisLink], object]) -> Process:
        def run() -> None:
            with RedisLink(self.url, self.run) as link:
                work(link)
            os._exit(0)  # no farewell of pytest's in a copy of it

        process = FORK.Process(target=run, daemon=True)
        process.start()
        return process

    def saved(self) -> CheckpointInfo | None:
        """The newest checkpoint."""
        if not (self.folder / "checkpoints" / "latest").exists():
            return None
        return read_info(find_checkpoint(self.folder))

    def wait_for(self, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not condition():
            assert time.monotonic() < deadline, "waited in vain"
            time.sleep(0.005)

    def wait_past_a_checkpoint(self) -> None:
        """Wait until there is a new checkpoint, and two versions more than it holds."""
        before = self.saved()
        self.wait_for(lambda: (now := self.saved()) is not None and now != before)
        now = self.saved()
        assert now is not None
        self.wait_for(lambda: self.link.announced_version() >= now.version + 2)

    def finish(self, optimizer: Process, worker: Process) -> None:
        optimizer.join(PATIENCE_S)
        assert optimizer.exitcode == 0
        kill(worker)

    def losses(self) -> dict[int, dict[str, object]]:
        """agent_steps -> the losses that were reported then, by the last who did."""
        return {
            int(str(data["agent_steps"])): {name: value for name, value in data.items() if name.startswith("losses/")}
            for data in self.view.events("metrics")
        }


def kill(process: Process) -> None:
    process.kill()
    process.join(PATIENCE_S)


def test_a_run_killed_in_parts_and_as_a_whole_comes_to_the_bits_of_one_that_never_stopped(
    redis_url: str, run_name: str, tmp_path: Path
) -> None:
    undisturbed = Processes(redis_url, run_name, tmp_path / "one")
    undisturbed.finish(undisturbed.optimizer(), undisturbed.worker())

    disturbed = Processes(redis_url, f"{run_name}-killed", tmp_path / "other")
    optimizer, worker = disturbed.optimizer(), disturbed.worker()
    disturbed.wait_past_a_checkpoint()
    kill(optimizer)  # it alone: the worker goes on with what it has, until the successor has it begin anew
    disturbed.link.break_optimizer_lease()
    optimizer = disturbed.optimizer()
    disturbed.wait_past_a_checkpoint()
    kill(worker)  # and the run as a whole
    kill(optimizer)
    disturbed.link.break_optimizer_lease()
    at_resume = disturbed.saved()
    assert at_resume is not None
    assert 0 < at_resume.agent_steps < BUDGET
    disturbed.finish(disturbed.optimizer(), disturbed.worker())

    one, other = undisturbed.saved(), disturbed.saved()
    assert one is not None
    assert other is not None
    assert (other.sha256, other.agent_steps, other.batches) == (one.sha256, one.agent_steps, one.batches)
    assert other.version > one.version  # versions are never used twice; all else is the same
    expected, found = undisturbed.losses(), disturbed.losses()
    shared = expected.keys() & found.keys()  # a report may get lost on a busy machine; a number may not differ
    assert len(shared) >= 2 * CHECKPOINT_EVERY
    assert {steps: found[steps] for steps in shared} == {steps: expected[steps] for steps in shared}
    assert disturbed.link.counters().unaccounted == undisturbed.link.counters().unaccounted == 0
    for processes in (undisturbed, disturbed):
        processes.link.close()
        clear_weights_cache(processes.run)
