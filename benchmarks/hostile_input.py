"""Hostile messages against a running optimizer: how many it survives, and how many steps it trains on of them.

    python benchmarks/hostile_input.py [--messages 100000] [--config cartpole_memory] [--json]

A real Redis on a port of its own, a real optimizer process and a real worker process train a real game, while attackers
who know the format and registered as workers push what `hostile_messages` makes of the worker's chunks: damaged,
forged, replayed, not finite, explosive. One message in ten is written into the stream past the link, where nobody
counts it. At the end the books must say that every hostile step was rejected (`rejected` is exactly what the attackers'
pushes were counted as), that the law holds, and that the optimizer lives, learned on and leaves in order.

What it does not try is an honest form with a lie in it: a registered worker may send games that were never played.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from common.arguments import from_command_line
from hostile_messages import Forger, Identity

from quintet.cluster.assembly import check_game, let_children_find_our_code, open_link
from quintet.cluster.processes.optimizer import OptimizerProcess
from quintet.cluster.processes.redis_server import EmbeddedRedis
from quintet.cluster.processes.spawn import spawn, stop, usable_cores
from quintet.control.config import RunConfig, load_config
from quintet.control.run_folder import RunFolder
from quintet.wire.chunk import ChunkSpec
from quintet.wire.errors import LinkError
from quintet.wire.link import Counters, PendingChunk, Registration
from quintet.wire.redis_link.client import RedisServer, pairs
from quintet.wire.redis_link.keys import RunKeys
from quintet.wire.redis_link.link import RedisLink, connect

RUN = "hostile"
ATTACKERS = 4  # registered, as workers 1000 and on
FIRST_ATTACKER = 1000
RAW_SHARE = 0.1  # of the messages: written into the stream past the link
RAW_AT_ONCE = 400  # such entries in the stream before the attacker waits: they are bounded by nothing else
GROUP = 64  # messages in one push
HONEST_SHARE = 0.1  # of the pushes: for as many steps as a chunk has; the others are for one, so that many find room
REAL_CHUNKS = 32
HUGE_BYTES = 100 * 2**20
MAXMEMORY_BYTES = 2**30
PATIENCE_S = 900.0
TELL_S = 15.0
WORKER_CODE = """
import os
from quintet.cluster.processes.worker import run_worker
run_worker(os.environ["URL"], "hostile", 0)
"""
UNIT = "hostile messages that neither crashed the optimizer nor were trained on, as a share of all"


@dataclass(frozen=True, kw_only=True, slots=True)
class Args:
    """How many, against what."""

    messages: int = 100_000
    """Hostile messages in all."""
    config: str = "cartpole_memory"
    """Configuration of the run that goes on meanwhile."""
    seed: int = 0
    """Of the attackers."""
    json: bool = False
    """Print one object with ratio, unit and config as the last line of stdout."""


class BenchmarkError(Exception):
    """The run under attack did not come up, or never came to an end with the attack."""


class Attacker:
    """One registered worker that lies."""

    def __init__(self, url: str, worker: int, spec: ChunkSpec, forger: Forger) -> None:
        self.link = RedisLink(url, RUN)
        self._registration: Registration = self.link.register(worker, spec.hash)
        self._forger, self._steps = forger, spec.chunk_steps * spec.agents
        self._sequence = self._closed_steps = 0
        self.pushed_steps = 0
        self.sent: Counter[str] = Counter()

    def push(self, n: int) -> None:
        """Push so many messages in one call, waiting for room like everybody."""
        kinds, chunks = [], []
        steps = self._steps if self._forger.rng.random() < HONEST_SHARE else 1
        for _ in range(n):
            self._sequence += 1
            self._closed_steps += steps
            kind, payload = self._forger.make(self._identity())
            kinds.append(kind)
            chunks.append(self._chunk(steps, payload))
        deadline_s = time.monotonic() + PATIENCE_S
        while chunks:
            n_safe = self.link.push(chunks)
            self.pushed_steps += n_safe * steps
            self.sent.update(kinds[:n_safe])
            kinds, chunks = kinds[n_safe:], chunks[n_safe:]
            if chunks:
                if time.monotonic() > deadline_s:
                    raise BenchmarkError("no room in the stream: the optimizer takes nothing any more")
                time.sleep(0.02)

    def push_again(self) -> None:
        """A sequence number that was pushed already: the link has it, whatever stands in it now."""
        self.link.push([self._chunk(1, b"again")])
        self.sent["sequence seen before"] += 1

    def leave(self) -> None:
        """Say farewell, all accounted."""
        self.link.deregister(self._registration, self._closed_steps)
        self.link.close()

    def _chunk(self, steps: int, payload: bytes) -> PendingChunk:
        counted = asdict(self._identity()) | {"cumulative_steps": self._closed_steps}
        return PendingChunk(**counted, steps=steps, payload=payload)

    def _identity(self) -> Identity:
        """What a message of the last sequence number would truthfully say; it holds a whole chunk's steps at least."""
        return Identity(
            worker=self._registration.worker,
            incarnation=self._registration.incarnation,
            sequence=self._sequence,
            cumulative_steps=max(self._closed_steps, self._steps),
        )


