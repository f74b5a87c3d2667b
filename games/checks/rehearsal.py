"""A few rows of a game before anything else starts: the first fault, and what is hardly meant, with file and line."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from quintet.games.api import GameContractError, GameError, GameWithRemarks, VectorGame
from quintet.games.checks.blame import blamed, place
from quintet.games.checks.rows import Referee
from quintet.games.checks.spec import check_spec
from quintet.games.contract import random_actions

ROWS = 300
WITHIN_S = 0.5  # a game that takes longer for its rows plays fewer, but at least:
LEAST_ROWS = 2


def rehearse_rows(game: VectorGame, seed: int, *, rows: int = ROWS, within_s: float = WITHIN_S) -> list[str]:
    """Play random legal actions and look at every array; returns remarks, each of which begins with a file and line.

    Raises:
        GameError: the first fault; its message begins with the file and line of the user's code.
    """
    spec, random, deadline_s = game.spec, np.random.default_rng(seed), time.monotonic() + within_s
    outside: dict[str, str] = {}
    remarks: dict[str, str] = {}
    with _at_fault(game, "", "its spec"):
        check_spec(spec)
    with _at_fault(game, "reset", "row 0"):
        observation = game.reset(seed)
        referee = Referee(spec, game.n_games, observation, outside)
    for row in range(1, rows + 1):
        actions = random_actions(spec, observation, random)
        with _at_fault(game, "step", f"row {row}"):
            result = game.step(actions)
            referee.judge(observation, result)
        observation = result.observation
        if isinstance(game, GameWithRemarks):
            remarks = {**game.remarks(), **remarks}
        if row >= LEAST_ROWS and time.monotonic() > deadline_s:
            break
    if not isinstance(game, GameWithRemarks):
        remarks = {name: f"{place(game, 'step')}: {text}" for name, text in outside.items()}
    return list(remarks.values())


def origin(game: VectorGame) -> Any:
    """What brings the rules: an environment by others, or the game itself."""
    return game.origin if isinstance(game, GameWithRemarks) else game


@contextmanager
def _at_fault(game: VectorGame, method: str, at: str) -> Iterator[None]:
    """Whatever goes wrong in here is what the game's `method` did."""
    try:
        yield
    except GameContractError as error:
        where = place(origin(game), method)
        if str(error).startswith(where.partition(": ")[0]):
            raise
        text = str(error).removeprefix(f"{game.spec.name}: ")
        raise GameContractError(
            f"{where}: {text} (game {game.spec.name!r}, {at}; the rules stand in games/api.py)"
        ) from error
    except GameError:
        raise
    except (Exception, SystemExit) as error:
        raise blamed(error, origin(game), method, game.spec.name, at) from error
