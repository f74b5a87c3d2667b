"""The worker's loop on a memory link: it waits, swaps weights, leaves and is replaced, and no step goes missing."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from quintet.games.api import Actions, Transition
from quintet.games.counting import CountingGame, CountingOptions
from quintet.model.policy import Policy, joint
from quintet.model.weights import encode_weights, load_weights
from quintet.optimizer.batch import cut_windows
from quintet.rollout_workers import worker as worker_module
from quintet.rollout_workers.worker import Worker
from quintet.wire.chunk import TrajectoryChunk
from quintet.wire.codec import decode_chunk
from quintet.wire.errors import LinkDownError, LinkError, SpecMismatchError
from quintet.wire.link import Ack, EncodedWeights, Message, PendingChunk, Registration
from quintet.wire.memory_link import MemoryLink
from tests.support.chunk_factory import RUN
from tests.support.in_process_run import CPU, InProcessRun, batch_of, counting_game, wait_until
from tests.support.policy_factory import with_values


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> InProcessRun:
    monkeypatch.setattr(worker_module, "RETRY_S", 0.0)
    monkeypatch.setattr("quintet.wire.retry.RETRY_S", 0.0)
    return InProcessRun(folder=tmp_path)


def weights(run: InProcessRun, version: int) -> EncodedWeights:
    """Random weights whose policy is far from uniform, another for every version."""
    torch.manual_seed(version)
    policy = with_values(Policy(run.game_spec, run.policy).use_device(CPU))
    with torch.no_grad():
        for parameter in policy.parameters():
            parameter.add_(0.5 * torch.randn_like(parameter))
    return encode_weights(policy, version=version, agent_steps=0, spec_hash=run.spec.hash)


def settle_everything(run: InProcessRun) -> list[TrajectoryChunk]:
    """What an optimizer that trains on everything would pop."""
    messages: list[Message] = []
    while popped := run.link.pop(10_000, 0.0):
        messages += popped
        run.link.ack([Ack(id=d.id, trained=d.steps) for d in popped])
    return [decode_chunk(d.payload, run.spec, run=RUN) for d in messages]


def assert_nothing_missing(chunks: Sequence[TrajectoryChunk]) -> None:
    """Sequence numbers, cumulative steps and the counters inside every stream go on without a hole."""
    assert [c.sequence for c in chunks] == list(range(1, len(chunks) + 1))
    assert [c.cumulative_steps for c in chunks] == np.cumsum([c.steps for c in chunks]).tolist()
    for slot in {c.slot for c in chunks}:
        mine = [c for c in chunks if c.slot == slot]
        for one, following in pairwise(mine):
            assert one.value[-1] == following.value[0]


def started(worker: Worker) -> tuple[threading.Thread, list[Any]]:
    reasons: list[Any] = []
    thread = threading.Thread(target=lambda: reasons.append(worker.run()), daemon=True)
    thread.start()
    return thread, reasons


def test_nothing_is_played_before_the_first_version(run: InProcessRun) -> None:
    worker = run.worker()
    assert worker.step_in_process()
    assert worker.chunker.window == -1
    run.link.publish(weights(run, 1))
    worker.step_in_process()
    assert worker.chunker.window == 0
    assert worker.version == 1


def test_a_full_stream_stops_the_play_and_loses_nothing(run: InProcessRun) -> None:
    run.link.publish(weights(run, 1))
    worker = run.worker()
    while worker.step_in_process():
        pass
    assert worker.pending
    window = worker.chunker.window
    assert not any(worker.step_in_process() for _ in range(5))
    assert worker.chunker.window == window
    chunks = settle_everything(run)
    for _ in range(12):
        worker.step_in_process()
        chunks += settle_everything(run)
    assert len(chunks) > 20
    assert_nothing_missing(chunks)
    assert run.link.counters().unaccounted == 0
    assert run.link.counters().lost == 0


def test_the_loop_waits_for_room_with_its_heart_beating_and_goes_on_when_there_is_some(
    run: InProcessRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker_module, "HEARTBEAT_S", 0.0)
    run.link.publish(weights(run, 1))
    worker = run.worker()
    thread, reasons = started(worker)
    bound = run.queue_batches * run.batch_steps
    chunks: list[TrajectoryChunk] = []
    for _ in range(3):
        wait_until(lambda: len(worker.pending) > 0 and run.link.counters().in_flight == bound)
        beats = len(run.events("phases"))
        wait_until(lambda: len(run.events("phases")) > beats + 2)  # noqa: B023
        assert run.link.counters().in_flight == bound
        chunks += settle_everything(run)
    run.link.set_stopping(True)
    while thread.is_alive():
        chunks += settle_everything(run)
        thread.join(0.01)
    chunks += settle_everything(run)
    assert reasons == ["stopping"]
    assert_nothing_missing(chunks)
    counters = run.link.counters()
    assert (counters.unaccounted, counters.lost, counters.in_flight) == (0, 0, 0)
    assert counters.produced == worker.chunker.cumulative_steps == sum(c.steps for c in chunks)


@pytest.mark.parametrize(
    ("order", "reason"), [("stop", "stopping"), ("scale", "scaled_down"), ("lease", "controller_lost")]
)
def test_a_worker_that_is_told_to_leave_closes_its_chunks_and_its_books(
    tmp_path: Path, order: str, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker_module, "LEASE_GRACE_S", 0.05)
    run = InProcessRun(folder=tmp_path, queue_batches=100.0)
    run.link.publish(weights(run, 1))
    worker = run.worker(index=1)
    thread, reasons = started(worker)
    wait_until(lambda: run.link.counters().produced > 100)
    if order == "stop":
        run.link.set_stopping(True)
    elif order == "scale":
        run.link.set_wanted_workers(1)
    else:
        run.link.hold_lease(0.0)
    while thread.is_alive():
        settle_everything(run)
        thread.join(0.01)
    counters = run.link.counters()
    assert reasons == [reason]
    assert counters.unaccounted == 0
    assert counters.lost == 0
    assert counters.produced == worker.chunker.cumulative_steps == worker.chunker.window * run.bptt * run.slots
    assert "worker/1" not in [beat.process for beat in run.link.heartbeats()]


def test_a_lease_that_ended_while_the_link_was_down_or_for_a_moment_only_makes_no_worker_leave(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = InProcessRun(folder=tmp_path)
    worker = run.worker()
    run.link.hold_lease(0.0)
    worker._poll()
    assert worker._reason_to_leave() is None
    run.link.hold_lease(60.0)
    worker._poll()
    assert worker.lease_missed_s is None

    def away() -> None:
        raise LinkDownError("away")

    run.link.hold_lease(0.0)
    worker._poll()
    with monkeypatch.context() as patch:
        patch.setattr(worker_module, "LEASE_GRACE_S", 0.0)
        patch.setattr(worker_module, "RETRY_S", 0.0)
        assert worker._reason_to_leave() == "controller_lost"
        patch.setattr(run.link, "control_message", away)
        worker._poll()
        assert worker._reason_to_leave() is None


def test_a_worker_that_must_leave_while_the_stream_is_full_counts_what_it_could_not_send_as_lost(
    run: InProcessRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker_module, "LAST_PUSH_S", 0.02)
    run.link.publish(weights(run, 1))
    worker = run.worker()
    thread, reasons = started(worker)
    wait_until(lambda: len(worker.pending) > 0)
    run.link.set_wanted_workers(0)
    thread.join(30.0)
    counters = run.link.counters()
    assert reasons == ["scaled_down"]
    assert counters.lost == sum(chunk.steps for chunk in worker.pending) > 0
    assert counters.in_flight == run.queue_batches * run.batch_steps
    assert counters.produced == worker.chunker.cumulative_steps
    assert counters.unaccounted == 0


class PublishingGame:
    """Publishes the next version in the middle of every window."""

    def __init__(self, run: InProcessRun) -> None:
        self.run, self.game, self.rows, self.version = run, counting_game(run.slots), 0, 1
        self.spec, self.n_games = self.game.spec, self.game.n_games
        self.reset, self.close = self.game.reset, self.game.close

    def step(self, actions: Actions) -> Transition:
        self.rows += 1
        if self.rows % self.run.bptt == 2:
            self.version += 1
            self.run.link.publish(weights(self.run, self.version))
        return self.game.step(actions)


def test_weights_change_at_window_borders_only_and_every_window_names_who_played_it(tmp_path: Path) -> None:
    run = InProcessRun(folder=tmp_path, queue_batches=100.0)
    run.link.publish(weights(run, 1))
    worker = run.worker(game=PublishingGame(run))
    for _ in range(9):
        worker.step_in_process()
    worker._leave()
    chunks = settle_everything(run)
    for slot in range(run.slots):
        versions = np.concatenate([c.version for c in chunks if c.slot == slot])
        assert versions.tolist() == list(range(1, 10))
    batch = batch_of(run.spec, chunks)
    cut = cut_windows(batch, {"acting": batch.acting, "value": batch.value[:-1]}, run.bptt)
    played_by = batch.version.reshape(-1)
    for version in range(1, 10):
        policy = Policy(run.game_spec, run.policy).use_device(CPU)
        load_weights(policy, weights(run, version))
        windows = cut.pick(torch.from_numpy(np.flatnonzero(played_by == version)))
        assert windows.first.shape[1] == run.slots
        with torch.no_grad():
            unrolled = policy.unroll(windows.observation, windows.first, windows.previous_action, windows.state)
        log_prob = joint(policy.evaluate(unrolled, windows.observation, windows.action).log_prob)
        acting = windows.rows["acting"].bool()
        torch.testing.assert_close(log_prob[acting], joint(windows.log_prob)[acting], rtol=0, atol=1e-5)
        torch.testing.assert_close(unrolled.value, windows.rows["value"], rtol=0, atol=1e-5)


def test_a_version_announced_within_a_window_is_fetched_before_its_border(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker_module, "LOOK_S", 0.0)
    run = InProcessRun(folder=tmp_path, queue_batches=100.0)
    run.link.publish(weights(run, 1))
    worker = run.worker(game=PublishingGame(run))
    worker.step_in_process()
    assert worker.version == 1
    assert worker.fetching is not None
    fetched = worker.fetching.result(30.0)
    assert fetched is not None
    assert fetched.version == 2


def test_a_slow_fetch_of_weights_does_not_hold_up_the_play(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = InProcessRun(folder=tmp_path, queue_batches=1000.0)
    run.link.publish(weights(run, 1))
    worker = run.worker()
    worker.step_in_process()
    fetch, may_go_on = run.link.latest, threading.Event()
    monkeypatch.setattr(run.link, "latest", lambda newer_than: may_go_on.wait(30.0) and fetch(newer_than))
    run.link.publish(weights(run, 2))
    thread, _ = started(worker)
    wait_until(lambda: worker.chunker.window > 20)
    assert worker.version == 1
    assert worker.fetch_patience_s == 0.0, "it was waited for once"
    may_go_on.set()
    wait_until(lambda: worker.version == 2)
    run.link.set_stopping(True)
    thread.join(30.0)


def test_a_worker_that_starts_while_the_link_is_down_waits_and_the_registration_it_did_not_hear_of_is_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker_module, "RETRY_S", 0.0)
    monkeypatch.setattr("quintet.wire.retry.RETRY_S", 0.0)
    run = InProcessRun(folder=tmp_path)
    register, calls = run.link.register, []

    def flaky(worker: int, spec_hash: str) -> Registration:
        calls.append(worker)
        if len(calls) == 1:
            raise LinkDownError("down")
        registration = register(worker, spec_hash)
        if len(calls) == 2:
            raise LinkDownError("lost the answer")
        return registration

    monkeypatch.setattr(run.link, "register", flaky)
    assert run.worker().registration.incarnation == 2
    assert calls == [0, 0, 0]
    assert run.link.counters().unaccounted == 0
    monkeypatch.setattr(worker_module, "REGISTER_S", -1.0)
    calls.clear()
    with pytest.raises(LinkDownError, match="down"):
        run.worker()


class FlakyLink(MemoryLink):
    """Every other call is not answered: in turn nothing was done, and everything was."""

    def __init__(self, run: str) -> None:
        super().__init__(run)
        self.calls = 0

    def push(self, chunks: Sequence[PendingChunk]) -> int:
        self.calls += 1
        if self.calls % 4 == 0:
            raise LinkDownError("down")
        safe = super().push(chunks)
        if self.calls % 4 == 2:
            raise LinkDownError("lost the answer")
        return safe

    def latest(self, newer_than: int) -> EncodedWeights | None:
        self.calls += 1
        if self.calls % 2:
            raise LinkDownError("down")
        return super().latest(newer_than)


def test_a_link_that_fails_and_loses_answers_costs_no_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_module, "RETRY_S", 0.0)
    monkeypatch.setattr("quintet.wire.retry.RETRY_S", 0.0)
    run = InProcessRun(folder=tmp_path, link=FlakyLink(RUN))
    run.link.publish(weights(run, 1))
    worker = run.worker()
    thread, _ = started(worker)
    chunks: list[TrajectoryChunk] = []
    while len(chunks) < 40:
        chunks += settle_everything(run)
        time.sleep(0.001)  # the worker's thread wants the interpreter too
    run.link.set_stopping(True)
    while thread.is_alive():
        chunks += settle_everything(run)
        thread.join(0.01)
    chunks += settle_everything(run)
    assert_nothing_missing(chunks)
    counters = run.link.counters()
    assert (counters.unaccounted, counters.lost) == (0, 0)
    assert counters.produced == worker.chunker.cumulative_steps


def test_a_replaced_worker_plays_other_games_and_its_predecessor_can_push_no_more(run: InProcessRun) -> None:
    run.link.publish(weights(run, 1))
    one = run.worker()
    one.step_in_process()
    other = run.worker()
    assert other.registration.incarnation > one.registration.incarnation
    guarded: list[Any] = [one.play.game, other.play.game]
    states = [guard.game._random.bit_generator.state for guard in guarded]
    assert states[0] != states[1]
    one.play_window()
    with pytest.raises(LinkError, match="was closed"):
        one.step_in_process()
    assert run.link.counters().unaccounted == 0


def test_a_worker_of_another_game_is_refused(run: InProcessRun, tmp_path: Path) -> None:
    other = InProcessRun(folder=tmp_path, make=lambda n: counting_game(n, kinds=3))
    other.link = run.link
    with pytest.raises(SpecMismatchError, match="was started with spec"):
        other.worker()


def test_finished_episodes_and_a_heartbeat_are_reported(run: InProcessRun, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_module, "HEARTBEAT_S", 0.0)
    run.link.publish(weights(run, 1))
    worker = run.worker()
    for _ in range(6):
        worker.step_in_process()
    episodes = [e for data in run.events("episodes") for e in data["episodes"]]
    assert len(episodes) >= run.slots
    assert all(5 <= e["length"] <= 9 and e["version"] == 1 for e in episodes)
    (beat,) = [b for b in run.link.heartbeats() if b.process == "worker/0"]
    assert beat.cumulative_steps == worker.chunker.cumulative_steps
    assert beat.data["version"] == 1
    assert beat.data["rss_bytes"]


def test_however_many_episodes_end_between_two_heartbeats_all_are_reported(tmp_path: Path) -> None:
    run = InProcessRun(
        folder=tmp_path, make=lambda n: CountingGame(n, CountingOptions(episode_steps=1)), slots=300, batch_steps=5000
    )
    run.link.publish(weights(run, 1))
    worker = run.worker()
    while len(worker.play.episodes.finished) < 2000:
        worker.play.play_window(1)
    expected = len(worker.play.episodes.finished)
    assert expected >= 2000
    worker.beaten_s = float("-inf")
    worker._beat()
    assert sum(len(data["episodes"]) for data in run.events("episodes")) == expected
