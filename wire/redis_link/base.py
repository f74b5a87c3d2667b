"""What the parts of a `RedisLink` share: connections to one run's server, its keys, and the fence."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from quintet.wire.link_errors import lease_lost
from quintet.wire.redis_link.client import TIMEOUT_S, RedisServer
from quintet.wire.redis_link.keys import RunKeys

_BULK_TIMEOUT_S = 60.0  # of sending or fetching weights
_REPORT_TIMEOUT_S = 0.5  # of a report, which is dropped then


class RedisRun:
    """One process's connections to one run, and the fencing token that it shows at every act of an optimizer's."""

    def __init__(self, url: str, run: str) -> None:
        self._server = RedisServer(url, timeout_s=TIMEOUT_S)
        self._bulk = RedisServer(url, timeout_s=_BULK_TIMEOUT_S, bulk=True)  # for hundreds of megabytes
        self._hasty = RedisServer(url, timeout_s=_REPORT_TIMEOUT_S)  # so that a report never holds up a loop
        self._keys = RunKeys(run)
        self.run, self.location = run, self._server.location
        self._token = 0  # the fencing token; 0 until this link takes the lease
        self._holder = ""  # random and this link's own: it tells two links with the same owner and token apart
        self._owner = ""

    def close(self) -> None:
        """Close all connections; a later call would open new ones."""
        for server in (self._server, self._bulk, self._hasty):
            server.close()

    def _proof(self) -> tuple[int, str]:
        """The arguments with which a fenced script begins."""
        return self._token, self._holder

    def _check_fence(self, answer: Sequence[Any]) -> None:
        """Raise LeaseLostError if a fenced script refused us."""
        if answer[0] == b"fenced":
            raise lease_lost(self.run, token=self._token, newest=answer[1], owner=answer[2].decode())
