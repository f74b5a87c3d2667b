"""The state of every random generator goes into a checkpoint and comes back out of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from optimizer.checkpoint import CheckpointInfo, read_info, read_snapshot, save_checkpoint
from optimizer.determinism import make_deterministic, random_state, restore_random_state


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
