"""league/evaluations.jsonl: what `quintet eval` found about a run's checkpoints, one evaluation per line."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cluster.failure import one_line
from cluster.run_folder import RunFolder
from control.sinks import JsonlFile


def keep_evaluation(checkpoint: Path, verdict: Mapping[str, Any]) -> None:
    """Append an evaluation to the run that the checkpoint belongs to; one that belongs to no run is not kept.

    A run that cannot be written to (on a read-only disk) costs a note, not the evaluation.
    """
    folder = RunFolder(checkpoint.resolve().parent.parent)
    if checkpoint.resolve().parent != folder.checkpoints.resolve() or not folder.config.is_file():
        return
    try:
        folder.evaluations.parent.mkdir(exist_ok=True)
        lines = JsonlFile(folder.evaluations)
        lines.append({"time_s": time.time(), **verdict})
        lines.close()
    except OSError as error:
        print(f"note: the evaluation is not kept in {folder.evaluations}: {one_line(error)}", file=sys.stderr)
