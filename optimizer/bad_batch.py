"""Keeps a batch whose loss or gradient was not finite, for inspection: plain numpy arrays, beside the run's logs."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from optimizer.batch import Batch


def keep_bad_batch(run_folder: Path, version: int, batch: Batch) -> Path:
    """Write `logs/bad_batch_<version>.npz`; returns its path."""
    path = run_folder / "logs" / f"bad_batch_{version:06d}.npz"
    path.parent.mkdir(parents=True, exist_ok=True)
    arrays = {"reward": batch.reward, "value": batch.value}
    for group in ("observation", "action", "log_prob"):
        arrays |= {f"{group}/{name}": tensor for name, tensor in getattr(batch, group).items()}
    np.savez_compressed(path, **{name: x.cpu().numpy() for name, x in arrays.items()})  # type: ignore[arg-type]
    return path
