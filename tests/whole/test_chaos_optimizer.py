"""An optimizer that is killed at the worst moments: half an update, half a checkpoint, half a publish.

The moment is certain: a forked child trains over a real Redis, stands still where the test put its stop, and says so;
then it gets its kill -9. The next optimizer starts in this process.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, cast

import pytest
import torch

from quintet.optimizer import checkpoint as checkpoint_module
from quintet.optimizer.checkpoint import find_checkpoint, read_info, read_snapshot
from quintet.optimizer.loop import Optimizer
from quintet.wire.redis_link.link import RedisLink
from tests.conftest import delete_run
from tests.support.chunk_factory import RUN
from tests.support.in_process_run import InProcessRun, drop

pytestmark = pytest.mark.redis

BATCHES_BEFORE = 4
Stop = Callable[[], None]
Sabotage = Callable[[Optimizer, pytest.MonkeyPatch, Stop], None]


def in_an_update(optimizer: Optimizer, patch: pytest.MonkeyPatch, stop: Stop) -> None:
    """After the gradient step has changed the first weights, and not the others."""

    def half_a_step() -> None:
        with torch.no_grad():
            optimizer.learner.parameters[0].add_(1.0)
        stop()

    patch.setattr(optimizer.learner.adam, "step", half_a_step)


def before_a_publish(optimizer: Optimizer, patch: pytest.MonkeyPatch, stop: Stop) -> None:
    patch.setattr(optimizer.link, "publish", lambda weights: stop())


def between_publish_and_ack(optimizer: Optimizer, patch: pytest.MonkeyPatch, stop: Stop) -> None:
    patch.setattr(optimizer.link, "ack", lambda acks: stop())


def in_a_checkpoints_file(optimizer: Optimizer, patch: pytest.MonkeyPatch, stop: Stop) -> None:
    def half_a_file(path: Path, data: bytes) -> None:
        path.write_bytes(data[: len(data) // 2])
        stop()

    patch.setattr(checkpoint_module, "write_durably", half_a_file)
    optimizer.checkpoint()


def before_latest_points_at_a_checkpoint(optimizer: Optimizer, patch: pytest.MonkeyPatch, stop: Stop) -> None:
    write = checkpoint_module.write_durably

    def all_but_the_pointer(path: Path, data: bytes) -> None:
        if path.name == ".latest":
            stop()
        write(path, data)

    patch.setattr(checkpoint_module, "write_durably", all_but_the_pointer)
    optimizer.checkpoint()


MOMENTS = (
    in_an_update,
    before_a_publish,
    between_publish_and_ack,
    in_a_checkpoints_file,
    before_latest_points_at_a_checkpoint,
)


@pytest.fixture
def link(redis_url: str) -> Iterator[RedisLink]:
    with RedisLink(redis_url, RUN) as link:
        yield link
    delete_run(redis_url, RUN)


def train_until_killed(url: str, folder: Path, sabotage: Sabotage, said: Connection) -> None:
    """What the child does."""

    def stop() -> None:
        said.send("here")
        time.sleep(600)

    run = InProcessRun(folder=folder, link=cast(Any, RedisLink(url, RUN)))
    optimizer, worker = run.optimizer(), run.worker()
    run.train(optimizer, worker, BATCHES_BEFORE - 2)
    optimizer.checkpoint()
    run.train(optimizer, worker, 2)
    with pytest.MonkeyPatch.context() as patch:
        sabotage(optimizer, patch, stop)
        run.train(optimizer, worker, 1)
    said.send("the stop was never reached")


def kill_at(moment: Sabotage, url: str, folder: Path) -> None:
    """Have an optimizer train and die at this very moment."""
    fork = multiprocessing.get_context("fork")
    ours, theirs = fork.Pipe(duplex=False)
    child = fork.Process(target=train_until_killed, args=(url, folder, moment, theirs), daemon=True)
    child.start()
    theirs.close()
    try:
        assert ours.poll(100.0), "it trained for too long"
        assert ours.recv() == "here"
    finally:
        assert child.pid is not None
        os.kill(child.pid, signal.SIGKILL)
        child.join()
    assert child.exitcode == -signal.SIGKILL


@pytest.mark.slow
@pytest.mark.parametrize("moment", MOMENTS, ids=lambda moment: moment.__name__)
def test_an_optimizer_killed_at_the_worst_moment_is_replaced_and_every_step_is_accounted_for(
    moment: Sabotage, redis_url: str, link: RedisLink, tmp_path: Path
) -> None:
    kill_at(moment, redis_url, tmp_path)
    found, announced = link.counters(), link.announced_version()
    assert found.unaccounted == 0
    checkpoint = find_checkpoint(tmp_path)
    info = read_info(checkpoint)
    read_snapshot(checkpoint, info)  # whole, whatever was half written beside it

    link.break_optimizer_lease()
    run = InProcessRun(folder=tmp_path, link=cast(Any, link))
    assert found.trained == BATCHES_BEFORE * run.batch_steps
    link.close_worker(0)
    successor, worker = run.optimizer(resume=True), run.worker()
    assert successor.progress.trained_net == info.trained_net
    assert link.counters().undone == found.trained - info.trained_net == 2 * run.batch_steps
    assert link.announced_version() == announced + 1
    run.train(successor, worker, 3)
    successor.checkpoint()
    drop(successor)
    counters = link.counters()
    assert counters.unaccounted == 0
    assert counters.trained == found.trained + 3 * run.batch_steps
    assert counters.trained - counters.undone == read_info(find_checkpoint(tmp_path)).trained_net
    assert counters.rejected == 0
    assert list((tmp_path / "checkpoints").glob(".writing-*")) == []


def test_what_a_killed_optimizer_had_in_its_hands_is_trained_once_by_the_next(
    redis_url: str, link: RedisLink, tmp_path: Path
) -> None:
    kill_at(between_publish_and_ack, redis_url, tmp_path)
    link.close_worker(0)
    before = link.counters()
    assert before.in_flight >= 32
    link.break_optimizer_lease()
    run = InProcessRun(folder=tmp_path, link=cast(Any, link))
    successor = run.optimizer(resume=True)
    while successor.step(0.2):
        pass
    drop(successor)
    after = link.counters()
    assert after.unaccounted == 0
    assert after.produced == before.produced
    assert after.trained + after.in_flight == before.trained + before.in_flight
    assert after.in_flight < run.batch_steps  # too little for one more batch
