"""What somebody with a worker's password can leave in Redis ends no reader, and nothing of it is counted as real."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pytest

from quintet.wire.codec import MAX_CHUNK_BYTES, decode_chunk, encode_chunk
from quintet.wire.errors import DecodeError, LinkError
from quintet.wire.link import Counters, PendingChunk, Registration
from quintet.wire.redis_link.client import RedisServer
from quintet.wire.redis_link.keys import REJECTS, RunKeys
from quintet.wire.redis_link.link import RedisLink
from tests.conftest import SPEC_HASH, AnyLink, LinkMaker
from tests.support.chunk_factory import RUN, make_chunk, make_pending_chunk, make_spec, make_weights, pending_chunk


@pytest.fixture
def worker(link: AnyLink) -> Registration:
    return link.register(0, SPEC_HASH)


def test_a_message_says_who_pushed_it_whatever_the_chunk_claims(make_link: LinkMaker) -> None:
    link = make_link()
    link.register(0, SPEC_HASH)
    link.register(7, SPEC_HASH)  # incarnation 2
    link.push([PendingChunk(worker=99, incarnation=2, sequence=3, cumulative_steps=48, steps=16, payload=b"x")])
    (message,) = link.pop(100, 1.0)
    assert message.sender == (7, 2, 3)
    assert make_link().reclaim() == [message]


def test_an_incarnation_that_was_never_issued_can_push_nothing(link: AnyLink, worker: Registration) -> None:
    forged = PendingChunk(worker=0, incarnation=12345, sequence=1, cumulative_steps=16, steps=16, payload=b"x")
    with pytest.raises(LinkError, match="incarnation 12345 was closed"):
        link.push([forged])
    assert link.counters() == Counters()


def test_a_chunk_larger_than_any_chunk_is_not_pushed(link: AnyLink, worker: Registration) -> None:
    large = PendingChunk(
        worker=0, incarnation=1, sequence=1, cumulative_steps=16, steps=16, payload=bytes(MAX_CHUNK_BYTES + 1)
    )
    with pytest.raises(ValueError, match="found 67108865 bytes, expected at most 67108864"):
        link.push([large])


def test_a_real_chunk_that_is_pushed_again_under_a_new_number_gives_itself_away() -> None:
    spec = make_spec()
    payload = encode_chunk(make_chunk(spec, sequence=1), spec, compress=False)
    replayed = decode_chunk(payload, spec, run=RUN)
    assert (replayed.worker, replayed.incarnation, replayed.sequence) == (0, 1, 1)  # not 2, as it would be counted


@pytest.mark.parametrize("bad", [np.nan, np.inf, -3e38])
def test_a_chunk_that_is_not_finite_is_sent_as_it_is_and_refused_at_the_other_end(bad: float) -> None:
    spec = make_spec()
    chunk = make_chunk(spec)
    chunk.reward[0, 0] = bad
    with pytest.raises(DecodeError, match="chunk reward: found 1 of 16 numbers NaN, infinite or beyond"):
        decode_chunk(pending_chunk(chunk, spec).payload, spec, run=RUN)


# ---- what only Redis can hold ----


@dataclass
class Intruder:
    """Somebody who writes into a run's keys without our link."""

    server: RedisServer
    keys: RunKeys
    link: RedisLink

    def write(self, *command: str | bytes | int) -> None:
        self.server.command(*command)


@pytest.fixture
def intruder(redis_url: str, run_name: str, make_link: LinkMaker) -> Iterator[Intruder]:
    link = make_link()
    assert isinstance(link, RedisLink)
    server = RedisServer(redis_url, timeout_s=30.0)
    yield Intruder(server, RunKeys(run_name), link)
    server.close()


on_redis = pytest.mark.parametrize("make_link", ["redis"], indirect=True)


@pytest.mark.redis
@on_redis
def test_an_entry_that_nobody_pushed_counts_nothing_and_leaves_as_garbage(intruder: Intruder) -> None:
    link = intruder.link
    chunk = make_pending_chunk(link.register(0, SPEC_HASH), 1)
    link.push([chunk])
    intruder.write("XADD", intruder.keys.chunks, "*", "steps", "1000000", "chunk", chunk.payload)
    real, forged = link.pop(100, 1.0)
    assert (real.steps, real.sender) == (16, (0, 1, 1))
    assert (forged.steps, forged.sender, forged.payload) == (0, None, chunk.payload)
    link.reject(forged, "nobody pushed it")
    assert link.counters() == Counters(produced=16, in_flight=16, queued_chunks=1, queued_bytes=10)


