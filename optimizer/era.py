"""Eras: what a deterministic run plays between two checkpoints, with games that begin anew for its first version.

A checkpoint cannot hold the games that workers are in the middle of. So a deterministic run drops them at every
checkpoint, and whoever goes on from there, be it the same process or another one much later, plays the same games.
"""

from __future__ import annotations

from dataclasses import replace

from optimizer.batch import Batch
from wire.link import EncodedWeights


class EraBrokenError(Exception):
    """A deterministic run's worker was replaced in the middle of an era: what it plays is not what would have been."""


class Era:
    """The era under way. Its seed is a number that a resumed run arrives at, too; its first version is not."""

    def __init__(self) -> None:
        self.first_version = 0
        self.seed = 0
        self._incarnation = 0

    def begin(self, *, first_version: int, seed: int) -> None:
        """Have games begin anew with the version that is published next."""
        self.first_version, self.seed, self._incarnation = first_version, seed, 0

    def mark(self, weights: EncodedWeights) -> EncodedWeights:
        """The weights with the era that they are of."""
        return replace(weights, era=self.first_version, era_seed=self.seed)

    def check(self, batch: Batch) -> None:
        """See that one life of one worker has played everything since the era began.

        Raises:
            EraBrokenError: another one has.
        """
        found = {int(incarnation) for incarnation in batch.incarnation} | ({self._incarnation} - {0})
        if len(found) > 1:
            raise EraBrokenError(
                "a deterministic run has one worker, and between two checkpoints the same life of it; here are chunks "
                f"of {len(found)}: it goes on from its last checkpoint"
            )
        (self._incarnation,) = found
