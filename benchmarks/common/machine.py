"""What the benchmarks share about this machine: cores, number formats, how busy it is, and how a part is run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import torch

HERE = Path(__file__).resolve().parents[1]
BUSY_SHARE = 0.1  # above this, somebody else's work is in the numbers


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0))


def bf16_support() -> list[str]:
    """The units of this CPU that multiply bf16, by name; empty where bf16 is emulated in fp32."""
    probes = {"AVX512-BF16": torch.cpu._is_avx512_bf16_supported, "AMX": torch.cpu._is_amx_tile_supported}
    return [name for name, probe in probes.items() if probe()]


def describe() -> dict[str, Any]:
    """The machine as it stands in every benchmark's `config`."""
    return {
        "cores": cores(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "bf16_units": bf16_support(),
        "torch": torch.__version__,
    }


def busy_share(sample_s: float = 1.0) -> float:
    """Share of all cores that others use while we sleep."""
    return float(psutil.cpu_percent(interval=sample_s)) / 100


def run_part(script: str, *arguments: str, threads: int) -> dict[str, Any]:
    """Run a script of this folder in its own process; returns the JSON object of its last line.

    Raises:
        RuntimeError: it failed; the message ends with its last lines.
    """
    finished = subprocess.run(
        _command(script, arguments), env=_environment(threads), capture_output=True, text=True, check=False
    )
    return _result(script, finished.returncode, finished.stdout, finished.stderr)


def run_parts_together(script: str, *arguments: str, copies: int) -> list[dict[str, Any]]:
    """The same for `copies` processes of one thread each, at the same time."""
    running = [
        subprocess.Popen(
            _command(script, arguments),
            env=_environment(1),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(copies)
    ]
    try:
        outputs = [process.communicate() for process in running]
    finally:
        for process in running:
            process.kill()
    return [_result(script, process.returncode, *output) for process, output in zip(running, outputs, strict=True)]


def _command(script: str, arguments: tuple[str, ...]) -> list[str]:
    return [sys.executable, str(HERE / script), *arguments]


def _environment(threads: int) -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}


def _result(script: str, returncode: int, stdout: str, stderr: str) -> dict[str, Any]:
    if returncode != 0:
        raise RuntimeError(f"{script} ended with {returncode}: {' | '.join(stderr.strip().splitlines()[-3:])}")
    result: dict[str, Any] = json.loads(stdout.strip().splitlines()[-1])
    return result
