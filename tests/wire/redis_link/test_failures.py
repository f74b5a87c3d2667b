"""A Redis that is killed, forgets or fills up loses no count, uses no version twice and lets everything be settled."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from quintet.cluster.processes.redis_server import EmbeddedRedis
from quintet.wire.errors import LinkDownError, LinkError
from quintet.wire.link import Ack, Counters, Message
from quintet.wire.redis_link.client import RedisServer, check_maxmemory, needed_memory_bytes
from quintet.wire.redis_link.keys import RunKeys
from quintet.wire.redis_link.link import RedisLink, connect
from quintet.wire.redis_link.weights_cache import clear_weights_cache
from tests.conftest import SPEC_HASH
from tests.support.chunk_factory import make_pending_chunk, make_weights

pytestmark = pytest.mark.redis
MIB = 2**20


def trained(messages: list[Message]) -> list[Ack]:
    return [Ack(id=message.id, trained=message.steps) for message in messages]


def open_run(link: RedisLink, *, max_queue_bytes: int = MIB) -> None:
    link.open_run(spec_hash=SPEC_HASH, config_text="", max_queued_steps=10_000, max_queue_bytes=max_queue_bytes)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[EmbeddedRedis]:
    """A server of the test's own, to be killed."""
    with EmbeddedRedis.start(tmp_path / "redis", maxmemory_bytes=64 * MIB) as server:
        yield server


@pytest.fixture
def own(server: EmbeddedRedis, run_name: str) -> Iterator[RedisLink]:
    """A link to an open run on that server."""
    with connect(server.url, run_name, wait_s=5.0) as link:
        open_run(link)
        yield link


def wait_for_the_file(server: EmbeddedRedis) -> None:
    """Until everything is in the AOF: Redis holds writes back for up to two seconds while the disk is busy."""
    redis = RedisServer(server.url, timeout_s=5.0)
    while any(redis.info("persistence")[name] for name in ("aof_buffer_length", "aof_pending_bio_fsync")):
        time.sleep(0.01)
    redis.close()


def kill_and_restart(server: EmbeddedRedis, meanwhile: Callable[[], None] = lambda: None) -> None:
    """Kill -9, and what may happen before the next start."""
    wait_for_the_file(server)
    server.process.kill()
    server.process.wait()
    meanwhile()
    assert server.ensure()


# ---- restarts ----


def test_a_killed_redis_keeps_the_stream_and_the_counters_but_not_the_weights(
    server: EmbeddedRedis, own: RedisLink
) -> None:
    worker = own.register(0, SPEC_HASH)
    own.push([make_pending_chunk(worker, sequence) for sequence in (1, 2, 4)])
    own.set_wanted_workers(3)
    own.publish(make_weights(7))
    popped = own.pop(16, 1.0)
    own.ack(trained(popped))
    before = own.counters()
    assert not own.needs_republish()
    kill_and_restart(server)
    with RedisLink(server.url, own.run) as later:
        assert (
            later.counters()
            == before
            == Counters(produced=64, trained=16, lost=16, in_flight=32, queued_chunks=2, queued_bytes=20)
        )
        assert later.announced_version() == 7
        assert later.latest(0) is None
        assert later.control_message().wanted_workers == 3
        assert len(later.reclaim() + later.pop(1000, 0.1)) == 2
        assert later.push([make_pending_chunk(worker, 4), make_pending_chunk(worker, 5)]) == 2
        assert later.register(1, SPEC_HASH).incarnation == worker.incarnation + 1


