"""Every Redis key of a run: its type, who writes it, who reads it, how long it stays. Nothing else spells a key.

All keys of a run begin `quintet:{run}:`; deleting those deletes the run. "AOF" in a lifetime means that the key
survives a restart of Redis; the weights alone do not.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

GROUP = "optimizer"  # the chunk stream's consumer group
CONSUMER = "optimizer"  # its one consumer: whoever optimises inherits what the last one left open
REJECTS_KEPT = 16  # entries of the reject stream
REJECT_BYTES_KEPT = 2**20  # of each rejected payload
REPORTS_KEPT = 4096  # entries of the report stream
CLOSED_INCARNATION_TTL_S = 86_400  # for how long a chunk of a closed incarnation is still recognised and counted

_RUN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


@dataclass(frozen=True, kw_only=True, slots=True)
class RedisKey:
    """One key, or one family of keys that end in a number."""

    suffix: str
    kind: Literal["string", "hash", "stream"]
    holds: str
    writer: str
    reader: str
    lifetime: str = "the run, AOF"

    def of(self, run: str) -> str:
        """The key's whole name in this run."""
        return f"quintet:{run}:{self.suffix}"


RUN = RedisKey(
    suffix="run",
    kind="hash",
    holds="spec_hash, config_text, game_spec",
    writer="controller (open_run)",
    reader="register, status",
)
LIMITS = RedisKey(
    suffix="limits",
    kind="hash",
    holds="max_queued_steps, max_queue_bytes: the stream's bounds",
    writer="controller (open_run)",
    reader="push, has_room",
)
ORDERS = RedisKey(
    suffix="orders",
    kind="hash",
    holds="wanted_workers, autoscale (MIN:MAX or absent), stopping (1 or absent)",
    writer="controller, quintet scale, quintet train's Ctrl-C",
    reader="every process, at each poll",
)
LEASE = RedisKey(
    suffix="lease",
    kind="string",
    holds="1 while a controller runs",
    writer="controller (hold_lease)",
    reader="workers, at each poll",
    lifetime="ttl_s of the last hold_lease",
)
OPTIMIZER_LEASE = RedisKey(
    suffix="optimizer_lease",
    kind="hash",
    holds="token (the newest fencing token; only grows), holder, owner, renewed_ms, until_ms, by the clock of Redis",
    writer="optimizer (take_optimizer_lease ...), controller (break_optimizer_lease)",
    reader="publish, ack, reject, mark_undone: each refuses an older token in its own act",
)
CHUNKS = RedisKey(
    suffix="chunks",
    kind="stream",
    holds="chunk (an encoded TrajectoryChunk); consumer group `optimizer`",
    writer="workers (push)",
    reader="optimizer (pop, reclaim)",
    lifetime="each entry until it is acknowledged, AOF",
)
SIZES = RedisKey(
    suffix="sizes",
    kind="hash",
    holds="entry id of `chunks` -> 'steps bytes worker incarnation-key sequence', as push counted and knew them",
    writer="workers (push)",
    reader="optimizer (ack, reject): an entry that is not here is not open, or was never counted",
    lifetime="each field until its entry is acknowledged, AOF",
)
COUNTERS = RedisKey(
    suffix="counters",
    kind="hash",
    holds="produced, trained, stale, rejected, lost, in_flight, undone (steps), queued_bytes",
    writer="push, ack, reject, deregister, close_worker, register, each in the act that it counts",
    reader="everybody",
)
REJECTS = RedisKey(
    suffix="rejects",
    kind="stream",
    holds=f"reason, n_bytes, chunk (the first {REJECT_BYTES_KEPT} bytes of what could not be decoded)",
    writer="optimizer (reject)",
    reader="people",
    lifetime=f"the last {REJECTS_KEPT}, AOF",
)
ANNOUNCED = RedisKey(
    suffix="announced",
    kind="hash",
    holds="version (the largest ever announced; never goes down), sha256 of its weights",
    writer="optimizer (publish)",
    reader="workers at each poll, a resuming optimizer",
)
WEIGHTS = RedisKey(
    suffix="weights",
    kind="string",
    holds="the announced version's header and safetensors bytes",
    writer="optimizer (publish)",
    reader="one worker per node, evaluator",
    lifetime="until the next version or a restart of Redis; not in the AOF",
)
INCARNATIONS = RedisKey(
    suffix="incarnations",
    kind="string",
    holds="the last incarnation issued",
    writer="workers (register)",
    reader="register",
)
WORKERS = RedisKey(
    suffix="workers",
    kind="hash",
    holds="worker -> its open incarnation",
    writer="register, deregister, close_worker",
    reader="register, close_worker",
)
INCARNATION = RedisKey(
    suffix="incarnation:",
    kind="hash",
    holds="worker, sequence (last pushed), accounted (cumulative steps in `produced`), reported (by heartbeat), closed",
    writer="register, push, heartbeat, deregister, close_worker",
    reader="push, heartbeat, close_worker",
    lifetime=f"{CLOSED_INCARNATION_TTL_S} s after it is closed, AOF",
)
HEARTBEATS = RedisKey(
    suffix="heartbeats",
    kind="hash",
    holds="process -> 'time_ms incarnation cumulative_steps data', time by the clock of Redis",
    writer="every process",
    reader="controller, status",
    lifetime="each field until its process deregisters or is closed",
)
REPORTS = RedisKey(
    suffix="reports",
    kind="stream",
    holds="report (an encoded Report)",
    writer="every process",
    reader="controller",
    lifetime=f"the last {REPORTS_KEPT} or so, AOF",
)
LATEST_ROW = RedisKey(
    suffix="latest_row",
    kind="hash",
    holds="metric -> its latest value as text, and what the controller counts: how often each event happened",
    writer="controller (keep_latest_row), at most once a second",
    reader="exporter, status",
)
SETTINGS = RedisKey(
    suffix="settings",
    kind="stream",
    holds="request (who asks, and keys of the configuration with their new values)",
    writer="quintet set, the web page (request_settings)",
    reader="optimizer before each update, controller at each look",
    lifetime="each entry until the run is opened again with a configuration that holds it, AOF",
)

