"""What a link to a real Redis meets: refusals, what somebody else put there, lost answers, several threads."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from dataclasses import replace

import pytest

from quintet.wire.errors import LinkAuthError, LinkDownError, LinkError
from quintet.wire.link import Ack, Counters, Message
from quintet.wire.redis_link.client import RedisServer
from quintet.wire.redis_link.keys import REJECT_BYTES_KEPT, REJECTS_KEPT, RunKeys
from quintet.wire.redis_link.link import RedisLink, connect
from tests.conftest import SPEC_HASH
from tests.support.chunk_factory import make_pending_chunk

pytestmark = pytest.mark.redis
MIB = 2**20


def trained(messages: list[Message]) -> list[Ack]:
    return [Ack(id=message.id, trained=message.steps) for message in messages]


def open_run(link: RedisLink, *, max_queue_bytes: int = MIB) -> None:
    link.open_run(spec_hash=SPEC_HASH, config_text="", max_queued_steps=10_000, max_queue_bytes=max_queue_bytes)


@pytest.fixture
def link(redis_url: str, run_name: str) -> Iterator[RedisLink]:
    with connect(redis_url, run_name, wait_s=5.0) as link:
        open_run(link)
        yield link


# ---- refusals ----


def test_a_wrong_password_is_refused_and_never_shown(redis_url: str) -> None:
    address = redis_url.rpartition("@")[2]
    for password in (":secret-7@", ""):
        with pytest.raises(LinkAuthError, match=r"127.0.0.1:\d+ refused the password") as caught:
            connect(f"redis://{password}{address}", "some-run", wait_s=30.0)
        assert "secret-7" not in str(caught.value)


def test_nobody_there_is_said_with_host_and_port() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(LinkDownError, match=f"127.0.0.1:{port} does not answer") as caught:
        connect(f"redis://:secret-7@127.0.0.1:{port}", "some-run", wait_s=0.2)
    assert "secret-7" not in str(caught.value)


def test_a_server_that_never_answers_counts_as_down(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("quintet.wire.redis_link.base.TIMEOUT_S", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent, pytest.raises(LinkDownError, match="does not answer"):
        connect(f"redis://127.0.0.1:{silent.getsockname()[1]}", "some-run", wait_s=0.0)


@pytest.mark.parametrize("url", ["http://localhost", "localhost:6379", "redis://localhost:99999999", "redis://h:x/0"])
def test_a_url_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(LinkError, match="expected redis://"):
        connect(url, "some-run", wait_s=0.0)


def test_a_run_that_nobody_opened_is_said_to_be_not_open(redis_url: str, run_name: str) -> None:
    with RedisLink(redis_url, run_name) as link:
        assert link.run_config() == ""
        assert link.counters() == Counters()
        for call in (
            lambda: link.register(0, SPEC_HASH),
            lambda: link.has_room(1, 1),
            lambda: link.pop(1, 0.0),
            link.reclaim,
        ):
            with pytest.raises(LinkError, match="is not open here"):
                call()


# ---- what others put there, and what gets lost ----


def test_garbage_in_the_stream_is_delivered_with_no_steps_and_rejected(link: RedisLink, redis_url: str) -> None:
    chunks = RunKeys(link.run).chunks
    redis = RedisServer(redis_url, timeout_s=5.0)
    redis.command("XADD", chunks, "*", "nonsense", "1")
    redis.command("XADD", chunks, "*", "steps", "many", "chunk", "x")
    redis.command("XADD", chunks, "*", "steps", "1000", "chunk", "nobody counted these")
    messages = link.pop(10_000, 1.0)
    assert [(message.steps, message.payload) for message in messages[:2]] == [(0, b""), (0, b"x")]
    link.reject(messages[0], "garbage")
    link.reject(messages[1], "garbage")
    assert link.ack(trained(messages[2:])) == Counters()
    (entry, _) = redis.command("XRANGE", RunKeys(link.run).rejects, "-", "+", "COUNT", 10)
    assert entry[1] == {b"reason": b"garbage", b"n_bytes": b"0", b"chunk": b""}
    redis.close()


def test_a_pending_entry_that_somebody_deleted_is_reclaimed_as_garbage(link: RedisLink, redis_url: str) -> None:
    worker = link.register(0, SPEC_HASH)
    link.push([make_pending_chunk(worker, 1), make_pending_chunk(worker, 2)])
    first, second = link.pop(1000, 1.0)
    redis = RedisServer(redis_url, timeout_s=5.0)
    redis.command("XDEL", RunKeys(link.run).chunks, first.id)
    redis.close()
    with RedisLink(redis_url, link.run) as later:
        # In the order of their ids; the deleted one has lost its bytes, but not the count of its steps.
        assert later.reclaim() == [replace(first, payload=b""), second]
        later.reject(replace(first, payload=b""), "deleted")
        later.ack(trained([second]))
        assert later.counters() == Counters(produced=32, trained=16, rejected=16)


def test_the_reject_stream_is_capped_in_entries_and_bytes(link: RedisLink, redis_url: str) -> None:
    worker = link.register(0, SPEC_HASH)
    for sequence in range(1, REJECTS_KEPT + 3):
        link.push([make_pending_chunk(worker, sequence, n_bytes=REJECT_BYTES_KEPT + 5)])
        (message,) = link.pop(16, 1.0)
        link.reject(message, "reason " * 1000)
    redis = RedisServer(redis_url, timeout_s=5.0)
    entries = redis.command("XRANGE", RunKeys(link.run).rejects, "-", "+", "COUNT", 100)
    redis.close()
    assert len(entries) == REJECTS_KEPT
    assert len(entries[0][1][b"chunk"]) == REJECT_BYTES_KEPT
    assert entries[0][1][b"n_bytes"] == str(REJECT_BYTES_KEPT + 5).encode()


def test_entries_whose_delivery_was_not_heard_are_not_lost(link: RedisLink, monkeypatch: pytest.MonkeyPatch) -> None:
    worker = link.register(0, SPEC_HASH)
    chunks = [make_pending_chunk(worker, sequence) for sequence in (1, 2, 3, 4, 5)]
    link.push(chunks[:3])
    first = link.pop(16, 1.0)  # and perhaps more is read ahead
    link.ack(trained(first))
    second = link.pop(16, 1.0)
    link.push(chunks[3:])
    link.pop(16, 1.0)
    server = link._server
    command = server.command

    def deaf(*arguments: str | bytes | int | float) -> object:
        command(*arguments)
        raise LinkDownError("the answer got lost")

    with monkeypatch.context() as patch:
        patch.setattr(server, "command", deaf)
        with pytest.raises(LinkDownError):
            link.pop(1000, 1.0)
    again = link.pop(1000, 1.0)
    assert again[0] == second[0]  # what is open comes again; what is settled does not
    assert [message.payload for message in again] == [chunk.payload for chunk in chunks[1:]]
    assert link.pop(1000, 0.0) == []


def test_a_bad_report_does_not_hide_the_good_ones(link: RedisLink, redis_url: str) -> None:
    redis = RedisServer(redis_url, timeout_s=5.0)
    redis.command("XADD", RunKeys(link.run).reports, "*", "report", b"\xff\xff")
    redis.close()
    link.report("worker/0", "event", {"event": "good"})
    _, found = link.read_reports("0", 1.0)
    assert [report.data["event"] for report in found] == ["bad_report", "good"]


def test_numbers_beyond_a_float_of_a_script_stay_exact(link: RedisLink) -> None:
    worker = link.register(0, SPEC_HASH)
    big = 2**52
    link.open_run(spec_hash=SPEC_HASH, config_text="", max_queued_steps=2**53, max_queue_bytes=MIB)
    second = make_pending_chunk(worker, 2, steps=3, cumulative_steps=big + 1000)
    link.push([make_pending_chunk(worker, 1, steps=big), second])
    found = link.counters()
    assert (found.produced, found.lost, found.in_flight) == (big + 1000, 997, big + 3)


def test_a_forgotten_script_is_sent_again(link: RedisLink, redis_url: str) -> None:
    link.counters()
    redis = RedisServer(redis_url, timeout_s=5.0)
    redis.command("SCRIPT", "FLUSH")
    redis.close()
    assert link.counters() == Counters()


def test_threads_share_a_link(link: RedisLink) -> None:
    """One pops while another settles and a third pushes, as the optimizer and a worker do."""
    worker = link.register(0, SPEC_HASH)
    popped: list[Message] = []

    def push() -> None:
        for sequence in range(1, 201):
            while not link.push([make_pending_chunk(worker, sequence)]):
                pass

    def pop() -> None:
        while len(popped) < 200:
            popped.extend(link.pop(64, 0.2))

    threads = [threading.Thread(target=push), threading.Thread(target=pop)]
    for thread in threads:
        thread.start()
    n_settled = 0
    while n_settled < 200:
        ready = popped[n_settled:]
        link.ack(trained(ready))
        n_settled += len(ready)
    for thread in threads:
        thread.join()
    assert [message.payload for message in popped] == [make_pending_chunk(worker, n).payload for n in range(1, 201)]
    assert link.counters() == Counters(produced=3200, trained=3200)


def test_a_link_never_retries_by_itself() -> None:
    server = RedisServer("redis://127.0.0.1:1", timeout_s=1.0)
    pool = server._client.connection_pool
    assert pool.connection_kwargs["retry"].get_retries() == 0
    assert vars(pool.make_connection())["retry"].get_retries() == 0
    server.close()
