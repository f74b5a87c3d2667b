"""One Redis server as the links use it: commands and scripts in, answers or one of the wire's errors out.

redis-py would repeat a failed command by itself, ten times by default. Here it never does: a caller that hears
`LinkDownError` decides whether and when to try again, and everything that it may repeat is idempotent.
"""

from __future__ import annotations

import os
import re
import ssl
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import parse_qs, urlsplit

import redis
from redis._parsers.encoders import Encoder
from redis.backoff import NoBackoff
from redis.connection import PythonRespSerializer
from redis.exceptions import (
    AuthenticationError,
    AuthenticationWrongNumberOfArgsError,
    AuthorizationError,
    BusyLoadingError,
    ClusterDownError,
    NoPermissionError,
    NoScriptError,
    ReadOnlyError,
    RedisError,
    ResponseError,
    TryAgainError,
)
from redis.maint_notifications import MaintNotificationsConfig
from redis.retry import Retry

from quintet.wire.errors import LinkAuthError, LinkDownError, LinkError, LinkSetupError
from quintet.wire.redis_link.keys import ALL_KEYS, INCARNATION, RunKeys
from quintet.wire.redis_link.scripts import Script
from quintet.wire.redis_link.url import ENCODE, EXPECTED, location_of

OLDEST_VERSION = (6, 2)
TIMEOUT_S = 10.0  # of an ordinary command: then the server counts as down
HEALTH_TIMEOUT_S = 2.0  # of one that a page waits for
MAX_BLOCK_S = 1.0  # of one read that waits; well under the timeout
_DELETED_AT_ONCE = 500  # keys
CA_FILE = "QUINTET_REDIS_CA"  # environment variable: the certificate of the authority that signed that of Redis
_LARGE_BYTES = 6000  # what is larger is sent by itself, not copied into one buffer with its neighbours
_READ_BYTES = 2**20
_T = TypeVar("_T")
_AUTH_ERRORS = (AuthenticationError, AuthorizationError, AuthenticationWrongNumberOfArgsError)
#: Answers of a server that is there but cannot serve now: full disk, a replica after a failover, a script that runs on.
#: redis-py makes exceptions of some and cuts off the word; inside a script's error, Redis 6.2 leaves it in the text.
_PASSING_ERRORS = (ReadOnlyError, ClusterDownError, TryAgainError)
_PASSING_WORDS = re.compile(r"\b(MISCONF|READONLY|MASTERDOWN|BUSY|TRYAGAIN|CLUSTERDOWN)\b")
#: What a script says that meets a command or a key which its caller may not use.
_NOT_IN_A_SCRIPT = re.compile(r"user executing the script can't")
#: How it looks when a server that speaks TLS alone is spoken to without: it hangs up, or answers with an alert (0x15).
_PERHAPS_TLS = re.compile(r"closed by server|reset by peer|Protocol Error: b'\\x15")
#: And the other way round: an answer that is no TLS, or none, since a plain Redis waits for the end of a line.
_PERHAPS_PLAIN = re.compile(r"WRONG_VERSION_NUMBER|record layer failure|Timeout connecting|timed out")
_FULL = "command not allowed when used memory > 'maxmemory'"


class RedisFullError(LinkDownError):
    """Redis is at its maxmemory and refused a write; every batch that the optimizer acknowledges frees memory."""


