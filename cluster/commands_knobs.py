"""The command that turns the knobs of a run that goes on: set."""

from __future__ import annotations

import os

from tyro.conf import Positional

from cluster.failure import DONE, REDIS_URL
from control.output import say


def set_settings(
    changes: Positional[tuple[str, ...]] = (), run: str | None = None, redis_url: str | None = None
) -> int:
    """Change settings of a run while it goes on: quintet set ppo.learning_rate=3e-5 team_spirit.value=0.6

    All of them hold from the optimizer's next update on, or none. Without any, list what can be changed.

    Args:
        changes: KEY=VALUE, as --set takes them. A ramp is changed whole or by its parts; `none` unsets.
        run: The run's name; the newest that is being trained if left out.
        redis_url: Where the run is open, if it is not one of this folder's.
    """
    from cluster.live_change import list_settings, request_changes

    url = redis_url or os.environ.get(REDIS_URL)
    if changes:
        say(request_changes(changes, run, url))
    else:
        list_settings(run, url)
    return DONE
