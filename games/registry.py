"""From a game's name to a `VectorGame`: the one place that knows which names exist."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, cast

import gymnasium

from quintet.games.adapters.own_environment import make_own, makes_environments
from quintet.games.api import GameContractError, GameError, UnknownGameError, VectorGame
from quintet.games.checks.blame import place
from quintet.games.copies import built_for
from quintet.games.dotted import load, nearest

# Our own games: name -> `module:factory`, imported only when played. A factory is `make(n_games, seed, **options)`.
OWN_GAMES: dict[str, str] = {
    "counting": "quintet.games.counting:make_counting",
    "skirmish-1v1": "quintet.games.skirmish.game:make_1v1",
    "skirmish-3v3": "quintet.games.skirmish.game:make_3v3",
    "skirmish-5v5": "quintet.games.skirmish.game:make_5v5",
}
# Families of games: what stands before the first colon -> `module:factory`, called with the rest of the name first.
FAMILIES: dict[str, str] = {
    "gymnasium": "quintet.games.adapters.gymnasium_source:make_gymnasium",
    "gym": "quintet.games.adapters.gymnasium_source:make_old_gym",
    "pettingzoo": "quintet.games.adapters.pettingzoo_source:make_pettingzoo",
    "openspiel": "quintet.games.adapters.openspiel:make_openspiel",
}


def make_game(
    name: str, n_games: int = 1, seed: int = 0, options: Mapping[str, Any] | None = None, *, worker: int | None = None
) -> VectorGame:
    """Build `n_games` slots of a game.

    Args:
        name: `counting`, `gymnasium:CartPole-v1`, `gymnasium:module:Id-v0`,
            `gym:crafter:Env` (a class of the old gym), `pettingzoo:pettingzoo.classic.tictactoe_v3`,
            `openspiel:kuhn_poker`, or `my_package.my_game:make`: a function `make(n_games, seed, **options)` that
            returns a `VectorGame`, or a class or function that makes one environment of Gymnasium or PettingZoo.
            Modules in the current directory are found.
        n_games: slots, at least 1.
        seed: only for games that need one while they are built; `reset(seed)` is what starts games.
        options: of the game. gymnasium, gym: `wrappers`, `leave_out`, `kwargs`. pettingzoo: these, `teams` and
            `zero_sum`. openspiel: `kwargs`.
        worker: which rollout worker's the game is; its environments can know it and their slot: see `games.copies`.

    Raises:
        UnknownGameError: no such game; the nearest known names are suggested.
        MissingExtraError: the game needs a package that is not installed.
        UnsupportedSpaceError: its spaces have no encoder or head.
        GameContractError: a user's factory returned something else than a `VectorGame`.
        GameError: an option does not exist or has a wrong value.
    """
    if n_games < 1:
        raise GameError(f"game {name!r}: n_games is {n_games}; it must be at least 1")
    family, _, rest = name.partition(":")
    is_family = family in FAMILIES and rest
    found = OWN_GAMES.get(name) or (FAMILIES[family] if is_family else name if rest else "")
    if found:
        with built_for(worker):
            thing = load(found, what="game")
            if found == name and makes_environments(thing):
                return _make(name, make_own, (name, thing, n_games, seed), options or {})
            arguments = (rest, n_games, seed) if is_family else (n_games, seed)
            return _make(name, thing, arguments, options or {})
    hint = f"; {name}.py is a module: write {name}:<class>" if Path(f"{name}.py").is_file() else ""
    hint = hint or nearest(name, OWN_GAMES) or nearest(name, gymnasium.registry, prefix="gymnasium:")
    raise UnknownGameError(
        f"unknown game {name!r}{hint}; a game is one of {', '.join(sorted(OWN_GAMES))}, or gymnasium:<id>, "
        "gym:<module>:<class> of the old gym, pettingzoo:<module>, openspiel:<name> or <your module>:<class>"
    )


def _make(name: str, factory: Callable[..., Any], arguments: tuple[Any, ...], options: Mapping[str, Any]) -> VectorGame:
    if not callable(factory):
        raise UnknownGameError(f"game {name!r} is a {type(factory).__name__}; expected a function of (n_games, seed)")
    _check_options(name, factory, arguments, options)
    game = factory(*arguments, **options)
    if isinstance(game, gymnasium.Env):
        raise GameContractError(
            f"{place(factory)} returns a {type(game).__name__}, an environment, though it takes (n_games, seed) (game "
            f"{name!r}); expected a VectorGame; name the class itself, or a function without these arguments"
        )
    missing = [part for part in ("spec", "n_games", "reset", "step", "close") if not hasattr(game, part)]
    if missing:
        raise GameContractError(
            f"game {name!r} returned a {type(game).__name__} without {', '.join(missing)}; expected a VectorGame "
            "(see games/api.py)"
        )
    return cast(VectorGame, game)


def _check_options(
    name: str, factory: Callable[..., Any], arguments: tuple[Any, ...], options: Mapping[str, Any]
) -> None:
    """Find a misspelt option before the factory fails on it with a traceback."""
    signature = inspect.signature(factory)
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in signature.parameters.values()):
        return
    known = list(signature.parameters)[len(arguments) :]
    for option in options:
        if option not in known:
            raise GameError(f"game {name!r} has no option {option!r}{nearest(option, known)}; it has {_listed(known)}")
    try:
        signature.bind(*arguments, **options)
    except TypeError as error:
        raise GameError(
            f"{place(factory)} is no environment of Gymnasium or PettingZoo, and cannot be called with (n_games, seed, "
            f"**options) to make a VectorGame: {error}; derive its class from gymnasium.Env (game {name!r})"
        ) from error


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names) or "none"
