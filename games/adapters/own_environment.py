"""`--game my_module:MyEnv`: a class or function of the user's own that makes a Gymnasium or PettingZoo environment.

A function of (n_games, seed, **options) that returns a `VectorGame` is none of these: see `quintet.games.registry`.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import gymnasium

from quintet.games.adapters import gymnasium_source, pettingzoo_source
from quintet.games.adapters.old_gym import is_old_gym
from quintet.games.adapters.wrappers import named_wrappers
from quintet.games.api import GameError, UnknownGameError, UnsupportedSpaceError, VectorGame
from quintet.games.checks.blame import not_made, place
from quintet.games.copies import copies


def makes_environments(thing: Any) -> bool:
    """Whether this is, or makes, one environment: a class of them, or a function that needs no argument.

    What needs arguments is taken for a function of (n_games, seed) that makes a `VectorGame`, and so is what has a
    parameter of the name n_games.
    """
    if isinstance(thing, type):
        return issubclass(thing, gymnasium.Env) or _is_pettingzoo(thing) or is_old_gym(thing)
    if isinstance(thing, gymnasium.Env) or _is_pettingzoo(type(thing)):
        return True
    if not callable(thing):
        return False
    try:
        parameters = inspect.signature(thing).parameters
    except ValueError:  # built in
        return False
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    needed = [p for p in parameters.values() if p.kind in positional and p.default is p.empty]
    several = any(p.kind is p.VAR_POSITIONAL for p in parameters.values())
    return not needed and not several and "n_games" not in parameters


def make_own(
    name: str,
    thing: Any,
    n_games: int,
    seed: int,
    *,
    wrappers: Sequence[Any] = (),
    leave_out: Sequence[str] = (),
    teams: Sequence[Sequence[str]] | None = None,
    zero_sum: bool | None = None,
    kwargs: Mapping[str, Any] | None = None,
) -> VectorGame:
    """Build the game from a class or function that makes one environment.

    Args:
        name: of the game.
        thing: what `makes_environments`.
        n_games: slots, each with an environment of its own.
        seed: for the environments that show their action mask only after a reset.
        wrappers: see `quintet.games.adapters.wrappers.named_wrappers`.
        leave_out: entries of the observation that the policy is not shown, such as a text.
        teams: of a PettingZoo environment; see `quintet.games.adapters.pettingzoo_source`.
        zero_sum: of a PettingZoo environment.
        kwargs: passed to the class or function.

    Raises:
        UnknownGameError: it makes no environment.
        GameError: it does not take these kwargs, or is a single environment where several are needed.
    """
    if is_old_gym(thing) and not _is_pettingzoo(thing):
        raise UnknownGameError(
            f"game {name!r} is of the old gym: write --game gym:{name}, or derive it from gymnasium.Env"
        )
    layers = named_wrappers(wrappers)
    make = _maker(name, thing, n_games, kwargs or {})
    with copies(n_games, lambda: gymnasium_source.wrapped(make(), layers)) as made, _placed(name, made):
        envs: list[Any] = made
        if isinstance(envs[0], gymnasium.Env):
            if teams is not None or zero_sum is not None:
                raise GameError(f"game {name!r} is a Gymnasium environment: leave out game_options.teams and zero_sum")
            return gymnasium_source.game_of(name, envs, seed, leave_out)
        if _is_pettingzoo(type(envs[0])):
            return pettingzoo_source.game_of(name, envs, seed, teams=teams, zero_sum=zero_sum, leave_out=leave_out)
    raise UnknownGameError(
        f"{place(thing)} makes a {type(envs[0]).__name__} (game {name!r}); expected a gymnasium.Env, a PettingZoo "
        "environment, or of a function of (n_games, seed) a VectorGame (see games/api.py)"
    )


@contextmanager
def _placed(name: str, envs: Sequence[Any]) -> Iterator[None]:
    """What is said against the spaces begins with the file and line of the class that has them."""
    try:
        yield
    except UnsupportedSpaceError as error:
        text = str(error).removeprefix(f"{name}: ").removeprefix(f"game {name!r}: ")
        raise UnsupportedSpaceError(f"{place(envs[0])}: {text} (game {name!r})") from error


def _maker(name: str, thing: Any, n_games: int, kwargs: Mapping[str, Any]) -> Callable[[], Any]:
    if not callable(thing) or isinstance(thing, gymnasium.Env):
        if n_games > 1 or kwargs:
            raise GameError(
                f"game {name!r} is a single environment; a run needs {n_games} of them: name its class, "
                f"{type(thing).__name__}, or a function that makes one"
            )
        return lambda: thing

    def make() -> Any:
        try:
            return thing(**kwargs)
        except (Exception, SystemExit) as error:
            raise not_made(name, error) from error

    return make


def _is_pettingzoo(kind: Any) -> bool:
    """Whether this is one of PettingZoo's classes; nothing is where PettingZoo was never imported."""
    return "pettingzoo" in sys.modules and pettingzoo_source.is_pettingzoo(kind)
