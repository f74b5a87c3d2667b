"""Deterministic runs: killed anywhere and resumed, they come to the very same numbers."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
import torch

from games.api import VectorGame
from games.registry import make_game
from optimizer.checkpoint import find_checkpoint, read_info
from optimizer.config import PPOConfig
from optimizer.era import EraBrokenError
from optimizer.service import Optimizer
from rollout_workers.worker import Worker, games_seed
from tests.in_process_run import InProcessRun, drop
from wire.memory_link import MemoryLink

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
    optimizer.gatherer.gather(0.0)
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


def test_every_checkpoint_begins_an_era_with_games_of_their_own(tmp_path: Path) -> None:
    run = deterministic_run(tmp_path / "run")
    optimizer, worker = start(run), run.worker()
    played = []
    for _ in range(2):
        run.train(optimizer, worker, CHECKPOINT_EVERY)
        while not worker.step_in_process():
            optimizer.step(0.0)
        played.append((worker.era, optimizer.era is not None and optimizer.era.seed))
        info = read_info(find_checkpoint(run.folder))
        assert (info.era_begins, info.batches, info.version) == (True, played[-1][1], played[-1][0])
    assert played == [(5, 4), (9, 8)]
    assert len({games_seed(1, seed) for seed in range(100)} | {games_seed(2, 0)}) == 101


def test_a_worker_replaced_within_an_era_sends_the_run_back_to_its_checkpoint(tmp_path: Path) -> None:
    run = deterministic_run(tmp_path / "run")
    optimizer, worker = start(run), run.worker()
    run.train(optimizer, worker, CHECKPOINT_EVERY + 1)
    replaced: Worker = run.worker()
    with pytest.raises(EraBrokenError, match="goes on from its last checkpoint"):
        run.train(optimizer, replaced, 2)


def test_the_checkpoint_of_a_farewell_is_kept_but_not_gone_on_from(
    tmp_path: Path, undisturbed: tuple[str, dict[int, dict[str, object]]]
) -> None:
    run = deterministic_run(tmp_path / "run")
    optimizer, worker = start(run), run.worker()
    run.train(optimizer, worker, CHECKPOINT_EVERY + 2)
    optimizer.stop_requested = True
    optimizer.run()
    assert read_info(find_checkpoint(run.folder)).era_begins is False
    successor = start(run, resume=True)
    assert successor.batches == CHECKPOINT_EVERY
    run.train(successor, worker, BATCHES - CHECKPOINT_EVERY)
    assert weights_hash(successor) == undisturbed[0]


def test_a_worker_that_leaves_a_deterministic_run_sends_nothing_that_was_cut_short(tmp_path: Path) -> None:
    run = deterministic_run(tmp_path / "run")
    optimizer, worker = start(run), run.worker()
    run.train(optimizer, worker, 2)
    produced = run.link.counters().produced
    run.link.set_stopping(True)
    assert worker.run() == "stopping"
    a_window = (run.slots // 2) * run.chunk  # every window closes the chunks of every other slot, a farewell would all
    assert run.link.counters().produced - produced in (0, a_window)
    assert run.link.counters().unaccounted == 0
