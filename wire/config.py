"""How much may be under way, and how it travels."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated

from annotated_types import Ge


@dataclass(frozen=True, kw_only=True, slots=True)
class WireConfig:
    """The stream's bounds. Both hold at once; a push that would pass either waits and nothing is lost."""

    max_queued_batches: Annotated[float, Ge(0)] = 0.0
    """Batches that may wait in the stream beside the one being trained on: this bounds staleness."""
    max_queue_bytes: Annotated[int, Ge(1)] = 268_435_456
    """Bytes that may wait in the stream: this protects Redis."""
    compress: bool = False
    """Compress chunks with zstd (level 1): worth it across a network, not on one machine."""
    poll_s: Annotated[float, Ge(0)] = 0.0
    """The least time between two looks of a worker at the announced version and its orders."""
    redis_maxmemory_bytes: Annotated[int, Ge(0)] = 0
    """maxmemory of the embedded Redis; 0 derives it from the bounds and the weights' size."""

    def max_queued_steps(self, *, batch_steps: int, chunk_steps: int) -> int:
        """The stream's bound in steps (rows x agents), for `open_run`.

        Chunks stay in the stream until their batch is acknowledged, so the batch being trained on counts too; one chunk
        more keeps a batch that is no multiple of the chunk from waiting for ever.
        """
        return math.ceil(self.max_queued_batches * batch_steps) + batch_steps + chunk_steps
