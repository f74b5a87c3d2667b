"""A whole run inside one process: every protocol of `wire.link`, under one lock, with the semantics of `redis_link`.

For tests, for `--in-process` and for a debugger: threads share one `MemoryLink` as processes share one Redis. It is
also the plain statement of what the Lua scripts do, and the same tests hold both to it.
"""

# ruff: noqa: D102  (what each method promises is said once, in the protocols of quintet.wire.link)

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from quintet.wire.link import (
    Ack,
    ChunkSink,
    ChunkSource,
    ControlChannel,
    ControlMessage,
    Counters,
    EncodedWeights,
    Heartbeat,
    Message,
    OptimizerLease,
    PendingChunk,
    ProcessRegistry,
    Registration,
    Report,
    ReportSink,
    WeightSink,
    WeightSource,
    WorkerRegistry,
)
from quintet.wire.link_errors import (
    check_pending,
    closed_incarnation,
    lease_held,
    lease_lost,
    other_spec,
    run_not_open,
    unbalanced_ack,
    used_version,
)
from quintet.wire.redis_link.keys import REJECTS_KEPT, REPORTS_KEPT, check_run_name
from quintet.wire.reports import decode_beat, decode_report, encode_beat, encode_report
from quintet.wire.settings import (
    REQUESTS_KEPT,
    Setting,
    decode_request,
    encode_request,
    in_order,
    too_many_requests,
)
from quintet.wire.weights import verify_weights


@dataclass
class _Lease:
    """The newest lease of a run; shared by all links to it."""

    token: int = 0
    holder: object = None
    owner: str = ""
    renewed_s: float = 0.0
    until_s: float = 0.0


class _Hand:
    """What is a link's own, and not the run's, which lies in `__dict__`: its fencing token."""

    __slots__ = ("_token",)
    _token: int


@dataclass
class _Incarnation:
    """What the link knows of one incarnation of one worker."""

    worker: int
    sequence: int = 0  # the last one pushed
    accounted_steps: int = 0  # cumulative steps that `produced` already holds
    reported_steps: int = 0  # cumulative steps of the last heartbeat
    closed: bool = False


@dataclass
class _Beat:
    incarnation: int
    time_s: float
    cumulative_steps: int
    data: dict[str, float | int | str] = field(default_factory=dict)


