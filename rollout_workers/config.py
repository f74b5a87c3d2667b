"""How much is played, and in what pieces it travels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from annotated_types import Ge


@dataclass(frozen=True, kw_only=True, slots=True)
class RolloutConfig:
    """Rollout workers: each plays `games_per_worker` slots in one inference batch on one core."""

    workers: Annotated[int, Ge(0)] = 1
    """Rollout workers at the start; `quintet scale N` changes it while the run goes on."""
    games_per_worker: Annotated[int, Ge(1)] = 64
    """Slots that one worker steps together."""
    bptt_steps: Annotated[int, Ge(1)] = 16
    """Rows of a window: what back-propagation runs through."""
    chunk_steps: Annotated[int, Ge(1)] = 64
    """Rows of a chunk, a multiple of bptt_steps: what travels, and what advantages are estimated on."""

    def __post_init__(self) -> None:
        for name in ("workers", "games_per_worker", "bptt_steps", "chunk_steps"):
            if getattr(self, name) < (0 if name == "workers" else 1):
                raise ValueError(f"rollout.{name} is {getattr(self, name)}; it must be positive")
        if self.chunk_steps % self.bptt_steps:
            raise ValueError(
                f"rollout.chunk_steps is {self.chunk_steps}, which is not a multiple of rollout.bptt_steps = "
                f"{self.bptt_steps}; set it to {max(1, round(self.chunk_steps / self.bptt_steps)) * self.bptt_steps}"
            )
