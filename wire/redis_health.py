"""How a Redis server feels: its memory, its bound, and whether what it is told reaches the disk."""

from __future__ import annotations

from dataclasses import dataclass

from wire.redis_client import RedisServer

_TIMEOUT_S = 2.0


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


def server_health(url: str, *, timeout_s: float = _TIMEOUT_S) -> ServerHealth:
    """Ask the server.

    Raises:
        LinkDownError: nobody answers in time.
        LinkAuthError: the password is wrong, or this user may not ask.
    """
    server = RedisServer(url, timeout_s=timeout_s)
    try:
        return health_of(server)
    finally:
        server.close()


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
