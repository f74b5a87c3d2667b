"""One leaf of an environment's observation space: how it is read into an array, and looked at on the way."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from gymnasium import spaces

from quintet.games.api import Array, is_image
from quintet.games.box_units import float32_bounds
from quintet.games.checks.data import (
    FLOAT32,
    FLOAT64,
    Mismatch,
    as_promised,
    check_bits,
    check_categories,
    check_sizes,
    described,
)

# dtype in which an entry is written -> dtypes whose numbers it holds as they are
TAKEN = {
    FLOAT32: frozenset(map(np.dtype, ("f4", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "?"))),
    np.dtype(np.int64): frozenset(map(np.dtype, ("i1", "i2", "i4", "i8", "u1", "u2", "u4"))),
    np.dtype(np.int8): frozenset(map(np.dtype, ("i1", "?"))),
    np.dtype(np.uint8): frozenset(map(np.dtype, ("u1",))),
}

Path = tuple[str | int, ...]
Space = spaces.Space[Any]


@dataclass(frozen=True, slots=True)
class Entry:
    """One leaf of the environment's observation space."""

    name: str
    path: Path
    raw_shape: tuple[int, ...]  # as the environment gives it
    space: Space  # as the game offers it
    leaf: Space  # as the environment has it
    dtype: np.dtype[Any]  # in which it is written; bits as int8
    start: Array | None  # what to subtract so that categoricals count from 0
    categories: int | Array | None  # how many there are, counted from 0, in all columns or in each


def is_text(leaf: Space) -> bool:
    """A Text, or a space of one's own whose values are texts, as older versions of minigrid have."""
    return isinstance(leaf, spaces.Text) or (leaf.dtype is not None and leaf.dtype.kind == "U")


def part_of(observation: Any, entry: Entry) -> Any:
    """An entry's own value.

    Raises:
        Mismatch: the observation has none.
    """
    try:
        for part in entry.path:
            observation = observation[part]
    except (KeyError, IndexError, TypeError) as error:
        keys = (
            f"the keys {sorted(map(str, observation))}" if isinstance(observation, Mapping) else described(observation)
        )
        raise Mismatch(
            f"the observation has no {entry.name!r}, which its space has; it has {keys}: return every part of the space"
        ) from error
    return observation


def converted(value: Any, entry: Entry, shape: tuple[int, ...]) -> Array:
    """What is no array of the entry's own dtype, in it; numbers that are too large become infinite, for `finished`.

    Raises:
        Mismatch: another shape than that, or numbers that would change.
    """
    array = as_promised(value, entry.name, shape, entry.dtype)
    if array.dtype == FLOAT64 and entry.dtype == FLOAT32:
        with np.errstate(over="ignore"):
            return array.astype(entry.dtype)
    return array if array.dtype == entry.dtype else array.astype(entry.dtype)


def finished(entry: Entry, values: Array, lead: tuple[int, ...]) -> Array:
    """Written values [*lead, ...] as the game offers them.

    Raises:
        Mismatch: a number that is not finite, or too large to travel, or a category that does not exist.
    """
    shaped = values.reshape(lead + (entry.space.shape or ()))
    if entry.categories is not None:
        shaped = shaped if entry.start is None else shaped - entry.start
        check_categories(entry.name, shaped, entry.categories, len(lead), entry.start)
    elif entry.dtype == FLOAT32:
        check_sizes(entry.name, shaped, len(lead))
    elif entry.dtype == np.int8:
        return check_bits(entry.name, shaped, len(lead))
    return shaped


def entry_of(name: str, path: Path, leaf: Space, *, is_set: bool) -> Entry:
    """The entry for a leaf, which is a Box, Discrete, MultiDiscrete or MultiBinary."""
    shape = tuple(leaf.shape or ())
    size = int(np.prod(shape, dtype=np.int64))

    def entry(space: Space, dtype: Any, start: Any = 0, categories: int | Array | None = None) -> Entry:
        return Entry(name, path, shape, space, leaf, np.dtype(dtype), start_of(start), categories)

    if isinstance(leaf, spaces.Discrete):
        return entry(spaces.Discrete(int(leaf.n)), np.int64, leaf.start, int(leaf.n))
    if isinstance(leaf, spaces.MultiDiscrete):
        flat = leaf.nvec.ravel()
        return entry(spaces.MultiDiscrete(flat), np.int64, leaf.start, flat.astype(np.uint64))
    if isinstance(leaf, spaces.MultiBinary):
        return entry(spaces.MultiBinary(size), np.int8)
    if isinstance(leaf, spaces.Box) and leaf.dtype == np.uint8 and len(shape) == 3 and size > 0:
        return entry(leaf, np.uint8)
    assert isinstance(leaf, spaces.Box), leaf  # `ObservationLayout` has refused all else
    # A set of entities keeps its slots, an image its axes; everything else is one flat vector.
    kept = shape if is_image(leaf) or (is_set and len(shape) == 2) else (size,)
    low, high = (bound.reshape(kept) for bound in float32_bounds(leaf))
    return entry(spaces.Box(low, high, dtype=np.float32), np.float32)


def start_of(start: Any) -> Array | None:
    """Where a space's numbers begin, None where at 0."""
    offset = np.asarray(start, dtype=np.int64).ravel()
    if not offset.any():
        return None
    return offset if offset.size > 1 else offset.reshape(())
