"""How long a version takes from its publishing to being acted with by every worker, beside one window of play.

    python benchmarks/broadcast.py --lstm-units 1024 --workers 1 2 4 [--json]

The workers are what `quintet train` starts, each a process of its own, over an embedded Redis; in place of an optimizer
this process publishes a version now and then, and takes the chunks. A version's time goes from the call of `publish` to
the beginning of the last worker's first window with it (one clock: all processes are on one machine).

    p95      of the versions' times, per number of workers
    bar      one window of play, as the slowest worker plays it, and 0.5 s
    ratio    p95 / bar, of the worst number of workers
"""

from __future__ import annotations

import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from common.arguments import from_command_line
from common.machine import BUSY_SHARE, busy_share, cores, describe
from common.quintet_run import environment
from rich.console import Console
from rich.table import Table

from quintet.cluster.assembly import open_link
from quintet.cluster.processes.malloc import keep_freed_memory
from quintet.cluster.processes.redis_server import EmbeddedRedis
from quintet.cluster.processes.worker import give_way, make_worker
from quintet.control.config import RunConfig, load_config
from quintet.control.errors import REDIS_URL
from quintet.games.registry import make_game
from quintet.model.policy import Policy
from quintet.model.weights import encode_weights
from quintet.wire.errors import LinkError
from quintet.wire.link import Ack
from quintet.wire.redis_link.link import RedisLink, connect
from quintet.wire.redis_link.weights_cache import clear_weights_cache

UNIT = "p95 from published to acted with by every worker, per (one window of play + 0.5 s)"
SLACK_S = 0.5
RUN = "broadcast"
PART = "QUINTET_BENCHMARK_WORKER"  # set in the environment of a worker's process: its number
START_S = 300.0
PATIENCE_S = 60.0

console = Console(stderr=True, log_path=False)


@dataclass(frozen=True, kw_only=True, slots=True)
class Args:
    """What is broadcast, to whom and how often."""

    lstm_units: int = 1024
    """Size of the LSTM."""
    workers: tuple[int, ...] = (1, 2, 4, 8)
    """Numbers of workers, one measurement each."""
    versions: int = 100
    """Versions published per measurement."""
    games_per_worker: int = 16
    """What a window takes depends on it."""
    game: str = "gymnasium:CartPole-v1"
    """What is played."""
    json: bool = False
    """Print one object with ratio, unit and config as the last line of stdout."""


def settings(args: Args, n: int) -> RunConfig:
    """The run's configuration."""
    return load_config(
        None,
        [
            f"game={args.game}",
            f"rollout.workers={n}",
            f"model.lstm_units={args.lstm_units}",
            f"rollout.games_per_worker={args.games_per_worker}",
            "rollout.chunk_steps=16",
            "wire.max_queued_batches=8",
        ],
    )


def play(worker: int) -> None:
    """A worker's process: one line per version, when its first window with it began, and the windows' seconds."""
    import torch

    torch.set_num_threads(1)
    keep_freed_memory()
    with connect(os.environ[REDIS_URL], RUN, wait_s=START_S) as link:
        config = load_config(Path(os.environ[PART + "_CONFIG"]))
        player, game = make_worker(config, RUN, link, worker)
        player.start()
        give_way(config.rollout.workers)
        play_window, seen, windows_s = player.play_window, 0, []

        def watched() -> None:
            nonlocal seen
            begin_s = time.monotonic()
            if player.version != seen:
                seen = player.version
                print(json.dumps({"version": seen, "at_s": begin_s}), flush=True)
            play_window()
            windows_s.append(time.monotonic() - begin_s)

        player.play_window = watched  # type: ignore[method-assign]
        player.run()
        game.close()
        print(json.dumps({"window_s": statistics.mean(windows_s), "windows": len(windows_s)}), flush=True)


