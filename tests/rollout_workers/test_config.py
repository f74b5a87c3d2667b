"""The worker's numbers refuse what cannot be played."""

from __future__ import annotations

from typing import Any

import pytest

from quintet.rollout_workers.config import RolloutConfig


@pytest.mark.parametrize("name", ["games_per_worker", "bptt_steps", "chunk_steps"])
def test_sizes_must_be_positive(name: str) -> None:
    fields: dict[str, Any] = {name: 0}
    with pytest.raises(ValueError, match=rf"rollout\.{name} is 0; it must be positive"):
        RolloutConfig(**fields)


def test_a_run_may_begin_without_workers_but_not_with_fewer() -> None:
    assert RolloutConfig(workers=0).workers == 0
    with pytest.raises(ValueError, match=r"rollout\.workers is -1"):
        RolloutConfig(workers=-1)


def test_a_chunk_is_a_whole_number_of_windows_and_the_message_names_both_and_one_that_fits() -> None:
    with pytest.raises(ValueError, match=r"chunk_steps is 40, .*bptt_steps = 16; set it to 32"):
        RolloutConfig(bptt_steps=16, chunk_steps=40)
    with pytest.raises(ValueError, match=r"bptt_steps = 16; set it to 16"):
        RolloutConfig(bptt_steps=16, chunk_steps=5)
