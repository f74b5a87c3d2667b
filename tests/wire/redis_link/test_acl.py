"""Each user of Redis can do its part of a run and nothing else: a worker cannot write weights."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from quintet.cluster.processes.redis_server import EmbeddedRedis
from quintet.wire.errors import LinkAuthError, LinkDownError, LinkError
from quintet.wire.link import Ack, Counters, Message
from quintet.wire.redis_link import keys
from quintet.wire.redis_link.acl import OPERATOR, ROLES, VIEWER, WORKER, user_lines, users_acl
from quintet.wire.redis_link.client import RedisServer, server_health
from quintet.wire.redis_link.keys import ALL_KEYS, RunKeys
from quintet.wire.redis_link.link import RedisLink
from quintet.wire.redis_link.weights_cache import clear_weights_cache
from tests.conftest import SPEC_HASH
from tests.support.chunk_factory import make_pending_chunk, make_weights

RUN = "guarded"
ROOT = Path(__file__).parents[3]
PASSWORDS = {role.name: f"secret-of-{role.name}" for role in ROLES}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedRedis]:
    """A real server with these users; of version 7 where one is installed."""
    with EmbeddedRedis.start(tmp_path_factory.mktemp("redis"), maxmemory_bytes=64 * 2**20) as server:
        yield server


@pytest.fixture
def reads_apart(server: EmbeddedRedis) -> bool:
    admin = RedisServer(server.url, timeout_s=5.0)
    version = str(admin.info("server")["redis_version"])
    admin.close()
    return int(version.split(".", maxsplit=1)[0]) >= 7


@pytest.fixture
def links(server: EmbeddedRedis) -> Iterator[dict[str, RedisLink]]:
    """One link per role to an open run with a worker's chunk and version 1 in it."""
    links = {role.name: RedisLink(server.url_of(role.name), RUN) for role in ROLES}
    links["controller"].open_run(spec_hash=SPEC_HASH, config_text="x = 1", max_queued_steps=100, max_queue_bytes=2**20)
    yield links
    for link in links.values():
        link.close()
    admin = RedisServer(server.url, timeout_s=5.0)
    _, found = admin.command("SCAN", 0, "COUNT", 1000)
    admin.command("DEL", *found)
    admin.close()
    clear_weights_cache(RUN)


pytestmark = pytest.mark.redis


def refused(link: RedisLink, *command: str | int) -> bool:
    """Whether Redis refuses this command to the link's user for want of rights, and not for another reason."""
    try:
        link._server.command(*command)
    except LinkError as error:
        return isinstance(error, LinkAuthError) and "does not let this URL's user do that" in str(error)
    return False


def test_the_controller_writes_down_what_the_optimizer_settled_on(links: dict[str, RedisLink]) -> None:
    links["optimizer"].beat("optimizer", {"precision": "float32"})
    assert links["controller"].heartbeats()[0].data == {"precision": "float32"}
    links["controller"].amend_config("x = 2")
    assert links["worker"].run_config() == links["optimizer"].run_config() == "x = 2"


