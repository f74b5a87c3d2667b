"""Where compiled kernels are kept, and what is said about it."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest

from games.skirmish import kernel

ROOT = Path(__file__).resolve().parent.parent
TWICE = """
import logging, sys
logging.basicConfig(stream=sys.stderr, format="%(message)s")
from games.skirmish.kernel import tell_if_slow
from games.skirmish.modifiers import stunned
from games.skirmish.state import UNIT_DTYPE
import numpy as np
tell_if_slow()
tell_if_slow()
unit = np.zeros(1, UNIT_DTYPE)
unit["modifier_ticks"][0, 0] = 3
print(stunned(unit[0]))
"""


def run(cache: Path | str) -> tuple[str, str]:
    """Compile and call a small kernel in a process of its own; what it printed."""
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(cache), "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", TWICE], env=environment, cwd=ROOT, capture_output=True, text=True, check=True
    )
    return done.stdout.strip(), done.stderr


def test_compiling_is_announced_once_and_the_next_process_finds_it_done(tmp_path: Path) -> None:
    out, said = run(tmp_path)
    assert out == "True"
    assert said.count("compiling the game's kernels, once") == 1
    assert list(tmp_path.rglob("*.nbc"))
    out, said = run(tmp_path)
    assert (out, said) == ("True", "")


def test_without_a_folder_to_write_to_kernels_still_run_and_it_says_so() -> None:
    out, said = run("/proc/nowhere")
    assert out == "True"
    assert said.count("every process compiles them") == 1
    assert "NUMBA_CACHE_DIR" in said


def test_only_the_last_few_versions_are_kept(tmp_path: Path) -> None:
    for age in range(6):
        (tmp_path / f"kernels-{age}").mkdir()
        os.utime(tmp_path / f"kernels-{age}", (age, age))
    kernel._forget_old(tmp_path, tmp_path / "kernels-0")
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {"kernels-0", "kernels-4", "kernels-5"}


def test_nothing_is_said_when_all_is_compiled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "a.nbc").touch()
    monkeypatch.setattr(kernel, "_FOLDER", tmp_path)
    with caplog.at_level(logging.WARNING):
        kernel.tell_if_slow()
    assert not caplog.records
