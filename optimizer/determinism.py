"""What a repeatable optimizer needs: one thread, algorithms without races, and every random generator's state."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from quintet.optimizer.batch import Batch
from quintet.wire.link import EncodedWeights

_TORCH, _CUDA, _NUMPY_KEYS, _NUMPY_REST = "random.torch", "random.cuda", "random.numpy_keys", "random.numpy_rest"
_ALGORITHM = "MT19937"


def make_deterministic() -> None:
    """Have torch compute the same from the same, to the last bit; an operator that cannot is refused by torch, by name.

    One thread, because sums are split by threads. cuBLAS wants its workspace fixed before it is first used.
    """
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)


def random_state() -> dict[str, Tensor]:
    """The state of the process's own generators, torch's and numpy's, for a checkpoint.

    Nothing here draws from them once a run has begun. A game or an encoder of the user's own may.
    """
    _, keys, position, has_gauss, gauss = np.random.get_state(legacy=True)
    state = {
        _TORCH: torch.get_rng_state(),
        _NUMPY_KEYS: torch.from_numpy(np.asarray(keys).astype(np.int64)),
        _NUMPY_REST: torch.tensor([position, has_gauss, gauss], dtype=torch.float64),
    }
    if torch.cuda.is_available():
        state[_CUDA] = torch.cuda.get_rng_state()
    return state


def restore_random_state(snapshot: Mapping[str, Tensor]) -> None:
    """Go back to it; what a snapshot does not hold stays as it is."""
    if _TORCH in snapshot:
        torch.set_rng_state(snapshot[_TORCH].to(torch.uint8))
    if _NUMPY_KEYS in snapshot:
        position, has_gauss, gauss = snapshot[_NUMPY_REST].tolist()
        keys = snapshot[_NUMPY_KEYS].numpy().astype(np.uint32)
        np.random.set_state((_ALGORITHM, keys, int(position), int(has_gauss), gauss))
    if _CUDA in snapshot and torch.cuda.is_available():
        torch.cuda.set_rng_state(snapshot[_CUDA].to(torch.uint8))


class EpochBrokenError(Exception):
    """A deterministic run's worker was replaced in the middle of an era: what it plays is not what would have been."""


class DeterminismEpoch:
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
            EpochBrokenError: another one has.
        """
        found = {int(incarnation) for incarnation in batch.incarnation} | ({self._incarnation} - {0})
        if len(found) > 1:
            raise EpochBrokenError(
                "a deterministic run has one worker, and between two checkpoints the same life of it; here are chunks "
                f"of {len(found)}: it goes on from its last checkpoint"
            )
        (self._incarnation,) = found
