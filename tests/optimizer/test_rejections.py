"""Every rejection is an event with its reason, thinned; a run whose first batches are all rejected fails with it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from quintet.control.errors import exit_code
from quintet.optimizer.rejections import AllRejectedError, Rejections
from quintet.wire.chunk import TrajectoryChunk
from quintet.wire.codec import encode_chunk
from quintet.wire.link import Message
from quintet.wire.memory_link import MemoryLink
from tests.support.chunk_factory import RUN
from tests.support.in_process_run import InProcessRun

BAD = "chunk reward: found {} of 64 numbers NaN, infinite or beyond 1e+12"


def message(steps: int = 8, worker: int | None = 3) -> Message:
    return Message(id="1", steps=steps, payload=b"", sender=None if worker is None else (worker, 1, 1))


def test_the_first_the_tenth_and_the_hundredth_of_a_kind_are_events_with_reason_worker_and_counts() -> None:
    link = MemoryLink(RUN)
    rejections = Rejections(link, "optimizer", batch_steps=16)
    rejections.took()
    for k in range(250):
        rejections.rejected(message(), BAD.format(k))
    rejections.rejected(message(worker=None, steps=0), "chunk message: found 3 bytes, expected a list")
    assert [report.data["message"] for report in link.read_reports("0", 0.0)[1]] == [
        f"{BAD.format(0)} (sent by worker 3; 1 chunk with 8 steps so far)",
        f"{BAD.format(9)} (sent by worker 3; 10 chunks with 80 steps so far)",
        f"{BAD.format(99)} (sent by worker 3; 100 chunks with 800 steps so far)",
        "chunk message: found 3 bytes, expected a list (sent by nobody known; 1 chunk with 0 steps so far)",
    ]


@pytest.mark.parametrize("spared", ["something was taken", "it has learned", "nobody pushed it"])
def test_only_a_run_that_has_taken_nothing_is_ended_by_what_it_rejects(spared: str) -> None:
    rejections = Rejections(MemoryLink(RUN), "optimizer", batch_steps=16)
    if spared != "nobody pushed it":
        rejections.took()
    for _ in range(100):
        rejections.rejected(message(steps=0 if spared == "nobody pushed it" else 8), BAD.format(1))


def spoil_rewards(run: InProcessRun, monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on whatever a worker sends has a reward that is not a number."""

    def spoilt(chunk: TrajectoryChunk, *_: Any, **options: Any) -> bytes:
        return encode_chunk(replace(chunk, reward=np.full_like(chunk.reward, np.nan)), run.spec, **options)

    monkeypatch.setattr("quintet.rollout_workers.worker.encode_chunk", spoilt)


def test_an_optimizer_that_can_take_nothing_of_the_first_batches_ends_with_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = InProcessRun(folder=tmp_path)
    spoil_rewards(run, monkeypatch)
    optimizer, worker = run.optimizer(), run.worker()
    with pytest.raises(AllRejectedError, match=r"all of the first 64 steps were rejected.*worker 0: chunk reward") as e:
        run.train(optimizer, worker, batches=1)
    assert exit_code(e.value) == 1
    rejected = [data for data in run.events("event") if data["event"] == "rejected"]
    assert "chunk reward: found 4 of 4 numbers NaN" in str(rejected[0]["message"])
    assert (run.link.counters().rejected, run.link.counters().unaccounted) == (64, 0)


def test_once_a_batch_was_trained_the_run_goes_on_whatever_is_rejected(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = InProcessRun(folder=tmp_path)
    optimizer, worker = run.optimizer(), run.worker()
    run.train(optimizer, worker, batches=1)
    spoil_rewards(run, monkeypatch)
    for _ in range(40):
        worker.step_in_process()
        optimizer.step(0.0)
    assert run.link.counters().rejected > 64
