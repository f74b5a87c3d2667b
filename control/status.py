"""What `quintet status` says: how far a run is, who runs, where the steps went, and which stage starves."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from quintet.control import metrics as names
from quintet.control.config import RunConfig
from quintet.wire.link import Counters, Heartbeat

STARVES = 0.3
"""A stage that waits for more than this share of its time is starved by the other."""
SILENT_S = 15.0
"""A process that has said nothing for this long is shown as silent."""
SLOW_ROW_S = 2.0
"""A row of all of a worker's games that takes longer makes windows of half a minute and more."""


def plays_slowly(beat: Heartbeat) -> bool:
    """Whether a worker's games take their time: for a row, or in the call in which it is now."""
    return max(float(beat.data.get(name, 0.0)) for name in ("row_s", "in_s")) > SLOW_ROW_S


@dataclass(frozen=True, kw_only=True, slots=True)
class RunStatus:
    """Everything that is known about a run at one moment."""

    run: str
    config: RunConfig
    counters: Counters
    wanted_workers: int
    heartbeats: Sequence[Heartbeat] = ()
    metrics: Mapping[str, float] = field(default_factory=dict)  # the last row of metrics.jsonl; empty before the first

    @property
    def live_workers(self) -> int:
        """Workers that were heard of lately."""
        return sum(h.process.startswith(f"{names.WORKER}/") and h.age_s <= SILENT_S for h in self.heartbeats)


def status_json(status: RunStatus) -> dict[str, Any]:
    """The status as plain data, for `quintet status --json`."""
    return {
        "run": status.run,
        "game": status.config.game,
        "agent_steps": int(status.metrics.get(names.AGENT_STEPS) or 0),
        "version": int(status.metrics.get(names.VERSION) or 0),
        "workers_wanted": status.wanted_workers,
        "workers_live": status.live_workers,
        "steps": asdict(status.counters) | {"unaccounted": status.counters.unaccounted},
        "processes": [asdict(heartbeat) for heartbeat in status.heartbeats],
        "bottleneck": bottleneck(phases_of(status.metrics), status.counters),
        "metrics": {name: value for name, value in status.metrics.items() if "/" in name},
    }


def status_table(status: RunStatus) -> RenderableType:
    """The status for a terminal."""
    facts = Table.grid(padding=(0, 2))
    facts.add_row("run", f"{status.run}   ({status.config.game})")
    facts.add_row("progress", progress_line(status.config, status.metrics))
    shown = (names.EPISODIC_RETURN, names.EPISODIC_LENGTH, names.AGENT_STEPS_PER_S, names.STALENESS_MEAN, names.ENTROPY)
    for name in shown:
        if status.metrics.get(name) is not None:
            facts.add_row(name, f"{status.metrics[name]:,.4g}")
    facts.add_row("workers", f"{status.live_workers} live of {status.wanted_workers} wanted")
    facts.add_row("steps", conservation_line(status.counters))
    facts.add_row("queue", f"{status.counters.queued_chunks:,} chunks, {status.counters.queued_bytes / 2**20:.1f} MiB")
    facts.add_row("bottleneck", bottleneck(phases_of(status.metrics), status.counters))
    return Group(facts, Text(), _process_table(status.heartbeats))


def progress_line(config: RunConfig, row: Mapping[str, float]) -> str:
    """`155,000 of 250,000 agent steps, version 75`."""
    steps = f"{int(row.get(names.AGENT_STEPS) or 0):,}"
    budget = f" of {config.agent_steps:,}" if config.agent_steps else ""
    until = f", until {config.until}" if config.until else ""
    return f"{steps}{budget} agent steps, version {int(row.get(names.VERSION) or 0):,}{until}"


def conservation_line(counters: Counters) -> str:
    """The conservation law with its numbers, and by how much it is broken if it is."""
    line = (
        f"produced {counters.produced:,} = trained {counters.trained:,} + stale {counters.stale:,} + rejected "
        f"{counters.rejected:,} + lost {counters.lost:,} + in flight {counters.in_flight:,}"
    )
    if counters.unaccounted:
        line += f"   BROKEN by {counters.unaccounted:,}"
    return line + (f"   (undone {counters.undone:,})" if counters.undone else "")


def phases_of(row: Mapping[str, float]) -> dict[str, dict[str, float]]:
    """`phase/<process>/<phase>_s` of a row, as seconds by process and phase."""
    phases: dict[str, dict[str, float]] = {}
    for name, seconds in row.items():
        family, _, rest = name.partition("/")
        process, _, phase = rest.rpartition("/")
        if family == "phase" and phase and seconds is not None:
            phases.setdefault(process, {})[phase.removesuffix("_s")] = seconds
    return phases


def phase_shares(phases: Mapping[str, float]) -> dict[str, float]:
    """Each phase's share of a process's time, the largest first."""
    total = sum(phases.values())
    if total <= 0:
        return {}
    return {name: seconds / total for name, seconds in sorted(phases.items(), key=lambda item: -item[1])}


def wait_shares(phases: Mapping[str, Mapping[str, float]]) -> tuple[float, float]:
    """The shares of their time that the optimizer waits for chunks, and workers for room; 0 where nothing was said."""
    optimizer, workers = (phase_shares(phases.get(process, {})) for process in (names.OPTIMIZER, names.WORKER))
    return optimizer.get(names.WAIT, 0.0), workers.get(names.WAIT, 0.0)


def mostly_rejected(counters: Counters) -> bool:
    """Whether more of what was settled was rejected than not: then no number of workers helps."""
    return counters.rejected > counters.trained + counters.stale


def bottleneck(phases: Mapping[str, Mapping[str, float]], counters: Counters) -> str:
    """Which stage starves, and what would help, in one line."""
    if mostly_rejected(counters):
        return f"{counters.rejected:,} of {counters.produced:,} steps were rejected: quintet doctor says why"
    if missing := sorted({names.WORKER, names.OPTIMIZER} - phases.keys()):
        return f"not known yet: no phases from {' and '.join(missing)}"
    optimizer, workers = wait_shares(phases)
    if optimizer >= max(workers, STARVES):
        return f"the optimizer waits for chunks {optimizer:.0%} of the time: more workers would help (quintet scale N)"
    if workers >= STARVES:
        return (
            f"workers wait for room {workers:.0%} of the time: the optimizer is the bottleneck (fewer epochs, a "
            "smaller network or a GPU would help)"
        )
    return f"balanced: the optimizer waits {optimizer:.0%} of its time, the workers {workers:.0%}"


def _process_table(heartbeats: Sequence[Heartbeat]) -> RenderableType:
    if not heartbeats:
        return Text("no process of this run has said anything")
    table = Table("process", "heard", "steps", "says", box=None, pad_edge=False, padding=(0, 2))
    for beat in sorted(heartbeats, key=lambda beat: beat.process):
        heard = f"{beat.age_s:.1f} s ago" + (" (silent)" if beat.age_s > SILENT_S else "")
        says = "  ".join(f"{name} {value}" for name, value in beat.data.items())
        table.add_row(beat.process, heard, f"{beat.cumulative_steps:,}" if beat.cumulative_steps else "", says)
    return table


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
    STARTING, LOADING, COMPILING, LOADING_WORKERS, RESETTING, FIRST_CHUNKS, SLOW_ROWS, FIRST_BATCH, WARMING_UP,
)  # fmt: skip
"""Stages that follow one another by themselves, until the run learns or ends."""

_MODEL = Path(__file__).resolve().parent.parent / "model" / "kernels"


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
    return any(next(folder.rglob("lstm_rows*.nbc"), None) is not None for folder in folders if folder.is_dir())
