"""What the wire costs: steps/s of the codec and of the Redis link, each as a share of a limit measured in the same run.

    python benchmarks/wire_speed.py [--seconds 3] [--json]

    codec   encode_chunk + decode_chunk        limit: a copy of the same bytes at each end, nothing else
                                               bare:  msgpack of the same arrays without a check or a layout
    link    push + pop + acknowledge of a group     limit: XADD + XREADGROUP + XACK + XDEL of the same bytes and group,
            of chunks, counted exactly once           pipelined, without our scripts, on the same embedded Redis

The repetitions take turns and the medians count. Both ends of the link are this process, one after the other.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
import redis
from common.arguments import from_command_line
from common.machine import describe
from common.timing import median_times_s
from gymnasium import spaces
from rich.console import Console
from rich.table import Table

from quintet.cluster.processes.redis_server import EmbeddedRedis
from quintet.games.api import GameSpec
from quintet.wire.chunk import Array, ArraySpec, ChunkSpec, TrajectoryChunk, chunk_spec
from quintet.wire.codec import decode_chunk, encode_chunk
from quintet.wire.link import Ack, PendingChunk
from quintet.wire.redis_link.link import RedisLink, connect

RUN = "benchmark"
QUEUE_BYTES = 2**28
PLAIN_STREAM, PLAIN_GROUP = "plain", "reader"
UNIT = "steps/s as a share of the limit named in each key"


@dataclass(frozen=True, kw_only=True, slots=True)
class Args:
    """How long is measured."""

    seconds: float = 3.0
    """How long the contestants of each comparison take turns."""
    json: bool = False
    """Print one object with ratio, unit and config as the last line of stdout."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Case:
    """A kind of chunk, and how many of them travel in one call."""

    name: str
    spec: ChunkSpec
    group: int

    @property
    def chunk(self) -> TrajectoryChunk:
        """A full chunk of random numbers."""
        return random_chunk(self.spec, np.random.default_rng(0))


def cases() -> list[Case]:
    """One agent that sees two numbers; five that share a table of units and have masked heads."""
    cartpole = GameSpec(
        name="small",
        teams=1,
        agents_per_team=1,
        observation_space=spaces.Dict({"obs": spaces.Box(-np.inf, np.inf, (2,))}),
        action_space=spaces.Dict({"action": spaces.Discrete(2)}),
    )
    five = GameSpec(
        name="large",
        teams=2,
        agents_per_team=5,
        observation_space=spaces.Dict(
            {
                "units": spaces.Box(-np.inf, np.inf, (64, 24)),
                "units_mask": spaces.MultiBinary(64),
                "self": spaces.Box(-np.inf, np.inf, (48,)),
            }
        ),
        action_space=spaces.Dict({"primary": spaces.Discrete(16), "target": spaces.Discrete(64)}),
        masked_heads=frozenset({"primary", "target"}),
        team_shared=frozenset({"units", "units_mask"}),
        wire_dtypes={"units": "float16"},
    )
    return [
        Case(name="small chunk", spec=chunk_spec(cartpole, lstm_units=128, bptt_steps=16, chunk_steps=16), group=64),
        Case(name="large chunk", spec=chunk_spec(five, lstm_units=1024, bptt_steps=16, chunk_steps=256), group=4),
    ]


def random_chunk(spec: ChunkSpec, rng: np.random.Generator) -> TrajectoryChunk:
    """A chunk that fits the spec in every array."""
    rows, agents, windows = spec.chunk_steps, spec.agents, spec.chunk_steps // spec.bptt_steps

    def numbers(shape: tuple[int, ...], dtype: str = "float32") -> Array:
        return rng.normal(size=shape).astype(dtype)

    def entry(array: ArraySpec) -> Array:
        shape = (rows, agents, *array.shape) if array.per_agent else (rows, *array.shape)
        return rng.random(shape) < 0.5 if array.dtype == "bool" else numbers(shape, array.dtype)

    return TrajectoryChunk(
        run=RUN,
        spec_hash=spec.hash,
        worker=0,
        incarnation=1,
        sequence=1,
        cumulative_steps=rows * agents,
        slot=0,
        team=0,
        observation={name: entry(array) for name, array in spec.observation.items()},
        first=np.zeros(rows, bool),
        action={
            name: rng.integers(0, 2, (rows + 1, agents, *head.shape)).astype(head.dtype)
            for name, head in spec.heads.items()
        },
        log_prob={name: numbers((rows, agents)) for name in spec.heads},
        value=numbers((rows + 1, agents)),
        reward=numbers((rows, agents)),
        terminated=np.zeros((rows, agents), bool),
        truncated=np.zeros((rows, agents), bool),
        acting=np.ones((rows, agents), bool),
        valid=np.ones((rows, agents), bool),
        opponent_version=np.full(rows, -1, np.int32),
        auxiliary={},
        lstm_state=numbers((windows, agents, 2, spec.lstm_units), "float16"),
        version=np.ones(windows, np.uint32),
    )


def codec_contestants(case: Case) -> dict[str, Callable[[], None]]:
    """Ours, plain and compressed, bare msgpack, and two copies."""
    chunk, spec = case.chunk, case.spec
    arrays = [array for field in fields(chunk) for array in _arrays(getattr(chunk, field.name))]
    source = np.frombuffer(encode_chunk(chunk, spec, compress=False), np.uint8)
    target = np.empty_like(source)

    def ours(compress: bool) -> Callable[[], None]:
        return lambda: void(decode_chunk(encode_chunk(chunk, spec, compress=compress), spec, run=RUN))

    def bare() -> None:
        message = msgpack.packb([array.tobytes() for array in arrays])
        for blob, array in zip(msgpack.unpackb(message), arrays, strict=True):
            np.frombuffer(blob, array.dtype)

    def copies() -> None:
        np.copyto(target, source)
        np.copyto(source_copy, target)

    source_copy = np.empty_like(source)
    return {"ours": ours(False), "zstd": ours(True), "bare": bare, "limit": copies}


