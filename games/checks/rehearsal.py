"""A few rows of a game before anything else starts: the first fault, what is hardly meant, how long games are."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from quintet.games.api import GameContractError, GameError, GameWithRemarks, Transition, VectorGame
from quintet.games.checks.blame import blamed, place
from quintet.games.checks.rows import TOLERANCE, Referee
from quintet.games.checks.spec import check_spec
from quintet.games.contract import random_actions

ROWS = 300
WITHIN_S = 0.5  # of computing, after the first row; a game that takes longer for its rows plays fewer, but at least:
LEAST_ROWS = 2
PATIENCE = 4  # times as long on the clock: a game may wait for others, and the machine may be busy
DECLARED = ("max_steps", "max_cycles")  # where environments by others say how long they go on, if nothing else does


@dataclass(frozen=True, kw_only=True, slots=True)
class Seen:
    """What a few rows of random play show of a game."""

    rows: int  # of all games, without those that only begin one
    games: int  # that ended
    episode_rows: int  # of a game that ended, on average, but not fewer than of one that goes on; 0 where none ended
    sums_to_zero: bool  # every row's rewards, of all teams together, and some were not 0
    pays_ends_only: bool  # rewards came only in rows that ended a game, and each of these had its outcomes
    largest_end: float  # the largest reward in a row that ended a game, whatever its sign
    declared_rows: int = 0  # what an environment by others says of its longest game, where it says anything


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """How a rehearsal went."""

    remarks: list[str]  # each begins with a file and line
    seen: Seen


def rehearse_rows(
    game: VectorGame, seed: int, *, rows: int = ROWS, within_s: float = WITHIN_S, until_an_end: int = 0
) -> Rehearsal:
    """Play random legal actions and look at every array.

    Args:
        game: it is reset.
        seed: of the game and of the actions.
        rows: how many, or fewer, if they take longer than `within_s`.
        within_s: seconds of computing, and a few times as many on the clock, from the second row on: the first may
            load what a game needs.
        until_an_end: go on for up to so many rows while no game has ended, `within_s` all the same.

    Raises:
        GameError: the first fault; its message begins with the file and line of the user's code.
    """
    spec, random, is_late = game.spec, np.random.default_rng(seed), _Clock(within_s)
    outside: dict[str, str] = {}
    remarks: dict[str, str] = {}
    ledger = _Ledger(game.n_games)
    with _at_fault(game, "", "its spec"):
        check_spec(spec)
    with _at_fault(game, "reset", "row 0"):
        observation = game.reset(seed)
        referee = Referee(spec, game.n_games, observation, outside)
    for row in range(1, max(rows, until_an_end) + 1):
        actions = random_actions(spec, observation, random)
        with _at_fault(game, "step", f"row {row}"):
            result = game.step(actions)
            referee.judge(observation, result)
        ledger.enter(result)
        observation = result.observation
        if isinstance(game, GameWithRemarks):
            remarks = {**game.remarks(), **remarks}
        if row >= LEAST_ROWS and (is_late() or (row >= rows and ledger.games)):
            break
        if row == 1:
            is_late = _Clock(within_s)
    if not isinstance(game, GameWithRemarks):
        remarks = {name: f"{place(game, 'step')}: {text}" for name, text in outside.items()}
    return Rehearsal(list(remarks.values()), replace(ledger.seen, declared_rows=_declared(origin(game))))


class _Clock:
    """Whether this thread has computed, or waited, for too long since now."""

    def __init__(self, within_s: float) -> None:
        self._computed_s, self._at_s = time.thread_time() + within_s, time.monotonic() + PATIENCE * within_s

    def __call__(self) -> bool:
        return time.thread_time() > self._computed_s or time.monotonic() > self._at_s


def _declared(thing: Any) -> int:
    """How many rows an environment's longest game has, by its own word; 0 where it says nothing."""
    raw = getattr(thing, "unwrapped", thing)
    said = (getattr(raw, name, None) for name in DECLARED)
    return next((int(rows) for rows in said if type(rows) is int and rows > 0), 0)


class _Ledger:
    """Adds up what rows pay, and how long games are."""

    def __init__(self, n_games: int) -> None:
        self.rows = self.games = self._ended_rows = 0
        self._age = np.zeros(n_games, dtype=np.int64)
        self._begins = np.zeros(n_games, dtype=bool)  # the row after an end, in which nothing is played
        self._paid = self._paid_early = self._unequal = self._undecided = False
        self._largest_end = 0.0

    def enter(self, result: Transition) -> None:
        """Take in a row of every game."""
        ended, reward = result.ended, np.abs(result.reward)
        self.rows += int((~self._begins).sum())
        self._age += ~self._begins
        self.games += int(ended.sum())
        self._ended_rows += int(self._age[ended].sum())
        self._age[ended] = 0
        self._begins = ended
        self._paid |= bool(reward.any())
        self._paid_early |= bool(reward[~ended].any())
        total, size = np.abs(result.reward.sum(axis=(1, 2))), reward.sum(axis=(1, 2))
        self._unequal |= bool((total > TOLERANCE * (1 + size)).any())
        self._undecided |= bool(np.isnan(result.outcome[ended]).any())
        self._largest_end = max(self._largest_end, float(reward[ended].max(initial=0.0)))

    @property
    def seen(self) -> Seen:
        """What there is to say now."""
        return Seen(
            rows=self.rows,
            games=self.games,
            episode_rows=max(round(self._ended_rows / self.games), int(self._age.max())) if self.games else 0,
            sums_to_zero=self._paid and not self._unequal,
            pays_ends_only=self.games > 0 and self._largest_end > 0 and not self._paid_early and not self._undecided,
            largest_end=self._largest_end,
        )


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
