"""Trained agent-steps/s of Quintet beside a tuned single-process PPO-LSTM loop, and beside the machine's limit.

    python benchmarks/end_to_end.py --lstm-units 128 1024 --seconds 20 [--json]

Hidden-velocity CartPole, windows of 16 steps, one pass over the data, valid steps only, start-up left out of both.

    peer    peer_loop.py, tuned in this run over slots x threads x kernel; its fastest cell is measured again, longer
    ours    quintet_run.py: a real `quintet train`, in the configuration of OURS below
    pairs   peer, ours, peer, ours ...: drift of the machine meets both; the ratio is the median over the pairs. On a
            shared machine whoever else works there only ever slows a run down, so the fastest run of each side is
            compared as well
    limit   gemm_bound.py: the LSTM's bare matrix products on every core; limit / peer is the largest ratio possible
"""

from __future__ import annotations

import json
import signal
import statistics
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

from common.arguments import from_command_line
from common.machine import BUSY_SHARE, bf16_support, busy_share, cores, describe, run_part, run_parts_together
from common.quintet_run import run_quintet
from rich.console import Console
from rich.table import Table

SLOTS = (8, 32, 64, 128, 256)
THREADS = (1, 2)
EMULATED_SLOTS = 64  # bf16 without units for it takes minutes per rollout with more
WARMUP_S = 5.0
UNIT = "trained agent-steps/s of quintet per trained agent-step/s of the peer's best cell (float32)"
BARS = {128: 1.5, 1024: 3.0}

ONE_PASS: dict[str, object] = {"rollout.bptt_steps": 16, "ppo.epochs": 1, "ppo.minibatches": 1}
OURS: dict[int, dict[str, object]] = {
    128: {
        "rollout.workers": 1,
        "rollout.games_per_worker": 512,
        "rollout.chunk_steps": 128,
        "optimizer.batch_steps": 16384,
        "optimizer.max_staleness": 8,
        "optimizer.threads": 1,
        "wire.max_queued_batches": 2.0,
    },
    1024: {
        "rollout.workers": 1,
        "rollout.games_per_worker": 256,
        "rollout.chunk_steps": 16,
        "optimizer.batch_steps": 8192,
        "optimizer.threads": 2,
        "wire.max_queued_batches": 0.5,
    },
}

OUR_HEALTH = ("staleness_mean", "stale_share", "sample_reuse")  # speed bought with stale data would show here

console = Console(stderr=True, log_path=False)


@dataclass(frozen=True, kw_only=True, slots=True)
class Args:
    """What is compared, and for how long."""

    lstm_units: tuple[int, ...] = (128, 1024)
    """Sizes of the LSTM, one comparison each."""
    seconds: float = 20.0
    """How long each run of a pair is measured."""
    pairs: int = 2
    """Pairs of runs: peer, ours, peer, ours ..."""
    probe_s: float = 2.0
    """How long each cell of the peer's grid is measured."""
    slots: tuple[int, ...] = SLOTS
    """The peer's grid: environments stepped together."""
    threads: tuple[int, ...] = THREADS
    """The peer's grid: threads."""
    set: tuple[str, ...] = ()
    """KEY=VALUE of our configuration, on top of the table in this file."""
    json: bool = False
    """Print one object with ratio, unit and config as the last line of stdout."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Cell:
    """One point of the peer's grid."""

    slots: int
    threads: int
    onednn: bool
    steps_per_s: float

    @property
    def words(self) -> str:
        """The cell as people read it."""
        kernel = "oneDNN" if self.onednn else "native"
        return f"{self.slots} slots, {self.threads} thread{'s' * (self.threads > 1)}, {kernel}"


def run_peer(units: int, cell: Cell, *, seconds: float, precision: str = "float32") -> float:
    """Agent-steps/s of the peer in one cell, in a process of its own."""
    result = run_part(
        "peer_loop.py",
        *("--lstm-units", str(units), "--slots", str(cell.slots), "--threads", str(cell.threads)),
        *("--seconds", str(seconds), "--warmup-s", str(min(seconds, WARMUP_S) / 2), "--precision", precision),
        "--onednn" if cell.onednn else "--no-onednn",
        threads=cell.threads,
    )
    return float(result["steps_per_s"])


def tune_peer(units: int, args: Args) -> list[Cell]:
    """Every cell of the peer's grid, fastest first."""
    cells = []
    for slots, threads, onednn in product(args.slots, args.threads, (True, False)):
        cell = Cell(slots=slots, threads=threads, onednn=onednn, steps_per_s=0.0)
        speed = run_peer(units, cell, seconds=args.probe_s)
        console.log(f"LSTM {units}: probing the peer, {cell.words}: {speed:,.0f} steps/s")
        cells.append(Cell(slots=slots, threads=threads, onednn=onednn, steps_per_s=speed))
    return sorted(cells, key=lambda cell: cell.steps_per_s, reverse=True)


def run_bf16_peer(units: int, best: Cell, seconds: float) -> dict[str, Any]:
    """The best cell under bf16 autocast, briefly; with fewer slots where the CPU has no unit for bf16."""
    slots = best.slots if bf16_support() else min(best.slots, EMULATED_SLOTS)
    cell = Cell(slots=slots, threads=best.threads, onednn=best.onednn, steps_per_s=0.0)
    return {"cell": cell.words, "steps_per_s": run_peer(units, cell, seconds=seconds, precision="bfloat16")}


def measure_limit(units: int, precision: str = "float32") -> float:
    """Agent-steps/s of bare matrix products: on all cores at once, or one process per core, whichever is faster."""
    size = ("--lstm-units", str(units), "--precision", precision)
    together = run_part("gemm_bound.py", *size, "--threads", str(cores()), threads=cores())
    apart = run_parts_together("gemm_bound.py", *size, copies=cores())
    return max(float(together["steps_per_s"]), sum(float(part["steps_per_s"]) for part in apart))


