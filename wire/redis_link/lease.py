"""The optimizer's lease on Redis."""

# ruff: noqa: D102  (what each method promises is said once, in the protocols of quintet.wire.link)

from __future__ import annotations

import secrets

from quintet.wire.link import OptimizerLease
from quintet.wire.link_errors import lease_held
from quintet.wire.redis_link import scripts
from quintet.wire.redis_link.base import RedisRun


class RedisLease(RedisRun, OptimizerLease):
    """Take, keep, give back and break the optimizer's lease."""

    def take_optimizer_lease(self, owner: str, ttl_s: float) -> int:
        # The same holder when it is asked again: the answer to the first call may have been lost.
        self._holder, self._owner = self._holder or secrets.token_hex(8), owner
        status, *rest = self._server.run(
            scripts.TAKE_OPTIMIZER_LEASE, [self._keys.optimizer_lease], [self._holder, owner, _ms(ttl_s)]
        )
        if status == b"held":
            raise lease_held(self.run, owner=rest[0].decode(), age_s=rest[1] / 1000)
        self._token = int(rest[0])
        return self._token

    def keep_optimizer_lease(self, ttl_s: float) -> None:
        self._keep(_ms(ttl_s))

    def release_optimizer_lease(self) -> None:
        self._keep(0)
        self._token, self._holder = 0, ""

    def break_optimizer_lease(self) -> None:
        self._server.run(scripts.BREAK_OPTIMIZER_LEASE, [self._keys.optimizer_lease], [])

    def _keep(self, ms: int) -> None:
        arguments: list[int | str] = [*self._proof(), self._owner, ms]
        self._check_fence(self._server.run(scripts.KEEP_OPTIMIZER_LEASE, [self._keys.optimizer_lease], arguments))


def _ms(seconds: float) -> int:
    return max(1, int(1000 * seconds))
