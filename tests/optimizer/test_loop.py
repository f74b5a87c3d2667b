"""The optimizer's loop on a memory link: versions, books, crashes, resumes, and batches that must not count."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from quintet.games.api import Actions, Transition
from quintet.model.config import PolicyConfig
from quintet.model.weights import load_masters, load_weights
from quintet.optimizer import determinism
from quintet.optimizer import loop as service_module
from quintet.optimizer.batch import Batch
from quintet.optimizer.checkpoint import CheckpointError, find_checkpoint, read_info, read_policy, read_snapshot
from quintet.optimizer.config import PPOConfig, Ramp
from quintet.optimizer.learner import NonFiniteUpdateError, Update, pick_device
from quintet.optimizer.loop import TrainingDivergedError
from quintet.wire.link import Precision
from tests.support.chunk_factory import make_pending_chunk
from tests.support.in_process_run import InProcessRun, WatchedLink, counting_game, drop, wait_until


@pytest.fixture
def link() -> WatchedLink:
    return WatchedLink()


@pytest.fixture
def run(tmp_path: Path, link: WatchedLink, monkeypatch: pytest.MonkeyPatch) -> InProcessRun:
    monkeypatch.setattr("quintet.wire.retry.RETRY_S", 0.0)
    monkeypatch.setattr(service_module, "BEAT_S", 0.0)
    return InProcessRun(folder=tmp_path, link=link)


def metrics(run: InProcessRun) -> list[dict[str, Any]]:
    return run.events("metrics")


@pytest.mark.slow
@pytest.mark.parametrize("prefetch", [False, True])
def test_every_batch_makes_the_next_version_and_no_version_comes_twice(
    run: InProcessRun, link: WatchedLink, prefetch: bool
) -> None:
    optimizer = run.optimizer(prefetch=prefetch)
    assert link.published == [1]
    run.train(optimizer, run.worker(), 12)
    assert link.published == list(range(1, 14))
    assert [m["version"] for m in metrics(run)] == list(range(2, 14))
    counters = link.counters()
    assert counters.unaccounted == 0
    assert counters.trained == 12 * run.batch_steps
    drop(optimizer)


def test_garbage_in_the_stream_is_rejected_and_training_goes_on(run: InProcessRun, link: WatchedLink) -> None:
    optimizer, worker = run.optimizer(), run.worker()
    registration = link.register(7, run.spec.hash)
    for k in range(3):
        link.push([make_pending_chunk(registration, k + 1, steps=8)])
        run.train(optimizer, worker, 1)
    counters = link.counters()
    assert (counters.rejected, counters.unaccounted) == (24, 0)
    assert counters.trained == 3 * run.batch_steps
    assert len(link.rejects) == 3


@pytest.mark.parametrize("prefetch", [False, True])
def test_the_budget_ends_the_run_with_a_checkpoint(run: InProcessRun, link: WatchedLink, prefetch: bool) -> None:
    optimizer = run.optimizer(agent_steps=100, prefetch=prefetch)
    worker = run.worker()
    while worker.step_in_process():
        pass
    assert optimizer.run() == "budget"
    assert optimizer.progress.agent_steps >= 100
    data = read_info(find_checkpoint(run.folder))
    assert (data.version, data.agent_steps) == (link.announced_version(), optimizer.progress.agent_steps)
    assert data.config == "text = 1\n"
    assert optimizer.prefetcher is None or not optimizer.prefetcher.thread.is_alive()


def test_a_run_that_is_told_to_stop_leaves_a_checkpoint(run: InProcessRun, link: WatchedLink) -> None:
    optimizer = run.optimizer()
    link.set_stopping(True)
    assert optimizer.run() == "stopping"
    assert read_info(find_checkpoint(run.folder)).version == 1
    assert [b.process for b in link.heartbeats()] == ["optimizer"]


def test_the_warm_up_is_settled_as_stale_and_takes_no_gradient_step(run: InProcessRun, link: WatchedLink) -> None:
    optimizer = run.optimizer(normalizer_warmup_steps=40)
    before = optimizer.policy.state_dict()["layer.weight"].clone()
    worker = run.worker()
    run.train(optimizer, worker, 2)
    assert torch.equal(optimizer.policy.state_dict()["layer.weight"], before)
    assert (link.counters().trained, link.counters().stale) == (0, 2 * run.batch_steps)
    run.train(optimizer, worker, 1)
    assert link.counters().trained == run.batch_steps
    assert optimizer.progress.gradient_steps == 1
    assert link.counters().unaccounted == 0


def test_windows_that_are_too_old_are_settled_as_stale(run: InProcessRun, link: WatchedLink) -> None:
    optimizer, worker = run.optimizer(max_staleness=2), run.worker()
    while worker.step_in_process():
        pass  # the stream is full of windows of version 1: four batches
    for _ in range(5):
        optimizer.step(0.0)
    counters = link.counters()
    assert (counters.trained, counters.stale) == (3 * run.batch_steps, run.batch_steps)
    assert [m["lag/staleness_mean"] for m in metrics(run)] == [0.0, 1.0, 2.0, 3.0]
    assert optimizer.progress.gradient_steps == 3
    assert counters.unaccounted == 0


class HugeRewards:
    """A counting game with rewards that no loss survives."""

    def __init__(self, slots: int) -> None:
        self.game = counting_game(slots)
        self.spec, self.n_games = self.game.spec, self.game.n_games
        self.reset, self.close = self.game.reset, self.game.close

    def step(self, actions: Actions) -> Transition:
        transition = self.game.step(actions)
        return replace(transition, reward=np.full_like(transition.reward, 3e38))


def test_three_batches_in_a_row_that_are_not_finite_end_the_run_and_are_kept(
    run: InProcessRun, link: WatchedLink, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("quintet.wire.codec.LARGEST_NUMBER", np.inf)  # or such rewards would not come as far as this
    monkeypatch.setattr("quintet.rollout_workers.sound_rows.is_sound", lambda _: True)
    optimizer, worker = run.optimizer(), run.worker(game=HugeRewards(4))
    before = optimizer.learner.snapshot()
    with pytest.raises(TrainingDivergedError, match="3 batches in a row were not finite"):
        run.train(optimizer, worker, 5)
    after = optimizer.learner.snapshot()
    assert [n for n in before if not torch.equal(before[n], after[n])] == []
    counters = link.counters()
    assert (counters.rejected, counters.trained, counters.unaccounted) == (3 * run.batch_steps, 0, 0)
    kept = sorted((run.folder / "logs").iterdir())
    assert [p.name for p in kept] == [f"bad_batch_{v:06d}.npz" for v in (1, 2, 3)]
    with np.load(kept[0]) as arrays:
        assert float(arrays["reward"].max()) == pytest.approx(3e38)
        assert {"value", "observation/counter", "action/action", "log_prob/action"} <= set(arrays.files)
        assert arrays["log_prob/action"].max() <= 0.0
    assert len([e for e in run.events("event") if e["event"] == "bad_batch"]) == 3


def test_the_clock_of_ramps_starts_with_the_first_update_and_goes_on_where_a_checkpoint_left_it(
    run: InProcessRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = itertools.count(1000.0, 6.0)  # six seconds between two looks
    monkeypatch.setattr(determinism, "time", SimpleNamespace(monotonic=lambda: next(now)))
    run.ppo = PPOConfig(learning_rate=Ramp(value=1.0, end=0.0, until_minutes=1))
    optimizer, worker = run.optimizer(normalizer_warmup_steps=1), run.worker()
    run.train(optimizer, worker, 1)
    assert optimizer.progress.trained_s == 0
    run.train(optimizer, worker, 3)
    assert [m["losses/learning_rate"] for m in metrics(run)[1:]] == pytest.approx([1.0, 0.9, 0.8])
    optimizer.checkpoint()
    drop(optimizer)
    next(now)
    resumed = run.optimizer(resume=True)
    run.train(resumed, worker, 2)
    assert [m["losses/learning_rate"] for m in metrics(run)[-2:]] == pytest.approx([0.8, 0.7])
    assert resumed.progress.trained_s == 18.0


def test_a_good_batch_between_bad_ones_starts_the_count_anew(run: InProcessRun, link: WatchedLink) -> None:
    optimizer, worker = run.optimizer(), run.worker()
    update, calls = optimizer.learner.update, itertools.count(1)

    def two_of_three_fail(batch: Batch, *, version: int, agent_steps: int, trained_s: float = 0.0) -> Update:
        if next(calls) % 3:
            raise NonFiniteUpdateError("loss is nan")
        return update(batch, version=version, agent_steps=agent_steps)

    optimizer.learner.update = two_of_three_fail  # type: ignore[method-assign]
    run.train(optimizer, worker, 9)
    counters = link.counters()
    assert (counters.rejected, counters.trained) == (6 * run.batch_steps, 3 * run.batch_steps)
    assert counters.unaccounted == 0
    assert link.published == list(range(1, 11))


def test_a_link_that_is_down_for_a_while_costs_no_step_and_no_version(run: InProcessRun, link: WatchedLink) -> None:
    optimizer, worker = run.optimizer(), run.worker()
    for _ in range(4):
        link.failures = 5
        run.train(optimizer, worker, 1)
        assert link.failures == 0
    assert link.published == [1, 2, 3, 4, 5]
    assert link.counters().trained == 4 * run.batch_steps
    assert link.counters().unaccounted == 0


def test_weights_that_the_store_lost_are_published_again_under_the_same_version(
    run: InProcessRun, link: WatchedLink, monkeypatch: pytest.MonkeyPatch
) -> None:
    optimizer = run.optimizer()
    assert not optimizer.step(0.0)
    monkeypatch.setattr(link, "needs_republish", lambda: True)
    assert not optimizer.step(0.0)
    assert link.published == [1, 1]


@pytest.mark.slow
def test_the_whole_way_replays_exactly_and_is_reported_with_the_rest(tmp_path: Path, precision: Precision) -> None:
    run = InProcessRun(
        folder=tmp_path, policy=PolicyConfig(lstm_units=8, precision=precision), ppo=PPOConfig(epochs=2, minibatches=2)
    )
    optimizer = run.optimizer(replay_error_versions=1)
    run.train(optimizer, run.worker(), 15)
    rows = metrics(run)
    assert all(row["recurrent/replay_error"] <= 1e-5 for row in rows)
    assert all(row["recurrent/replay_value_error"] <= 1e-5 for row in rows)
    assert {"losses/policy_loss", "losses/gradient_norm", "lag/staleness_p95", "lag/sample_reuse"} <= rows[-1].keys()
    assert rows[-1]["lag/sample_reuse"] == pytest.approx(2.0, rel=0.4)


def test_sample_reuse_counts_the_epochs_that_were_done_also_after_a_resume(tmp_path: Path) -> None:
    run = InProcessRun(folder=tmp_path, ppo=PPOConfig(epochs=4, minibatches=2, target_kl=1e-12))  # always after one
    optimizer, worker = run.optimizer(), run.worker()
    run.train(optimizer, worker, 8)
    assert optimizer.progress.gradient_steps == 8 * 2
    optimizer.checkpoint()
    drop(optimizer)
    run.train(run.optimizer(resume=True), worker, 8)
    reuse = [row["lag/sample_reuse"] for row in metrics(run)]
    assert reuse[-1] == pytest.approx(1.0, rel=0.3)
    assert reuse[8] == pytest.approx(reuse[7], rel=0.3)


def test_agent_steps_are_the_valid_rows_of_what_was_consumed(run: InProcessRun, link: WatchedLink) -> None:
    optimizer = run.optimizer()
    run.train(optimizer, run.worker(), 10)
    consumed = 10 * run.batch_steps
    assert link.counters().trained == consumed
    # Every game of 5 to 9 rows is followed by one row, the last observation's, that is not valid.
    assert consumed * 5 / 6 - run.batch_steps < optimizer.progress.agent_steps < consumed * 9 / 10 + run.batch_steps
    assert optimizer.progress.agent_steps < consumed


def test_a_device_that_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert pick_device("auto") == torch.device("cpu")
    with pytest.raises(ValueError, match="device is 'cuda', but this machine shows no CUDA GPU"):
        pick_device("cuda")


@pytest.mark.slow
@pytest.mark.parametrize("prefetch", [False, True])
def test_a_resume_at_version_100_of_a_run_that_announced_120_goes_on_at_121(
    run: InProcessRun, link: WatchedLink, prefetch: bool
) -> None:
    optimizer, worker = run.optimizer(prefetch=prefetch, max_staleness=200), run.worker()
    run.train(optimizer, worker, 2)
    optimizer.progress.version = 99
    optimizer._publish()
    optimizer.checkpoint()
    at_checkpoint = optimizer.progress.agent_steps, optimizer.progress.gradient_steps, link.counters().trained
    weights = link.latest(0)
    assert weights is not None
    run.train(optimizer, worker, 20)
    assert link.announced_version() == 120
    drop(optimizer)
    trained = link.counters().trained
    resumed = run.optimizer(resume=True, prefetch=prefetch)
    assert link.announced_version() == 121
    assert link.counters().undone == trained - at_checkpoint[2] == 20 * run.batch_steps
    assert (resumed.progress.agent_steps, resumed.progress.gradient_steps) == at_checkpoint[:2]
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
    link.exit_before_ack = True
    with pytest.raises(KeyboardInterrupt):
        optimizer.step(1.0)
    drop(optimizer)
    link.exit_before_ack = False
    assert link.counters().trained == 3 * run.batch_steps
    assert link.counters().unaccounted == 0
    held = set(link._delivered)
    assert held
    successor = run.optimizer(resume=True, prefetch=prefetch)
    run.train(successor, worker, 6)
    assert held <= link.acked.keys()
    assert all(link.acked[key].trained > 0 for key in held)
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
    assert (optimizer.progress.version, optimizer.progress.agent_steps, other.link.counters().undone) == (1, 0, 0)
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
