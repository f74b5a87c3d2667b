"""The command that asks how a run is: doctor."""

from __future__ import annotations

import os

from cluster.failure import DONE, FAILED, REDIS_URL


def doctor(run: str | None = None, json: bool = False, redis_url: str | None = None) -> int:
    """Say what is wrong with a run, why it matters and what to do: who starves, who died and of what, what fills up.

    Exit code 0 when it is healthy, 1 when it is not.

    Args:
        run: The run's name; the newest that is being trained if left out, else the newest.
        json: One JSON object instead of text.
        redis_url: Where the run is open, if it is not one of this folder's.
    """
    from cluster.health import examine

    return DONE if examine(run, redis_url or os.environ.get(REDIS_URL), as_json=json) else FAILED
