"""The protocols that carry a run; both links (`redis_link`, `memory_link`) implement them and pass the same tests.

Steps are rows x agents everywhere. The conservation law holds after every call, whatever was killed before it:

    produced = trained + stale + rejected + lost + in_flight
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, get_args

from quintet.wire.settings import SettingsChannel

Precision = Literal["float32", "bfloat16"]
PRECISIONS: tuple[Precision, ...] = get_args(Precision)
"""The number formats that a run may compute in; one of them is a property of the run, whatever its machines prefer."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PendingChunk:
    """One encoded chunk with what the link needs to count it, so that it need not decode it."""

    worker: int
    incarnation: int
    sequence: int
    cumulative_steps: int
    steps: int
    payload: bytes


@dataclass(frozen=True, kw_only=True, slots=True)
class Message:
    """One chunk as the optimizer receives it. Delivered again to the next optimizer until acknowledged."""

    id: str  # the link's own id of this entry
    steps: int  # what `push` counted as produced; 0 for an entry that nobody counted (garbage)
    payload: bytes
    #: Worker, incarnation and sequence as `push` knew them; None where it was no push.
    sender: tuple[int, int, int] | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Ack:
    """How the steps of one message ended; the three add up to the message's steps."""

    id: str
    trained: int = 0
    stale: int = 0
    rejected: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Counters:
    """The run's step counters, each moved in the same atomic act as what it counts."""

    produced: int = 0
    trained: int = 0
    stale: int = 0
    rejected: int = 0
    lost: int = 0
    in_flight: int = 0  # measured: steps in the stream, delivered or not, that nobody acknowledged
    undone: int = 0  # trained, but thrown away by a resume; they stay in `trained`
    queued_chunks: int = 0
    queued_bytes: int = 0

    @property
    def unaccounted(self) -> int:
        """0 while the conservation law holds."""
        return self.produced - self.trained - self.stale - self.rejected - self.lost - self.in_flight


@dataclass(frozen=True, kw_only=True, slots=True)
class EncodedWeights:
    """One version of the policy as it travels: a small header and safetensors bytes."""

    version: int
    agent_steps: int
    spec_hash: str
    precision: Precision  # what the run computes in, and so whoever loads these
    sha256: str  # of `payload`, hex
    payload: bytes
    epoch: int = 0  # deterministic runs: games were begun anew for this version, and what is older is not trained on
    epoch_seed: int = 0  # what those games are seeded by, beside the run's seed


@dataclass(frozen=True, kw_only=True, slots=True)
class ControlMessage:
    """What a worker is told at every poll, in one small call."""

    version: int  # newest announced version, 0 before the first
    wanted_workers: int  # workers 0 .. wanted - 1 play; others drain and leave
    stopping: bool  # the run ends: finish the window, push, deregister
    controller_alive: bool  # the controller's lease is held


@dataclass(frozen=True, kw_only=True, slots=True)
class Registration:
    """A worker's place in the run."""

    worker: int
    incarnation: int


class ChunkSink(Protocol):
    """The worker's end of the chunk stream."""

    def push(self, chunks: Sequence[PendingChunk]) -> int:
        """Offer chunks in order; returns how many (from the front) are safe now: newly accepted or seen before.

        Idempotent per (worker, incarnation, sequence). Fewer than `len(chunks)` means that the stream is at its bound
        of steps or bytes: keep the rest and ask `has_room`. A gap in the sequence adds the missing steps to produced
        and lost in the same act. A single chunk larger than the byte bound is accepted when the stream is empty.

        Raises:
            LinkDownError: nobody answered; push the same chunks again.
        """
        ...

    def has_room(self, steps: int, n_bytes: int) -> bool:
        """A small call: would a chunk of this size be accepted now?"""
        ...