class Crowd:
    """Worker processes, and what they said."""

    def __init__(self, url: str, config_file: Path, n: int) -> None:
        self.acted_s: list[dict[int, float]] = [{} for _ in range(n)]  # per worker: version -> when it acted with it
        self.windows_s: list[float] = []
        self._processes = [self._start(url, config_file, worker) for worker in range(n)]
        self._readers = [threading.Thread(target=self._read, args=(worker,), daemon=True) for worker in range(n)]
        for reader in self._readers:
            reader.start()

    def _start(self, url: str, config_file: Path, worker: int) -> subprocess.Popen[str]:
        part = {REDIS_URL: url, PART: str(worker), PART + "_CONFIG": str(config_file), "OMP_NUM_THREADS": "1"}
        return subprocess.Popen([sys.executable, __file__], env=environment() | part, stdout=subprocess.PIPE, text=True)

    def _read(self, worker: int) -> None:
        output = self._processes[worker].stdout
        assert output is not None
        for line in output:
            said = json.loads(line)
            if "version" in said:
                self.acted_s[worker][said["version"]] = said["at_s"]
            else:
                self.windows_s.append(said["window_s"])

    def all_acted_s(self, version: int) -> float | None:
        """When the last worker acted with this version or a later one; None while one has not."""
        times = [min((s for v, s in list(acted.items()) if v >= version), default=None) for acted in self.acted_s]
        return None if None in times else max(s for s in times if s is not None)

    def wait_for(self, version: int, timeout_s: float) -> float:
        """The same, waiting for it.

        Raises:
            RuntimeError: it took too long, or a worker died.
        """
        deadline = time.monotonic() + timeout_s
        while (found := self.all_acted_s(version)) is None:
            if any(process.poll() is not None for process in self._processes):
                raise RuntimeError("a worker ended by itself; its last lines are above")
            if time.monotonic() > deadline:
                raise RuntimeError(f"version {version} did not reach every worker within {timeout_s:g} s")
            time.sleep(0.01)
        return found

    def end(self) -> None:
        """Wait until they left, which they were asked to."""
        for process in self._processes:
            try:
                process.wait(PATIENCE_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        for reader in self._readers:
            reader.join()


def take_chunks(url: str, ending: threading.Event) -> None:
    """The optimizer's part in making room: every chunk is taken and counted as trained."""
    with RedisLink(url, RUN) as link:
        while not ending.is_set():
            try:
                taken = link.pop(4096, 0.2)
                if taken:
                    link.ack([Ack(id=message.id, trained=message.steps) for message in taken])
            except LinkError as error:
                console.log(f"[red]{error}")
                return


def measure(args: Args, n: int) -> dict[str, Any]:
    """Publish to n workers; every version's time."""
    config = settings(args, n)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="quintet-benchmark-")))
        redis = stack.enter_context(EmbeddedRedis.start(folder / "redis", maxmemory_bytes=4 * 2**30))
        stack.callback(clear_weights_cache, RUN)
        link = stack.enter_context(RedisLink(redis.url, RUN))
        game = make_game(config.game, 1, config.seed, config.game_options)
        stack.callback(game.close)
        policy = Policy(game.spec, config.model)
        spec = config.chunk_spec(game.spec)
        open_link(link, config, game.spec)
        link.set_wanted_workers(n)
        link.hold_lease(3600.0)
        ending = threading.Event()
        taker = threading.Thread(target=take_chunks, args=(redis.url, ending), daemon=True)
        taker.start()
        config_file = folder / "config.toml"
        config_file.write_text(link.run_config())
        crowd = Crowd(redis.url, config_file, n)
        try:
            times_s = publish_all(args, link, policy, spec.hash, crowd)
        finally:
            link.set_stopping(True)
            crowd.end()
            ending.set()
            taker.join()
        weights = link.latest(0)
    assert weights is not None
    return result_of(n, times_s, crowd.windows_s, len(weights.payload))


def publish_all(args: Args, link: RedisLink, policy: Policy, spec_hash: str, crowd: Crowd) -> list[float]:
    """One version after the other, at uneven times; each one's seconds until every worker acted with it."""
    dice = random.Random(1)
    times_s = []
    for version in range(1, args.versions + 2):
        weights = encode_weights(policy, version=version, agent_steps=version, spec_hash=spec_hash)
        begin_s = time.monotonic()
        link.publish(weights)
        acted_s = crowd.wait_for(version, START_S if version == 1 else PATIENCE_S)
        if version > 1:  # the first one waited for processes to start
            times_s.append(acted_s - begin_s)
        time.sleep(dice.uniform(0.2, 0.7))
    return times_s


def result_of(n: int, times_s: Sequence[float], windows_s: Sequence[float], n_bytes: int) -> dict[str, Any]:
    bar_s = max(windows_s) + SLACK_S
    p95_s = statistics.quantiles(times_s, n=20)[-1]
    console.log(f"{n} workers: p95 {p95_s:.2f} s, bar {bar_s:.2f} s")
    return {
        "workers": n,
        "ratio": p95_s / bar_s,
        "p95_s": p95_s,
        "median_s": statistics.median(times_s),
        "max_s": max(times_s),
        "window_s": max(windows_s),
        "bar_s": bar_s,
        "versions": len(times_s),
        "weights_bytes": n_bytes,
    }


def result_table(results: Sequence[dict[str, Any]], units: int, busy: float) -> Table:
    judged = "not judged: others used the machine" if busy > BUSY_SHARE else "bar: at most 1"
    table = Table(title=f"LSTM {units}: published -> acted with by every worker ({judged}; {cores()} cores)")
    for name in ("workers", "p95 / bar", "p95", "median", "one window + 0.5 s", "MB"):
        table.add_column(name, justify="right")
    for r in results:
        table.add_row(
            str(r["workers"]),
            f"{r['ratio']:.2f}",
            *(f"{r[key]:.2f} s" for key in ("p95_s", "median_s", "bar_s")),
            f"{r['weights_bytes'] / 1e6:.1f}",
        )
    return table


def main(args: Args) -> None:
    busy = busy_share()
    results = [measure(args, n) for n in args.workers]
    Console(file=sys.stderr if args.json else sys.stdout).print(result_table(results, args.lstm_units, busy))
    if args.json:
        config = {"machine": describe(), "busy_share_before": busy, "args": asdict(args), "results": results}
        print(json.dumps({"ratio": max(r["ratio"] for r in results), "unit": UNIT, "config": config}))


if __name__ == "__main__":
    if PART in os.environ:
        play(int(os.environ[PART]))
    else:
        main(from_command_line(Args, __doc__))