@pytest.mark.redis
@on_redis
@pytest.mark.parametrize(
    "size", [b"", b"many", b"16", b"16 10", b"16 10 0 x 1", b"\xff 1 1 1 1", b"9" * 30 + b" 1 1 1 1"]
)
def test_a_size_that_push_did_not_write_is_no_size(intruder: Intruder, size: bytes) -> None:
    link = intruder.link
    link.push([make_pending_chunk(link.register(0, SPEC_HASH), 1)])
    entries = intruder.server.command("HGETALL", intruder.keys.sizes)
    intruder.write("HSET", intruder.keys.sizes, next(iter(entries)), size)
    (message,) = link.pop(100, 1.0)
    assert (message.steps, message.sender) == (0, None)


@pytest.mark.redis
@on_redis
def test_a_payload_far_too_large_is_taken_out_and_only_their_beginning_is_kept(intruder: Intruder) -> None:
    link = intruder.link
    intruder.write("XADD", intruder.keys.chunks, "*", "chunk", bytes(16 * 2**20))
    (message,) = link.pop(100, 1.0)
    with pytest.raises(DecodeError, match="found 16777216 bytes, expected at most"):
        decode_chunk(message.payload, make_spec(), run=RUN)
    assert link.reject(message, "too large") == Counters()
    kept = intruder.server.command("MEMORY", "USAGE", REJECTS.of(link.run))
    assert 2**20 <= kept < 2 * 2**20


@pytest.mark.redis
@on_redis
@pytest.mark.parametrize("value", [b"", b"x", b"1 2 3", b"a b c d", b"1 1 1 \xc1", b"1 1 1 " + bytes(100_000)])
def test_a_heartbeat_that_cannot_be_read_is_not_heard_and_hides_no_other(intruder: Intruder, value: bytes) -> None:
    intruder.link.beat("optimizer", {"version": 1})
    intruder.write("HSET", intruder.keys.heartbeats, "worker/3", value)
    intruder.write("HSET", intruder.keys.heartbeats, b"\xff\xfe", b"1 1 1 \x80")
    assert [beat.process for beat in intruder.link.heartbeats()] == ["optimizer"]


@pytest.mark.redis
@on_redis
def test_a_report_of_any_bytes_becomes_an_event(intruder: Intruder) -> None:
    reports = intruder.keys.reports
    for payload in (b"", b"\xc1", b"\x91" * 60_000, bytes(200_000), b"\x95\x02\xa1a\xa1b\x01\x80"):
        intruder.write("XADD", reports, "*", "report", payload)
    intruder.write("XADD", reports, "*", "other", "field")
    _, found = intruder.link.read_reports("0", 1.0)
    assert [report.data["event"] for report in found] == ["bad_report"] * 6


@pytest.mark.redis
@on_redis
def test_counters_that_hold_more_than_ours_are_read_and_such_as_are_no_numbers_named(intruder: Intruder) -> None:
    intruder.write("HSET", intruder.keys.counters, "produced", 5, "lost", 5, "surprise", "x", "queued_chunks", 9)
    assert intruder.link.counters() == Counters(produced=5, lost=5)
    intruder.write("HSET", intruder.keys.counters, "lost", "many")
    with pytest.raises(LinkError, match="counters hold what is no number"):
        intruder.link.counters()


@pytest.mark.redis
@on_redis
@pytest.mark.parametrize(
    ("version", "sha256"),
    [("2", "../../../etc/passwd"), ("2", ""), ("two", "0" * 64), ("-1", "0" * 64), ("2", "A" * 64)],
)
def test_an_announcement_never_becomes_a_path(intruder: Intruder, version: str, sha256: str) -> None:
    intruder.write("HSET", intruder.keys.announced, "version", version, "sha256", sha256)
    with pytest.raises(DecodeError, match="announced weights: found version"):
        intruder.link.latest(0)


@pytest.mark.redis
@on_redis
def test_weights_that_were_half_written_or_exchanged_are_refused(intruder: Intruder) -> None:
    link = intruder.link
    link.publish(make_weights(3))
    whole: bytes = intruder.server.command("GET", intruder.keys.weights)
    for damaged in (whole[: len(whole) // 2], whole[:-1], whole[:-1] + b"!", b"", whole + b"more"):
        intruder.write("SET", intruder.keys.weights, damaged)
        with pytest.raises(DecodeError, match="weights"):
            link.latest(0)
    intruder.write("SET", intruder.keys.weights, whole)
    assert link.latest(0) == make_weights(3)
