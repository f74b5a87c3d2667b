"""Fixtures that need cleaning up: a private Redis server for the session, and a link to a run of one test's own."""

from __future__ import annotations

import os
import secrets
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from quintet.cluster.processes.redis_server import EmbeddedRedis
from quintet.cluster.processes.spawn import usable_cores
from quintet.wire.link import Precision
from quintet.wire.memory_link import MemoryLink
from quintet.wire.redis_link.client import RedisServer
from quintet.wire.redis_link.keys import RunKeys
from quintet.wire.redis_link.link import RedisLink
from quintet.wire.redis_link.weights_cache import clear_weights_cache

# Two threads that wait for one another on a busy machine take five times as long as one; children inherit it.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# A shell without job control starts what it puts in the background with Ctrl-C ignored, and children inherit that, too.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

MAX_PROCESSES = 8  # of `pytest -n auto`: each has all libraries loaded, some 0.8 GB, and trainings of its own

PRECISIONS: tuple[Precision, ...] = ("float32", "bfloat16")
"""A test that takes `precision` runs in both; QUINTET_AUTO_PRECISION says what `auto` is in all others."""

AnyLink = MemoryLink | RedisLink
LinkMaker = Callable[[], AnyLink]
SPEC_HASH = "0123456789abcdef"


def delete_run(url: str, run: str) -> None:
    """Delete one run's keys and nothing else."""
    server = RedisServer(url, timeout_s=5.0)
    prefix = RunKeys(run).run.removesuffix("run")
    cursor = 0
    while True:
        cursor, keys = server.command("SCAN", cursor, "MATCH", f"{prefix}*", "COUNT", 1000)
        if keys:
            server.command("DEL", *keys)
        if not int(cursor):
            break
    server.close()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """As many as there are cores, and one more for real trainings: they mostly wait for processes that start."""
    trains = "not slow" not in config.getoption("markexpr")
    return min(usable_cores() + trains, MAX_PROCESSES)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Where processes share the tests out, files with many slow ones come first, or all wait for one at the end."""
    if hasattr(config, "workerinput"):
        slow = Counter(item.path for item in items if item.get_closest_marker("slow"))
        items.sort(key=lambda item: -slow[item.path])


@pytest.fixture(scope="session")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a Redis server that only this test session uses."""
    folder: Path = tmp_path_factory.mktemp("redis")
    with EmbeddedRedis.start(folder, maxmemory_bytes=256 * 2**20) as server:
        yield server.url


@pytest.fixture(params=PRECISIONS)
def precision(request: pytest.FixtureRequest) -> Precision:
    """For whatever acts, learns, travels, is evaluated, explained or shown: each number format, emulated if need be."""
    found: Precision = request.param
    return found


@pytest.fixture
def run_name() -> Iterator[str]:
    """A run that nobody else has."""
    run = f"test-{secrets.token_hex(6)}"
    yield run
    clear_weights_cache(run)


@pytest.fixture(params=["memory", pytest.param("redis", marks=pytest.mark.redis)])
def make_link(request: pytest.FixtureRequest, run_name: str) -> Iterator[LinkMaker]:
    """Makes one process's link after another to the same open run, on both kinds of link.

    In memory all of them are one object, as threads share it. The run has spec `SPEC_HASH` and wide bounds.
    """
    links: list[RedisLink] = []
    memory_link = MemoryLink(run_name)
    url = request.getfixturevalue("redis_url") if request.param == "redis" else ""

    def make() -> AnyLink:
        if not url:
            return memory_link
        links.append(RedisLink(url, run_name))
        return links[-1]

    make().open_run(spec_hash=SPEC_HASH, config_text="", max_queued_steps=10_000, max_queue_bytes=2**20)
    yield make
    for link in links:
        link.close()
    if url:
        delete_run(url, run_name)


@pytest.fixture
def link(make_link: LinkMaker) -> AnyLink:
    """A link to an open run, on both kinds of link."""
    return make_link()
