"""The engine's kernel takes longest to compile: a process of its own does that while this one compiles the others."""

from __future__ import annotations

import atexit
import os
import subprocess
import sys
from functools import cache
from pathlib import Path

import numpy as np

from quintet.games.skirmish.engine.compile import Kernel
from quintet.games.skirmish.engine.tick import step_games
from quintet.games.skirmish.rules import PRESETS
from quintet.games.skirmish.state import empty_state
from quintet.games.skirmish.tables import build_tables

ROOT = Path(__file__).absolute().parents[4]
ACTION_COLUMNS = 5


@cache
def compile_engine_ahead() -> None:
    """Start compiling the engine elsewhere, once in a process; whoever wants it first waits for it there.

    Does nothing where there is one core only. Many processes that start together have one another wait, at no cost.
    """
    if (os.cpu_count() or 1) < 2:
        return
    places = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    process = subprocess.Popen(
        [sys.executable, "-m", __name__],
        env={**os.environ, "PYTHONPATH": places},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,  # what goes wrong there goes wrong here, too, and is said here
    )
    atexit.register(_end, process)


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()


def main() -> None:
    """Compile the engine into the cache."""
    preset = PRESETS["skirmish-1v1"]  # the kernels are the same for all of them
    assert isinstance(step_games, Kernel)
    actions = np.zeros((1, 2 * preset.heroes, ACTION_COLUMNS), np.int32)
    step_games.prepare(empty_state(preset, 1), build_tables(preset, {}), actions)


if __name__ == "__main__":
    main()
