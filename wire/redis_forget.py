"""Deletes a run from a Redis server: all of its keys and no other."""

from __future__ import annotations

from wire.errors import LinkError
from wire.keys import ALL_KEYS, INCARNATION, RunKeys
from wire.redis_client import RedisServer

_TIMEOUT_S = 10.0
_PER_COMMAND = 500


def forget_run(url: str, run: str) -> None:
    """Delete every key of a run that nobody trains.

    Raises:
        LinkError: a controller holds its lease, or Redis cannot be reached.
    """
    keys = RunKeys(run)
    server = RedisServer(url, timeout_s=_TIMEOUT_S)
    try:
        if server.command("EXISTS", keys.lease):
            raise LinkError(f"run {run} at {server.location} has a controller, or had one a minute ago; stop it first")
        lives = int(server.command("GET", keys.incarnations) or 0)
        names = [key.of(run) for key in ALL_KEYS if key is not INCARNATION]
        names += [keys.incarnation(number) for number in range(1, lives + 1)]
        for begin in range(0, len(names), _PER_COMMAND):
            server.command("DEL", *names[begin : begin + _PER_COMMAND])
    finally:
        server.close()