def our_settings(units: int, overrides: Sequence[str]) -> dict[str, object]:
    """Our configuration for an LSTM of this size: that of the nearest size in the table, and the overrides."""
    nearest = min(OURS, key=lambda size: abs(size - units))
    settings = {"model.lstm_units": units, **ONE_PASS, **OURS[nearest]}
    for override in overrides:
        key, _, value = override.partition("=")
        settings[key] = value
    return settings


def compare(units: int, args: Args) -> dict[str, Any]:
    """The whole comparison for one size."""
    busy = busy_share()
    if busy > BUSY_SHARE:
        console.log(f"[yellow]others use {busy:.0%} of this machine; no ratio measured now is worth much")
    grid = tune_peer(units, args)
    best, settings = grid[0], our_settings(units, args.set)
    peer, ours = [], []
    for pair in range(args.pairs):
        peer.append(run_peer(units, best, seconds=args.seconds))
        ours.append(run_quintet(settings, seconds=args.seconds, warmup_s=WARMUP_S))
        ratio = ours[-1]["steps_per_s"] / peer[-1]
        console.log(f"LSTM {units}: pair {pair + 1} of {args.pairs}: ours / peer = {ratio:.2f}")
    ratios = [mine["steps_per_s"] / theirs for mine, theirs in zip(ours, peer, strict=True)]
    our_speed, peer_speed = statistics.median(run["steps_per_s"] for run in ours), statistics.median(peer)
    bf16 = run_bf16_peer(units, best, args.probe_s)
    limit = measure_limit(units)
    other_limits = {"limit_bf16": measure_limit(units, "bfloat16")} if bf16_support() else {}
    return {
        "ratio": statistics.median(ratios),
        "bar": BARS.get(units),
        "busy_share_before": busy,
        "ratio_per_pair": ratios,
        "ratio_of_fastest": max(run["steps_per_s"] for run in ours) / max(peer),
        "ratio_to_bf16_peer": our_speed / bf16["steps_per_s"],
        "largest_ratio_possible": limit / peer_speed,
        "share_of_limit": {"ours": our_speed / limit, "peer": peer_speed / limit},
        "steps_per_s": {
            "ours": our_speed,
            "peer": peer_speed,
            "peer_bf16": bf16["steps_per_s"],
            "limit": limit,
            **other_limits,
        },
        "peer": {"best": best.words, "bf16": bf16["cell"], "grid": [[cell.words, cell.steps_per_s] for cell in grid]},
        "ours": {
            "settings": settings,
            **{name: statistics.mean(run[name] for run in ours) for name in OUR_HEALTH},
        },
    }


def comparison_table(units: int, result: dict[str, Any]) -> Table:
    """Ours, the peer and the limit, each against the peer and against the limit."""
    speeds, bar, ours = result["steps_per_s"], result["bar"], result["ours"]
    verdict = "" if bar is None else f", bar {bar:g}: {'reached' if result['ratio'] >= bar else 'missed'}"
    if result["busy_share_before"] > BUSY_SHARE:
        verdict = ", not judged: others used the machine"
    low, high = min(result["ratio_per_pair"]), max(result["ratio_per_pair"])
    fastest = f"fastest of each {result['ratio_of_fastest']:.2f}"
    title = f"LSTM {units}: ours / peer = {result['ratio']:.2f} (pairs {low:.2f} to {high:.2f}, {fastest}{verdict})"
    table = Table(title=title)
    table.add_column("what")
    for name in ("x peer", "of the limit", "steps/s"):
        table.add_column(name, justify="right")
    emulated = "" if bf16_support() else " (emulated: this CPU has no unit for bf16)"
    names = {
        "ours": f"quintet, staleness {ours['staleness_mean']:.2f}, {ours['stale_share']:.0%} of its steps thrown away",
        "peer": f"peer, float32, {result['peer']['best']}",
        "peer_bf16": f"peer, bf16, {result['peer']['bf16']}{emulated}",
        "limit": "limit: the LSTM's matrix products alone, float32",
        "limit_bf16": "the same in bf16",
    }
    for key, speed in speeds.items():
        table.add_row(names[key], f"{speed / speeds['peer']:.2f}", f"{speed / speeds['limit']:.0%}", f"{speed:,.0f}")
    return table


def grid_table(units: int, result: dict[str, Any]) -> Table:
    """The peer's grid, each cell as a share of the best."""
    grid = result["peer"]["grid"]
    table = Table(title=f"LSTM {units}: the peer's grid")
    table.add_column("cell")
    table.add_column("of its best", justify="right")
    for words, speed in grid:
        table.add_row(words, f"{speed / grid[0][1]:.0%}")
    return table


def main(args: Args) -> None:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what was started is stopped on the way out
    sizes = {units: compare(units, args) for units in args.lstm_units}
    out = Console(file=sys.stderr if args.json else sys.stdout)
    for units, result in sizes.items():
        out.print(grid_table(units, result), comparison_table(units, result))
    out.print(f"bf16 units of this CPU: {', '.join(bf16_support()) or 'none'}")
    if args.json:
        ratios = {str(units): result["ratio"] for units, result in sizes.items()}
        config = {
            "game": "gymnasium:CartPole-v1, velocities hidden",
            "machine": describe(),
            "seconds": args.seconds,
            "pairs": args.pairs,
            "lstm_units": {str(units): result for units, result in sizes.items()},
        }
        ratio = ratios if len(ratios) > 1 else next(iter(ratios.values()))
        print(json.dumps({"ratio": ratio, "unit": UNIT, "config": config}))


if __name__ == "__main__":
    main(from_command_line(Args, __doc__))
