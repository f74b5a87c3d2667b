"""Our side of end_to_end.py: a real `quintet train` (embedded Redis, Ray, own optimizer process), in steady state."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from quintet.control.metrics import (
    AGENT_STEPS,
    SAMPLE_REUSE,
    STALENESS_MEAN,
    STEPS_STALE,
    STEPS_TRAINED,
    TIME_S,
    VERSION,
)
from quintet.control.sinks import read_jsonl

ROOT = Path(__file__).resolve().parents[2]
CONFIG = ROOT / "configs" / "cartpole_memory.toml"
RUN = "benchmark"
START_TIMEOUT_S = 120.0
MARGIN_S = 60.0  # the run's own time limit is later than ours by this much: it ends by itself if we are killed
STOP_TIMEOUT_S = 60.0
POLL_S = 0.5


class QuintetRunError(RuntimeError):
    """`quintet train` did not train; the message ends with its last lines."""


def run_quintet(settings: Mapping[str, object], *, seconds: float, warmup_s: float) -> dict[str, Any]:
    """Train with these settings until `seconds` of steady state have passed, then stop it as Ctrl-C would.

    Args:
        settings: configuration keys and values, on top of configs/cartpole_memory.toml.
        seconds: how long the speed is measured, from version to version.
        warmup_s: how much of the time after the first version is left out.

    Raises:
        QuintetRunError: it ended by itself or made no versions.
    """
    patience_s = START_TIMEOUT_S + warmup_s + 3 * seconds
    limited = {"agent_steps": "none", "minutes": (patience_s + MARGIN_S) / 60, **settings}
    with tempfile.TemporaryDirectory(prefix="quintet-benchmark-") as folder:
        log_path = Path(folder) / "train.log"
        with log_path.open("wb") as log:
            process = subprocess.Popen(
                command(limited), cwd=folder, env=environment(), stdout=log, stderr=log, start_new_session=True
            )
            try:
                metrics = Path(folder) / "runs" / RUN / "metrics.jsonl"
                rows = _steady_rows(process, metrics, seconds, warmup_s, patience_s)
            except QuintetRunError as error:
                raise QuintetRunError(f"{error}: {last_lines(log_path)}") from None
            finally:
                stop(process)
    return _speed(rows)


def command(settings: Mapping[str, object], *, resume: bool = False) -> list[str]:
    """The command that trains with these settings, on top of CONFIG; or the one that goes on with it."""
    start = ["--resume"] if resume else ["--config", str(CONFIG)]
    words = [sys.executable, "-m", "quintet", "train", *start, "--run", RUN, "--json"]
    for key, value in settings.items():
        words += ["--set", f"{key}={value}"]
    return words


def environment() -> dict[str, str]:
    """Ours alone decides how many threads each of its processes has."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("OMP_", "MKL_", "GOMP_"))}
    search = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**inherited, "PYTHONPATH": os.pathsep.join(search)}


def _steady_rows(
    process: subprocess.Popen[bytes], metrics: Path, seconds: float, warmup_s: float, patience_s: float
) -> list[dict[str, Any]]:
    """The rows of metrics.jsonl, one per version, from `warmup_s` after the first version on."""
    deadline = time.monotonic() + patience_s
    while time.monotonic() < deadline:
        rows = list(read_jsonl(metrics))
        steady = [row for row in rows if row[TIME_S] >= rows[0][TIME_S] + warmup_s]
        if len(steady) >= 2 and steady[-1][TIME_S] - steady[0][TIME_S] >= seconds:
            return steady
        if process.poll() is not None:
            raise QuintetRunError(f"quintet train ended by itself with {process.returncode}")
        time.sleep(POLL_S)
    raise QuintetRunError(f"quintet train made only {len(rows)} versions in {patience_s:g} s")


def _speed(rows: list[dict[str, Any]]) -> dict[str, Any]:
    first, last = rows[0], rows[-1]
    seconds = last[TIME_S] - first[TIME_S]
    trained, stale = (last[name] - first[name] for name in (STEPS_TRAINED, STEPS_STALE))
    return {
        "steps_per_s": (last[AGENT_STEPS] - first[AGENT_STEPS]) / seconds,
        "seconds": seconds,
        "versions": int(last[VERSION] - first[VERSION]),
        "stale_share": stale / (trained + stale),
        "staleness_mean": sum(row[STALENESS_MEAN] for row in rows) / len(rows),
        "sample_reuse": last[SAMPLE_REUSE],
    }


def stop(process: subprocess.Popen[bytes]) -> None:
    """As Ctrl-C does, which may be ignored here; after a minute without success everything of its session is killed."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def last_lines(path: Path) -> str:
    return " | ".join(path.read_text(errors="replace").strip().splitlines()[-5:])
