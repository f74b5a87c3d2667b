"""What gives the numbers of chunks and weights a meaning beside shapes and dtypes, and where two of these differ."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
from gymnasium import spaces

from quintet.games.api import GameSpec, Target, entry_kind

MOST_BOUNDS = 64  # bounds of more numbers than this, unless they are all the same, are named by a hash


def meaning_of(game: GameSpec) -> dict[str, Any]:
    """Plain data that changes whenever the same network on the same arrays would see or do something else."""
    boxes = {name: space for name, space in game.action_space.spaces.items() if isinstance(space, spaces.Box)}
    images = {
        name: space
        for name, space in game.observation_space.spaces.items()
        if isinstance(space, spaces.Box) and entry_kind(game, name) == "image"
    }
    return {
        "action_bounds": {
            name: _bounds(space) for name, space in boxes.items()
        },  # a network's action is scaled by them
        "image_bounds": {name: _bounds(space) for name, space in images.items()},  # pixels are divided by them
        "primary_head": game.primary_head,
        "reads": [sorted(heads) for heads in game.reads],
        "masked_by_primary": sorted(game.masked_by_primary),
        "targets": {name: space.group for name, space in game.action_space.spaces.items() if isinstance(space, Target)},
        "uses": dict(game.uses),
        "relations": {name: asdict(relation) for name, relation in game.relations.items()},
        "own_slots": {name: list(slots) for name, slots in game.own_slots.items()},
        "auxiliary": {name: [auxiliary.label, auxiliary.kind] for name, auxiliary in game.auxiliary.items()},
    }


def _bounds(space: spaces.Box) -> list[Any]:
    """[low, high]: a number each where all are the same, else a list, else (very many) a hash."""
    found: list[Any] = []
    for side in (space.low.ravel(), space.high.ravel()):
        if len(side) and (side == side[0]).all():
            found.append(float(side[0]))
        elif len(side) <= MOST_BOUNDS:
            found.append(side.astype(np.float64).tolist())
        else:
            found.append(hashlib.sha256(np.ascontiguousarray(side).tobytes()).hexdigest()[:16])
    return found


def difference(found: Any, expected: Any, path: str = "") -> str:
    """The first place where two nests of plain data differ, in words; empty where they are equal."""
    if isinstance(found, Mapping) and isinstance(expected, Mapping):
        for key in [*expected, *(key for key in found if key not in expected)]:
            inside = f"{path}.{key}" if path else str(key)
            if key not in found or key not in expected:
                return f"{inside} is {'missing' if key not in found else 'new'}"
            if deeper := difference(found[key], expected[key], inside):
                return deeper
        return ""
    return "" if found == expected else f"{path} is {found} there and {expected} here"
