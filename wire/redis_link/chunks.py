"""The chunk stream on Redis: the worker's end (push) and the optimizer's end (pop, acknowledge)."""

# ruff: noqa: D102  (what each method promises is said once, in the protocols of quintet.wire.link)

from __future__ import annotations

import re
import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import fields
from typing import Any

from quintet.wire.errors import LinkError
from quintet.wire.link import Ack, ChunkSink, ChunkSource, Counters, Message, PendingChunk
from quintet.wire.link_errors import check_pending, closed_incarnation, run_not_open, unbalanced_ack
from quintet.wire.redis_link import scripts
from quintet.wire.redis_link.base import RedisRun
from quintet.wire.redis_link.client import RedisFullError, pairs
from quintet.wire.redis_link.keys import CONSUMER, GROUP, REJECT_BYTES_KEPT, REJECTS_KEPT

_MAX_READ_CHUNKS = 64  # entries that one read asks for
_MAX_READ_BYTES = 8 * 2**20  # about as much as one read should bring
_SIZE = re.compile(rb"(\d{1,15}) \d+ (\d+) \S*?(\d+) (\d+)")  # steps, bytes, worker, incarnation's key, sequence
_COUNTED = [field.name for field in fields(Counters) if field.name != "queued_chunks"]


class RedisChunks(RedisRun, ChunkSink, ChunkSource):
    """Push from a worker, pop and acknowledge from the optimizer. Threads may share it; `pop` runs one at a time.

    An id may be popped twice: after a read whose answer was lost, and after Redis was killed and forgot its last
    second. The optimizer knows the ids that it holds and those that it acknowledged.
    """

    def __init__(self, url: str, run: str) -> None:
        super().__init__(url, run)
        self._popping = threading.Lock()  # guards what follows
        self._leftovers: deque[Message] = deque()  # read, but not yet returned by pop
        self._answer_lost = False  # a read may have been answered without our hearing it
        self._last_steps = 1  # of the last chunk read: how many to ask for
        self._last_bytes = 1

    # ---- ChunkSink ----

    def push(self, chunks: Sequence[PendingChunk]) -> int:
        check_pending(chunks)
        keys = self._keys
        arguments: list[int | str | bytes] = [keys.limits]
        for chunk in chunks:
            arguments += (chunk.sequence, chunk.cumulative_steps, chunk.steps, chunk.payload)
        try:
            status, n_safe = self._server.run(
                scripts.PUSH,
                [keys.chunks, keys.sizes, keys.counters] + [keys.incarnation(chunk.incarnation) for chunk in chunks],
                arguments,
            )
        except RedisFullError:
            return 0  # refused whole by the first write: no room, nothing half written
        if status == b"not_open":
            raise run_not_open(self.run)
        if status == b"closed":
            raise closed_incarnation(chunks[n_safe])
        return int(n_safe)

    def has_room(self, steps: int, n_bytes: int) -> bool:
        keys = self._keys
        answer = self._server.run(scripts.HAS_ROOM, [], [keys.limits, keys.chunks, keys.counters, steps, n_bytes])
        if answer == -1:
            raise run_not_open(self.run)
        return bool(answer)

    # ---- ChunkSource ----

    def reclaim(self) -> list[Message]:
        with self._popping:
            self._leftovers.clear()
            found = self._pending()
            self._answer_lost = False
            return found

    def pop(self, max_steps: int, timeout_s: float) -> list[Message]:
        with self._popping:
            if self._answer_lost:
                self._leftovers = deque(self._pending())  # what we never saw, what was left over, what is still open
                self._answer_lost = False
            deadline_s = time.monotonic() + timeout_s
            taken: list[Message] = []
            steps = 0
            while True:
                while self._leftovers and (not taken or steps + self._leftovers[0].steps <= max_steps):
                    taken.append(self._leftovers.popleft())
                    steps += taken[-1].steps
                if self._leftovers or (taken and steps >= max_steps):
                    return taken
                wait_s = 0.0 if taken else deadline_s - time.monotonic()
                entries = self._read_new(max_steps - steps, wait_s)
                self._leftovers.extend(entries)
                if not entries and (taken or time.monotonic() >= deadline_s):
                    return taken

    def ack(self, acks: Sequence[Ack]) -> Counters:
        keys = self._keys
        arguments: list[int | str] = [*self._proof(), GROUP]
        for ack in acks:
            arguments += (ack.id, ack.trained, ack.stale, ack.rejected)
        lease = keys.optimizer_lease
        answer = self._server.run(scripts.ACK, [keys.chunks, keys.sizes, keys.counters, lease], arguments)
        self._check_fence(answer)
        if answer[0] == b"unbalanced":
            entry_id = answer[1].decode()
            raise unbalanced_ack(next(s for s in acks if s.id == entry_id), answer[2])
        return _counters(answer)

    def reject(self, message: Message, reason: str) -> Counters:
        keys = self._keys
        proof, payload = self._proof(), message.payload
        answer = self._server.run(
            scripts.REJECT,
            [keys.chunks, keys.sizes, keys.counters, keys.rejects, keys.optimizer_lease],
            [*proof, GROUP, message.id, REJECTS_KEPT, reason[:1000], len(payload), payload[:REJECT_BYTES_KEPT]],
        )
        self._check_fence(answer)
        return _counters(answer)

    def mark_undone(self, steps: int) -> None:
        keys = self._keys
        proof = self._proof()
        self._check_fence(self._server.run(scripts.MARK_UNDONE, [keys.counters, keys.optimizer_lease], [*proof, steps]))

    def counters(self) -> Counters:
        return _counters(self._server.run(scripts.COUNTERS, [], [self._keys.counters, self._keys.chunks]))

    def _read_new(self, max_steps: int, wait_s: float) -> list[Message]:
        """Read undelivered entries, about `max_steps` of them; what is too many waits in `_leftovers`."""
        count = min(_MAX_READ_CHUNKS, max_steps // self._last_steps, _MAX_READ_BYTES // self._last_bytes)
        # If anything goes wrong before the answer is here, Redis may have delivered entries that we never saw.
        self._answer_lost = True
        entries = self._read(">", max(1, count), wait_s)
        self._answer_lost = False
        return entries

    def _pending(self) -> list[Message]:
        """All entries that were delivered and not acknowledged, oldest first."""
        found: list[Message] = []
        after = "0"
        while entries := self._read(after, _MAX_READ_CHUNKS, 0.0):
            found += entries
            after = entries[-1].id
        return found

    def _read(self, after: str, count: int, wait_s: float) -> list[Message]:
        arguments = ["XREADGROUP", "GROUP", GROUP, CONSUMER, "COUNT", count, *self._server.block(wait_s)]
        try:
            answer = self._server.command(*arguments, "STREAMS", self._keys.chunks, after)
        except LinkError as error:
            if "NOGROUP" in str(error):
                raise run_not_open(self.run) from error
            raise
        entries = answer[0][1] if answer else []
        if not entries:
            return []
        sizes = self._server.command("HMGET", self._keys.sizes, *(entry_id for entry_id, _ in entries))
        found = [_message(entry_id, flat, size) for (entry_id, flat), size in zip(entries, sizes, strict=True)]
        for message in found:
            self._last_steps, self._last_bytes = max(1, message.steps), max(1, len(message.payload))
        return found


def _message(entry_id: bytes, flat: Sequence[bytes] | None, size: bytes | None) -> Message:
    """What push counted is believed, not what the entry says: one that was not pushed is delivered as garbage."""
    payload = pairs(flat).get(b"chunk", b"")
    known = _SIZE.fullmatch(size or b"")
    if known is None:
        return Message(id=entry_id.decode(), steps=0, payload=payload)
    steps, worker, incarnation, sequence = (int(number) for number in known.groups())
    return Message(id=entry_id.decode(), steps=steps, payload=payload, sender=(worker, incarnation, sequence))


def _counters(answer: Sequence[Any]) -> Counters:
    _, flat, n_entries = answer
    found = pairs(flat)
    try:
        values = {name: int(found[name.encode()]) for name in _COUNTED if name.encode() in found}
    except ValueError as error:
        raise LinkError(f"the run's counters hold what is no number, and none of ours wrote: {error}") from error
    return Counters(**values, queued_chunks=n_entries)