def test_a_worker_and_an_optimizer_train_and_the_controller_and_people_look_on(links: dict[str, RedisLink]) -> None:
    controller, optimizer, worker = links["controller"], links["optimizer"], links["worker"]
    operator, viewer = links["operator"], links["viewer"]
    controller.wait_until_ready(1.0)
    assert controller.wanted_workers() == 0
    operator.set_wanted_workers(2)
    operator.set_autoscale("1:2")
    controller.hold_lease(60.0)
    assert worker.run_config() == "x = 1"

    optimizer.take_optimizer_lease("optimizer", 60.0)
    optimizer.publish(make_weights(1))
    registration = worker.register(0, SPEC_HASH)
    found = worker.control_message()
    assert (found.version, found.wanted_workers, found.controller_alive) == (1, 2, True)
    assert worker.latest(0) == make_weights(1)
    assert worker.has_room(16, 10)
    assert worker.push([make_pending_chunk(registration, sequence) for sequence in (1, 2, 4)]) == 3
    worker.heartbeat(registration, 64, {})
    worker.report("worker/0", "episodes", {"return": 1.0})
    worker.beat("evaluator", {})

    assert optimizer.reclaim() == []
    messages = optimizer.pop(1000, 1.0)
    optimizer.reject(messages[0], "garbage")
    optimizer.ack([Ack(id=d.id, trained=d.steps) for d in messages[1:]])
    optimizer.mark_undone(1)
    optimizer.keep_optimizer_lease(60.0)
    optimizer.beat("optimizer", {})
    optimizer.report("optimizer", "metrics", {})
    assert not optimizer.needs_republish()
    assert not optimizer.stopping()
    request = operator.request_settings({"ppo.learning_rate": "1e-4"}, "somebody")
    assert [setting.id for setting in optimizer.settings("0-0")] == [request]
    optimizer.release_optimizer_lease()

    controller.keep_latest_row({"charts/agent_steps": 3.0})
    controller.beat("controller", {})
    controller.report("controller", "event", {})
    assert len(controller.read_reports("0", 0.0)[1]) == 3
    assert controller.close_worker(0) == 0
    controller.drop_settings(request)
    controller.break_optimizer_lease()
    controller.set_stopping(True)
    worker.deregister(registration, 64)

    law = Counters(produced=64, trained=32, rejected=16, lost=16, undone=1)
    for link in (controller, optimizer, worker, operator, viewer):
        assert link.counters() == law if link is not worker else True
    for link in (operator, viewer):
        assert {beat.process for beat in link.heartbeats()} == {"controller", "evaluator", "optimizer"}
        assert link.latest_row() == {"charts/agent_steps": 3.0}
        assert link.latest(0) == make_weights(1)
        assert link.control_message().stopping
        assert link.settings("0-0") == []
        assert link.read_reports("0", 0.0)[1]
    assert all(link.reports_dropped == 0 for link in links.values())


def test_everybody_may_ask_how_redis_feels(server: EmbeddedRedis) -> None:
    for role in ROLES:
        assert server_health(server.url_of(role.name)).maxmemory_bytes == 64 * 2**20


def test_a_worker_cannot_write_weights(links: dict[str, RedisLink], reads_apart: bool) -> None:
    links["optimizer"].publish(make_weights(1))
    worker = links["worker"]
    with pytest.raises(LinkAuthError, match="does not let this URL's user do that"):
        worker.publish(make_weights(2))
    at = RunKeys(RUN)
    commands: list[tuple[str | int, ...]] = [
        ("SET", at.weights, "x"),
        ("DEL", at.weights),
        ("APPEND", at.weights, "x"),
        ("SETRANGE", at.weights, 0, "x"),
        ("RENAME", at.chunks, at.weights),
        ("RESTORE", at.weights, 0, "x"),
        ("EVAL", "return redis.call('SET', KEYS[1], 'x')", 1, at.weights),
        ("EVAL", "return redis.call('SET', ARGV[1], 'x')", 0, at.weights),
    ]
    if reads_apart:
        commands += [
            ("INCR", at.weights),
            ("EXPIRE", at.weights, 1),
            ("HSET", at.announced, "version", 9),
            ("HSET", at.limits, "max_queue_bytes", 9),
            ("HSET", at.orders, "stopping", 1),
            ("HSET", at.orders, "wanted_workers", 0),
            ("HSET", at.run, "spec_hash", "x"),
            ("EVAL", "return redis.call('HSET', ARGV[1], 'version', 9)", 0, at.announced),
        ]
    for command in commands:
        assert refused(worker, *command), command
    assert links["viewer"].latest(0) == make_weights(1)


def test_a_worker_can_neither_settle_nor_take_the_optimizers_place(links: dict[str, RedisLink]) -> None:
    worker = links["worker"]
    registration = worker.register(0, SPEC_HASH)
    worker.push([make_pending_chunk(registration, 1)])
    message = links["optimizer"].pop(100, 1.0)[0]
    assert isinstance(message, Message)
    for act in (
        lambda: worker.ack([Ack(id=message.id, trained=16)]),
        lambda: worker.reject(message, "?"),
        lambda: worker.pop(100, 0.0),
        lambda: worker.take_optimizer_lease("worker", 60.0),
        worker.break_optimizer_lease,
        lambda: worker.request_settings({"a": "b"}, "worker"),
    ):
        with pytest.raises(LinkAuthError, match="does not let this URL's user do that"):
            act()
    assert links["viewer"].counters().in_flight == 16


