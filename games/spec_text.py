"""A `GameSpec` as text and back, so that a process which only needs to know the game (the optimizer) builds no copy."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np
from gymnasium import spaces

from quintet.games.api import Auxiliary, GameSpec, Relation, Target, UnsupportedSpaceError

_CLASSES = {kind.__name__: kind for kind in (GameSpec, Relation, Auxiliary)}


def spec_to_text(spec: GameSpec) -> str:
    """The spec as JSON; `spec_from_text` of it is equal to it, in the order of entries and heads as well.

    Raises:
        UnsupportedSpaceError: a space that no encoder or head serves.
    """
    return json.dumps(_plain(spec))


def spec_from_text(text: str) -> GameSpec:
    """Undo `spec_to_text`."""
    spec = _made(json.loads(text))
    assert isinstance(spec, GameSpec)
    return spec


def _plain(value: Any) -> Any:
    """JSON has no tuples, sets, spaces and numbers as keys: each of them is a list that begins with what it is."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, spaces.Space):
        return _plain_space(value)
    if is_dataclass(value):
        return [type(value).__name__, [[part.name, _plain(getattr(value, part.name))] for part in fields(value)]]
    if isinstance(value, Mapping):
        return ["mapping", [[_plain(key), _plain(entry)] for key, entry in value.items()]]
    if isinstance(value, frozenset | set):
        return ["set", sorted(_plain(entry) for entry in value)]
    return ["tuple", [_plain(entry) for entry in value]]


def _plain_space(space: spaces.Space[Any]) -> Any:
    if isinstance(space, spaces.Dict):
        return ["Dict", [[name, _plain(entry)] for name, entry in space.spaces.items()]]
    if isinstance(space, spaces.Box):
        return ["Box", [space.dtype.name, list(space.shape), _bound(space.low), _bound(space.high)]]
    if isinstance(space, Target):
        return ["Target", [space.group, int(space.n)]]
    if isinstance(space, spaces.Discrete):
        return ["Discrete", [int(space.n), int(space.start)]]
    if isinstance(space, spaces.MultiDiscrete):
        return ["MultiDiscrete", [space.nvec.tolist(), space.dtype.name, np.asarray(space.start).tolist()]]
    if isinstance(space, spaces.MultiBinary):
        return ["MultiBinary", [list(space.shape) if len(space.shape) > 1 else space.shape[0]]]
    raise UnsupportedSpaceError(f"a {type(space).__name__} cannot be part of a game's spec")


def _bound(bound: np.ndarray[Any, np.dtype[Any]]) -> Any:
    """A box's low or high: one number where it is everywhere the same, as an image's is."""
    same = bound.size and (bound == bound.flat[0]).all()
    return bound.flat[0].item() if same else bound.tolist()


def _made(plain: Any) -> Any:
    if not isinstance(plain, list):
        return plain
    kind, parts = plain
    if kind in _CLASSES:
        return _CLASSES[kind](**{name: _made(part) for name, part in parts})
    if kind == "mapping":
        return {_made(key): _made(entry) for key, entry in parts}
    if kind in ("set", "tuple"):
        entries = [_made(entry) for entry in parts]
        return frozenset(entries) if kind == "set" else tuple(entries)
    return _made_space(kind, parts)


def _made_space(kind: str, parts: list[Any]) -> spaces.Space[Any]:
    if kind == "Dict":
        return spaces.Dict([(name, _made(entry)) for name, entry in parts])
    if kind == "Box":
        dtype, shape, low, high = parts
        low, high = (np.broadcast_to(np.array(bound, dtype=dtype), shape).copy() for bound in (low, high))
        return spaces.Box(low, high, dtype=np.dtype(dtype).type)
    if kind == "MultiDiscrete":
        nvec, dtype, start = parts
        return spaces.MultiDiscrete(nvec, dtype=np.dtype(dtype).type, start=start)
    if kind == "Discrete":
        n, start = parts
        return spaces.Discrete(n, start=start)
    return Target(*parts) if kind == "Target" else spaces.MultiBinary(*parts)
