"""One optimizer per run: its lease is waited for and kept, and whoever lost it writes nothing more."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from quintet.optimizer.checkpoint import CheckpointInfo, find_checkpoint, save_checkpoint
from quintet.optimizer.lease import Lease
from quintet.wire.errors import LeaseHeldError, LeaseLostError, LinkDownError
from quintet.wire.memory_link import MemoryLink
from tests.support.chunk_factory import RUN
from tests.support.in_process_run import InProcessRun, wait_until

LOST = LeaseLostError("another optimizer holds the run since")


class ScriptedLease:
    """Does what it is told, and remembers what it was asked."""

    def __init__(self, *answers: Exception | None) -> None:
        self.answers = list(answers)
        self.taken = self.kept = self.released = 0
        self.lost: Exception | None = None

    def take_optimizer_lease(self, owner: str, ttl_s: float) -> int:
        self.taken += 1
        answer = self.answers.pop(0) if self.answers else None
        if answer is not None:
            raise answer
        return self.taken

    def keep_optimizer_lease(self, ttl_s: float) -> None:
        self.kept += 1
        if self.lost is not None:
            raise self.lost

    def release_optimizer_lease(self) -> None:
        self.released += 1


def test_a_lease_whose_holder_no_longer_renews_it_is_waited_for() -> None:
    link = ScriptedLease(LinkDownError("away"), LeaseHeldError("held"), LeaseHeldError("held"))
    Lease(link, ttl_s=0.01, patience_s=30.0).take()
    assert link.taken == 4


def test_a_lease_that_is_held_on_is_refused() -> None:
    with pytest.raises(LeaseHeldError, match="held by ada"):
        Lease(ScriptedLease(*[LeaseHeldError("held by ada")] * 1000), ttl_s=0.01, patience_s=0.0).take()


def test_a_thread_renews_it_and_finds_out_that_it_is_lost() -> None:
    link = ScriptedLease()
    lease = Lease(link, ttl_s=0.004)
    lease.keep()
    wait_until(lambda: link.kept > 2)
    link.lost = LinkDownError("away")
    known = link.kept
    wait_until(lambda: link.kept > known + 1)
    lease.check()
    link.lost = LOST
    wait_until(lambda: lease._lost is not None)
    with pytest.raises(LeaseLostError):
        lease.check()
    lease.release()
    assert link.released == 1


def test_a_checkpoint_is_moved_into_place_only_by_the_holder(tmp_path: Path) -> None:
    link = ScriptedLease()
    lease = Lease(link, ttl_s=5.0)
    info = CheckpointInfo(version=1, agent_steps=0, gradient_steps=0, trained_net=0, spec_hash="", game="", config="")
    save_checkpoint(tmp_path, info, {}, keep=2, confirm=lease.confirm)
    link.lost = LOST
    other: dict[str, Any] = {"version": 2, "agent_steps": 1, "gradient_steps": 0, "trained_net": 0}
    with pytest.raises(LeaseLostError):
        save_checkpoint(
            tmp_path, CheckpointInfo(**other, spec_hash="", game="", config=""), {}, keep=2, confirm=lease.confirm
        )
    assert find_checkpoint(tmp_path).name == "000001"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["000001", "latest"]
    link.lost = LinkDownError("away")
    lease.confirm()  # nobody can be asked, and nobody else could take it


class OvertakenLink(MemoryLink):
    """Another optimizer took the run over, as soon as the test says so."""

    overtaken = False

    def publish(self, weights: Any) -> None:
        if self.overtaken:
            raise LOST
        super().publish(weights)


def test_an_optimizer_that_was_overtaken_leaves_without_a_checkpoint(tmp_path: Path) -> None:
    link = OvertakenLink(RUN)
    run = InProcessRun(folder=tmp_path, link=link)
    optimizer, worker = run.optimizer(), run.worker()
    run.train(optimizer, worker, 2)
    while worker.step_in_process():
        pass
    link.overtaken = True
    with pytest.raises(LeaseLostError):
        optimizer.run()
    assert not (tmp_path / "checkpoints").exists()
