"""The state of every random generator goes into a checkpoint and comes back out of it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from quintet.games.api import VectorGame
from quintet.games.registry import make_game
from quintet.optimizer.checkpoint import CheckpointInfo, find_checkpoint, read_info, read_snapshot, save_checkpoint
from quintet.optimizer.config import PPOConfig
from quintet.optimizer.determinism import (
    DeterministicRun,
    EpochBrokenError,
    make_deterministic,
    random_state,
    restore_random_state,
)
from quintet.optimizer.loop import Optimizer
from quintet.rollout_workers.lockstep import LockstepWorker, games_seed
from quintet.rollout_workers.worker import Worker
from quintet.wire.memory_link import MemoryLink
from tests.support.in_process_run import InProcessRun, drop


@pytest.fixture
def as_before() -> Iterator[None]:
    """What is the process's own stays as it was."""
    state, threads = random_state(), torch.get_num_threads()
    yield
    restore_random_state(state)
    torch.use_deterministic_algorithms(False)
    torch.set_num_threads(threads)


@pytest.mark.usefixtures("as_before")
def test_generators_go_on_from_a_checkpoint_as_they_would_have(tmp_path: Path) -> None:
    def draw() -> list[float]:
        return [float(torch.rand(1)), float(np.random.rand()), float(np.random.normal())]

    torch.manual_seed(3)
    np.random.seed(4)
    draw()  # of two normal numbers that numpy makes at once, one is left
    info = CheckpointInfo(version=1, agent_steps=0, gradient_steps=0, trained_net=0, spec_hash="", game="", config="")
    folder = save_checkpoint(tmp_path, info, random_state(), keep=1)
    expected = [draw() for _ in range(3)]
    torch.manual_seed(5)
    np.random.seed(6)
    restore_random_state(read_snapshot(folder, read_info(folder)))
    assert [draw() for _ in range(3)] == expected


@pytest.mark.usefixtures("as_before")
def test_a_snapshot_without_generators_leaves_them_alone() -> None:
    before = torch.get_rng_state()
    restore_random_state({})
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.usefixtures("as_before")
def test_a_deterministic_process_has_one_thread_and_refuses_what_cannot_be_repeated() -> None:
    make_deterministic()
    assert torch.get_num_threads() == 1
    assert torch.are_deterministic_algorithms_enabled()


CHECKPOINT_EVERY = 4
BATCHES = 3 * CHECKPOINT_EVERY


def cartpole(slots: int) -> VectorGame:
    return make_game("gymnasium:CartPole-v1", slots, 1)


def deterministic_run(folder: Path) -> InProcessRun:
    """CartPole with chunks of two windows that close in turn, and two epochs of two minibatches that are drawn."""
    folder.mkdir()
    return InProcessRun(
        folder=folder,
        make=cartpole,
        slots=6,
        batch_steps=40,
        ppo=PPOConfig(epochs=2, minibatches=2),
        deterministic=True,
    )


def start(run: InProcessRun, *, resume: bool = False) -> Optimizer:
    return run.optimizer(resume=resume, checkpoint_versions=CHECKPOINT_EVERY, normalizer_warmup_steps=100)


def weights_hash(optimizer: Optimizer) -> str:
    digest = hashlib.sha256()
    for name, tensor in sorted(optimizer.learner.snapshot().items()):
        digest.update(name.encode() + tensor.cpu().numpy().tobytes())
    return digest.hexdigest()


def loss_rows(run: InProcessRun) -> dict[int, dict[str, object]]:
    """agent_steps -> what was reported then, by the last who did; versions differ after a resume, numbers must not."""
    return {
        int(str(data["agent_steps"])): {
            k: v for k, v in data.items() if k.startswith(("losses/", "recurrent/", "lag/stal"))
        }
        for data in run.events("metrics")
    }


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, dict[int, dict[str, object]]]:
    """The weights' hash after BATCHES batches and the rows on the way."""
    run = deterministic_run(tmp_path_factory.mktemp("undisturbed") / "run")
    optimizer, worker = start(run), run.worker()
    run.train(optimizer, worker, BATCHES)
    assert run.link.counters().unaccounted == 0
    return weights_hash(optimizer), loss_rows(run)


