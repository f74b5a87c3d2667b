"""What the web page costs: an update with very many points and workers, a page's load, and what training loses by it.

    python benchmarks/dashboard_speed.py [--rows 1000000] [--workers 200] [--pairs 0] [--json]

Updates are timed in this process: everything that the server computes and encodes for one visitor of a page. Loads are
timed in a real Chromium (where one is installed), each with an empty cache. With --pairs N, a real training is watched
and left alone in turns of --seconds each, N times, and its agent-steps/s are compared. The browser that watches may be
anywhere in the world; here it is given only the time that nobody else wants, so that what is compared is the server.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from common.arguments import from_command_line
from common.machine import busy_share, describe
from common.quintet_run import command, environment, stop
from common.timing import median_times_s
from rich.console import Console
from rich.table import Table

from quintet.control.config import dump_config, load_config, parse_config
from quintet.control.metrics import AGENT_STEPS, TIME_S, VERSION
from quintet.control.sinks import last_jsonl, read_jsonl
from quintet.control.status import RunStatus
from quintet.dashboard import tiles as glance
from quintet.dashboard.charts import ChartView, as_sent
from quintet.dashboard.pages import cluster, overview
from quintet.dashboard.series import MetricsTable
from quintet.wire.link import Counters, Heartbeat

UPDATE_BAR_S, LOAD_BAR_S, COST_BAR = 0.2, 2.0, 0.02
PHASES = ("play", "infer", "encode", "push", "wait", "other")
PATIENCE_S = 120.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Args:
    """How large a run is looked at, and for how long."""

    rows: int = 1_000_000
    """Points of every series."""
    workers: int = 200
    """Workers of the run."""
    seconds: float = 20.0
    """For how long updates are timed, and each turn of a pair."""
    loads: bool = True
    """Time page loads in a browser, too."""
    pairs: int = 0
    """Turns of a training that is watched and not watched; 0 leaves that out."""
    json: bool = False
    """Print one JSON object instead of a table."""


def main() -> None:
    args = from_command_line(Args, __doc__)
    result: dict[str, Any] = {
        "config": {**describe(), "busy": busy_share(), "rows": args.rows, "workers": args.workers}
    }
    result["updates"] = updates(args)
    result["loads"] = loads() if args.loads else None
    result["training"] = watched_training(args) if args.pairs else None
    if args.json:
        print(json.dumps(result))
    else:
        Console().print(picture(result))


def updates(args: Args) -> dict[str, float]:
    """Median seconds of one update of each page, by its name."""
    table = filled(args.rows)
    beats = [beat(f"worker/{k}") for k in range(args.workers)] + [beat("optimizer"), beat("controller")]
    phases = {one.process: dict.fromkeys(PHASES, 0.2) for one in beats}
    status = RunStatus(
        run="r",
        config=parse_config(""),
        counters=Counters(produced=9, trained=9),
        wanted_workers=args.workers,
        heartbeats=beats,
    )
    contestants: dict[str, Callable[[], None]] = {
        "Overview, charts": lambda: charts(table),
        "Overview, tiles": lambda: tiles(table, status),
        "Cluster": lambda: encode(cluster.processes_html(beats, phases, table.latest, {})),
    }
    return median_times_s(contestants, args.seconds)


def filled(rows: int) -> MetricsTable:
    """A run of so many versions: every series of Overview, with noise."""
    table = MetricsTable(Path("none"))
    generator = np.random.default_rng(1)
    named = [line.name for spec in overview.CHARTS for line in spec[6]]
    for start in range(0, rows, 100_000):
        n = min(100_000, rows - start)
        columns = {name: generator.normal(1.0, 0.1, n).tolist() for name in named}
        columns |= {VERSION: list(range(start, start + n)), TIME_S: [1e9 + k for k in range(start, start + n)]}
        columns[AGENT_STEPS] = [4096 * k for k in range(start, start + n)]
        table._append([dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)])
    return table


def beat(process: str) -> Heartbeat:
    data: dict[str, float | int | str] = {"pid": 12345, "version": 7, "rss_bytes": 400_000_000}
    return Heartbeat(process=process, incarnation=1, age_s=0.4, cumulative_steps=123_456_789, data=data)


def charts(table: MetricsTable) -> None:
    """What `Chart.show` computes and sends, for every chart of Overview."""
    view = ChartView(table)
    for spec in overview.CHARTS:
        encode({line.name: as_sent(view.curve(line.name)) for line in spec[6]})


def tiles(table: MetricsTable, status: RunStatus) -> None:
    row, config = table.latest, status.config
    said = [glance.learning(table, row, ()), glance.staleness(row, config), glance.queue(row, status.counters, config)]
    said.append(glance.health((), live=True))
    encode([said, overview.law_html(glance.law(row, status.counters)), status.live_workers])


def encode(data: Any) -> None:
    """As NiceGUI encodes what it sends."""
    from nicegui.json import dumps

    dumps(data)


def loads() -> dict[str, float] | None:
    """Median seconds until each page of a small run stands there with its numbers; None without a browser."""
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        return None
    from playwright.sync_api import sync_playwright

    with tempfile.TemporaryDirectory(prefix="quintet-benchmark-") as folder, sync_playwright() as driver:
        write_run(Path(folder) / "runs" / "small", rows=2000)
        with (
            served(Path(folder)) as address,
            driver.chromium.launch(executable_path=chromium, args=["--no-sandbox"]) as browser,
        ):
            times: dict[str, list[float]] = {}
            for _ in range(4):  # the first warms up the server
                for path, sign in (
                    ("/", ".tile-value"),
                    ("/cluster", ".log"),
                    ("/league", ".empty"),
                    ("/runs", ".run-list"),
                ):
                    page = browser.new_page()
                    start = time.perf_counter()
                    page.goto(address + path, timeout=1000 * PATIENCE_S)
                    page.wait_for_selector(sign, timeout=1000 * PATIENCE_S)
                    times.setdefault(path, []).append(time.perf_counter() - start)
                    page.context.close()
    return {path: statistics.median(values[1:]) for path, values in times.items()}


def write_run(folder: Path, *, rows: int) -> None:
    folder.mkdir(parents=True)
    (folder / "config.toml").write_text(dump_config(load_config()))
    event = {"time_s": 1e9, "agent_steps": 0, "kind": "started", "process": "", "text": "", "data": {}}
    (folder / "journal.jsonl").write_text(json.dumps(event) + "\n")
    names = [line.name for spec in overview.CHARTS for line in spec[6]]
    with (folder / "metrics.jsonl").open("w") as file:
        for k in range(rows):
            row = {TIME_S: 1e9 + k, VERSION: k, AGENT_STEPS: 4096 * k, **dict.fromkeys(names, 0.5 + k % 7)}
            file.write(json.dumps(row) + "\n")


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """`quintet dashboard` over this folder; yields its address without the token."""
    process = subprocess.Popen(
        [sys.executable, "-m", "quintet", "dashboard", "--port", "0"],
        cwd=folder, env=environment(), stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        found = re.search(r"(http://[^/]+)/", process.stdout.readline())
        assert found is not None, "quintet dashboard said no address"
        yield found[1]
    finally:
        process.terminate()
        process.wait()


def watched_training(args: Args) -> dict[str, float]:
    """Agent-steps/s watched over those not watched, and the web page's share of one core in both."""
    from playwright.sync_api import sync_playwright

    with tempfile.TemporaryDirectory(prefix="quintet-benchmark-") as folder, sync_playwright() as driver:
        log = Path(folder) / "train.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                command({"agent_steps": "none", "minutes": 30 + args.pairs * args.seconds / 20}),
                cwd=folder, env=environment(), stdout=output, stderr=output, start_new_session=True,
            )  # fmt: skip
        try:
            metrics = Path(folder) / "runs" / "benchmark" / "metrics.jsonl"
            address = wait_for(lambda: re.search(r"dashboard: (\S+)", log.read_text()))[1]
            wait_for(lambda: last_jsonl(metrics).get(VERSION, 0) >= 5)
            child = next(p for p in psutil.Process(process.pid).children(recursive=True) if "dashboard" in p.cmdline())
            chromium = shutil.which("chromium") or shutil.which("google-chrome")
            with driver.chromium.launch(executable_path=chromium, args=["--no-sandbox"]) as browser:
                page = browser.new_page()
                make_idle("chrom")
                turns = [
                    turn(page, where, child, metrics, args.seconds)
                    for _ in range(args.pairs)
                    for where in (address, "about:blank")
                ]
        finally:
            stop(process)
    watched, alone = turns[::2], turns[1::2]
    ratios = [one["speed"] / other["speed"] for one, other in zip(watched, alone, strict=True)]
    return {
        "speed_ratio": statistics.geometric_mean(ratios),
        "cores_watched": statistics.mean(one["cores"] for one in watched),
        "cores_alone": statistics.mean(one["cores"] for one in alone),
    }


