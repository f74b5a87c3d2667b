"""What a repeatable run needs: one thread, no races, every random generator's state, and determinism epochs.

At every checkpoint of a deterministic run games begin anew, and what was played before is not trained on: that is an
epoch, named by its first version. So what follows a checkpoint is the same whether the run stopped there or not.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from quintet.optimizer.batch import Batch
from quintet.optimizer.batcher import Batcher
from quintet.optimizer.checkpoint import Progress
from quintet.optimizer.config import OptimizerConfig
from quintet.wire.link import Ack, EncodedWeights

_TORCH, _CUDA, _NUMPY_KEYS, _NUMPY_REST = "random.torch", "random.cuda", "random.numpy_keys", "random.numpy_rest"
_ALGORITHM = "MT19937"
CHECKPOINT_VERSIONS = 50  # between two checkpoints where the configuration says none: a repeatable run has none by time


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
    """A deterministic run's worker was replaced within an epoch: what it plays is not what would have been."""

    ends_run_with = 70  # as a crash does: it goes on from its last checkpoint; see `quintet.control.errors`


class FreeRun:
    """What the optimizer's loop asks of an ordinary run: no epochs, and any number of workers."""

    begins_epochs = False  # at its checkpoints
    _looked_s: float | None = None

    def trained_s(self, before_s: float) -> float:
        """Seconds of training by now, asked before every update; `before_s` is what the last one, or a checkpoint, had.

        What passed before this process's first update is not training.
        """
        now = time.monotonic()
        since_s = 0.0 if self._looked_s is None else now - self._looked_s
        self._looked_s = now
        return before_s + since_s

    def checkpoint_due(self, config: OptimizerConfig, progress: Progress, *, versions: int, age_s: float) -> bool:
        """Whether the version about to be published is to be kept, so many versions and seconds after the last one."""
        by_time = bool(config.checkpoint_s) and age_s >= config.checkpoint_s
        return by_time or 0 < config.checkpoint_versions <= versions

    def begin_epoch(self, batcher: Batcher, progress: Progress) -> Sequence[Ack]:
        """Begin games anew with the next version; returns the acknowledgements of what is at hand and older."""
        return ()

    def mark(self, weights: EncodedWeights) -> EncodedWeights:
        """The weights with the epoch that they are of."""
        return weights

    def check(self, batch: Batch) -> None:
        """See that one incarnation of one worker has played everything since the epoch began.

        Raises:
            EpochBrokenError: another one has.
        """


class DeterministicRun(FreeRun):
    """The same of a run that can be repeated. An epoch's seed is a number that a resumed run arrives at, too."""

    begins_epochs = True

    def __init__(self) -> None:
        self.first_version = self.seed = self._incarnation = 0

    def trained_s(self, before_s: float) -> float:
        """Not counted: no two runs would have the same."""
        return 0.0

    def checkpoint_due(self, config: OptimizerConfig, progress: Progress, *, versions: int, age_s: float) -> bool:
        """Time has no say in it."""
        return progress.batches % (config.checkpoint_versions or CHECKPOINT_VERSIONS) == 0

    def begin_epoch(self, batcher: Batcher, progress: Progress) -> Sequence[Ack]:
        """As said above."""
        self.first_version, self.seed, self._incarnation = progress.version + 1, progress.batches, 0
        return batcher.refuse_older(self.first_version)

    def mark(self, weights: EncodedWeights) -> EncodedWeights:
        """As said above."""
        return replace(weights, epoch=self.first_version, epoch_seed=self.seed)

    def check(self, batch: Batch) -> None:
        """As said above."""
        found = {int(incarnation) for incarnation in batch.incarnation} | ({self._incarnation} - {0})
        if len(found) > 1:
            raise EpochBrokenError(
                "a deterministic run has one worker, and between two checkpoints the same process; here are chunks "
                f"of {len(found)}: it goes on from its last checkpoint"
            )
        (self._incarnation,) = found
