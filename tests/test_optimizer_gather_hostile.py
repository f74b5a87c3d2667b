"""A chunk that is not what its sender is known to be is rejected and counted, never trained."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from optimizer.gather import BatchGatherer
from tests.chunk_factory import RUN, make_chunk, make_spec, parcel_of
from wire.memory_link import MemoryLink
from wire.reports import PhaseTimer

SPEC = make_spec()  # chunks of 16 rows, one agent


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"worker": 1}, r"found \(1, 1, 1\), expected \(0, 1, 1\)"),
        ({"incarnation": 2}, r"found \(0, 2, 1\), expected \(0, 1, 1\)"),
        ({"sequence": 5, "cumulative_steps": 80}, r"found \(0, 1, 5\), expected \(0, 1, 1\)"),
        ({"reward": np.full((16, 1), np.nan, np.float32)}, "16 of 16 numbers NaN"),
        ({"value": np.full((17, 1), 1e30, np.float32)}, "17 of 17 numbers NaN, infinite or beyond 1e.12"),
        ({"run": "another-run"}, "run: found 'another-run'"),
    ],
)
def test_a_lie_is_rejected_with_its_reason_and_the_law_holds(changes: dict[str, Any], says: str) -> None:
    link = MemoryLink(RUN)
    link.open_run(spec_hash=SPEC.hash, config_text="", max_queued_steps=10**6, max_queue_bytes=10**8)
    link.register(0, SPEC.hash)
    honest = make_chunk(SPEC)
    lie = parcel_of(replace(honest, **changes), SPEC)
    link.push([replace(parcel_of(honest, SPEC), payload=lie.payload)])
    link.push([parcel_of(make_chunk(SPEC, sequence=2), SPEC)])
    gatherer = BatchGatherer(link, SPEC, run=RUN, batch_steps=16, device=torch.device("cpu"), timer=PhaseTimer())
    batch = gatherer.gather(1.0)
    assert batch is not None
    assert [delivery.sender for delivery in batch.deliveries] == [(0, 1, 2)]
    found = link.counters()
    assert (found.produced, found.rejected, found.in_flight, found.unaccounted) == (32, 16, 16, 0)
    ((reason, _),) = link.rejects
    assert re.search(says, reason), reason
