"""The commands that ask how a run is, and whether a game can be trained: doctor, check."""

from __future__ import annotations

import json as json_module
import os
from pathlib import Path

from tyro.conf import Positional

from cluster.failure import DONE, FAILED, REDIS_URL, UsageError
from cluster.options import Overrides


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


def check(
    what: Positional[str | None] = None,
    game: str | None = None,
    config: Path | None = None,
    overrides: Overrides = (),
    json: bool = False,
) -> int:
    """Play a game as a run would, and say what is wrong with it, with file and line. Exit code 2 if it cannot train.

    Args:
        what: The game: gymnasium:CartPole-v1, my_module:MyEnv, pettingzoo:my_module:MyEnv ...
        game: The same, as the other commands name it.
        config: A TOML file, or the name of one that ships with Quintet; its game where none is named.
        overrides: Any key of the configuration, for example --set game_options.kwargs.length=4. May be repeated.
        json: One JSON object instead of lines.
    """
    from cluster.optimizer_process import PASSIVE_WAIT

    os.environ.update(PASSIVE_WAIT)  # before torch is loaded
    from cluster.check import run_check

    if what is not None and game is not None:
        raise UsageError(f"the game is {what}, and --game says {game}: name it once")
    name = what or game
    named = () if name is None else (f"game={json_module.dumps(name)}",)
    return run_check(config, (*named, *overrides), json=json)
