"""Batches out of messages: what is full, what is garbage, what comes twice, and a link that fails in between."""

from __future__ import annotations

import re
import threading
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from quintet.optimizer.batcher import Batcher, Prefetcher
from quintet.wire.errors import LinkDownError
from quintet.wire.link import Ack, Counters, Message
from quintet.wire.memory_link import MemoryLink
from quintet.wire.reports import PhaseTimer
from tests.support.chunk_factory import RUN, make_chunk, make_spec, pending_chunk
from tests.support.in_process_run import wait_until

SPEC = make_spec()  # chunks of 16 rows, one agent


class Stream(MemoryLink):
    """A memory link that a test can fill, and that can fail."""

    def __init__(self) -> None:
        super().__init__(RUN)
        self.open_run(spec_hash=SPEC.hash, config_text="", max_queued_steps=10**6, max_queue_bytes=10**8)
        self.registration = self.register(0, SPEC.hash)
        self.sequence = 0
        self.failures = 0
        self.pops: list[int] = []

    def put(self, payload: bytes | None = None, *, n: int = 1) -> None:
        """Push so many chunks, numbered by their reward, or these bytes in a chunk's place."""
        for _ in range(n):
            self.sequence += 1
            chunk = make_chunk(SPEC, incarnation=self.registration.incarnation, sequence=self.sequence)
            chunk = replace(chunk, reward=np.full_like(chunk.reward, self.sequence))
            pending = pending_chunk(chunk, SPEC)
            self.push([pending if payload is None else replace(pending, payload=payload)])

    def pop(self, max_steps: int, timeout_s: float) -> list[Message]:
        self.pops.append(max_steps)
        return super().pop(max_steps, timeout_s)

    def reject(self, message: Message, reason: str) -> Counters:
        if self.failures:
            self.failures -= 1
            raise LinkDownError("down")
        return super().reject(message, reason)


def batcher_of(stream: Stream, batch_steps: int = 48) -> Batcher:
    return Batcher(stream, SPEC, run=RUN, batch_steps=batch_steps, device=torch.device("cpu"), timer=PhaseTimer())


def numbers(batcher: Batcher) -> list[int]:
    """The next batch's chunks; a call without time looks once, so it may take some."""
    batch = next((b for b in (batcher.batch(0.0) for _ in range(5)) if b is not None), None)
    assert batch is not None
    return [int(x) for x in batch.reward[0, :, 0]]


def test_a_batch_is_filled_in_the_order_of_arrival_over_as_many_calls_as_it_takes() -> None:
    stream = Stream()
    batcher = batcher_of(stream)
    assert batcher.batch(0.0) is None
    stream.put(n=2)
    assert batcher.batch(0.0) is None
    stream.put(n=2)
    assert numbers(batcher) == [1, 2, 3]
    assert batcher.batch(0.0) is None
    stream.put(n=2)
    assert numbers(batcher) == [4, 5, 6]


def test_no_more_is_taken_off_the_stream_than_the_batch_needs() -> None:
    stream = Stream()
    stream.put(n=10)
    batcher = batcher_of(stream)
    assert numbers(batcher) == [1, 2, 3]
    assert stream.pops == [48]
    assert batcher.held == []


def test_chunks_that_do_not_divide_the_batch_make_it_a_little_larger() -> None:
    stream = Stream()
    stream.put(n=10)
    batcher = batcher_of(stream, batch_steps=40)
    assert numbers(batcher) == [1, 2, 3]
    assert numbers(batcher) == [4, 5, 6]


def other_chunk() -> bytes:
    spec = make_spec(lstm_units=9)
    return pending_chunk(make_chunk(spec), spec).payload


def short_chunk() -> bytes:
    return pending_chunk(make_chunk(SPEC, rows=8), SPEC).payload


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (b"garbage", "chunk message"),
        (b"", "chunk message"),
        (other_chunk(), "chunk spec"),
        (short_chunk(), "found 8, expected 16"),
    ],
)
def test_what_is_no_chunk_of_this_run_is_rejected_with_a_reason_and_the_rest_is_trained_on(
    payload: bytes, reason: str
) -> None:
    stream = Stream()
    stream.put()
    stream.put(payload)
    stream.put(n=2)
    batcher = batcher_of(stream)
    assert numbers(batcher) == [1, 3, 4]
    assert len(stream.rejects) == 1
    assert reason in stream.rejects[0][0]
    assert stream.rejects[0][1] == payload
    counters = stream.counters()
    assert counters.rejected == 16
    assert counters.unaccounted == 0


def test_chunks_that_an_earlier_optimizer_left_unsettled_come_first() -> None:
    stream = Stream()
    stream.put(n=3)
    batcher_of(stream).batch(0.0)
    stream.put(n=1)
    successor = batcher_of(stream, batch_steps=64)
    assert numbers(successor) == [1, 2, 3, 4]


def test_a_delivery_that_comes_again_while_it_is_held_is_taken_once() -> None:
    stream = Stream()
    stream.put(n=2)
    batcher = batcher_of(stream)
    assert batcher.batch(0.0) is None
    stream._delivered.clear()  # as a Redis that lost its last second would deliver again
    stream.put(n=1)
    assert numbers(batcher) == [1, 2, 3]