class RedisServer:
    """A pool of connections to one server; may be shared by threads. No connection is made before the first command."""

    def __init__(self, url: str, *, timeout_s: float, bulk: bool = False) -> None:
        """With `bulk` it is made for values of many megabytes, and slower with small ones."""
        self.location = location_of(url)
        self._tls = url.startswith("rediss:")
        self.timeout_s = timeout_s
        try:
            self._client = redis.Redis.from_url(
                url,
                socket_timeout=timeout_s,
                socket_connect_timeout=timeout_s,
                retry=Retry(NoBackoff(), 0),
                retry_on_error=[],
                # A pooled connection that the server closed is noticed when it is taken out; no PING is needed.
                health_check_interval=0,
                decode_responses=False,
                protocol=2,
                maint_notifications_config=MaintNotificationsConfig(enabled=False),
                **(_bulk_options() if bulk else {}),
                **_tls_options(url),
            )
        except (ValueError, RedisError) as error:
            raise LinkSetupError(f"Redis URL: {error}; {EXPECTED}") from error
        # Their answers are read as they come: redis-py's parsers trip over pending entries that somebody deleted.
        for name in ("XREAD", "XREADGROUP"):
            self._client.response_callbacks.pop(name, None)
        self._execute: Callable[..., Any] = self._client.execute_command

    def command(self, *arguments: str | bytes | int | float) -> Any:
        """Send one command, once.

        Raises:
            LinkDownError: no connection, no answer in time, or a server that cannot serve now (loading, full).
            LinkAuthError: the password or user was refused.
            LinkError: any other error answer.
        """
        return self._send(lambda: self._execute(*arguments))

    def run(self, script: Script, keys: Sequence[str], arguments: Sequence[str | bytes | int | float]) -> Any:
        """Run one script, once; its text travels only when the server does not know it. Raises as `command` does."""
        return self._send(lambda: self._run(script, keys, arguments))

    def _run(self, script: Script, keys: Sequence[str], arguments: Sequence[str | bytes | int | float]) -> Any:
        try:
            return self._execute("EVALSHA", script.sha1, len(keys), *keys, *arguments)
        except NoScriptError:  # after a restart of Redis; nothing was done
            return self._execute("EVAL", script.text, len(keys), *keys, *arguments)

    def _send(self, call: Callable[[], _T]) -> _T:
        try:
            return call()
        except (RedisError, OSError) as error:
            raise _as_link_error(error, self.location, tls=self._tls) from error

    def info(self, section: str) -> dict[str, Any]:
        """One section of INFO."""
        found = self.command("INFO", section)
        return dict(found)

    def wait_until_ready(self, wait_s: float) -> None:
        """Wait until the server answers, at most `wait_s`, and check that it can hold runs.

        Raises:
            LinkSetupError: it is too old, or no server of its own; and as `command` does.
        """
        deadline_s = time.monotonic() + wait_s
        while True:
            try:
                self.command("PING")
                break
            except LinkDownError:
                if time.monotonic() >= deadline_s:
                    raise
                time.sleep(min(0.1, max(0.0, deadline_s - time.monotonic())))
        server = self.info("server")
        found, mode = str(server["redis_version"]), str(server.get("redis_mode", "standalone"))
        if tuple(int(part) for part in found.split(".")[:2]) < OLDEST_VERSION:
            oldest = ".".join(map(str, OLDEST_VERSION))
            raise LinkSetupError(f"Redis at {self.location} is version {found}; expected {oldest} or later")
        if mode != "standalone":
            raise LinkSetupError(
                f"Redis at {self.location} runs in {mode} mode; a run needs one ordinary server, whose scripts may use "
                "all of the run's keys: start one with cluster-enabled no, or leave out the URL for a private one"
            )

    def block(self, wait_s: float) -> list[str | int]:
        """The words with which a read waits for up to `wait_s`, or for as long as one may."""
        ms = int(1000 * min(wait_s, MAX_BLOCK_S, self.timeout_s / 2))
        return ["BLOCK", ms] if ms > 0 else []  # BLOCK 0 would wait for ever

    def close(self) -> None:
        """Close all connections."""
        self._client.close()


def pairs(flat: Sequence[bytes] | None) -> dict[bytes, bytes]:
    """A hash or a stream entry's fields, which Redis sends as a flat list."""
    flat = flat or []
    return dict(zip(flat[::2], flat[1::2], strict=True))


def _bulk_options() -> dict[str, Any]:
    """Large values go out as they are, where hiredis would copy them byte by byte, and come in in few pieces."""
    encode = Encoder("utf-8", "strict", decode_responses=False).encode  # type: ignore[no-untyped-call]
    return {"command_packer": PythonRespSerializer(_LARGE_BYTES, encode), "socket_read_size": _READ_BYTES}


def _tls_options(url: str) -> dict[str, Any]:
    """For `rediss://`: the server must show a certificate of its host name, signed by the system's authorities or ours.

    QUINTET_REDIS_CA names a file with the authority's certificate; the URL's query may say more in redis-py's words:
    `?ssl_ca_certs=FILE`, and `&ssl_certfile=FILE&ssl_keyfile=FILE` where the server wants a certificate of us.
    """
    if not url.startswith("rediss:"):
        return {}
    options: dict[str, Any] = {
        "ssl_cert_reqs": "required",
        "ssl_check_hostname": True,
        "ssl_min_version": ssl.TLSVersion.TLSv1_2,
    }
    authority = os.environ.get(CA_FILE, "")
    if authority:
        options["ssl_ca_certs"] = authority
    asked = {name: values[-1] for name, values in parse_qs(urlsplit(url).query).items()}
    for name in ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile"):
        path = asked.get(name, str(options.get(name, "")))
        if path and not os.path.isfile(path):
            raise LinkError(f"TLS to Redis: {name} is {path!r}, and there is no such file (see {CA_FILE} and the URL)")
    return options


def _as_link_error(error: Exception, location: str, *, tls: bool) -> LinkError:
    text = str(error)
    refused = _as_refusal(error, text, location)
    if refused is not None:
        return refused
    if isinstance(error, BusyLoadingError):
        return LinkDownError(f"Redis at {location} is still loading its data; it is tried again")
    if isinstance(error, ResponseError):
        if _FULL in text:
            return RedisFullError(f"Redis at {location} is full (maxmemory): {text}")
        passing = isinstance(error, _PASSING_ERRORS) or _PASSING_WORDS.search(text)
        kind = LinkDownError if passing else LinkError
        return kind(f"Redis at {location} refused: {text}")
    hint = ""
    if not tls and _PERHAPS_TLS.search(text):
        hint = " (if it speaks TLS, its URL begins with rediss://)"
    elif tls and _PERHAPS_PLAIN.search(text):
        hint = " (if it speaks no TLS, its URL begins with redis://)"
    return LinkDownError(f"Redis at {location} does not answer: {text or type(error).__name__}{hint}")