def measure(args: Args) -> dict[str, Any]:
    """Attack a run; returns the books."""
    with tempfile.TemporaryDirectory(prefix="quintet-hostile-") as name:
        folder = RunFolder(Path(name) / RUN)
        folder.logs.mkdir(parents=True)
        config = load_config(_config_path(args.config), ["minutes=none", "agent_steps=none"])
        look = check_game(config)
        config = look.config
        spec = config.chunk_spec(look.spec)
        with EmbeddedRedis.start(folder.redis, maxmemory_bytes=MAXMEMORY_BYTES) as redis:
            let_children_find_our_code()
            with connect(redis.url, RUN, wait_s=5.0) as link:
                open_link(link, config, look.spec, 1)
                link.hold_lease(24 * 3600.0)
                optimizer = OptimizerProcess(folder, redis.url_of("optimizer"), None)
                optimizer.start()
                worker = spawn(
                    [sys.executable, "-c", WORKER_CODE],
                    env={"URL": redis.url_of("worker")},
                    log=folder.logs / "worker.log",
                )
                try:
                    return _attack(args, config, spec, redis.url, link, optimizer, worker)
                finally:
                    stop(worker, grace_s=10.0)
                    optimizer.stop(10.0)


def _attack(
    args: Args,
    config: RunConfig,
    spec: ChunkSpec,
    url: str,
    link: RedisLink,
    optimizer: OptimizerProcess,
    worker: subprocess.Popen[bytes],
) -> dict[str, Any]:
    server = RedisServer(url, timeout_s=60.0)
    stream = RunKeys(RUN).chunks
    forger = Forger(_real_chunks(server, stream), spec, RUN, args.seed)
    _wait(lambda: link.announced_version() >= 3, "the optimizer did not begin to learn")
    before, version_before, started_s = link.counters(), link.announced_version(), time.monotonic()
    attackers = [Attacker(url, FIRST_ATTACKER + k, spec, forger) for k in range(ATTACKERS)]
    raw: Counter[str] = Counter()
    sent, told_s = 0, time.monotonic()
    while sent < args.messages:
        if time.monotonic() - told_s >= TELL_S:
            told_s = time.monotonic()
            print(f"{sent:,} of {args.messages:,} messages", file=sys.stderr, flush=True)
        attacker = attackers[(sent // GROUP) % ATTACKERS]
        if forger.rng.random() < RAW_SHARE:
            sent += _write_raw(server, stream, forger, raw)
        else:
            attacker.push(GROUP)
            attacker.push_again()
            sent += GROUP + 1
        if optimizer.poll() is not None:
            raise BenchmarkError(f"the optimizer ended: {optimizer.why_it_ended()}")
    server.command("XADD", stream, "*", "chunk", bytes(HUGE_BYTES))
    raw["100 MiB"] += 1
    pushed = sum(attacker.pushed_steps for attacker in attackers)
    _wait(lambda: link.counters().rejected >= pushed and not _oversized(server, stream), "not all was rejected")
    for attacker in attackers:
        attacker.leave()
    attacked_s = time.monotonic() - started_s
    version = link.announced_version()
    _wait(lambda: link.announced_version() >= version + 2, "the optimizer did not go on learning")
    after, version_after = link.counters(), link.announced_version()
    ended = {"worker before it was asked to": worker.poll()} if worker.poll() is not None else {}
    link.set_stopping(True)
    _wait(lambda: optimizer.poll() is not None, "the optimizer did not leave")
    if optimizer.poll() != 0:
        ended["optimizer"] = optimizer.poll()
        print(f"the optimizer ended with {optimizer.poll()}: {optimizer.why_it_ended()}", file=sys.stderr)
    end = link.counters()
    kinds = raw + sum((attacker.sent for attacker in attackers), Counter())
    return _books(kinds, pushed, before, after, end, version_after - version_before, attacked_s, ended) | {
        "config": {"game": config.game, "cores": usable_cores(), "seed": args.seed}
    }


def _books(
    kinds: Counter[str],
    pushed: int,
    before: Counters,
    after: Counters,
    end: Counters,
    versions: int,
    attacked_s: float,
    ended: dict[str, int | None],
) -> dict[str, Any]:
    messages = kinds.total()
    trained = max(0, pushed - (end.rejected - before.rejected))
    return {
        "ratio": 1.0 if not ended and not trained and not end.unaccounted else 0.0,
        "unit": UNIT,
        "messages": messages,
        "by_kind": dict(sorted(kinds.items())),
        "crashes": len(ended),
        "ended": ended,
        "hostile_steps_pushed": pushed,
        "hostile_steps_rejected": end.rejected - before.rejected,
        "hostile_steps_trained": trained,
        "steps_unaccounted": end.unaccounted,
        "versions_meanwhile": versions,
        "real_steps_trained_meanwhile": after.trained - before.trained,
        "messages_per_s": messages / attacked_s,
        "attacked_s": attacked_s,
    }


def _write_raw(server: RedisServer, stream: str, forger: Forger, raw: Counter[str]) -> int:
    """Entries that no push counted: what somebody with a password but without our link can write."""
    deadline_s = time.monotonic() + PATIENCE_S
    while int(server.command("XLEN", stream)) > RAW_AT_ONCE:
        if time.monotonic() > deadline_s:
            raise BenchmarkError("entries that nobody counted stay in the stream")
        time.sleep(0.02)
    nobody = Identity(worker=0, incarnation=1, sequence=1, cumulative_steps=2**40)
    for k in range(GROUP):
        kind, payload = forger.make(nobody)
        fields: Sequence[str | bytes] = ("nonsense", "1") if k == 0 else ("steps", "1000", "chunk", payload)
        server.command("XADD", stream, "*", *fields)
        raw[f"past the link: {'no chunk' if k == 0 else kind}"] += 1
    return GROUP


def _real_chunks(server: RedisServer, stream: str) -> list[bytes]:
    """Copies of what the worker pushed: seen in the stream, and left there."""
    found: dict[bytes, bytes] = {}

    def look() -> bool:
        answer = server.command("XREAD", "COUNT", REAL_CHUNKS, "STREAMS", stream, "0")
        for entry_id, flat in answer[0][1] if answer else []:
            found[entry_id] = pairs(flat).get(b"chunk", b"")
        return len(found) >= REAL_CHUNKS

    _wait(look, "the worker sent nothing")
    return list(found.values())


def _oversized(server: RedisServer, stream: str) -> bool:
    """Whether the huge entry still lies in the stream."""
    return int(server.command("MEMORY", "USAGE", stream, "SAMPLES", 0) or 0) > HUGE_BYTES


def _wait(done: Any, otherwise: str) -> None:
    deadline_s = time.monotonic() + PATIENCE_S
    while True:
        try:
            if done():
                return
        except LinkError:  # busy with a hundred megabytes
            pass
        if time.monotonic() > deadline_s:
            raise BenchmarkError(f"{otherwise} within {PATIENCE_S:.0f} s")
        time.sleep(0.1)


def _config_path(name: str) -> Path:
    return Path(__file__).resolve().parent.parent / "configs" / f"{name}.toml"


def main() -> None:
    """Attack, and print the books."""
    args = from_command_line(Args, __doc__)
    found = measure(args)
    print(f"{found['messages']:,} hostile messages in {found['attacked_s']:.0f} s ({found['messages_per_s']:.0f}/s)")
    for kind, n in found["by_kind"].items():
        print(f"  {n:>8,}  {kind}")
    print(
        f"crashes {found['crashes']}; hostile steps pushed {found['hostile_steps_pushed']:,}, rejected "
        f"{found['hostile_steps_rejected']:,}, trained {found['hostile_steps_trained']:,}; unaccounted "
        f"{found['steps_unaccounted']}; meanwhile {found['versions_meanwhile']} versions and "
        f"{found['real_steps_trained_meanwhile']:,} steps of real play trained"
    )
    if args.json:
        print(json.dumps(found))


if __name__ == "__main__":
    main()
