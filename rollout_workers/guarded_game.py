"""A game as the worker's loop sees it: whatever its own code raises is the game's fault, and says so in one line."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from quintet.games.api import (
    Actions,
    GameCodeError,
    GameContractError,
    GameDataError,
    GameError,
    GameSpec,
    Observation,
    Transition,
    VectorGame,
)
from quintet.games.checks.blame import described_error, place, raised_at
from quintet.games.checks.data import Mismatch
from quintet.games.checks.rows import SameForm

Answer = TypeVar("Answer")


class GuardedGame:
    """A `VectorGame` around another; another thread may ask since when it has been in which of its calls."""

    def __init__(self, game: VectorGame) -> None:
        self.game = game
        self.spec: GameSpec = game.spec
        self.n_games = game.n_games
        self._call, self._since_s = "", 0.0
        ours = VectorGame.__module__.rpartition(".")[0]
        theirs = not type(game).__module__.startswith(f"{ours}.")
        self.code = place(game, "step") if theirs else ""
        """File, line and name of the `step` that a user wrote; empty where the game is one of ours, or an adapter."""
        self._form = SameForm(game.spec, game.n_games) if theirs else None

    @property
    def call(self) -> tuple[str, float]:
        """`("step", 42.0)`: in which call of the game the worker is, and for how many seconds; ("", 0.0) in none."""
        call, since_s = self._call, self._since_s
        return (call, time.monotonic() - since_s) if call else ("", 0.0)

    def reset(self, seed: int) -> Observation:
        """Start every game anew.

        Raises:
            GameError: its own, or a GameCodeError in place of anything else; a GameDataError where arrays that a
                user's own game returns have another form than the contract says.
        """
        observation = self._guarded("reset", lambda: self.game.reset(seed))
        if self._form is not None:
            with self._refused("reset"):
                self._form.check_observation(observation)
        return observation

    def step(self, actions: Actions) -> Transition:
        """Advance every game by one decision; raises as `reset` does."""
        result = self._guarded("step", lambda: self.game.step(actions))
        if self._form is not None:
            with self._refused("step"):
                self._form.check_transition(result)
        return result

    def close(self) -> None:
        """Close the game."""
        self.game.close()

    @contextmanager
    def _refused(self, method: str) -> Iterator[None]:
        try:
            yield
        except (GameContractError, Mismatch) as error:
            text = str(error).removeprefix(f"{self.spec.name}: ")
            whose = f", slot {error.at[0]}" if isinstance(error, Mismatch) and error.at else ""
            raise GameDataError(f"{place(self.game, method)}: {text} (game {self.spec.name!r}{whose})") from error

    def _guarded(self, name: str, call: Callable[[], Answer]) -> Answer:
        self._since_s, self._call = time.monotonic(), name
        try:  # while games are played, Ctrl-C is a request and raises nothing
            with guarded(self.spec.name, self.game, name, interrupts_too=name == "step"):
                return call()
        finally:
            self._call = ""


def guard(game: VectorGame) -> GuardedGame:
    """The game guarded, once."""
    return game if isinstance(game, GuardedGame) else GuardedGame(game)


@contextmanager
def guarded(name: str, thing: Any, method: str, *, interrupts_too: bool = False) -> Iterator[None]:
    """Whatever the body raises is the game's fault, `SystemExit` included; lack of memory is the machine's.

    Args:
        name: of the game.
        thing: the game, or what makes it.
        method: what of it is called, empty where it is called itself.
        interrupts_too: `KeyboardInterrupt` as well; only where Ctrl-C raises none.

    Raises:
        GameError: the game's own, or a GameCodeError in place of anything else.
    """
    try:
        yield
    except (GameError, MemoryError):
        raise
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt) and not interrupts_too:
            raise
        line = raised_at(error) or place(thing, method)
        raise GameCodeError(f"{line}: {method or 'it'} raised {described_error(error)} (game {name!r})") from error