def test_weights_are_published_again_after_a_restart_and_the_version_never_goes_down(
    server: EmbeddedRedis, own: RedisLink, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("quintet.wire.redis_link.weights._RUN_ID_POLL_S", 0.0)
    own.publish(make_weights(7))
    kill_and_restart(server)
    assert own.needs_republish()
    with pytest.raises(LinkError, match="7 was announced"):
        own.publish(make_weights(6))
    own.publish(make_weights(7))
    assert not own.needs_republish()
    clear_weights_cache(own.run)
    assert own.latest(0) == make_weights(7)


def test_weights_that_an_aof_rewrite_kept_are_not_mistaken_for_the_latest(
    server: EmbeddedRedis, own: RedisLink
) -> None:
    redis = RedisServer(server.url, timeout_s=5.0)
    own.publish(make_weights(7))
    redis.command("BGREWRITEAOF")
    while any(redis.info("persistence")[f"aof_rewrite_{state}"] for state in ("scheduled", "in_progress")):
        time.sleep(0.01)
    own.publish(make_weights(8))
    kill_and_restart(server)
    assert redis.command("EXISTS", RunKeys(own.run).weights) == 1
    redis.close()
    assert own.announced_version() == 8
    assert own.latest(0) is None
    assert own.latest(8) is None


def test_what_redis_forgot_comes_again_under_the_same_ids_and_counts_once(
    server: EmbeddedRedis, own: RedisLink, tmp_path: Path
) -> None:
    """A killed Redis may lose its last second; here everything since the push."""
    worker = own.register(0, SPEC_HASH)
    own.push([make_pending_chunk(worker, sequence) for sequence in (1, 2, 3)])
    wait_for_the_file(server)
    (aof,) = [path for path in (tmp_path / "redis").rglob("*.aof") if b"XADD" in path.read_bytes()]
    size = aof.stat().st_size
    first, *others = own.pop(1000, 1.0)
    own.ack(trained([first]))

    def forget() -> None:
        with aof.open("r+b") as file:
            file.truncate(size)

    kill_and_restart(server, forget)
    assert own.counters() == Counters(produced=48, in_flight=48, queued_chunks=3, queued_bytes=30)
    assert own.pop(1000, 0.1) == [first, *others]
    assert own.ack(trained([first])).trained == 16
    assert own.ack(trained([first, *others])) == Counters(produced=48, trained=48)


def test_a_link_says_down_while_redis_is_away_and_works_when_it_is_back(server: EmbeddedRedis, own: RedisLink) -> None:
    worker = own.register(0, SPEC_HASH)
    own.push([make_pending_chunk(worker, 1)])

    def try_everything() -> None:
        for call in (
            lambda: own.push([make_pending_chunk(worker, 2)]),
            lambda: own.pop(100, 0.0),
            own.control_message,
            lambda: own.heartbeat(worker, 16, {}),
            lambda: own.latest(0),
            own.counters,
        ):
            with pytest.raises(LinkDownError, match=f"127.0.0.1:{server.port} does not answer"):
                call()
        own.report("worker/0", "event", {})  # never raises

    kill_and_restart(server, try_everything)
    assert own.reports_dropped == 1
    assert own.push([make_pending_chunk(worker, 2)]) == 1
    assert len(own.pop(1000, 1.0)) == 2


# ---- a full Redis ----


def test_a_full_redis_takes_no_chunk_but_lets_everything_be_settled(server: EmbeddedRedis, own: RedisLink) -> None:
    open_run(own, max_queue_bytes=100 * MIB)  # the bound is wrong; maxmemory must hold all the same
    worker = own.register(0, SPEC_HASH)
    sequence = 0
    while own.push([make_pending_chunk(worker, sequence + 1, n_bytes=MIB)]):
        sequence += 1
    assert sequence > 20
    before = own.counters()
    assert not own.has_room(16, MIB)  # so that a worker does not send the chunk again and again
    assert own.push([make_pending_chunk(worker, sequence + 1, n_bytes=MIB)]) == 0
    assert own.counters() == before
    assert before.unaccounted == 0

    own.heartbeat(worker, 16 * sequence, {})
    own.hold_lease(60.0)
    own.set_stopping(True)
    own.set_wanted_workers(2)
    assert own.register(1, SPEC_HASH).worker == 1
    own.publish(make_weights(1))
    found = own.control_message()
    assert (found.version, found.wanted_workers, found.stopping, found.controller_alive) == (1, 2, True, True)
    own.deregister(worker, 16 * sequence + 5)
    assert own.counters().lost == 5

    first, *others = own.pop(10_000, 1.0)
    own.reject(first, "too much")
    found_after = own.ack(trained(others))
    assert (found_after.trained, found_after.rejected, found_after.in_flight) == (16 * (sequence - 1), 16, 0)
    assert own.has_room(16, 1)


def test_maxmemory_is_checked_with_the_numbers(server: EmbeddedRedis) -> None:
    needed = needed_memory_bytes(max_queue_bytes=20 * MIB, workers=2, weights_bytes=6 * MIB)
    assert needed == 64 * MIB
    check_maxmemory(server.url, needed)
    with pytest.raises(LinkError, match=f"maxmemory {64 * MIB} bytes; this run needs {needed + 1} "):
        check_maxmemory(server.url, needed + 1)
    redis = RedisServer(server.url, timeout_s=5.0)
    redis.command("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
    with pytest.raises(LinkError, match="maxmemory-policy allkeys-lru, expected noeviction"):
        check_maxmemory(server.url, needed)
    redis.command("CONFIG", "SET", "maxmemory", "0")
    check_maxmemory(server.url, needed)
    redis.close()