class ChunkSource(Protocol):
    """The optimizer's end of the chunk stream."""

    def reclaim(self) -> list[Message]:
        """What was delivered to an earlier optimizer and never acknowledged, oldest first. Call once, before `pop`."""
        ...

    def pop(self, max_steps: int, timeout_s: float) -> list[Message]:
        """The next messages, oldest first, together at most `max_steps` (at least one if there is any).

        Waits up to `timeout_s` for the first and not for more; an empty list means that nothing came.
        """
        ...

    def ack(self, acks: Sequence[Ack]) -> Counters:
        """In one atomic act: acknowledge and delete these messages and count their steps.

        Each is counted only if it was still open, so a call repeated after a lost answer changes nothing.
        """
        ...

    def reject(self, message: Message, reason: str) -> Counters:
        """Settle one message as rejected and keep its payload in the capped reject stream."""
        ...

    def mark_undone(self, steps: int) -> None:
        """Set the counter `undone`: trained steps whose updates are in no checkpoint."""
        ...

    def counters(self) -> Counters:
        """All counters as of one moment."""
        ...


class WeightSink(Protocol):
    """The optimizer's end of the weights' way."""

    def publish(self, weights: EncodedWeights) -> None:
        """Make these the latest weights. The announced version never goes down and is never used twice."""
        ...

    def announced_version(self) -> int:
        """The largest version ever announced in this run, 0 before the first. Survives a restart of Redis."""
        ...

    def needs_republish(self) -> bool:
        """True when the store lost the weights (Redis was restarted) since the last `publish`."""
        ...


class WeightSource(Protocol):
    """A reader's end of the weights' way."""

    def latest(self, newer_than: int) -> EncodedWeights | None:
        """The latest weights if their version differs from `newer_than` and they are there, else None.

        Raises:
            DecodeError: header or sha256 do not match the bytes.
        """
        ...


class WorkerRegistry(Protocol):
    """Where a worker registers, hears what to do, and sends heartbeats."""

    def register(self, worker: int, spec_hash: str) -> Registration:
        """Get a new incarnation.

        Raises:
            SpecMismatchError: the run was started with another spec.
        """
        ...

    def control_message(self) -> ControlMessage:
        """What this run wants of its workers now: one small call."""
        ...

    def heartbeat(self, registration: Registration, cumulative_steps: int, data: dict[str, float | int | str]) -> None:
        """Say that this worker runs, and how many steps it has closed into chunks, pushed or not."""
        ...

    def deregister(self, registration: Registration, cumulative_steps: int) -> None:
        """Close this incarnation: steps closed but never pushed become produced and lost."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Heartbeat:
    """The last heartbeat of one process, as the controller and `quintet status` read it."""

    process: str  # "optimizer", "worker/3", ...
    incarnation: int
    age_s: float  # by the link's own clock, so that clocks of hosts do not matter
    cumulative_steps: int
    data: dict[str, float | int | str]


class ProcessRegistry(Protocol):
    """The same for processes that are not workers (the optimizer): liveness, the wish to stop, and the game's spec."""

    def game_spec(self) -> str:
        """What `keep_game_spec` was last told; empty before."""
        ...

    def stopping(self) -> bool:
        """True once the run was asked to end."""
        ...

    def beat(self, process: str, data: dict[str, float | int | str]) -> None:
        """Say that this process runs."""
        ...


class OptimizerLease(Protocol):
    """One optimizer at a time: a lease with a fencing token, so that one that was paused cannot go on when it wakes up.

    Once a lease was taken in a run, `publish`, `ack`, `reject` and `mark_undone` work only for the link that took
    the newest one, and raise LeaseLostError for every other. In a run where nobody ever took one they are not fenced.
    A holder that lets its time pass without renewing keeps its rights until somebody else takes the lease.
    """

    def take_optimizer_lease(self, owner: str, ttl_s: float) -> int:
        """Become the run's optimizer for `ttl_s` from now; returns the fencing token, which grows by one each time.

        `owner` is for people (host and process id). The same link may take it again.

        Raises:
            LeaseHeldError: another link holds it; names its owner and how long ago it was renewed.
        """
        ...

    def keep_optimizer_lease(self, ttl_s: float) -> None:
        """Renew it: `ttl_s` from now.

        Raises:
            LeaseLostError: it was taken by another link, broken or released since.
        """
        ...

    def release_optimizer_lease(self) -> None:
        """Give it back, so that the next optimizer need not wait; this link can do nothing fenced any more."""
        ...


