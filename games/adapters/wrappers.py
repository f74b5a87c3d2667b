"""Wrappers for Gymnasium environments: the built-in `mask_observation`, and how a configuration names them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.vector import VectorEnv, VectorObservationWrapper, VectorWrapper
from gymnasium.vector.utils import batch_space

from quintet.games.api import Array, GameError, MissingExtraError, UnsupportedSpaceError
from quintet.games.checks.blame import described_error, raised_at
from quintet.games.dotted import load

Env = gymnasium.Env[Any, Any]
AnyVectorEnv = VectorEnv[Any, Any, Any]
Made = TypeVar("Made")
# What runs of before the one name `quintet` have in their configuration; they can be resumed.
FORMER_NAMES = {"games.wrappers:mask_observation": "quintet.games.adapters.wrappers:mask_observation"}


@dataclass(frozen=True, slots=True)
class NamedWrapper:
    """A wrapper that a configuration names, with its arguments filled in."""

    name: str
    apply: Callable[[Any], Any]
    takes_vectors: bool  # it may also be laid around a gymnasium VectorEnv


def named_wrappers(tables: Iterable[str | Mapping[str, Any] | NamedWrapper]) -> list[NamedWrapper]:
    """Load wrappers from `["module:name", {name = "module:name", argument = ...}, ...]`, the innermost first.

    A wrapper takes vector environments if it is a `gymnasium.vector.VectorWrapper` or has `takes_vectors = True`.

    Raises:
        UnknownGameError: the module or the name in it does not exist.
        GameError: an entry is neither a string nor a table with a name.
    """
    if isinstance(tables, str | Mapping):
        raise GameError(f"wrappers is {tables!r}; expected a list of wrappers, in square brackets")
    return [table if isinstance(table, NamedWrapper) else _named_wrapper(table) for table in tables]


def _named_wrapper(table: str | Mapping[str, Any]) -> NamedWrapper:
    arguments = dict(table) if isinstance(table, Mapping) else {"name": table}
    name = arguments.pop("name", None)
    if not isinstance(name, str):
        raise GameError(f'a wrapper is {table!r}; expected "module:name" or {{ name = "module:name", ... }}')
    function = load(FORMER_NAMES.get(name, name), what="wrapper")
    takes_vectors = getattr(function, "takes_vectors", False) or (
        isinstance(function, type) and issubclass(function, VectorWrapper)
    )
    return NamedWrapper(name=name, apply=partial(_applied, name, function, arguments), takes_vectors=takes_vectors)


def _applied(name: str, function: Callable[..., Made], arguments: Mapping[str, Any], env: Any) -> Made:
    try:
        return function(env, **arguments)
    except GameError:
        raise
    except (ImportError, gymnasium.error.DependencyNotInstalled) as error:
        raise MissingExtraError(f"wrapper {name} needs what is not installed: {error}") from error
    except Exception as error:
        line = raised_at(error)
        raise GameError(
            f"wrapper {name} cannot be laid around {env}: {described_error(error)}{f' ({line})' if line else ''}"
        ) from error


def mask_observation(env: Any, hide: Sequence[int]) -> Any:
    """Remove entries from a vector observation: CartPole without its velocities (`hide = [1, 3]`) needs memory.

    Args:
        env: a gymnasium Env or VectorEnv whose (single) observation is a one-dimensional Box.
        hide: indices of the entries to remove.

    Raises:
        UnsupportedSpaceError: the observation is no vector, or an index is not in it, or nothing would be left.
    """
    if isinstance(env, VectorEnv):
        return _VectorMasked(env, _kept(env.single_observation_space, hide))
    return _Masked(env, _kept(env.observation_space, hide))


mask_observation.takes_vectors = True  # type: ignore[attr-defined]


def _kept(space: spaces.Space[Any], hide: Sequence[int]) -> Array:
    if not isinstance(space, spaces.Box) or len(space.shape) != 1:
        raise UnsupportedSpaceError(f"mask_observation needs a one-dimensional Box observation, found {space}")
    size = space.shape[0]
    wrong = [index for index in hide if not 0 <= index < size]
    if wrong or len(set(hide)) >= size:
        raise UnsupportedSpaceError(
            f"mask_observation: hide is {list(hide)}; the observation has {size} entries, so hide some of "
            f"0 to {size - 1}, but not all"
        )
    return np.setdiff1d(np.arange(size), np.asarray(hide, dtype=np.int64))


def _shrunk(space: Any, kept: Array) -> spaces.Box:
    return spaces.Box(space.low[kept], space.high[kept], dtype=space.dtype)


class _Masked(gymnasium.ObservationWrapper[Any, Any, Any]):
    def __init__(self, env: Env, kept: Array) -> None:
        super().__init__(env)
        self._kept = kept
        self.observation_space = _shrunk(env.observation_space, kept)

    def observation(self, observation: Array) -> Array:
        """Keep the entries that are not hidden, `[F]` to `[kept]`."""
        return observation[self._kept]


class _VectorMasked(VectorObservationWrapper[Any, Any, Any, Any]):
    def __init__(self, env: AnyVectorEnv, kept: Array) -> None:
        super().__init__(env)
        self._kept = kept
        self.single_observation_space = _shrunk(env.single_observation_space, kept)
        self.observation_space = batch_space(self.single_observation_space, env.num_envs)

    def observations(self, observations: Array) -> Array:
        """Keep the entries that are not hidden, `[n, F]` to `[n, kept]`."""
        return observations.take(self._kept, axis=1)
