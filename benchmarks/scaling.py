"""A live run scaled from 1 to 4 workers and back: how soon each change is effective, and whether a step is missing.

    python benchmarks/scaling.py [--path 1 4 1] [--json]

A change up is effective when all workers play, a change down when those that leave have handed on what they played and
deregistered. Both are timed from the start of the command `quintet scale N`. Afterwards the run is ended, and the law

    produced = trained + stale + rejected + lost + in flight,   lost = 0

must hold to the step.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

from common.arguments import from_command_line
from common.live import SHARED_CORES, Live, live
from common.machine import BUSY_SHARE, busy_share, describe
from common.quintet_run import RUN, environment
from rich.console import Console
from rich.table import Table

UNIT = "seconds until the slowest change is effective, per second of the bar"
BAR_S = 15.0
SETTINGS: dict[str, object] = {"agent_steps": "none", "rollout.games_per_worker": 8}

console = Console(stderr=True, log_path=False)


@dataclass(frozen=True, kw_only=True, slots=True)
class Args:
    """Which numbers of workers, one after the other."""

    path: tuple[int, ...] = (1, 4, 1)
    """Numbers of workers, the first at the start."""
    stay_s: float = 10.0
    """How long each number stays."""
    json: bool = False
    """Print one object with ratio, unit and config as the last line of stdout."""


def scale(run: Live, workers: int) -> float:
    """Seconds until exactly so many workers play."""
    names = [f"worker/{worker}" for worker in range(workers)]
    begin_s = time.monotonic()
    command = [sys.executable, "-m", "quintet", "scale", str(workers), "--run", RUN]
    subprocess.run(command, cwd=run.cwd, env=environment(), check=True, capture_output=True)
    run.wait_for(lambda: run.playing() == names, f"waiting for {workers} workers")
    return time.monotonic() - begin_s


def measure(args: Args) -> dict[str, Any]:
    """Every change's seconds, and the books at the end."""
    changes = []
    with live(SETTINGS | {"rollout.workers": args.path[0]}, *SHARED_CORES) as run:
        for before, after in pairwise(args.path):
            time.sleep(args.stay_s)
            seconds = scale(run, after)
            console.log(f"{before} -> {after} workers: {seconds:.1f} s")
            changes.append({"from": before, "to": after, "seconds": seconds})
        time.sleep(args.stay_s)
        counters = run.counters()
        assert counters is not None
        summary = run.end()
    parts = [summary[f"steps_{name}"] for name in ("trained", "stale", "rejected", "lost", "in_flight")]
    slowest_s = max(change["seconds"] for change in changes)
    return {
        "ratio": slowest_s / BAR_S,
        "slowest_s": slowest_s,
        "changes": changes,
        "unaccounted": counters.unaccounted,
        "unaccounted_at_the_end": summary["steps_produced"] - sum(parts),
        "produced": summary["steps_produced"],
        "lost": summary["steps_lost"],
    }


def result_table(result: dict[str, Any], busy: float) -> Table:
    verdict = "reached" if result["ratio"] <= 1 else "missed"
    if busy > BUSY_SHARE:
        verdict = "not judged: others used the machine"
    table = Table(title=f"slowest change {result['slowest_s']:.1f} s (bar {BAR_S:g} s: {verdict})")
    table.add_column("workers")
    table.add_column("effective after", justify="right")
    for change in result["changes"]:
        table.add_row(f"{change['from']} -> {change['to']}", f"{change['seconds']:.1f} s")
    table.caption = (
        f"{result['produced']:,} steps produced, {result['lost']:,} lost, "
        f"{result['unaccounted_at_the_end']:,} unaccounted for"
    )
    return table


def main(args: Args) -> None:
    busy = busy_share()
    result = measure(args)
    Console(file=sys.stderr if args.json else sys.stdout).print(result_table(result, busy))
    if args.json:
        config = {
            "machine": describe(),
            "busy_share_before": busy,
            "args": asdict(args),
            "settings": SETTINGS,
            **result,
        }
        print(json.dumps({"ratio": result["ratio"], "unit": UNIT, "config": config}))


if __name__ == "__main__":
    main(from_command_line(Args, __doc__))
