"""`RedisLink`: every protocol of `quintet.wire.link` over one Redis server, for processes on any machine."""

from __future__ import annotations

from types import TracebackType

from quintet.wire.redis_link.chunks import RedisChunks
from quintet.wire.redis_link.client import ServerHealth, health_of
from quintet.wire.redis_link.control import RedisControlChannel
from quintet.wire.redis_link.lease import RedisLease
from quintet.wire.redis_link.weights import RedisWeights


class RedisLink(RedisChunks, RedisWeights, RedisLease, RedisControlChannel):
    """One process's link to one run. Threads may share it; processes each make their own.

    Raises (every method, besides what its protocol says):
        LinkDownError: nobody answers, or Redis cannot serve now (loading, full, its disk is full).
        LinkAuthError: wrong password or user.
        LinkError: the run is not open here, or this worker's incarnation was closed.
    """

    def wait_until_ready(self, wait_s: float) -> None:
        """Wait until Redis answers, at most `wait_s`, and check its version."""
        self._server.wait_until_ready(wait_s)

    def server_health(self) -> ServerHealth:
        """How the server does: its memory, its bound, its append-only file."""
        return health_of(self._server)

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
