"""`RedisLink`: every protocol of `quintet.wire.link` over one Redis server, for processes on any machine."""

from __future__ import annotations

from types import TracebackType

from quintet.wire.redis_link.chunks import RedisChunks
from quintet.wire.redis_link.client import RedisServer, ServerHealth, health_of
from quintet.wire.redis_link.control import RedisControlChannel
from quintet.wire.redis_link.lease import Fence, RedisLease
from quintet.wire.redis_link.settings import RedisSettings
from quintet.wire.redis_link.weights import RedisWeights

_TIMEOUT_S = 10.0  # of an ordinary command: then the link counts as down
_BULK_TIMEOUT_S = 60.0  # of sending or fetching weights
_REPORT_TIMEOUT_S = 0.5  # of a report, which is dropped then


class RedisLink(RedisChunks, RedisWeights, RedisLease, RedisSettings, RedisControlChannel):
    """One process's link to one run. Threads may share it; processes each make their own.

    Raises (every method, besides what its protocol says):
        LinkDownError: nobody answers, or Redis cannot serve now (loading, full, its disk is full).
        LinkAuthError: wrong password or user.
        LinkError: the run is not open here, or this worker's incarnation was closed.
    """

    def __init__(self, url: str, run: str) -> None:
        server = RedisServer(url, timeout_s=_TIMEOUT_S)
        bulk = RedisServer(url, timeout_s=_BULK_TIMEOUT_S, bulk=True)
        hasty = RedisServer(url, timeout_s=_REPORT_TIMEOUT_S)
        fence = Fence(run)
        RedisChunks.__init__(self, server, fence, run)
        RedisWeights.__init__(self, server, bulk, fence, run)
        RedisLease.__init__(self, server, fence, run)
        RedisControlChannel.__init__(self, server, hasty, run)
        RedisSettings.__init__(self, server, run)
        self.run = run
        self.location = server.location
        self._servers = (server, bulk, hasty)

    def wait_until_ready(self, wait_s: float) -> None:
        """Wait until Redis answers, at most `wait_s`, and check its version."""
        self._server.wait_until_ready(wait_s)

    def server_health(self) -> ServerHealth:
        """How the server feels: its memory, its bound, its append-only file."""
        return health_of(self._server)

    def close(self) -> None:
        """Close all connections; a later call would open new ones."""
        for server in self._servers:
            server.close()

    def __enter__(self) -> RedisLink:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def connect(url: str, run: str, *, wait_s: float) -> RedisLink:
    """A link to a server that answers; waits for it at most `wait_s`.

    Raises:
        LinkDownError: it did not answer in time.
        LinkAuthError: wrong password or user.
        LinkError: a URL that is none, or a server that is too old.
    """
    link = RedisLink(url, run)
    try:
        link.wait_until_ready(wait_s)
    except BaseException:
        link.close()
        raise
    return link