def void(_: object) -> None:
    """Drop a result."""


def _arrays(value: object) -> list[Array]:
    if isinstance(value, dict):
        return list(value.values())
    return [value] if isinstance(value, np.ndarray) else []


class LinkCourier:
    """Carries groups of one chunk's bytes over our link."""

    def __init__(self, link: RedisLink, case: Case, payload: bytes) -> None:
        self.link, self.payload, self.group = link, payload, case.group
        self.steps = case.chunk.steps
        self.registration = link.register(0, case.spec.hash)
        self.sequence = 0

    def carry(self) -> None:
        """Push, pop and acknowledge one group."""
        chunks = []
        for _ in range(self.group):
            self.sequence += 1
            chunks.append(
                PendingChunk(
                    worker=self.registration.worker,
                    incarnation=self.registration.incarnation,
                    sequence=self.sequence,
                    cumulative_steps=self.sequence * self.steps,
                    steps=self.steps,
                    payload=self.payload,
                )
            )
        pushed = self.link.push(chunks)
        messages = self.link.pop(self.group * self.steps, 1.0)
        if pushed != self.group or len(messages) != self.group:
            raise RuntimeError(f"pushed {pushed} and popped {len(messages)} of {self.group} chunks")
        self.link.ack([Ack(id=message.id, trained=message.steps) for message in messages])


class PlainCourier:
    """The same bytes over a stream of the same server, with bare commands."""

    def __init__(self, url: str, case: Case, payload: bytes) -> None:
        self.client = redis.Redis.from_url(url)
        self.payload, self.group = payload, case.group
        self.client.delete(PLAIN_STREAM)
        self.client.xgroup_create(PLAIN_STREAM, PLAIN_GROUP, "0", mkstream=True)

    def carry(self) -> None:
        """XADD, XREADGROUP, XACK and XDEL of one group."""
        pipeline = self.client.pipeline(transaction=False)
        for _ in range(self.group):
            pipeline.xadd(PLAIN_STREAM, {"chunk": self.payload})
        pipeline.execute()
        answer: Any = self.client.xreadgroup(PLAIN_GROUP, "reader", {PLAIN_STREAM: ">"}, count=self.group)
        entries = answer[PLAIN_STREAM.encode()][0] if isinstance(answer, dict) else answer[0][1]
        ids = [entry_id for entry_id, _ in entries]
        if len(ids) != self.group:
            raise RuntimeError(f"read {len(ids)} of {self.group} plain entries")
        pipeline.xack(PLAIN_STREAM, PLAIN_GROUP, *ids)
        pipeline.xdel(PLAIN_STREAM, *ids)
        pipeline.execute()


def compare_codec(case: Case, seconds: float) -> dict[str, float]:
    """Shares of the copies and of bare msgpack."""
    times = median_times_s(codec_contestants(case), seconds)
    return {
        f"codec / two copies, {case.name}": times["limit"] / times["ours"],
        f"codec / bare msgpack, {case.name}": times["bare"] / times["ours"],
        f"codec with zstd / codec, {case.name}": times["ours"] / times["zstd"],
    }


def compare_link(case: Case, url: str, seconds: float) -> dict[str, float]:
    """Share of plain commands; every step that was pushed must have been counted as trained."""
    payload = encode_chunk(case.chunk, case.spec, compress=False)
    run = case.name.replace(" ", "-")
    with connect(url, run, wait_s=5.0) as link:
        link.open_run(spec_hash=case.spec.hash, config_text="", max_queued_steps=2**31, max_queue_bytes=QUEUE_BYTES)
        ours, plain = LinkCourier(link, case, payload), PlainCourier(url, case, payload)
        times = median_times_s({"ours": ours.carry, "limit": plain.carry}, seconds)
        counters = link.counters()
        if counters.trained != ours.sequence * ours.steps or counters.unaccounted:
            raise RuntimeError(f"carried {ours.sequence * ours.steps} steps, but the link counted {counters}")
        plain.client.close()
    return {f"link / plain commands, {case.name}, groups of {case.group}": times["limit"] / times["ours"]}


def main(args: Args) -> None:
    ratios: dict[str, float] = {}
    kinds = cases()
    for case in kinds:
        ratios |= compare_codec(case, args.seconds)
    with (
        tempfile.TemporaryDirectory(prefix="quintet-benchmark-") as folder,
        EmbeddedRedis.start(Path(folder) / "redis", maxmemory_bytes=4 * QUEUE_BYTES) as server,
    ):
        for case in kinds:
            ratios |= compare_link(case, server.url, args.seconds)
    if args.json:
        sizes = {case.name: len(encode_chunk(case.chunk, case.spec, compress=False)) for case in kinds}
        config = {"chunk_bytes": sizes, "seconds": args.seconds, "machine": describe()}
        print(json.dumps({"ratio": ratios, "unit": UNIT, "config": config}))
        return
    table = Table(title=f"The wire: {UNIT}")
    table.add_column("what")
    table.add_column("share", justify="right")
    for name, ratio in ratios.items():
        table.add_row(name, f"{ratio:.3f}")
    Console().print(table)


if __name__ == "__main__":
    main(from_command_line(Args, __doc__))