def test_a_delivery_that_comes_again_after_it_was_settled_is_settled_as_it_was_and_not_trained_again() -> None:
    stream = Stream()
    stream.put(n=3)
    batcher = batcher_of(stream)
    batch = batcher.batch(0.0)
    assert batch is not None
    batcher.remember([Ack(id=d.id, trained=d.steps - 4, stale=4) for d in batch.messages])
    stream._delivered.clear()  # the ack itself was lost with Redis's last second
    stream.put(n=3)
    assert numbers(batcher) == [4, 5, 6]
    counters = stream.counters()
    assert (counters.trained, counters.stale, counters.unaccounted) == (36, 12, 0)


def test_a_delivery_that_comes_again_while_it_is_being_settled_is_not_trained_again() -> None:
    """Two threads: one settles, the other is handed the same chunks between any two of its steps."""
    stream = Stream()
    stream.put(n=3)
    batcher = batcher_of(stream)
    batch = batcher.batch(0.0)
    assert batch is not None

    def take_again() -> None:
        batcher.undecoded.extend(batch.messages)
        prefetch = threading.Thread(target=batcher._decode)
        prefetch.start()
        prefetch.join()

    class Open(set[str]):
        def discard(self, element: object) -> None:
            take_again()
            super().discard(element)
            take_again()

    batcher.open_ids = Open(batcher.open_ids)
    batcher.remember([Ack(id=d.id, trained=d.steps) for d in batch.messages])
    take_again()
    assert batcher.held == []
    stream.put(n=3)
    assert numbers(batcher) == [4, 5, 6]
    assert (stream.counters().trained, stream.counters().unaccounted) == (48, 0)


def test_a_link_that_fails_while_garbage_is_rejected_costs_nothing_that_came_with_it() -> None:
    stream = Stream()
    stream.put()
    stream.put(b"garbage")
    stream.put(n=2)
    stream.failures = 2
    batcher = batcher_of(stream)
    for _ in range(2):
        with pytest.raises(LinkDownError):
            batcher.batch(0.0)
    assert numbers(batcher) == [1, 3, 4]
    assert stream.counters().rejected == 16
    assert stream.counters().unaccounted == 0


def test_the_prefetch_thread_keeps_one_batch_ready_and_no_more() -> None:
    stream = Stream()
    stream.put(n=12)
    prefetcher = Prefetcher(batcher_of(stream))
    prefetcher.start()
    try:
        wait_until(prefetcher.ready.full)
        first, second = prefetcher.batch(5.0), prefetcher.batch(5.0)
        assert first is not None
        assert second is not None
        assert [int(x) for b in (first, second) for x in b.reward[0, :, 0]] == [1, 2, 3, 4, 5, 6]
    finally:
        prefetcher.close()
    assert not prefetcher.thread.is_alive()
    assert stream.counters().in_flight == 12 * 16  # whatever the thread held is still the stream's


def test_the_prefetch_thread_outlives_a_link_that_is_down_and_hands_over_what_ends_it() -> None:
    stream = Stream()
    answers = [LinkDownError("down"), LinkDownError("down"), ZeroDivisionError("a bug")]
    pop = stream.pop

    def failing_pop(max_steps: int, timeout_s: float) -> list[Message]:
        if threading.current_thread().name == "prefetch" and answers:
            raise answers.pop(0)
        return pop(max_steps, timeout_s)

    stream.pop = failing_pop  # type: ignore[method-assign]
    prefetcher = Prefetcher(batcher_of(stream))
    prefetcher.start()
    wait_until(lambda: not prefetcher.thread.is_alive())
    assert answers == []
    with pytest.raises(ZeroDivisionError, match="a bug"):
        prefetcher.batch(0.0)
    prefetcher.close()


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"worker": 1}, r"found \(1, 1, 1\), expected \(0, 1, 1\)"),
        ({"incarnation": 2}, r"found \(0, 2, 1\), expected \(0, 1, 1\)"),
        ({"sequence": 5, "cumulative_steps": 80}, r"found \(0, 1, 5\), expected \(0, 1, 1\)"),
        ({"reward": np.full((16, 1), np.nan, np.float32)}, "16 of 16 numbers NaN"),
        ({"value": np.full((17, 1), 1e30, np.float32)}, "17 of 17 numbers NaN, infinite or beyond 1e.12"),
        ({"run": "another-run"}, "run: found 'another-run'"),
    ],
)
def test_a_lie_is_rejected_with_its_reason_and_the_law_holds(changes: dict[str, Any], says: str) -> None:
    link = MemoryLink(RUN)
    link.open_run(spec_hash=SPEC.hash, config_text="", max_queued_steps=10**6, max_queue_bytes=10**8)
    link.register(0, SPEC.hash)
    honest = make_chunk(SPEC)
    lie = pending_chunk(replace(honest, **changes), SPEC)
    link.push([replace(pending_chunk(honest, SPEC), payload=lie.payload)])
    link.push([pending_chunk(make_chunk(SPEC, sequence=2), SPEC)])
    batcher = Batcher(link, SPEC, run=RUN, batch_steps=16, device=torch.device("cpu"), timer=PhaseTimer())
    batch = batcher.batch(1.0)
    assert batch is not None
    assert [message.sender for message in batch.messages] == [(0, 1, 2)]
    found = link.counters()
    assert (found.produced, found.rejected, found.in_flight, found.unaccounted) == (32, 16, 16, 0)
    ((reason, _),) = link.rejects
    assert re.search(says, reason), reason
