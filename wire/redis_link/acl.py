"""Who may do what in Redis: one user per role, with the commands and keys that its part of the wire needs, and no more.

| user       | is                                   | may                                                             |
| ---------- | ------------------------------------ | --------------------------------------------------------------- |
| controller | `quintet controller`                 | open runs, want workers, close incarnations; no weights         |
| optimizer  | `quintet optimizer`                  | acknowledge chunks, publish weights                             |
| worker     | rollout workers, evaluator           | push chunks, report; read weights, never write them             |
| operator   | dashboard, `quintet scale`, `set`    | read; wish for workers, ask for other settings                  |
| viewer     | exporter                             | read                                                            |

Redis 7 tells reading a key from writing it (`%R~`, `%W~`). Redis 6.2 does not: there a user may use each of its
commands on each of its keys, so that a worker might spoil what it only reads, but still cannot put weights in place,
since it has no command that stores a value of its own under a plain key.

A script runs with the rights of whoever calls it, and EVAL demands the right to read and to write each of its KEYS.
That is why the scripts take the keys that they only read among their ARGV.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass

from quintet.wire.redis_link import keys
from quintet.wire.redis_link.keys import ALL_KEYS, RedisKey

_CONNECTION = ("ping", "info", "time", "eval", "evalsha")  # EVAL gives no right that the user has not without it
_READ = ("get", "exists", "hget", "hmget", "hgetall", "xlen", "xread")
_WRITE = ("hset", "hdel", "hincrby", "xadd")
_REPORTED = (keys.HEARTBEATS, keys.REPORTS)


@dataclass(frozen=True, kw_only=True, slots=True)
class Role:
    """One user of Redis."""

    name: str
    commands: tuple[str, ...]
    reads: tuple[RedisKey, ...]
    writes: tuple[RedisKey, ...]  # and reads

    def rules(self, *, run: str = "*", reads_apart: bool) -> list[str]:
        """The user's key patterns and commands, as ACL rules.

        Args:
            run: the run whose keys are meant; "*" for every run.
            reads_apart: whether this Redis knows `%R~` (7 and later).
        """
        everything = [keys.RUN.of(run).removesuffix(keys.RUN.suffix) + "*"]
        reads = everything if self.reads == ALL_KEYS else [_pattern(key, run) for key in self.reads]
        rules = [f"{'%R' if reads_apart else ''}~{pattern}" for pattern in reads]
        rules += [f"~{_pattern(key, run)}" for key in self.writes]
        return [*rules, "resetchannels", "-@all", *(f"+{command}" for command in self.commands)]


CONTROLLER = Role(
    name="controller",
    commands=(*_CONNECTION, *_READ, *_WRITE, "set", "del", "expire", "xtrim", "xgroup|create"),
    reads=(keys.ANNOUNCED, keys.REJECTS),
    writes=(
        keys.RUN,
        keys.LIMITS,
        keys.ORDERS,
        keys.SETTINGS,
        keys.LEASE,
        keys.OPTIMIZER_LEASE,
        keys.CHUNKS,
        keys.COUNTERS,
        keys.WORKERS,
        keys.INCARNATION,
        keys.LATEST_ROW,
        *_REPORTED,
    ),
)
OPTIMIZER = Role(
    name="optimizer",
    commands=(*_CONNECTION, *_READ, *_WRITE, "set", "del", "xack", "xdel", "xreadgroup"),
    reads=(keys.RUN, keys.LIMITS, keys.ORDERS, keys.SETTINGS, keys.LEASE),
    writes=(
        keys.CHUNKS,
        keys.SIZES,
        keys.COUNTERS,
        keys.REJECTS,
        keys.ANNOUNCED,
        keys.WEIGHTS,
        keys.OPTIMIZER_LEASE,
        *_REPORTED,
    ),
)
WORKER = Role(
    name="worker",
    commands=(*_CONNECTION, "get", "exists", "hget", "hmget", "xlen", *_WRITE, "incr", "expire"),
    reads=(keys.RUN, keys.LIMITS, keys.ORDERS, keys.LEASE, keys.ANNOUNCED, keys.WEIGHTS),
    writes=(
        keys.CHUNKS,
        keys.SIZES,
        keys.COUNTERS,
        keys.INCARNATIONS,
        keys.WORKERS,
        keys.INCARNATION,
        *_REPORTED,
    ),
)
OPERATOR = Role(
    name="operator",
    commands=(*_CONNECTION, *_READ, "hset", "hdel", "xadd"),
    reads=ALL_KEYS,
    writes=(keys.ORDERS, keys.SETTINGS),
)
VIEWER = Role(name="viewer", commands=(*_CONNECTION, *_READ), reads=ALL_KEYS, writes=())
ROLES = (CONTROLLER, OPTIMIZER, WORKER, OPERATOR, VIEWER)

_PASSWORD = re.compile(r"\S+")


def user_lines(passwords: Mapping[str, str], *, run: str = "*", reads_apart: bool) -> list[str]:
    """One line per role, for redis.conf or a users file; it holds the passwords' hashes, never the passwords.

    Args:
        passwords: by role; each role needs one.
        run: the one run that these users may touch; "*" for all runs of this Redis.
        reads_apart: whether this Redis knows `%R~` (7 and later).

    Raises:
        ValueError: a role without a password, or one that is empty or has spaces in it.
    """
    return [
        " ".join([f"user {role.name} on {_secret(passwords, role)}", *role.rules(run=run, reads_apart=reads_apart)])
        for role in ROLES
    ]


def users_acl(passwords: Mapping[str, str], *, run: str = "*", reads_apart: bool = True) -> str:
    """The text of a users file (`aclfile`): nobody comes in without a name and a password.

    A password such as `${REDIS_WORKER_PASSWORD}` is left as it is, for a start script that puts it in.
    """
    # Nobody can be the user `default`, but Redis loads its append-only file as it: with fewer rights than all, it would
    # leave out every script's writes ("NOPERM ACLs rules changed").
    lines = ["user default off resetpass ~* &* +@all", *user_lines(passwords, run=run, reads_apart=reads_apart)]
    return "\n".join(lines) + "\n"


def _secret(passwords: Mapping[str, str], role: Role) -> str:
    password = passwords.get(role.name, "")
    if not _PASSWORD.fullmatch(password):
        raise ValueError(f"Redis user {role.name}: found no password, or one with spaces; expected one per role")
    if password.startswith("${"):
        return f">{password}"
    return f"#{hashlib.sha256(password.encode()).hexdigest()}"


def _pattern(key: RedisKey, run: str) -> str:
    """All keys of this kind in these runs; an incarnation's number stands behind its key."""
    return key.of(run) + ("*" if key.suffix.endswith(":") else "")