def make_idle(name: str) -> None:
    """Give our child processes of this name, and those that they start, only the time that nobody else wants."""
    for process in psutil.Process().children(recursive=True):
        if name in process.name():
            for thread in process.threads():
                os.sched_setscheduler(thread.id, os.SCHED_IDLE, os.sched_param(0))


def turn(page: Any, where: str, child: psutil.Process, metrics: Path, seconds: float) -> dict[str, float]:
    """Some seconds with the page open, or with none."""
    page.goto(where, timeout=1000 * PATIENCE_S)
    time.sleep(5.0)  # the page has come, or the last one has gone
    used, start_s = sum(child.cpu_times()[:2]), time.time()
    time.sleep(seconds)
    rows = [row for row in read_jsonl(metrics) if row[TIME_S] >= start_s]
    speed = (rows[-1][AGENT_STEPS] - rows[0][AGENT_STEPS]) / (rows[-1][TIME_S] - rows[0][TIME_S])
    return {"speed": speed, "cores": (sum(child.cpu_times()[:2]) - used) / (time.time() - start_s)}


def wait_for(condition: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + PATIENCE_S
    while not (found := condition()):
        if time.monotonic() > deadline:
            raise RuntimeError("waited in vain for the training to begin")
        time.sleep(0.2)
    return found


def picture(result: dict[str, Any]) -> Table:
    table = Table("what", "measured", "bar", "measured / bar", title="The web page's cost", title_justify="left")
    for name, seconds in result["updates"].items():
        table.add_row(
            f"update: {name}",
            f"{1000 * seconds:.1f} ms",
            f"{1000 * UPDATE_BAR_S:.0f} ms",
            f"{seconds / UPDATE_BAR_S:.2f}",
        )
    for path, seconds in (result["loads"] or {}).items():
        table.add_row(f"load: {path}", f"{seconds:.2f} s", f"{LOAD_BAR_S:.0f} s", f"{seconds / LOAD_BAR_S:.2f}")
    if training := result["training"]:
        cost = 1 - training["speed_ratio"]
        table.add_row("agent-steps/s lost while watched", f"{cost:.1%}", f"{COST_BAR:.0%}", f"{cost / COST_BAR:.2f}")
        table.add_row("its share of a core: watched", f"{training['cores_watched']:.1%}", "", "")
        table.add_row("its share of a core: alone", f"{training['cores_alone']:.2%}", "", "")
    return table


if __name__ == "__main__":
    main()
