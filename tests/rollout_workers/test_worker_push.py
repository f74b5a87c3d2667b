"""How a worker offers its chunks to a stream that takes some of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from quintet.rollout_workers import worker as worker_module
from quintet.wire.link import PendingChunk
from tests.rollout_workers.test_worker import assert_nothing_missing, settle_everything, weights
from tests.support.in_process_run import InProcessRun


def test_what_a_full_stream_refuses_has_not_all_been_sent_to_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = InProcessRun(folder=tmp_path, slots=40)
    monkeypatch.setattr(worker_module, "PUSHED_AT_ONCE", 3)
    offered: list[int] = []
    push = run.link.push

    def counted(chunks: Sequence[PendingChunk]) -> int:
        offered.append(len(chunks))
        return push(chunks)

    monkeypatch.setattr(run.link, "push", counted)
    run.link.publish(weights(run, 1))
    worker = run.worker()
    while worker.step_in_process():
        pass
    held = len(worker.pending)
    accepted = run.link.counters().queued_chunks
    assert held > 0
    assert max(offered) <= 3
    assert sum(offered) - accepted <= 3 * 2  # the push that was refused, and the one that asked again
    assert_nothing_missing(settle_everything(run))
