"""Fills batches: pops messages, decodes them, rejects what is no chunk, and collates; or does so in a thread."""

from __future__ import annotations

import queue
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Sequence

import torch

from quintet.optimizer.batch import Batch, collate
from quintet.optimizer.rejections import Rejections
from quintet.wire.chunk import ChunkSpec, TrajectoryChunk
from quintet.wire.codec import decode_chunk
from quintet.wire.errors import DecodeError, LinkDownError
from quintet.wire.link import Ack, ChunkSource, Message
from quintet.wire.reports import PhaseTimer
from quintet.wire.retry import RETRY_S

POP_S = 0.2  # how long one pop waits, so that a thread that should end notices
REMEMBERED = 65_536  # acknowledged ids kept: many times what Redis can lose and deliver again


class Batcher:
    """Collects messages until they make a batch of `batch_steps`.

    A message that comes again (Redis restarted and lost its last second) is dropped while it is in this process's
    hands, and acknowledged again as it was, not trained again, if it was acknowledged already.
    """

    def __init__(
        self,
        source: ChunkSource,
        spec: ChunkSpec,
        *,
        run: str,
        batch_steps: int,
        device: torch.device,
        timer: PhaseTimer,
        rejections: Rejections | None = None,
    ) -> None:
        """`rejections` hears of every chunk that is refused or taken."""
        self.rejections = rejections
        self.source, self.spec, self.run, self.batch_steps = source, spec, run, batch_steps
        self.device, self.timer = device, timer
        self.undecoded: deque[Message] = deque()  # not empty between two calls only if the link failed in between
        self.held: list[tuple[Message, TrajectoryChunk]] = []
        self.held_steps = 0
        self.open_ids: set[str] = set()
        self.acked: OrderedDict[str, Ack] = OrderedDict()
        self.reclaimed = False
        self.oldest_version = 0

    def refuse_older(self, version: int) -> list[Ack]:
        """From now on, chunks with a window that an older version played are stale.

        Returns how those at hand are to be acknowledged.
        """
        self.oldest_version = version
        late = [self._stale(message) for message, chunk in self.held if self._is_late(chunk)]
        self.held = [(message, chunk) for message, chunk in self.held if not self._is_late(chunk)]
        self.held_steps = sum(chunk.steps for _, chunk in self.held)
        return late

    def _is_late(self, chunk: TrajectoryChunk) -> bool:
        return int(chunk.version.min()) < self.oldest_version

    @staticmethod
    def _stale(message: Message) -> Ack:
        return Ack(id=message.id, stale=message.steps)

    def batch(self, timeout_s: float) -> Batch | None:
        """A batch, or None if it is not full within `timeout_s`; what came so far is kept for the next call."""
        if not self.reclaimed:
            self.undecoded.extend(self.source.reclaim())
            self.reclaimed = True
        self._decode()
        deadline = time.monotonic() + timeout_s
        while self.held_steps < self.batch_steps:
            with self.timer.phase("wait"):
                left_s = max(0.0, deadline - time.monotonic())
                self.undecoded.extend(self.source.pop(self.batch_steps - self.held_steps, min(POP_S, left_s)))
            self._decode()
            if self.held_steps < self.batch_steps and time.monotonic() >= deadline:
                return None
        return self._collate()

    def _collate(self) -> Batch:
        taken, steps = 0, 0
        while steps < self.batch_steps:
            steps += self.held[taken][1].steps
            taken += 1
        batch, self.held = self.held[:taken], self.held[taken:]
        self.held_steps -= steps
        with self.timer.phase("collate"):
            return collate([d for d, _ in batch], [c for _, c in batch], self.device)

    def _decode(self) -> None:
        """Take in what was delivered; a message at which the link fails, and all behind it, wait for the next call."""
        with self.timer.phase("decode"):
            while self.undecoded:
                self._take_in(self.undecoded[0])
                self.undecoded.popleft()

    def _take_in(self, message: Message) -> None:
        if message.id in self.open_ids:
            return
        if (known := self.acked.get(message.id)) is not None:
            self.source.ack([known])
            return
        try:
            chunk = decode_chunk(message.payload, self.spec, run=self.run)
            check_sender(chunk, message)
        except DecodeError as error:
            self.source.reject(message, str(error))
            self.remember([Ack(id=message.id, rejected=message.steps)])
            if self.rejections is not None:
                self.rejections.rejected(message, str(error))
            return
        if self.rejections is not None:
            self.rejections.took()
        if self._is_late(chunk):
            self.source.ack([self._stale(message)])
            self.remember([self._stale(message)])
            return
        self.open_ids.add(message.id)
        self.held.append((message, chunk))
        self.held_steps += chunk.steps

    def remember(self, acks: Sequence[Ack]) -> None:
        """These messages are acknowledged.

        An id is acknowledged before it is no longer open: a thread that takes it in between finds it in one of the two.
        """
        for ack in acks:
            self.acked[ack.id] = ack
            self.open_ids.discard(ack.id)
        while len(self.acked) > REMEMBERED:
            self.acked.popitem(last=False)


def check_sender(chunk: TrajectoryChunk, message: Message) -> None:
    """Compare what a chunk says of itself with what the link knew when it was pushed.

    Raises:
        DecodeError: it was never pushed, is counted otherwise, or carries an id that is not its sender's.
    """
    if chunk.steps != message.steps:
        raise DecodeError(f"chunk steps: found {chunk.steps}, expected {message.steps} as its entry was counted")
    found = (chunk.worker, chunk.incarnation, chunk.sequence)
    if message.sender not in (None, found):
        raise DecodeError(f"chunk id (worker, incarnation, sequence): found {found}, expected {message.sender}")


class Prefetcher:
    """A thread that keeps one batch ready, so that decoding and copies to the device overlap with learning.

    consumes: the chunk stream. waits for: chunks, and for the learner to take the ready batch.
    unblocked by: workers' pushes; `batch`. produces: batches.
    """

    def __init__(self, batcher: Batcher) -> None:
        self.batcher = batcher
        self.ready: queue.Queue[Batch] = queue.Queue(maxsize=1)
        self.ending = threading.Event()
        self.failure: BaseException | None = None
        self.thread = threading.Thread(target=self._loop, name="prefetch", daemon=True)

    def start(self) -> None:
        """Begin."""
        self.thread.start()

    def batch(self, timeout_s: float) -> Batch | None:
        """The ready batch, or None if there is none within `timeout_s`; raises what ended the thread."""
        try:
            return self.ready.get(timeout=timeout_s)
        except queue.Empty:
            if self.failure is not None:
                raise self.failure from None
            return None

    def close(self) -> None:
        """End the thread; chunks in its hands stay unacknowledged and are delivered again to the next optimizer."""
        self.ending.set()
        self.thread.join(timeout=5.0)

    def _loop(self) -> None:
        try:
            while not self.ending.is_set():
                try:
                    batch = self.batcher.batch(POP_S)
                except LinkDownError:
                    self.ending.wait(RETRY_S)
                    continue
                while batch is not None and not self.ending.is_set():
                    try:
                        self.ready.put(batch, timeout=POP_S)
                        batch = None
                    except queue.Full:
                        continue
        except BaseException as error:  # noqa: BLE001 - handed to `batch`, which raises it in the main thread
            self.failure = error
