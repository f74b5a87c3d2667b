"""The optimizer's lease on Redis, and the fence: what a link shows at every act that is the optimizer's alone."""

# ruff: noqa: D102  (what each method promises is said once, in the protocols of quintet.wire.link)

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import Any

from quintet.wire.link import OptimizerLease
from quintet.wire.link_errors import lease_held, lease_lost
from quintet.wire.redis_link.client import RedisServer
from quintet.wire.redis_link.keys import RunKeys
from quintet.wire.redis_link.scripts import FENCE, PRELUDE, Script

TAKE_OPTIMIZER_LEASE = Script(
    "take_optimizer_lease",
    PRELUDE
    + """
-- KEYS: optimizer lease; ARGV: holder, owner, milliseconds
-- Returns {'ok', token}, or {'held', owner, milliseconds since it was renewed}.
local time = redis.call('TIME')
local now, ttl = time[1] * 1000 + math.floor(time[2] / 1000), tonumber(ARGV[3])
local known = redis.call('HMGET', KEYS[1], 'token', 'holder', 'owner', 'renewed_ms', 'until_ms')
local left = tonumber(known[5] or 0) - now
-- A lease that lasts longer than it was taken for is one whose clock was set back: it is judged from now on by ours.
if known[2] ~= ARGV[1] and left > 0 and left <= tonumber(known[5]) - tonumber(known[4]) then
  return {'held', known[3], now - tonumber(known[4])}
end
local token = tonumber(known[1] or 0) + 1
redis.call('HDEL', KEYS[1], 'until_ms')
redis.call('HSET', KEYS[1], 'token', whole(token), 'holder', ARGV[1], 'owner', ARGV[2], 'renewed_ms', whole(now),
  'until_ms', whole(now + ttl))
return {'ok', token}
""",
)

KEEP_OPTIMIZER_LEASE = Script(
    "keep_optimizer_lease",
    PRELUDE
    + FENCE
    + """
-- KEYS: optimizer lease; ARGV: token, holder, owner, milliseconds from now (0 gives it back)
-- Returns {'ok'} or {'fenced', newest, owner}. What a killed Redis forgot of the lease is written again.
local refused = fence(KEYS[1], ARGV[1], ARGV[2])
if refused then return refused end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('HDEL', KEYS[1], 'until_ms')
redis.call('HSET', KEYS[1], 'token', ARGV[1], 'holder', ARGV[2], 'owner', ARGV[3], 'renewed_ms', whole(now),
  'until_ms', whole(now + tonumber(ARGV[4])))
return {'ok'}
""",
)

BREAK_OPTIMIZER_LEASE = Script(
    "break_optimizer_lease",
    PRELUDE
    + """
-- KEYS: optimizer lease. A new token that nobody holds: the old holder is fenced off, and nobody has to be waited for.
local token = tonumber(redis.call('HGET', KEYS[1], 'token') or 0)
if token == 0 then return 0 end
redis.call('HDEL', KEYS[1], 'until_ms', 'renewed_ms', 'owner')
redis.call('HSET', KEYS[1], 'token', whole(token + 1), 'holder', 'nobody')
return token + 1
""",
)


class Fence:
    """The fencing token of one link; 0 until it takes the lease. Threads of one process share it."""

    def __init__(self, run: str) -> None:
        self._run = run
        self.token = 0
        self.holder = ""  # random and this link's own: it tells two links with the same owner and token apart
        self.owner = ""

    def proof(self) -> tuple[int, str]:
        """The arguments with which a fenced script begins."""
        return self.token, self.holder

    def check(self, answer: Sequence[Any]) -> None:
        """Raise LeaseLostError if a fenced script refused us."""
        if answer[0] == b"fenced":
            raise lease_lost(self._run, token=self.token, newest=answer[1], owner=answer[2].decode())


class RedisLease(OptimizerLease):
    """Take, keep and give back the optimizer's lease."""

    def __init__(self, server: RedisServer, fence: Fence, run: str) -> None:
        self._server = server
        self._fence = fence
        self._run = run
        self._keys = RunKeys(run)

    def take_optimizer_lease(self, owner: str, ttl_s: float) -> int:
        # The same holder when it is asked again: the answer to the first call may have been lost.
        holder = self._fence.holder or secrets.token_hex(8)
        self._fence.holder, self._fence.owner = holder, owner
        status, *rest = self._server.run(
            TAKE_OPTIMIZER_LEASE, [self._keys.optimizer_lease], [holder, owner, _ms(ttl_s)]
        )
        if status == b"held":
            raise lease_held(self._run, owner=rest[0].decode(), age_s=rest[1] / 1000)
        self._fence.token = int(rest[0])
        return self._fence.token

    def keep_optimizer_lease(self, ttl_s: float) -> None:
        self._keep(_ms(ttl_s))

    def release_optimizer_lease(self) -> None:
        self._keep(0)
        self._fence.token, self._fence.holder = 0, ""

    def break_optimizer_lease(self) -> None:
        self._server.run(BREAK_OPTIMIZER_LEASE, [self._keys.optimizer_lease], [])

    def _keep(self, ms: int) -> None:
        fence = self._fence
        answer = self._server.run(KEEP_OPTIMIZER_LEASE, [self._keys.optimizer_lease], [*fence.proof(), fence.owner, ms])
        fence.check(answer)


def _ms(seconds: float) -> int:
    return max(1, int(1000 * seconds))