def _as_refusal(error: Exception, text: str, location: str) -> LinkError | None:
    """What will be refused every time, until a person changes something; None for anything else."""
    if isinstance(error, NoPermissionError) or text.startswith("NOPERM") or _NOT_IN_A_SCRIPT.search(text):
        return LinkAuthError(f"Redis at {location} does not let this URL's user do that: {text}")
    if isinstance(error, _AUTH_ERRORS) or text.startswith(("NOAUTH", "WRONGPASS")):
        return LinkAuthError(f"Redis at {location} refused the password or user: {text} ({ENCODE})")
    if "CERTIFICATE_VERIFY_FAILED" in text:
        return LinkAuthError(
            f"Redis at {location} shows a certificate that is not trusted here: {text}. Name its authority's file in "
            f"{CA_FILE} or in the URL (?ssl_ca_certs=FILE)"
        )
    return None


# ---- What is asked of a server in one go ----


def needed_memory_bytes(*, max_queue_bytes: int, workers: int, weights_bytes: int) -> int:
    """The least maxmemory for a run: the stream twice over, and the weights for each fetching worker and two more."""
    return 2 * max_queue_bytes + (workers + 2) * weights_bytes


def check_maxmemory(url: str, needed_bytes: int) -> None:
    """Check that Redis can hold the run and never throws anything away to make room.

    Raises:
        LinkError: maxmemory is too small, or the policy evicts; the message has the numbers.
    """
    with closing(RedisServer(url, timeout_s=TIMEOUT_S / 2)) as server:
        server.wait_until_ready(0.0)
        memory = server.info("memory")
    maxmemory = int(memory["maxmemory"])
    policy = memory["maxmemory_policy"]
    if maxmemory == 0:  # no limit, so nothing is ever evicted
        return
    if maxmemory < needed_bytes:
        raise LinkError(
            f"Redis at {server.location} has maxmemory {maxmemory} bytes; this run needs {needed_bytes} "
            "(2 x wire.max_queue_bytes + (workers + 2) x weights): raise maxmemory or lower wire.max_queue_bytes"
        )
    if policy != "noeviction":
        raise LinkError(
            f"Redis at {server.location} has maxmemory-policy {policy}, expected noeviction: it would throw chunks away"
        )


def forget_run(url: str, run: str) -> None:
    """Delete every key of a run that nobody trains.

    Raises:
        LinkError: a controller holds its lease, or Redis cannot be reached.
    """
    keys = RunKeys(run)
    with closing(RedisServer(url, timeout_s=TIMEOUT_S)) as server:
        if server.command("EXISTS", keys.lease):
            raise LinkError(f"run {run} at {server.location} has a controller, or had one a minute ago; stop it first")
        issued = int(server.command("GET", keys.incarnations) or 0)
        names = [key.of(run) for key in ALL_KEYS if key is not INCARNATION]
        names += [keys.incarnation(number) for number in range(1, issued + 1)]
        for begin in range(0, len(names), _DELETED_AT_ONCE):
            server.command("DEL", *names[begin : begin + _DELETED_AT_ONCE])


@dataclass(frozen=True, kw_only=True, slots=True)
class ServerHealth:
    """What INFO says that matters to a run."""

    used_bytes: int
    maxmemory_bytes: int  # 0: no bound
    maxmemory_policy: str
    aof_enabled: bool
    aof_write_ok: bool  # the last append to the append-only file
    aof_rewrite_ok: bool  # the last rewrite of it, which keeps it short
    uptime_s: int


def server_health(url: str, *, timeout_s: float = HEALTH_TIMEOUT_S) -> ServerHealth:
    """Ask the server.

    Raises:
        LinkDownError: nobody answers in time.
        LinkAuthError: the password is wrong, or this user may not ask.
    """
    with closing(RedisServer(url, timeout_s=timeout_s)) as server:
        return health_of(server)


def health_of(server: RedisServer) -> ServerHealth:
    """`server_health` of a server that one has a connection to."""
    memory, persistence = server.info("memory"), server.info("persistence")
    return ServerHealth(
        used_bytes=int(memory["used_memory"]),
        maxmemory_bytes=int(memory["maxmemory"]),
        maxmemory_policy=str(memory["maxmemory_policy"]),
        aof_enabled=bool(int(persistence["aof_enabled"])),
        aof_write_ok=persistence["aof_last_write_status"] == "ok",
        aof_rewrite_ok=persistence["aof_last_bgrewrite_status"] == "ok",
        uptime_s=int(server.info("server")["uptime_in_seconds"]),
    )