def test_a_viewer_cannot_change_anything(links: dict[str, RedisLink]) -> None:
    viewer = links["viewer"]
    for key in ALL_KEYS:
        for command in (("SET", "x"), ("HSET", "a", "b"), ("XADD", "*", "a", "b"), ("DEL",), ("EXPIRE", 1)):
            assert refused(viewer, command[0], key.of(RUN), *command[1:]), (key.suffix, command)


def test_an_operator_can_wish_and_ask_and_nothing_else(links: dict[str, RedisLink], reads_apart: bool) -> None:
    operator = links["operator"]
    for command in (("SET", "x"), ("DEL",), ("EXPIRE", 1), ("XTRIM", "MAXLEN", 0), ("HINCRBY", "a", 1), ("INCR",)):
        assert refused(operator, command[0], RunKeys(RUN).orders, *command[1:]), command
    if reads_apart:
        for key in (keys.ANNOUNCED, keys.COUNTERS, keys.RUN, keys.LIMITS, keys.OPTIMIZER_LEASE):
            assert refused(operator, "HSET", key.of(RUN), "a", "b"), key.suffix


def test_nobody_can_touch_another_program_or_the_server_itself(links: dict[str, RedisLink]) -> None:
    for link in links.values():
        for command in (
            ("GET", "somebody-elses"),
            ("HSET", "somebody-elses", "a", "b"),
            ("FLUSH" + "ALL",),
            ("CONFIG", "GET", "requirepass"),
            ("ACL", "LIST"),
            ("SCAN", 0),
            ("SHUTDOWN", "NOSAVE"),
            ("REPLICAOF", "example.org", 6379),
            ("SUBSCRIBE", "x"),
            ("SCRIPT", "KILL"),
        ):
            assert refused(link, *command), command


def test_without_a_password_or_with_another_roles_nobody_comes_in(server: EmbeddedRedis) -> None:
    worker_url = server.url_of("worker")
    secret = re.search(r":([0-9a-f]{64})@", worker_url)
    assert secret
    for url in (worker_url.replace("worker:", "optimizer:"), worker_url.replace(f"worker:{secret[1]}@", "")):
        with RedisLink(url, RUN) as link, pytest.raises(LinkAuthError):
            link.counters()


def test_each_role_has_a_password_of_its_own(server: EmbeddedRedis) -> None:
    assert len({server.url_of(role.name).split("@")[0].split(":")[-1] for role in ROLES}) == len(ROLES)


# ---- the text ----


def test_the_users_file_names_every_role_and_shuts_out_everybody_else() -> None:
    lines = users_acl(PASSWORDS).splitlines()
    assert lines[0] == "user default off resetpass ~* &* +@all"
    assert [line.split()[1] for line in lines[1:]] == [role.name for role in ROLES]
    assert not any(f">{password}" in line for line in lines for password in PASSWORDS.values())
    assert all(" -@all " in line and "+@" not in line and "~*" not in line for line in lines[1:])


def test_a_users_file_can_be_for_one_run_alone() -> None:
    for line in user_lines(PASSWORDS, run="five", reads_apart=True):
        patterns = [rule for rule in line.split() if "~" in rule]
        assert patterns
        assert all(re.match(r"(%R)?~quintet:five:", pattern) for pattern in patterns)


def test_what_a_role_only_reads_it_may_not_write_where_redis_can_tell() -> None:
    worker = WORKER.rules(reads_apart=True)
    assert "%R~quintet:*:weights" in worker
    assert "~quintet:*:weights" not in worker
    assert [rule for rule in VIEWER.rules(reads_apart=True) if "~" in rule] == ["%R~quintet:*:*"]
    assert [rule for rule in OPERATOR.rules(reads_apart=False) if "%" in rule] == []


@pytest.mark.parametrize("password", ["", "two words", "line\nbreak"])
def test_a_role_without_a_usable_password_is_refused(password: str) -> None:
    with pytest.raises(ValueError, match="user worker"):
        users_acl(PASSWORDS | {"worker": password})


def test_the_users_of_docker_compose_are_these() -> None:
    names = {role.name: f"${{REDIS_{role.name.upper()}_PASSWORD}}" for role in ROLES}
    assert (ROOT / "deploy" / "users.acl").read_text() == users_acl(names), "write it again, from users_acl"


def test_a_link_that_is_down_is_no_question_of_rights(server: EmbeddedRedis) -> None:
    url = server.url_of("worker").replace(f":{server.port}/", ":1/")
    with RedisLink(url, RUN) as link, pytest.raises(LinkDownError):
        link.counters()