ALL_KEYS = tuple(key for key in list(globals().values()) if isinstance(key, RedisKey))


def check_run_name(run: str) -> str:
    """The run's name, if it can be part of a key and of a file's name.

    Raises:
        ValueError: it cannot.
    """
    if not _RUN_NAME.fullmatch(run):
        raise ValueError(
            f"run name {run!r}: expected 1 to 100 letters, digits, dots, dashes or underscores, a letter or digit first"
        )
    return run


class RunKeys:
    """The names of one run's keys."""

    def __init__(self, run: str) -> None:
        check_run_name(run)
        self.run = RUN.of(run)
        self.limits = LIMITS.of(run)
        self.orders = ORDERS.of(run)
        self.lease = LEASE.of(run)
        self.optimizer_lease = OPTIMIZER_LEASE.of(run)
        self.chunks = CHUNKS.of(run)
        self.sizes = SIZES.of(run)
        self.counters = COUNTERS.of(run)
        self.rejects = REJECTS.of(run)
        self.announced = ANNOUNCED.of(run)
        self.weights = WEIGHTS.of(run)
        self.incarnations = INCARNATIONS.of(run)
        self.workers = WORKERS.of(run)
        self.incarnation_prefix = INCARNATION.of(run)
        self.heartbeats = HEARTBEATS.of(run)
        self.reports = REPORTS.of(run)
        self.settings = SETTINGS.of(run)
        self.latest_row = LATEST_ROW.of(run)

    def incarnation(self, number: int) -> str:
        """The key of one incarnation of one worker."""
        return f"{self.incarnation_prefix}{number}"
