"""Games whose rows take long: the worker is heard meanwhile, says what it is at, and leaves without losing a row."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from quintet.games.api import Actions, GameSpec, Observation, Transition
from quintet.rollout_workers import pulse as pulse_module
from quintet.rollout_workers import worker as worker_module
from quintet.wire.codec import decode_chunk
from quintet.wire.link import Ack
from tests.support.chunk_factory import RUN
from tests.support.in_process_run import InProcessRun, batch_of, counting_game, wait_until

ROWS = 6  # of windows of 4: the second one is left in its middle


class Watched:
    """A counting game that tells of every step before it is played."""

    def __init__(self, slots: int, before_step: Callable[[int], None]) -> None:
        self.game = counting_game(slots)
        self.spec: GameSpec = self.game.spec
        self.n_games, self.before_step, self.steps = slots, before_step, 0

    def reset(self, seed: int) -> Observation:
        return self.game.reset(seed)

    def step(self, actions: Actions) -> Transition:
        self.steps += 1
        self.before_step(self.steps)
        return self.game.step(actions)

    def close(self) -> None:
        self.game.close()


def stop_at_last_row(run: InProcessRun) -> Callable[[int], None]:
    return lambda step: run.link.set_stopping(True) if step == ROWS else None


def test_a_worker_that_is_to_leave_sends_every_row_that_it_played_of_its_window(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker_module, "PART_WINDOW_S", 0.0)  # whatever is left takes too long
    monkeypatch.setattr(worker_module, "LOOK_S", 0.0)
    run = InProcessRun(folder=tmp_path, queue_batches=100.0)
    run.optimizer()  # which publishes the first version
    game = Watched(run.slots, stop_at_last_row(run))
    assert run.worker(game=game).run() == "stopping"
    assert game.steps == ROWS
    messages = run.link.pop(10_000, 0.0)
    chunks = [decode_chunk(message.payload, run.spec, run=RUN) for message in messages]
    assert sum(chunk.rows for chunk in chunks) == run.slots * 8
    for slot in range(run.slots):
        (chunk,) = [c for c in chunks if c.slot == slot and c.rows == 8] or [c for c in chunks if c.slot == slot][-1:]
        played = chunk.rows - 2
        assert not chunk.valid[played:].any()
        assert not chunk.acting[played:].any()
        goes_on = chunk.valid[played - 1] & ~chunk.terminated[played - 1]
        assert (chunk.truncated[played - 1] >= goes_on).all()
        assert not (chunk.first[played] and goes_on.any())  # it holds the true last observation, which bootstraps
    run.link.ack([Ack(id=d.id, trained=d.steps) for d in messages])
    counters = run.link.counters()
    assert (counters.lost, counters.in_flight, counters.unaccounted) == (0, 0, 0)
    said = [str(data.get("message")) for data in run.events("event")]
    assert any("leaves after row 2 of a window of 4" in text for text in said)
    batch_of(run.spec, chunks)


def test_a_window_that_is_nearly_over_is_played_to_its_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_module, "LOOK_S", 0.0)
    monkeypatch.setattr(worker_module, "PART_WINDOW_S", 1e9)
    run = InProcessRun(folder=tmp_path, queue_batches=100.0)
    run.optimizer()
    game = Watched(run.slots, stop_at_last_row(run))
    assert run.worker(game=game).run() == "stopping"
    assert game.steps == 8


def test_a_worker_inside_one_long_call_of_its_game_is_heard_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pulse_module, "PULSE_S", 0.001)
    monkeypatch.setattr(worker_module, "LATE_S", 0.005)
    run = InProcessRun(folder=tmp_path, queue_batches=100.0)
    run.optimizer()
    go_on = threading.Event()

    def stop_in_the_third(step: int) -> None:
        if step == 3:
            go_on.wait()
            run.link.set_stopping(True)

    worker = run.worker(game=Watched(run.slots, stop_in_the_third))
    thread = threading.Thread(target=worker.run, daemon=True)
    thread.start()

    def said() -> list[object]:
        return [beat.data.get("in") for beat in run.link.heartbeats() if beat.process == "worker/0"]

    wait_until(lambda: said() == ["step"])
    go_on.set()
    thread.join(30.0)
    assert not thread.is_alive()
    assert [t for t in threading.enumerate() if t.name == "pulse"] == []
