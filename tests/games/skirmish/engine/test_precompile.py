"""The engine's kernel is compiled elsewhere for just what the game hands it, and nobody compiles it twice."""

from __future__ import annotations

import fcntl
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from quintet.games.checks.rehearsal import rehearse_rows
from quintet.games.registry import make_game
from quintet.games.skirmish.engine import compile as kernel
from quintet.games.skirmish.engine import precompile as ahead
from quintet.games.skirmish.engine.tick import step_games
from quintet.games.skirmish.state import Array


@kernel.kernel
def total(numbers: Array) -> float:
    result = 0.0
    for k in range(len(numbers)):
        result += numbers[k]
    return result


def test_a_game_finds_the_engine_compiled() -> None:
    ahead.main()
    entry: Any = step_games.entry  # type: ignore[attr-defined]
    before = list(entry.signatures)
    assert len(before) == 1
    rehearse_rows(make_game("skirmish-3v3", 2, 0), 0, rows=1)
    assert entry.signatures == before


def test_who_wants_a_kernel_waits_for_whoever_compiles_it() -> None:
    folder: Path | None = kernel._FOLDER
    if folder is None:
        pytest.skip("no folder for compiled kernels can be written: set NUMBA_CACHE_DIR to one that can")
    results: list[float] = []
    wanted = threading.Thread(target=lambda: results.append(total(np.array([1.0, 2.0]))))
    with (folder / "total.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        wanted.start()
        wanted.join(0.5)
        assert not results
    wanted.join()
    assert results == [3.0]
