"""The command that shows a run to Prometheus: exporter."""

from __future__ import annotations

import contextlib
import os

from cluster.failure import DONE, REDIS_URL, UsageError
from control.output import say

METRICS_TOKEN = "QUINTET_METRICS_TOKEN"  # an environment variable: a token must not stand on a command line


def exporter(run: str | None = None, host: str = "127.0.0.1", port: int = 9464, redis_url: str | None = None) -> int:
    """Serve a run's metrics at /metrics for Prometheus, from its Redis alone, until Ctrl-C.

    The dashboard serves the same at its own /metrics. Where the environment's QUINTET_METRICS_TOKEN is set, a scrape
    must show it as a bearer or as a password; beyond loopback it must be set.

    Args:
        run: The run's name; the newest that is being trained if left out.
        host: The address to listen at; 0.0.0.0 for all of this machine's.
        port: The port to listen at; 0 takes any free one.
        redis_url: Where the run is open, if it is not one of this folder's. QUINTET_REDIS_URL is the same.
    """
    from cluster.live import locate
    from dashboard.exporter import Exporter
    from dashboard.metrics_server import MetricsServer, is_loopback
    from wire.redis_link import RedisLink

    token = os.environ.get(METRICS_TOKEN, "")
    if not token and not is_loopback(host):
        raise UsageError(f"--host {host} can be reached from other machines: set {METRICS_TOKEN} to a token first")
    folder, url = locate(run, redis_url or os.environ.get(REDIS_URL))
    # No waiting for Redis here: a scrape that finds it silent says so, and the next one asks again.
    with RedisLink(url, folder.run) as link, MetricsServer(host, port, Exporter(link).text, token) as server:
        shown = f"http://{host}:{server.server_address[1]}/metrics"
        say(f"run {folder.run}: {shown}{' (with the token)' if token else ''}; Ctrl-C ends it")
        with contextlib.suppress(KeyboardInterrupt):
            server.serve_forever()
    return DONE