@pytest.mark.slow
@pytest.mark.parametrize("batches", [2, CHECKPOINT_EVERY + 3, 2 * CHECKPOINT_EVERY])
@pytest.mark.parametrize("worker_too", [False, True])
def test_an_optimizer_killed_anywhere_comes_to_the_same_weights_and_losses(
    tmp_path: Path, undisturbed: tuple[str, dict[int, dict[str, object]]], batches: int, worker_too: bool
) -> None:
    run = deterministic_run(tmp_path / "run")
    optimizer, worker = start(run), run.worker()
    run.train(optimizer, worker, batches)
    for _ in range(3):  # it died with some of the next batch in its hands
        worker.step_in_process()
    optimizer.batcher.batch(0.0)
    drop(optimizer)
    saved = batches - batches % CHECKPOINT_EVERY
    successor = start(run, resume=saved > 0)
    worker = run.worker() if worker_too else worker
    run.train(successor, worker, BATCHES - saved)
    assert weights_hash(successor) == undisturbed[0]
    assert loss_rows(run) == undisturbed[1]
    assert run.link.counters().unaccounted == 0


def test_a_whole_run_killed_and_resumed_over_a_new_link_comes_to_the_same_weights(
    tmp_path: Path, undisturbed: tuple[str, dict[int, dict[str, object]]]
) -> None:
    run = deterministic_run(tmp_path / "run")
    run.train(start(run), run.worker(), CHECKPOINT_EVERY + 2)
    torch.rand(3)  # what other things a process does in between
    again = InProcessRun(
        folder=run.folder,
        make=cartpole,
        slots=6,
        batch_steps=40,
        ppo=run.ppo,
        deterministic=True,
        link=MemoryLink("run"),
    )
    successor = start(again, resume=True)
    again.train(successor, again.worker(), BATCHES - CHECKPOINT_EVERY)
    assert weights_hash(successor) == undisturbed[0]


def test_another_seed_comes_to_other_weights(tmp_path: Path, undisturbed: tuple[str, object]) -> None:
    run = deterministic_run(tmp_path / "run")
    optimizer = run.optimizer(seed=1, checkpoint_versions=CHECKPOINT_EVERY, normalizer_warmup_steps=100)
    run.train(optimizer, run.worker(), BATCHES)
    assert weights_hash(optimizer) != undisturbed[0]


def test_every_checkpoint_begins_an_epoch_with_games_of_its_own(tmp_path: Path) -> None:
    run = deterministic_run(tmp_path / "run")
    optimizer, worker = start(run), run.worker()
    played = []
    for _ in range(2):
        run.train(optimizer, worker, CHECKPOINT_EVERY)
        while not worker.step_in_process():
            optimizer.step(0.0)
        assert isinstance(worker, LockstepWorker)
        assert isinstance(optimizer.mode, DeterministicRun)
        played.append((worker.epoch, optimizer.mode.seed))
        info = read_info(find_checkpoint(run.folder))
        assert (info.era_begins, info.batches, info.version) == (True, played[-1][1], played[-1][0])
    assert played == [(5, 4), (9, 8)]
    assert len({games_seed(1, seed) for seed in range(100)} | {games_seed(2, 0)}) == 101


def test_a_worker_replaced_within_an_epoch_sends_the_run_back_to_its_checkpoint(tmp_path: Path) -> None:
    run = deterministic_run(tmp_path / "run")
    optimizer, worker = start(run), run.worker()
    run.train(optimizer, worker, CHECKPOINT_EVERY + 1)
    replaced: Worker = run.worker()
    with pytest.raises(EpochBrokenError, match="goes on from its last checkpoint"):
        run.train(optimizer, replaced, 2)


def test_the_checkpoint_of_a_stopped_run_is_kept_but_not_gone_on_from(
    tmp_path: Path, undisturbed: tuple[str, dict[int, dict[str, object]]]
) -> None:
    run = deterministic_run(tmp_path / "run")
    optimizer, worker = start(run), run.worker()
    run.train(optimizer, worker, CHECKPOINT_EVERY + 2)
    optimizer.stop_requested = True
    optimizer.run()
    assert read_info(find_checkpoint(run.folder)).era_begins is False
    successor = start(run, resume=True)
    assert successor.progress.batches == CHECKPOINT_EVERY
    run.train(successor, worker, BATCHES - CHECKPOINT_EVERY)
    assert weights_hash(successor) == undisturbed[0]


def test_a_worker_that_leaves_a_deterministic_run_sends_nothing_that_was_cut_short(tmp_path: Path) -> None:
    run = deterministic_run(tmp_path / "run")
    optimizer, worker = start(run), run.worker()
    run.train(optimizer, worker, 2)
    produced = run.link.counters().produced
    run.link.set_stopping(True)
    assert worker.run() == "stopping"
    a_window = (
        run.slots // 2
    ) * run.chunk  # every window closes the chunks of every other slot, a deregistration would all
    assert run.link.counters().produced - produced in (0, a_window)
    assert run.link.counters().unaccounted == 0
