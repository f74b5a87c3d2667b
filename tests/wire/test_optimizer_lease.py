"""One optimizer at a time: whoever holds the newest fencing token may act, and nobody else, on both links."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from quintet.cluster.processes.redis_server import EmbeddedRedis
from quintet.wire.errors import LeaseHeldError, LeaseLostError
from quintet.wire.link import Ack, Counters, Message, Registration
from quintet.wire.memory_link import MemoryLink
from quintet.wire.redis_link.client import RedisServer
from quintet.wire.redis_link.keys import RunKeys
from quintet.wire.redis_link.link import RedisLink
from tests.conftest import SPEC_HASH, AnyLink, LinkMaker
from tests.support.chunk_factory import make_pending_chunk, make_weights

Acts = list[Callable[[AnyLink, Message], object]]
FENCED: Acts = [
    lambda link, _: link.publish(make_weights(9)),
    lambda link, message: link.ack([Ack(id=message.id, trained=message.steps)]),
    lambda link, message: link.reject(message, "garbage"),
    lambda link, _: link.mark_undone(5),
    lambda link, _: link.keep_optimizer_lease(10.0),
    lambda link, _: link.release_optimizer_lease(),
]


@pytest.fixture
def other(make_link: LinkMaker, link: AnyLink) -> AnyLink:
    """The link of another process to the same run as `link`."""
    return link.beside() if isinstance(link, MemoryLink) else make_link()


@pytest.fixture
def worker(link: AnyLink) -> Registration:
    return link.register(0, SPEC_HASH)


def test_the_token_grows_by_one_each_time_the_lease_is_taken(link: AnyLink, other: AnyLink) -> None:
    assert link.take_optimizer_lease("first", 60.0) == 1
    assert link.take_optimizer_lease("first", 60.0) == 2  # the same link, whose first answer may have been lost
    link.release_optimizer_lease()
    assert other.take_optimizer_lease("second", 60.0) == 3


def test_a_second_optimizer_is_refused_and_told_who_holds_the_run_and_since_when(link: AnyLink, other: AnyLink) -> None:
    link.take_optimizer_lease("first@somewhere", 60.0)
    with pytest.raises(LeaseHeldError, match=r"first@somewhere, heard \d\.\d s ago"):
        other.take_optimizer_lease("second", 60.0)
    link.publish(make_weights(1))  # the attempt changed nothing for the holder
    link.keep_optimizer_lease(60.0)
    with pytest.raises(LeaseLostError, match=r"no lease, but token 1 was issued since \(to first@somewhere"):
        other.publish(make_weights(2))


def test_two_links_with_one_owner_are_two_optimizers(link: AnyLink, other: AnyLink) -> None:
    link.take_optimizer_lease("optimizer-1", 60.0)
    with pytest.raises(LeaseHeldError):
        other.take_optimizer_lease("optimizer-1", 60.0)


@pytest.mark.parametrize("act", range(len(FENCED)))
def test_an_optimizer_that_was_paused_can_do_nothing_when_it_wakes_up(
    link: AnyLink, other: AnyLink, worker: Registration, act: int
) -> None:
    link.take_optimizer_lease("paused", 0.01)
    link.push([make_pending_chunk(worker, 1)])
    (message,) = link.pop(100, 1.0)
    link.publish(make_weights(1))
    time.sleep(0.05)
    assert other.take_optimizer_lease("next", 60.0) == 2
    other.publish(make_weights(2))
    with pytest.raises(LeaseLostError, match=r"fencing token 1, but token 2 was issued since \(to next\)"):
        FENCED[act](link, message)
    assert other.counters() == Counters(produced=16, in_flight=16, queued_chunks=1, queued_bytes=10)
    assert other.announced_version() == 2
    assert other.reclaim() == [message]
    other.keep_optimizer_lease(60.0)
    assert other.ack([Ack(id=message.id, trained=16)]).trained == 16


def test_an_expired_lease_that_nobody_took_can_still_be_used_and_renewed(link: AnyLink, worker: Registration) -> None:
    link.take_optimizer_lease("slow", 0.01)
    time.sleep(0.05)
    link.publish(make_weights(1))
    link.mark_undone(3)
    link.keep_optimizer_lease(60.0)
    assert link.counters().undone == 3


def test_renewing_keeps_others_out(link: AnyLink, other: AnyLink) -> None:
    link.take_optimizer_lease("first", 0.01)
    link.keep_optimizer_lease(60.0)
    time.sleep(0.05)
    with pytest.raises(LeaseHeldError):
        other.take_optimizer_lease("second", 60.0)


def test_a_released_lease_is_free_at_once_and_its_old_holder_is_fenced_off(link: AnyLink, other: AnyLink) -> None:
    link.take_optimizer_lease("first", 60.0)
    link.release_optimizer_lease()
    with pytest.raises(LeaseLostError):
        link.publish(make_weights(1))
    assert other.take_optimizer_lease("second", 60.0) == 2
    other.publish(make_weights(1))


def test_a_broken_lease_is_free_at_once_and_its_old_holder_is_fenced_off(link: AnyLink, other: AnyLink) -> None:
    link.break_optimizer_lease()  # nobody ever had one: nothing is fenced
    link.publish(make_weights(1))
    link.take_optimizer_lease("first", 60.0)
    other.break_optimizer_lease()
    with pytest.raises(LeaseLostError, match="token 2 was issued since: it"):
        link.publish(make_weights(2))
    assert other.take_optimizer_lease("second", 60.0) == 3
    other.publish(make_weights(2))


def test_without_any_lease_nothing_is_fenced(link: AnyLink, worker: Registration) -> None:
    link.publish(make_weights(1))
    link.push([make_pending_chunk(worker, 1)])
    link.ack([Ack(id=link.pop(100, 1.0)[0].id, trained=16)])
    link.mark_undone(0)


# ---- what only Redis can do ----


@pytest.fixture
def lease_key(redis_url: str, run_name: str) -> tuple[RedisServer, str]:
    return RedisServer(redis_url, timeout_s=5.0), RunKeys(run_name).optimizer_lease


@pytest.mark.redis
@pytest.mark.parametrize("make_link", ["redis"], indirect=True)
def test_a_lease_that_redis_forgot_is_remembered_by_its_holder(
    link: AnyLink, other: AnyLink, lease_key: tuple[RedisServer, str]
) -> None:
    """A killed Redis may lose its last second; the newest token is then in the hands of its holder alone."""
    redis, key = lease_key
    link.take_optimizer_lease("old", 0.01)
    time.sleep(0.05)
    before = redis.command("HGETALL", key)
    other.take_optimizer_lease("new", 60.0)
    redis.command("DEL", key)
    redis.command("HSET", key, *(part for field in before.items() for part in field))
    other.publish(make_weights(1))  # not refused: its token is newer than the one stored
    other.keep_optimizer_lease(60.0)
    with pytest.raises(LeaseLostError, match="token 2"):
        link.publish(make_weights(2))
    redis.close()


@pytest.mark.redis
@pytest.mark.parametrize("make_link", ["redis"], indirect=True)
def test_a_token_that_was_issued_twice_belongs_to_the_later_holder(
    link: AnyLink, other: AnyLink, lease_key: tuple[RedisServer, str]
) -> None:
    redis, key = lease_key
    link.take_optimizer_lease("forgotten", 60.0)
    redis.command("DEL", key)
    assert other.take_optimizer_lease("later", 60.0) == 1
    with pytest.raises(LeaseLostError, match=r"token 1 was issued since \(to later\)"):
        link.publish(make_weights(1))
    other.publish(make_weights(1))
    redis.close()


@pytest.mark.redis
@pytest.mark.parametrize("make_link", ["redis"], indirect=True)
def test_a_clock_that_was_set_back_does_not_keep_a_dead_optimizers_lease_for_ever(
    link: AnyLink, other: AnyLink, lease_key: tuple[RedisServer, str]
) -> None:
    redis, key = lease_key
    link.take_optimizer_lease("of the future", 10.0)
    renewed, until = (int(value) for value in redis.command("HMGET", key, "renewed_ms", "until_ms"))
    day_ms = 86_400_000
    redis.command("HSET", key, "renewed_ms", renewed + day_ms, "until_ms", until + day_ms)
    assert other.take_optimizer_lease("of today", 10.0) == 2
    redis.close()


@pytest.mark.redis
def test_a_killed_redis_keeps_the_lease(tmp_path: Path, run_name: str) -> None:
    with EmbeddedRedis.start(tmp_path / "redis", maxmemory_bytes=64 * 2**20) as server:
        with RedisLink(server.url, run_name) as link:
            link.open_run(spec_hash=SPEC_HASH, config_text="", max_queued_steps=100, max_queue_bytes=2**20)
            link.take_optimizer_lease("first", 60.0)
        redis = RedisServer(server.url, timeout_s=5.0)
        while any(redis.info("persistence")[name] for name in ("aof_buffer_length", "aof_pending_bio_fsync")):
            time.sleep(0.01)
        redis.close()
        server.process.kill()
        server.process.wait()
        assert server.ensure()
        with RedisLink(server.url, run_name) as later, pytest.raises(LeaseHeldError, match="first"):
            later.take_optimizer_lease("second", 60.0)
