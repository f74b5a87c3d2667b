"""Environments of the old gym behind Gymnasium's API. There `reset` gives an observation alone, `step` four values.

gym itself need not be installed.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

from quintet.games.api import MissingExtraError, UnsupportedSpaceError
from quintet.games.checks.blame import not_made
from quintet.games.copies import same_place


def is_old_gym(kind: Any) -> bool:
    """Whether this is a class of environments, but none of Gymnasium's."""
    parts = ("reset", "step", "action_space", "observation_space")
    return isinstance(kind, type) and not issubclass(kind, gymnasium.Env) and all(hasattr(kind, part) for part in parts)


class OldGym(gymnasium.Env[Any, Any]):
    """One environment of the old gym behind Gymnasium's API; what already speaks it is passed on as it is."""

    def __init__(self, name: str, factory: Callable[..., Any], kwargs: Mapping[str, Any]) -> None:
        """Make the environment.

        Raises:
            GameError: it does not take these kwargs, or its own code raises.
            UnsupportedSpaceError: its spaces have no like in Gymnasium.
        """
        self._name, self._factory, self._kwargs, self._place = name, factory, dict(kwargs), same_place()
        self._seed_at_birth = "seed" in _parameters(factory) and "seed" not in kwargs
        self.env = self._made({})
        self.observation_space = _space_of(name, self.env.observation_space)
        self.action_space = _space_of(name, self.env.action_space)

    def _made(self, seed: Mapping[str, int]) -> Any:
        try:
            with self._place():
                return self._factory(**self._kwargs, **seed)
        except (gymnasium.error.DependencyNotInstalled, ImportError) as error:
            raise MissingExtraError(f"game {self._name!r}: {error}") from error
        except (Exception, SystemExit) as error:
            raise not_made(self._name, error) from error

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Start an episode. A seed is given as the environment takes one: when it is made, or by its `seed`."""
        super().reset(seed=seed)
        if seed is not None and self._seed_at_birth:
            self.close()
            self.env = self._made({"seed": seed})
        elif seed is not None and hasattr(self.env, "seed"):
            self.env.seed(seed)
            self.action_space.seed(seed)
        result = self.env.reset()
        return result if _with_info(result) else (result, {})

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """One step. The one flag of old is a cut if the infos say that the task would have gone on."""
        result: Any = self.env.step(action)
        if not isinstance(result, tuple) or len(result) != 4:
            return result  # of the new API, or of none: whoever asked looks at it
        observation, reward, done, info = result
        goes_on = info.get("TimeLimit.truncated", False) or info.get("discount", 0.0) > 0
        return observation, reward, bool(done and not goes_on), bool(done and goes_on), info

    def close(self) -> None:
        """Close the environment, if it can be closed."""
        if hasattr(self.env, "close"):
            self.env.close()


def _parameters(factory: Callable[..., Any]) -> Sequence[str]:
    try:
        return list(inspect.signature(factory).parameters)
    except ValueError:  # built in
        return ()


def _with_info(result: Any) -> bool:
    """Whether a reset gave an info besides, as the last versions of gym do."""
    return isinstance(result, tuple) and len(result) == 2 and isinstance(result[1], dict)


def _space_of(name: str, space: Any) -> spaces.Space[Any]:
    """The space in Gymnasium's words: the old gym's have the same names and parts, and so do stand-ins for them."""
    kind = type(space).__name__.removesuffix("Space")
    match kind:
        case _ if isinstance(space, spaces.Space):
            return space
        case "Box":
            return spaces.Box(space.low, space.high, tuple(space.shape), np.dtype(space.dtype).type)
        case "Discrete":
            return spaces.Discrete(int(space.n), start=int(getattr(space, "start", 0)))
        case "MultiDiscrete":
            return spaces.MultiDiscrete(np.asarray(space.nvec))
        case "MultiBinary":
            return spaces.MultiBinary(space.n)
        case "Dict":
            return spaces.Dict({key: _space_of(name, part) for key, part in space.spaces.items()})
        case "Tuple":
            return spaces.Tuple([_space_of(name, part) for part in space.spaces])
        case _ if kind == "Text" or np.dtype(getattr(space, "dtype", None)).kind == "U":
            return spaces.Text(1)  # which is not read
    raise UnsupportedSpaceError(
        f"{name}: a {type(space).__name__} of the old gym has no like in Gymnasium; known are Box, Discrete, "
        "MultiDiscrete, MultiBinary, Text, Dict and Tuple"
    )