class ControlChannel(SettingsChannel, Protocol):
    """The controller's end: opens a run, says what is wanted, sees which workers play."""

    def open_run(self, *, spec_hash: str, config_text: str, max_queued_steps: int, max_queue_bytes: int) -> None:
        """Create or reopen the run: stream, group, limits; clears `stopping`. Counters and versions are kept.

        Raises:
            SpecMismatchError: the run exists with another spec and still holds chunks or versions of it.
        """
        ...

    def keep_game_spec(self, text: str) -> None:
        """Keep the game's spec, as text, for processes that build no game."""
        ...

    def run_config(self) -> str:
        """The text that `open_run` or `amend_config` stored; empty when the run is not open."""
        ...

    def amend_config(self, config_text: str) -> None:
        """Store another text in its place, for whoever reads it from now on."""
        ...

    def set_wanted_workers(self, n: int) -> None:
        """How many workers should play; takes effect at their next poll."""
        ...

    def wanted_workers(self) -> int:
        """What `set_wanted_workers` last said (the controller itself reads it: `quintet scale` writes it)."""
        ...

    def set_autoscale(self, bounds: str) -> None:
        """Have the controller choose the number of workers within `MIN:MAX`; an empty text leaves it as it is."""
        ...

    def autoscale(self) -> str:
        """What `set_autoscale` last said, empty where nobody did."""
        ...

    def hold_lease(self, ttl_s: float) -> None:
        """Say that a controller runs; workers leave when nobody has said so for `ttl_s`."""
        ...

    def break_optimizer_lease(self) -> None:
        """Its holder has exited: the next optimizer may take it now, and the old one can do nothing more."""
        ...

    def set_stopping(self, stopping: bool) -> None:
        """Ask every process of the run to finish and leave."""
        ...

    def heartbeats(self) -> list[Heartbeat]:
        """The last heartbeat of every process that has not deregistered."""
        ...

    def close_worker(self, worker: int) -> int:
        """Close the incarnation of a worker that exited from its last heartbeat; returns the steps now counted lost."""
        ...

    def read_reports(self, after: str, timeout_s: float) -> tuple[str, list[Report]]:
        """Reports after this id ("0" for the first) and the id to go on from; waits up to `timeout_s` for one."""
        ...

    def keep_latest_row(self, row: Mapping[str, float]) -> None:
        """Keep the latest value of every metric for readers on other machines; names that it lacks stay as they are."""
        ...

    def latest_row(self) -> dict[str, float]:
        """What `keep_latest_row` was last told, by name; empty before the first."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Report:
    """One report of one process."""

    process: str
    kind: str  # "metrics", "episodes", "event"
    time_s: float  # Unix time: the sender's while it is sent, the link's own once it is read
    data: dict[str, object]


class ReportSink(Protocol):
    """One capped stream to which every process reports; losing an old report is allowed, blocking is not."""

    def report(self, process: str, kind: str, data: dict[str, object]) -> None:
        """Append one report: kind "metrics", "episodes", "event" ... Never raises for a link that is down."""
        ...


class WorkerLink(ChunkSink, WeightSource, WorkerRegistry, ReportSink, Protocol):
    """Everything that a rollout worker needs of a link."""


class OptimizerLink(ChunkSource, WeightSink, OptimizerLease, ProcessRegistry, ReportSink, SettingsChannel, Protocol):
    """Everything that an optimizer needs of a link."""
