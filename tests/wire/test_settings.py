"""Requests for changes: both links keep them in order, refuse what is too much, and leave out garbage."""

from __future__ import annotations

import time

import pytest

from quintet.wire import settings as settings_module
from quintet.wire.errors import DecodeError, LinkError
from quintet.wire.redis_link.client import RedisServer, forget_run
from quintet.wire.redis_link.keys import RunKeys
from quintet.wire.redis_link.link import RedisLink
from quintet.wire.settings import BEFORE_ALL, MAX_REQUEST_BYTES, decode_request, encode_request
from tests.conftest import AnyLink, LinkMaker


def test_requests_are_read_in_the_order_in_which_they_came(link: AnyLink, make_link: LinkMaker) -> None:
    asked = [{"ppo.clip": "0.1", "ppo.epochs": "2"}, {"ppo.clip": "0.3"}, {"until": "none"}]
    ids = [link.request_settings(changes, by=f"ada{k}@lab") for k, changes in enumerate(asked)]
    found = make_link().settings(BEFORE_ALL)
    assert [(request.id, request.changes, request.by) for request in found] == [
        (entry_id, changes, f"ada{k}@lab") for k, (entry_id, changes) in enumerate(zip(ids, asked, strict=True))
    ]
    assert [request.id for request in link.settings(ids[0])] == ids[1:]
    assert link.settings(ids[-1]) == []
    assert abs(found[0].time_s - time.time()) < 60


def test_requests_that_the_configuration_holds_are_forgotten_and_no_others(link: AnyLink) -> None:
    first, second = (link.request_settings({"ppo.clip": value}, by="ada@lab") for value in ("0.1", "0.2"))
    link.drop_settings(first)
    assert [request.id for request in link.settings(BEFORE_ALL)] == [second]
    link.drop_settings(BEFORE_ALL)
    assert [request.id for request in link.settings(BEFORE_ALL)] == [second]


def test_more_requests_than_are_kept_are_refused_and_none_is_lost(
    link: AnyLink, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settings_module, "REQUESTS_KEPT", 2)
    monkeypatch.setattr("quintet.wire.redis_link.control.REQUESTS_KEPT", 2)
    monkeypatch.setattr("quintet.wire.memory_link.REQUESTS_KEPT", 2)
    ids = [link.request_settings({"ppo.clip": "0.1"}, by="ada@lab") for _ in range(2)]
    with pytest.raises(LinkError, match="stop it, and --resume"):
        link.request_settings({"ppo.clip": "0.2"}, by="ada@lab")
    assert [request.id for request in link.settings(BEFORE_ALL)] == ids


@pytest.mark.parametrize(
    ("changes", "says"), [({}, "no changes"), ({"ppo.clip": "1" * MAX_REQUEST_BYTES}, "at most 8192 may travel")]
)
def test_a_request_that_is_empty_or_too_large_is_refused(link: AnyLink, changes: dict[str, str], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        link.request_settings(changes, by="ada@lab")


@pytest.mark.parametrize(
    "payload",
    [b"", b"\xff", b"\x93\xa1a\xa1b\x01", b"\x92\xa1a\xa1b", b"\x81\xa1a\xa1b", b"x" * (MAX_REQUEST_BYTES + 1)],
)
def test_what_is_no_request_is_a_decode_error(payload: bytes) -> None:
    with pytest.raises(DecodeError, match="settings request"):
        decode_request("1-0", payload)


def test_a_request_survives_the_way_there_and_back() -> None:
    changes = {"until": "charts/episodic_return=475", "ppo.learning_rate": "{value=1e-3, end=1e-5, until_steps=9}"}
    assert decode_request("5-1", encode_request(changes, "ada@lab")).changes == changes


@pytest.mark.redis
def test_garbage_in_the_stream_is_left_out(redis_url: str, run_name: str) -> None:
    with RedisLink(redis_url, run_name) as link:
        server = RedisServer(redis_url, timeout_s=5.0)
        server.command("XADD", RunKeys(run_name).settings, "*", "request", b"\xff\xff")
        entry_id = link.request_settings({"ppo.clip": "0.1"}, by="ada@lab")
        assert [request.id for request in link.settings(BEFORE_ALL)] == [entry_id]
        server.close()
    forget_run(redis_url, run_name)


@pytest.mark.redis
def test_a_run_is_forgotten_with_all_its_keys_and_no_other_run(redis_url: str, run_name: str) -> None:
    server = RedisServer(redis_url, timeout_s=5.0)
    links = [RedisLink(redis_url, name) for name in (run_name, f"{run_name}-other")]
    for link in links:
        link.open_run(spec_hash="a", config_text="", max_queued_steps=1, max_queue_bytes=1)
        link.request_settings({"ppo.clip": "0.1"}, by="ada@lab")
        link.register(0, "a")
    links[0].hold_lease(60.0)
    with pytest.raises(LinkError, match="stop it first"):
        forget_run(redis_url, run_name)
    server.command("DEL", RunKeys(run_name).lease)
    forget_run(redis_url, run_name)
    assert server.command("SCAN", 0, "MATCH", f"quintet:{run_name}:*", "COUNT", 100_000)[1] == []
    assert links[1].settings(BEFORE_ALL) != []
    forget_run(redis_url, f"{run_name}-other")
    for link in links:
        link.close()
    server.close()