class MemoryLink(
    _Hand,
    ChunkSink,
    ChunkSource,
    WeightSink,
    WeightSource,
    OptimizerLease,
    WorkerRegistry,
    ProcessRegistry,
    ControlChannel,
    ReportSink,
):
    """Every protocol of one run, for the threads of one process."""

    def __init__(self, run: str, *, issued_incarnations: int = 0) -> None:
        """`issued_incarnations`: how many an earlier process of this run has issued; none of them is issued again."""
        self.run = check_run_name(run)
        self._changed = threading.Condition(threading.RLock())
        self._spec_hash: str | None = None
        self._config_text = self._game_spec = self._autoscale = ""
        self._wanted_workers = 0
        self._stopping = False
        self._lease_until_s = 0.0
        self._max_queued_steps = 0
        self._max_queue_bytes = 0
        self._stream: dict[str, Message] = {}  # in order of arrival, until acknowledged
        self._delivered: set[str] = set()
        self._next_entry = 1
        self._counters = Counters()
        self._issued_incarnations = issued_incarnations
        self._incarnations: dict[int, _Incarnation] = {}
        self._current: dict[int, int] = {}  # worker -> its incarnation
        self._beats: dict[str, _Beat] = {}
        self._weights: EncodedWeights | None = None
        self.rejects: deque[tuple[str, bytes]] = deque(maxlen=REJECTS_KEPT)  # (reason, payload)
        self._token = 0
        self._optimizer_lease = _Lease()
        self._reports: deque[tuple[int, Report]] = deque(maxlen=REPORTS_KEPT)
        self._next_report = 1
        self._latest_row: dict[str, float] = {}
        self._requests: list[Setting] = []
        self._numbered = 0

    def beside(self) -> MemoryLink:
        """Another link to the same run, as another process would have: only the fencing token is its own."""
        other = object.__new__(MemoryLink)
        other.__dict__ = self.__dict__
        other._token = 0
        return other

    # ---- ChunkSink ----

    def push(self, chunks: Sequence[PendingChunk]) -> int:
        check_pending(chunks)
        with self._changed:
            self._check_open()
            for n_safe, chunk in enumerate(chunks):
                incarnation = self._incarnations.get(chunk.incarnation)
                if incarnation is None or incarnation.closed:
                    if incarnation is not None:  # produced, and never to be trained
                        self._account_lost(incarnation, chunk.cumulative_steps)
                    raise closed_incarnation(chunk)
                if chunk.sequence <= incarnation.sequence:
                    continue
                if not self.has_room(chunk.steps, len(chunk.payload)):
                    return n_safe
                self._accept(incarnation, chunk)
            return len(chunks)

    def has_room(self, steps: int, n_bytes: int) -> bool:
        with self._changed:
            self._check_open()
            counters = self._counters
            return not self._stream or (
                counters.in_flight + steps <= self._max_queued_steps
                and counters.queued_bytes + n_bytes <= self._max_queue_bytes
            )

    def _accept(self, incarnation: _Incarnation, chunk: PendingChunk) -> None:
        gap = max(0, chunk.cumulative_steps - chunk.steps - incarnation.accounted_steps)
        self._count(produced=gap + chunk.steps, lost=gap, in_flight=chunk.steps, queued_bytes=len(chunk.payload))
        incarnation.sequence = chunk.sequence
        incarnation.accounted_steps = max(incarnation.accounted_steps, chunk.cumulative_steps)
        self._add_entry(chunk.steps, chunk.payload, (incarnation.worker, chunk.incarnation, chunk.sequence))

    def _add_entry(self, steps: int, payload: bytes, sender: tuple[int, int, int] | None = None) -> None:
        entry_id = f"{self._next_entry}-0"
        self._next_entry += 1
        self._stream[entry_id] = Message(id=entry_id, steps=steps, payload=payload, sender=sender)
        self._changed.notify_all()

    def _account_lost(self, incarnation: _Incarnation, cumulative_steps: int) -> int:
        tail = max(0, cumulative_steps - incarnation.accounted_steps)
        self._count(produced=tail, lost=tail)
        incarnation.accounted_steps += tail
        return tail

    # ---- ChunkSource ----

    def reclaim(self) -> list[Message]:
        with self._changed:
            return [message for message in self._stream.values() if message.id in self._delivered]

    def pop(self, max_steps: int, timeout_s: float) -> list[Message]:
        with self._changed:
            self._changed.wait_for(lambda: len(self._stream) > len(self._delivered), timeout=max(0.0, timeout_s))
            taken: list[Message] = []
            steps = 0
            for message in self._stream.values():
                if message.id in self._delivered:
                    continue
                if taken and steps + message.steps > max_steps:
                    break
                taken.append(message)
                steps += message.steps
            self._delivered.update(message.id for message in taken)
            return taken

    def ack(self, acks: Sequence[Ack]) -> Counters:
        with self._changed:
            self._check_fence()
            for ack in acks:
                message = self._stream.get(ack.id)
                found = ack.trained + ack.stale + ack.rejected
                if message is not None and found != message.steps:
                    raise unbalanced_ack(ack, message.steps)
            for ack in acks:
                self._ack_one(ack)
            return self.counters()

    def _ack_one(self, ack: Ack) -> None:
        message = self._stream.pop(ack.id, None)
        if message is None:
            return
        self._delivered.discard(ack.id)
        counted = message.steps > 0
        self._count(
            trained=ack.trained,
            stale=ack.stale,
            rejected=ack.rejected,
            in_flight=-message.steps,
            queued_bytes=-len(message.payload) if counted else 0,
        )

    def reject(self, message: Message, reason: str) -> Counters:
        with self._changed:
            self._check_fence()
            open_delivery = self._stream.get(message.id)
            if open_delivery is not None:
                self._ack_one(Ack(id=message.id, rejected=open_delivery.steps))
                self.rejects.append((reason, message.payload))
            return self.counters()

    def mark_undone(self, steps: int) -> None:
        with self._changed:
            self._check_fence()
            self._counters = replace(self._counters, undone=steps)

    def counters(self) -> Counters:
        with self._changed:
            return replace(self._counters, queued_chunks=len(self._stream))

    def _count(self, **changes: int) -> None:
        self._counters = replace(
            self._counters, **{name: getattr(self._counters, name) + change for name, change in changes.items()}
        )

    # ---- WeightSink and WeightSource ----

    def publish(self, weights: EncodedWeights) -> None:
        with self._changed:
            self._check_fence()
            announced = self._weights
            if announced is not None:
                again = (weights.version, weights.sha256) == (announced.version, announced.sha256)
                if weights.version <= announced.version and not again:
                    raise used_version(weights.version, announced.version)
            self._weights = weights

    def announced_version(self) -> int:
        with self._changed:
            return 0 if self._weights is None else self._weights.version

    def needs_republish(self) -> bool:
        return False

    def latest(self, newer_than: int) -> EncodedWeights | None:
        with self._changed:
            weights = self._weights
        if weights is None or weights.version == newer_than:
            return None
        verify_weights(weights)
        return weights

    # ---- OptimizerLease ----

    def take_optimizer_lease(self, owner: str, ttl_s: float) -> int:
        with self._changed:
            lease, now_s = self._optimizer_lease, time.monotonic()
            if lease.holder is not self and now_s < lease.until_s:
                raise lease_held(self.run, owner=lease.owner, age_s=now_s - lease.renewed_s)
            self._token = lease.token + 1
            self._optimizer_lease = _Lease(self._token, self, owner, now_s, now_s + ttl_s)
            return self._token

    def keep_optimizer_lease(self, ttl_s: float) -> None:
        with self._changed:
            self._check_fence()
            self._optimizer_lease.renewed_s = time.monotonic()
            self._optimizer_lease.until_s = self._optimizer_lease.renewed_s + ttl_s

    def release_optimizer_lease(self) -> None:
        with self._changed:
            self._check_fence()
            self._optimizer_lease.until_s = 0.0
            self._token = 0

    def break_optimizer_lease(self) -> None:
        with self._changed:
            if self._optimizer_lease.token:
                self._optimizer_lease = _Lease(self._optimizer_lease.token + 1)

    def _check_fence(self) -> None:
        """Refuse what only the run's optimizer may do; call it with the lock held."""
        lease = self._optimizer_lease
        if self._token != lease.token:
            raise lease_lost(self.run, token=self._token, newest=lease.token, owner=lease.owner)

    # ---- WorkerRegistry and ProcessRegistry ----

    def register(self, worker: int, spec_hash: str) -> Registration:
        with self._changed:
            self._check_open()
            if spec_hash != self._spec_hash:
                raise other_spec(self.run, found=spec_hash, expected=self._spec_hash or "")
            self.close_worker(worker)
            incarnation = self._issued_incarnations = self._issued_incarnations + 1
            self._incarnations[incarnation] = _Incarnation(worker=worker)
            self._current[worker] = incarnation
            self._beats[f"worker/{worker}"] = _Beat(incarnation, time.monotonic(), 0)
            return Registration(worker=worker, incarnation=incarnation)

    def control_message(self) -> ControlMessage:
        with self._changed:
            return ControlMessage(
                version=self.announced_version(),
                wanted_workers=self._wanted_workers,
                stopping=self._stopping,
                controller_alive=time.monotonic() < self._lease_until_s,
            )

    def heartbeat(self, registration: Registration, cumulative_steps: int, data: dict[str, float | int | str]) -> None:
        with self._changed:
            incarnation = self._incarnations.get(registration.incarnation)
            if incarnation is None or incarnation.closed:
                return
            incarnation.reported_steps = max(incarnation.reported_steps, cumulative_steps)
            self._beats[f"worker/{registration.worker}"] = _Beat(
                registration.incarnation, time.monotonic(), cumulative_steps, _as_sent(data)
            )

    def deregister(self, registration: Registration, cumulative_steps: int) -> None:
        with self._changed:
            incarnation = self._incarnations.get(registration.incarnation)
            if incarnation is not None:
                self._close(registration.incarnation, cumulative_steps)

    def _close(self, number: int, cumulative_steps: int) -> int:
        """End an incarnation; repeating it finds everything accounted and changes nothing."""
        incarnation = self._incarnations[number]
        lost = self._account_lost(incarnation, max(cumulative_steps, incarnation.reported_steps))
        incarnation.closed = True
        if self._current.get(incarnation.worker) == number:
            del self._current[incarnation.worker]
            self._beats.pop(f"worker/{incarnation.worker}", None)
        return lost

    def beat(self, process: str, data: dict[str, float | int | str]) -> None:
        with self._changed:
            self._beats[process] = _Beat(0, time.monotonic(), 0, _as_sent(data))

    def game_spec(self) -> str:
        return self._game_spec

    def stopping(self) -> bool:
        return self._stopping

    # ---- ControlChannel ----

    def open_run(self, *, spec_hash: str, config_text: str, max_queued_steps: int, max_queue_bytes: int) -> None:
        with self._changed:
            if self._spec_hash not in (None, spec_hash) and (self._stream or self._weights is not None):
                raise other_spec(self.run, found=spec_hash, expected=self._spec_hash or "")
            self._spec_hash = spec_hash
            self._config_text = config_text
            self._max_queued_steps = max_queued_steps
            self._max_queue_bytes = max_queue_bytes
            self._stopping = False

    def keep_game_spec(self, text: str) -> None:
        self._game_spec = text

    def run_config(self) -> str:
        return self._config_text

    def amend_config(self, config_text: str) -> None:
        self._config_text = config_text

    def set_wanted_workers(self, n: int) -> None:
        self._wanted_workers = n

    def wanted_workers(self) -> int:
        return self._wanted_workers

    def set_autoscale(self, bounds: str) -> None:
        self._autoscale = bounds

    def autoscale(self) -> str:
        return self._autoscale

    def hold_lease(self, ttl_s: float) -> None:
        self._lease_until_s = time.monotonic() + ttl_s

    def set_stopping(self, stopping: bool) -> None:
        self._stopping = stopping

    def heartbeats(self) -> list[Heartbeat]:
        with self._changed:
            now_s = time.monotonic()
            return [
                Heartbeat(
                    process=process,
                    incarnation=beat.incarnation,
                    age_s=now_s - beat.time_s,
                    cumulative_steps=beat.cumulative_steps,
                    data=dict(beat.data),
                )
                for process, beat in sorted(self._beats.items())
            ]

    def close_worker(self, worker: int) -> int:
        with self._changed:
            number = self._current.get(worker)
            return 0 if number is None else self._close(number, 0)

    def read_reports(self, after: str, timeout_s: float) -> tuple[str, list[Report]]:
        with self._changed:
            self._changed.wait_for(lambda: self._next_report - 1 > int(after), timeout=max(0.0, timeout_s))
            found = [report for number, report in self._reports if number > int(after)]
            return str(max(int(after), self._next_report - 1)), found

    def keep_latest_row(self, row: Mapping[str, float]) -> None:
        with self._changed:
            self._latest_row |= {name: float(value) for name, value in row.items()}

    def latest_row(self) -> dict[str, float]:
        with self._changed:
            return dict(self._latest_row)

    # ---- SettingsChannel ----

    def request_settings(self, changes: Mapping[str, str], by: str) -> str:
        payload = encode_request(changes, by)
        with self._changed:
            if len(self._requests) >= REQUESTS_KEPT:
                raise too_many_requests()
            self._numbered += 1
            entry_id = f"{int(time.time() * 1000)}-{self._numbered}"
            self._requests.append(decode_request(entry_id, payload))
            return entry_id

    def settings(self, after: str) -> list[Setting]:
        return [request for request in self._requests if in_order(request.id) > in_order(after)]

    def drop_settings(self, through: str) -> None:
        with self._changed:
            self._requests = self.settings(through)

    # ---- ReportSink ----

    def report(self, process: str, kind: str, data: dict[str, object]) -> None:
        with self._changed:
            report = Report(process=process, kind=kind, time_s=time.time(), data=data)
            # Through the encoding, so that what one link refuses or changes the other does too.
            self._reports.append((self._next_report, decode_report(encode_report(report))))
            self._next_report += 1
            self._changed.notify_all()

    def server_health(self) -> None:
        """There is no server."""

    def _check_open(self) -> None:
        if self._spec_hash is None:
            raise run_not_open(self.run)


def _as_sent(data: dict[str, float | int | str]) -> dict[str, float | int | str]:
    return decode_beat(encode_beat(data))
