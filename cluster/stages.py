"""What a run that has begun and does not learn yet is waiting for, read off what its processes have said so far."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from control import metrics as names
from control.status import SILENT_S, SLOW_ROW_S
from wire.link import Counters, Heartbeat

TRAINING = "training"
"""The stage of a run that learns."""
STARTING = "starting"
LOADING = "loading torch"
COMPILING = "loading torch and compiling the network's kernels (once)"
LOADING_WORKERS = "loading torch in the workers, and building their games"
RESETTING = "resetting games"
SLOW_ROWS = "playing the first chunks of a slow game"
FIRST_CHUNKS = "playing the first chunks"
FIRST_BATCH = "waiting for the first batch"
WARMING_UP = "warming up the normalisers"
AT_THE_START = (
    STARTING,
    LOADING,
    COMPILING,
    LOADING_WORKERS,
    RESETTING,
    FIRST_CHUNKS,
    SLOW_ROWS,
    FIRST_BATCH,
    WARMING_UP,
)
"""Stages that follow one another by themselves, until the run learns or ends."""

_MODEL = Path(__file__).resolve().parent.parent / "model"


def stage_at_the_start(heartbeats: Sequence[Heartbeat], counters: Counters, row: Mapping[str, float]) -> str:
    """The stage of a run before its first gradient step."""
    if names.VERSION in row:
        return WARMING_UP
    heard = {beat.process for beat in heartbeats if beat.age_s <= SILENT_S}  # a resumed run's old ones are still there
    if names.OPTIMIZER not in heard:
        return LOADING if kernels_are_there() else COMPILING
    if not any(process.startswith(f"{names.WORKER}/") for process in heard):
        return LOADING_WORKERS
    if counters.in_flight:
        return FIRST_BATCH
    workers = [beat.data for beat in heartbeats if beat.process.startswith(f"{names.WORKER}/")]
    if any(float(said.get("row_s", 0.0)) > SLOW_ROW_S for said in workers):
        return SLOW_ROWS
    return RESETTING if any(said.get("in") == "reset" for said in workers) else FIRST_CHUNKS


def kernels_are_there() -> bool:
    """Whether numba has kept the network's kernels from an earlier start, as far as can be told without torch."""
    named = os.environ.get("NUMBA_CACHE_DIR")
    folders = [Path(named)] if named else [_MODEL / "__pycache__", Path.home() / ".cache" / "numba"]
    return any(next(folder.rglob("lstm_kernels*.nbc"), None) is not None for folder in folders if folder.is_dir())
