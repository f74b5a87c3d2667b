"""The optimizer's lease for the threads of one process: what `redis_lease` does, in Python."""

# ruff: noqa: D102  (what each method promises is said once, in the protocols of wire.link)

from __future__ import annotations

import threading
import time
from dataclasses import dataclass

from wire.link import OptimizerLease
from wire.refusals import lease_held, lease_lost


@dataclass
class _Lease:
    """The newest lease of a run; shared by all links to it."""

    token: int = 0
    holder: object = None
    owner: str = ""
    renewed_s: float = 0.0
    until_s: float = 0.0


class _Hand:
    """What of a link is its own: all else is the run's, and lies in `__dict__`."""

    __slots__ = ("_token",)
    _token: int


class MemoryLease(_Hand, OptimizerLease):
    """Take, keep, give back and break the optimizer's lease."""

    run: str
    _changed: threading.Condition

    def __init__(self) -> None:
        self._token = 0
        self._optimizer_lease = _Lease()

    def take_optimizer_lease(self, owner: str, ttl_s: float) -> int:
        with self._changed:
            lease, now_s = self._optimizer_lease, time.monotonic()
            if lease.holder is not self and now_s < lease.until_s:
                raise lease_held(self.run, owner=lease.owner, age_s=now_s - lease.renewed_s)
            self._token = lease.token + 1
            self._optimizer_lease = _Lease(self._token, self, owner, now_s, now_s + ttl_s)
            return self._token

    def keep_optimizer_lease(self, ttl_s: float) -> None:
        with self._changed:
            self._check_fence()
            self._optimizer_lease.renewed_s = time.monotonic()
            self._optimizer_lease.until_s = self._optimizer_lease.renewed_s + ttl_s

    def release_optimizer_lease(self) -> None:
        with self._changed:
            self._check_fence()
            self._optimizer_lease.until_s = 0.0
            self._token = 0

    def break_optimizer_lease(self) -> None:
        with self._changed:
            if self._optimizer_lease.token:
                self._optimizer_lease = _Lease(self._optimizer_lease.token + 1)

    def _check_fence(self) -> None:
        """Refuse what only the run's optimizer may do; call it with the lock held."""
        lease = self._optimizer_lease
        if self._token != lease.token:
            raise lease_lost(self.run, token=self._token, newest=lease.token, owner=lease.owner)
