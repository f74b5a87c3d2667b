"""What an optimizer leaves behind when it goes or dies, and what the next one makes of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from quintet.model.weights import load_masters, load_weights
from quintet.optimizer import loop as service_module
from quintet.optimizer.checkpoint import CheckpointError, find_checkpoint, read_info, read_policy, read_snapshot
from tests.support.in_process_run import InProcessRun, WatchedLink, drop, wait_until


@pytest.fixture
def link() -> WatchedLink:
    return WatchedLink()


@pytest.fixture
def run(tmp_path: Path, link: WatchedLink, monkeypatch: pytest.MonkeyPatch) -> InProcessRun:
    monkeypatch.setattr(service_module, "RETRY_S", 0.0)
    monkeypatch.setattr(service_module, "BEAT_S", 0.0)
    return InProcessRun(folder=tmp_path, link=link)


@pytest.mark.parametrize("prefetch", [False, True])
def test_a_resume_at_version_100_of_a_run_that_announced_120_goes_on_at_121(
    run: InProcessRun, link: WatchedLink, prefetch: bool
) -> None:
    optimizer, worker = run.optimizer(prefetch=prefetch, max_staleness=200), run.worker()
    run.train(optimizer, worker, 2)
    optimizer.version = 99
    optimizer._publish()
    optimizer.checkpoint()
    at_checkpoint = optimizer.agent_steps, optimizer.gradient_steps, link.counters().trained
    weights = link.latest(0)
    assert weights is not None
    run.train(optimizer, worker, 20)
    assert link.announced_version() == 120
    drop(optimizer)
    trained = link.counters().trained
    resumed = run.optimizer(resume=True, prefetch=prefetch)
    assert link.announced_version() == 121
    assert link.counters().undone == trained - at_checkpoint[2] == 20 * run.batch_steps
    assert (resumed.agent_steps, resumed.gradient_steps) == at_checkpoint[:2]
    again = link.latest(0)
    assert again is not None
    assert again.payload == weights.payload
    run.train(resumed, worker, 3)
    assert sorted(set(link.published)) == link.published
    assert link.announced_version() == 124
    drop(resumed)


def test_steps_undone_add_up_over_several_resumes(run: InProcessRun, link: WatchedLink) -> None:
    optimizer, worker = run.optimizer(), run.worker()
    undone = 0
    for lost_batches in (2, 0, 3):
        run.train(optimizer, worker, 2)
        optimizer.checkpoint()
        run.train(optimizer, worker, lost_batches)
        undone += lost_batches * run.batch_steps
        optimizer = run.optimizer(resume=True)
        assert link.counters().undone == undone
    assert link.counters().unaccounted == 0
    assert [e["steps_undone"] for e in run.events("event") if e["event"] == "resumed"] == [64, 64, 160]


def test_a_resume_restores_weights_and_moments_to_the_last_bit(run: InProcessRun) -> None:
    optimizer, worker = run.optimizer(), run.worker()
    run.train(optimizer, worker, 3)
    optimizer.checkpoint()
    expected = optimizer.learner.snapshot()
    resumed = run.optimizer(resume=True, seed=5)
    found = resumed.learner.snapshot()
    assert expected.keys() == found.keys()
    assert [n for n in expected if not torch.equal(expected[n], found[n])] == []


@pytest.mark.parametrize("prefetch", [False, True])
def test_what_a_crashed_optimizer_held_is_trained_by_the_next_one_once(
    run: InProcessRun, link: WatchedLink, prefetch: bool
) -> None:
    optimizer, worker = run.optimizer(prefetch=prefetch), run.worker()
    run.train(optimizer, worker, 3)
    optimizer.checkpoint()
    while worker.step_in_process():
        pass
    if prefetch:
        assert optimizer.prefetcher is not None
        wait_until(optimizer.prefetcher.ready.full)
    link.die_before_settling = True
    with pytest.raises(KeyboardInterrupt):
        optimizer.step(1.0)
    drop(optimizer)
    link.die_before_settling = False
    assert link.counters().trained == 3 * run.batch_steps
    assert link.counters().unaccounted == 0
    held = set(link._delivered)
    assert held
    successor = run.optimizer(resume=True, prefetch=prefetch)
    run.train(successor, worker, 6)
    assert held <= link.settled.keys()
    assert all(link.settled[key].trained > 0 for key in held)
    assert link.counters().undone == 0
    assert link.counters().unaccounted == 0
    drop(successor)


def test_the_checkpoint_holds_what_is_published(run: InProcessRun, link: WatchedLink) -> None:
    optimizer = run.optimizer()
    run.train(optimizer, run.worker(), 2)
    optimizer.checkpoint()
    folder = find_checkpoint(run.folder)
    weights = link.latest(0)
    assert weights is not None
    one, other = run.optimizer().policy, run.optimizer().policy
    load_weights(one, weights)
    info = read_info(folder)
    assert info.precision == weights.precision == "float32"
    load_masters(other, read_policy(folder, info), info.precision)
    assert all(torch.equal(x, other.state_dict()[name]) for name, x in one.state_dict().items())


def test_checkpoints_come_every_so_many_versions(run: InProcessRun) -> None:
    optimizer = run.optimizer(checkpoint_versions=3, keep_checkpoints=2)
    run.train(optimizer, run.worker(), 10)
    assert sorted(p.name for p in (run.folder / "checkpoints").iterdir()) == ["000006", "000009", "latest"]


def test_a_full_disk_is_reported_and_training_goes_on(run: InProcessRun, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: Any, **kwargs: Any) -> None:
        raise CheckpointError("could not write checkpoint: No space left on device; the last good one stays")

    optimizer, worker = run.optimizer(checkpoint_versions=2), run.worker()
    run.train(optimizer, worker, 2)
    with monkeypatch.context() as patched:
        patched.setattr(service_module, "save_checkpoint", full)
        run.train(optimizer, worker, 2)
        failed = [optimizer.checkpoint_failed]
    assert find_checkpoint(run.folder).name == "000002"
    assert ["No space left" in str(e.get("message")) for e in run.events("event")] == [False, True]
    run.train(optimizer, worker, 2)
    assert [*failed, optimizer.checkpoint_failed] == [True, False]
    assert find_checkpoint(run.folder).name == "000006"


def test_a_checkpoint_of_another_network_is_refused_with_both_specs(run: InProcessRun, tmp_path: Path) -> None:
    run.optimizer().checkpoint()
    other = InProcessRun(folder=run.folder, policy=replace(run.policy, lstm_units=9))
    with pytest.raises(CheckpointError, match=rf"is of 'counting' with spec {run.spec.hash}, .* {other.spec.hash}"):
        other.optimizer(resume=True)


def test_a_damaged_checkpoint_is_refused_by_name(run: InProcessRun) -> None:
    run.optimizer().checkpoint()
    path = find_checkpoint(run.folder) / "policy.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(CheckpointError, match=r"000001 is damaged: policy\.safetensors"):
        run.optimizer(resume=True)


def test_resuming_where_there_is_nothing_to_resume_says_so(run: InProcessRun) -> None:
    with pytest.raises(CheckpointError, match="no checkpoint at"):
        run.optimizer(resume=True)


def test_a_run_can_start_from_the_weights_of_another_with_its_own_steps(run: InProcessRun, tmp_path: Path) -> None:
    source = run.optimizer()
    run.train(source, run.worker(), 3)
    source.checkpoint()
    other = InProcessRun(folder=tmp_path / "other")
    optimizer = other.optimizer(start_from=run.folder)
    assert (optimizer.version, optimizer.agent_steps, other.link.counters().undone) == (1, 0, 0)
    folder = find_checkpoint(run.folder)
    assert torch.equal(
        optimizer.policy.state_dict()["layer.weight"],
        read_snapshot(folder, read_info(folder))["policy.layer.weight"],
    )


def test_a_checkpoint_of_another_network_is_refused_by_name(tmp_path: Path) -> None:
    run = InProcessRun(folder=tmp_path)
    run.optimizer().checkpoint()
    other = InProcessRun(folder=tmp_path, policy=replace(run.policy, encoder_units=48))
    with pytest.raises(CheckpointError, match=r"layer.weight is \[.*\], expected \[48, .*\]; model.encoder_units"):
        other.optimizer(resume=True)


def test_steps_trained_before_any_checkpoint_are_undone_by_a_new_start(run: InProcessRun, link: WatchedLink) -> None:
    optimizer, worker = run.optimizer(), run.worker()
    run.train(optimizer, worker, 3)
    drop(optimizer)
    trained = link.counters().trained
    assert trained > 0
    run.optimizer()
    assert link.counters().undone == trained
