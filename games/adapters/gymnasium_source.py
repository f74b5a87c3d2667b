"""Where Gymnasium environments come from: an id, or a class or function of a module, the old gym's included.

One with a vectorised entry point of its own (CartPole) is stepped through it, all others one by one.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import Any

import gymnasium
from gymnasium.vector import AutoresetMode

from quintet.games.adapters.gymnasium import GymnasiumLoopGame, GymnasiumVectorGame
from quintet.games.adapters.gymnasium_team import make_team
from quintet.games.adapters.old_gym import OldGym, is_old_gym
from quintet.games.adapters.wrappers import AnyVectorEnv, Env, NamedWrapper, named_wrappers
from quintet.games.api import (
    GameContractError,
    GameDataError,
    MissingExtraError,
    UnknownGameError,
    VectorGame,
)
from quintet.games.checks.blame import not_made, place
from quintet.games.checks.data import described
from quintet.games.copies import copies
from quintet.games.dotted import import_module, load, nearest


def make_gymnasium(
    env_id: str,
    n_games: int,
    seed: int,
    *,
    wrappers: Sequence[Any] = (),
    leave_out: Sequence[str] = (),
    kwargs: Mapping[str, Any] | None = None,
) -> VectorGame:
    """Build the game for a Gymnasium id, or for `module:Id-v0`, which imports the module first.

    Args:
        env_id: the id.
        n_games: slots.
        seed: for the environments that show their action mask only after a reset.
        wrappers: see `quintet.games.adapters.wrappers.named_wrappers`.
        leave_out: entries of the observation that the policy is not shown, such as a text.
        kwargs: passed to `gymnasium.make`.

    Raises:
        UnknownGameError: no such id or module.
        MissingExtraError: the environment needs a package that is not installed.
        UnsupportedSpaceError: its spaces cannot be served.
    """
    name = f"gymnasium:{env_id}"
    spec = _find_spec(name, env_id)
    layers, arguments = named_wrappers(wrappers), dict(kwargs or {})
    if spec.vector_entry_point and not spec.additional_wrappers and all(layer.takes_vectors for layer in layers):
        vector = _make_vector(name, spec, n_games, layers, arguments)
        if vector is not None:
            return GymnasiumVectorGame(name, vector, seed, leave_out)
    with copies(n_games, lambda: _make_one(name, spec, layers, arguments)) as envs:
        return game_of(name, envs, seed, leave_out)


def make_old_gym(
    factory_name: str,
    n_games: int,
    seed: int,
    *,
    wrappers: Sequence[Any] = (),
    leave_out: Sequence[str] = (),
    kwargs: Mapping[str, Any] | None = None,
) -> VectorGame:
    """Build the game from a class or function of the old gym, such as `crafter:Env`.

    Args:
        factory_name: `module:name`.
        n_games: slots.
        seed: for the environments that show their action mask only after a reset.
        wrappers: Gymnasium's, see `quintet.games.adapters.wrappers.named_wrappers`.
        leave_out: entries of the observation that the policy is not shown, such as a text.
        kwargs: passed to the class or function.

    Raises:
        UnknownGameError: no such module, or no such name in it.
        MissingExtraError: the environment needs a package that is not installed.
        UnsupportedSpaceError: its spaces cannot be served.
        GameError: it does not take these kwargs.
    """
    name, layers = f"gym:{factory_name}", named_wrappers(wrappers)
    factory = load(factory_name, what=f"game {name!r}: environment")
    with copies(n_games, lambda: wrapped(OldGym(name, factory, kwargs or {}), layers)) as envs:
        return game_of(name, envs, seed, leave_out)


def game_of(name: str, envs: Sequence[Env], seed: int, leave_out: Sequence[str] = ()) -> VectorGame:
    """The game that single environments make, one to a slot: of one agent, or of one team where they have several."""
    _check_spaces(name, envs[0])
    max_steps = envs[0].spec.max_episode_steps if envs[0].spec else None
    return make_team(name, envs, seed, max_steps, leave_out) or GymnasiumLoopGame(name, envs, seed, leave_out)


def _find_spec(name: str, env_id: str) -> gymnasium.envs.registration.EnvSpec:
    module, _, bare = env_id.rpartition(":")
    package = import_module(module, what=f"game {name!r}") if module else None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # an old version of an environment is no error
            return gymnasium.spec(bare)
    except gymnasium.error.Error as error:
        raise UnknownGameError(f"game {name!r}: {error}{_hint(str(error), bare, package)}") from error


def _hint(said: str, bare: str, package: ModuleType | None) -> str:
    """What else the id could be: one that is spelt alike, one of a package, or an environment of the old gym."""
    old = [part for part, kind in vars(package).items() if is_old_gym(kind)] if package else []
    if package and old:
        return f" {package.__name__} is of the old gym: write --game gym:{package.__name__}:{old[0]}"
    kind = getattr(package, bare, None)
    if isinstance(kind, type) and issubclass(kind, gymnasium.Env):
        return f". It is a class: write --game {kind.__module__}:{bare}"
    near = "" if "did you mean" in said.lower() else nearest(bare, gymnasium.registry)
    from_package = f" If a package brings it, name the package: --game gymnasium:<package>:{bare}"
    return near if near or package or "did you mean" in said.lower() else from_package


def _make_one(
    name: str, spec: gymnasium.envs.registration.EnvSpec, layers: Sequence[NamedWrapper], arguments: Mapping[str, Any]
) -> Env:
    try:
        env = gymnasium.make(spec, **{"disable_env_checker": True, **arguments})
    except (gymnasium.error.DependencyNotInstalled, ModuleNotFoundError) as error:
        raise MissingExtraError(f"game {name!r}: {error}") from error
    except gymnasium.error.UnregisteredEnv as error:
        raise UnknownGameError(f"game {name!r}: {error}") from error
    except (Exception, SystemExit) as error:
        raise not_made(name, error) from error
    return wrapped(env, layers)


def wrapped(env: Env, layers: Sequence[NamedWrapper]) -> Env:
    """The environment in its wrappers, the innermost first."""
    for layer in layers:
        env = layer.apply(env)
    return env


def _make_vector(
    name: str,
    spec: gymnasium.envs.registration.EnvSpec,
    n_games: int,
    layers: Sequence[NamedWrapper],
    arguments: Mapping[str, Any],
) -> AnyVectorEnv | None:
    """The vectorised entry point, or None where the loop has to do: it must reset in the step after an end."""
    try:
        env: AnyVectorEnv = gymnasium.make_vec(
            spec, num_envs=n_games, vectorization_mode="vector_entry_point", **arguments
        )
    except (gymnasium.error.DependencyNotInstalled, ModuleNotFoundError) as error:
        raise MissingExtraError(f"game {name!r}: {error}") from error
    except TypeError:
        return None  # it takes fewer arguments than the single environment does
    if env.metadata.get("autoreset_mode") is not AutoresetMode.NEXT_STEP:
        env.close()
        if spec.entry_point is None:
            raise GameContractError(f"game {name!r} has only a vectorised form, and that does not reset in NEXT_STEP")
        return None
    for layer in layers:
        env = layer.apply(env)
    return env


def _check_spaces(name: str, env: Env) -> None:
    for what, kind in (("observation_space", "spaces.Box(-1, 1, (4,))"), ("action_space", "spaces.Discrete(2)")):
        if not isinstance(space := getattr(env, what, None), gymnasium.Space):
            raise GameDataError(
                f"{place(env)} has {'no' if space is None else described(space) + ' as'} {what}; expected a "
                f"gymnasium space: write self.{what} = {kind} in __init__ (game {name!r})"
            )
