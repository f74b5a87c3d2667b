"""The command that shows runs in a browser: dashboard."""

from __future__ import annotations

import os

from cluster.failure import DONE, REDIS_URL


def dashboard(
    run: str | None = None,
    port: int | None = None,
    host: str = "127.0.0.1",
    token: str | None = None,
    redis_url: str | None = None,
    listening: int | None = None,
) -> int:
    """Show every run of this folder in a browser. Ctrl-C ends it; a run never notices.

    Args:
        run: The run shown first; the newest if left out.
        port: Port of the page; 8230 if left out, or another one where that is taken.
        host: Where it listens. Beyond this machine (0.0.0.0) a token is required.
        token: Who gives it may change things; a random one if left out, or that of QUINTET_DASHBOARD_TOKEN.
        redis_url: Where the run is open, if it is not one of this folder's.
        listening: An open socket's number, from whoever started this and has told people its address.
    """
    from cluster.web_page import serve_here

    url = redis_url or os.environ.get(REDIS_URL) or None
    serve_here(run=run, port=port, host=host, token=token, redis_url=url, listening=listening)
    return DONE
