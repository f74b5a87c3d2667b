"""How any Gymnasium space becomes the flat entries and heads of `games/api.py`, and back.

Nested Dicts and Tuples are flattened: `{"pos": (Box, Discrete)}` becomes the entries `pos.0` and `pos.1`. A plain space
becomes the entry `observation`, or the head `action`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from gymnasium import spaces

from quintet.games.adapters.space_leaf import (
    TAKEN,
    Path,
    Space,
    converted,
    entry_of,
    finished,
    is_text,
    part_of,
    start_of,
)
from quintet.games.api import ACTING, ACTION_MASK_PREFIX, Actions, Array, GameError, UnsupportedSpaceError
from quintet.games.box_units import float32_bounds
from quintet.games.checks.blame import place
from quintet.games.checks.data import Mismatch, check_choice, check_mask_bits, described, mask_bits
from quintet.games.checks.remarks import flat_image, float64_box, leaf_remarks, unread_text
from quintet.games.dotted import nearest

ACTION_MASK = "action_mask"  # the key under which environments keep their masks


def _leaves(space: Space, path: Path = ()) -> Iterator[tuple[Path, Space]]:
    """Walk a nested space in its own order."""
    if isinstance(space, spaces.Dict):
        for key, inner in space.spaces.items():
            yield from _leaves(inner, (*path, key))
    elif isinstance(space, spaces.Tuple):
        for index, inner in enumerate(space.spaces):
            yield from _leaves(inner, (*path, index))
    else:
        yield path, space


def _name(path: Path, plain: str) -> str:
    if not path or isinstance(path[0], int):  # a plain space, or a Tuple at the root
        path = (plain, *path)
    return ".".join(str(part) for part in path)


class ObservationLayout:
    """Reads an environment's observations into arrays, one per entry.

    Attributes:
        space: the flat Dict for `GameSpec.observation_space`.
        has_mask: the observation is a Dict with the key `action_mask`, which is not an entry.
    """

    def __init__(self, space: Space, game: str, leave_out: Sequence[str] = ()) -> None:
        """Plan how to read `space` without the entries that `leave_out` names, each alone or with all that lie in it.

        Texts are left out as well, with a remark, where there is anything beside them.

        Raises:
            UnsupportedSpaceError: an entry cannot be served, none is left, or two have one name.
            GameError: `leave_out` names an entry that is not there.
        """
        self._whole = space
        self.has_mask = isinstance(space, spaces.Dict) and ACTION_MASK in space.spaces
        leaves = [(path, leaf) for path, leaf in _leaves(space) if path[:1] != (ACTION_MASK,)]
        leaves = _without(game, leaves, leave_out)
        texts = [(path, leaf) for path, leaf in leaves if is_text(leaf)]
        if len(texts) < len(leaves):
            leaves = [(path, leaf) for path, leaf in leaves if not is_text(leaf)]
            self._unread = {_name(path, "observation"): leaf for path, leaf in texts}
        else:  # refused below
            self._unread = {}
        names = [_name(path, "observation") for path, _ in leaves]
        _check_names(game, "observation", names, reserved=(ACTING,))
        _check_served(game, leaves, names, leave_out)
        self._entries = [
            entry_of(name, path, leaf, is_set=f"{name}_mask" in names)
            for name, (path, leaf) in zip(names, leaves, strict=True)
        ]
        self.space = spaces.Dict({entry.name: entry.space for entry in self._entries})

    def empty(self, lead: tuple[int, ...]) -> dict[str, Array]:
        """Arrays to `write` into, of shape `lead` and then the environment's own shape."""
        return {entry.name: np.zeros(lead + entry.raw_shape, dtype=entry.dtype) for entry in self._entries}

    def write(self, arrays: Mapping[str, Array], index: tuple[int, ...], observation: Any) -> None:
        """Copy one environment's observation into place; its numbers are looked at by `finish`, all at once.

        Raises:
            Mismatch: an entry is missing, or has another shape or kind of numbers than its space says.
        """
        for entry in self._entries:
            value = part_of(observation, entry) if entry.path else observation
            kind = getattr(value, "dtype", None)
            taken = kind is entry.dtype or (kind is not None and kind in TAKEN[entry.dtype])
            as_it_is = taken and value.shape == entry.raw_shape
            if as_it_is or (type(value) is int and entry.categories is not None and not entry.raw_shape):
                arrays[entry.name][index] = value
            else:
                arrays[entry.name][index] = converted(value, entry, entry.raw_shape)

    def finish(self, arrays: Mapping[str, Array], lead: tuple[int, ...]) -> dict[str, Array]:
        """Written arrays in the shapes of `space`; vectors are views of `arrays`, categoricals count from 0.

        Raises:
            Mismatch: a number that is not finite, or too large to travel, or a category that does not exist.
        """
        return {entry.name: finished(entry, arrays[entry.name], lead) for entry in self._entries}

    def batch(self, observation: Any, lead: tuple[int, ...]) -> dict[str, Array]:
        """Freshly owned arrays, `lead` and then the shapes of `space`, from a vector environment's observation.

        Raises:
            Mismatch: as `write` and `finish` say.
        """
        arrays: dict[str, Array] = {}
        for entry in self._entries:
            value, shape = part_of(observation, entry), (lead[0], *entry.raw_shape)
            if getattr(value, "dtype", None) is not entry.dtype or value.shape != shape:
                value = converted(value, entry, shape)
            arrays[entry.name] = finished(entry, np.array(value, order="C"), lead)
        return arrays

    def clear(self, arrays: Mapping[str, Array], slot: int) -> None:
        """Zeros, or first categories, for whoever is shown nothing."""
        for entry in self._entries:
            if entry.start is None or entry.start.size == 1:
                arrays[entry.name][slot] = 0 if entry.start is None else entry.start
            else:
                arrays[entry.name][slot] = entry.start.reshape(entry.raw_shape)

    def all_remarks(self, observations: Iterable[Any], env: Any, method: str) -> dict[str, str]:
        """What can be trained on, but is hardly meant: key -> file and line, what it is and what is done with it."""
        found = dict(self._space_remarks())
        for observation in observations:
            found = {**self._remarks(observation), **found}
        return {key: f"{place(env, method)}: {text}" for key, text in found.items()}

    def _remarks(self, observation: Any) -> dict[str, str]:
        found = {f"extra {key}": text for key, text in _extra_keys(self._whole, observation)}
        for entry in self._entries:
            value = np.asarray(part_of(observation, entry))
            found |= {f"{kind} {entry.name}": text for kind, text in leaf_remarks(entry.name, entry.leaf, value)}
        return found

    def _space_remarks(self) -> Iterator[tuple[str, str]]:
        for name, leaf in self._unread.items():
            yield f"text {name}", unread_text(name, leaf)
        for entry in self._entries:
            for text in (flat_image(entry.name, entry.leaf, entry.space), float64_box(entry.name, entry.leaf)):
                if text:
                    yield text, text


def _extra_keys(space: Space, value: Any, path: Path = ()) -> Iterator[tuple[str, str]]:
    if isinstance(space, spaces.Dict) and isinstance(value, Mapping):
        for key in value:
            if key not in space.spaces:
                name = _name((*path, key), "observation")
                yield name, f"the observation has {name!r}, which its space does not have: it is left out"
        for key, inner in space.spaces.items():
            yield from _extra_keys(inner, value.get(key), (*path, key))


def _check_names(game: str, what: str, names: list[str], reserved: tuple[str, ...] = ()) -> None:
    for name in names:
        if names.count(name) > 1:
            raise UnsupportedSpaceError(f"{game}: two parts of the {what} space flatten to {name!r}; rename one")
        if name in reserved or name.startswith(ACTION_MASK_PREFIX):
            raise UnsupportedSpaceError(f"{game}: {what} entry {name!r} has a reserved name; rename it with a wrapper")


def _without(game: str, leaves: list[tuple[Path, Space]], leave_out: Sequence[str]) -> list[tuple[Path, Space]]:
    """The leaves that `leave_out` does not name."""
    if isinstance(leave_out, str) or not all(isinstance(name, str) for name in leave_out):
        raise GameError(f'{game}: leave_out is {leave_out!r}; expected a list of names, as in ["mission"]')
    names = [_name(path, "observation") for path, _ in leaves]
    for left in leave_out:
        if not any(_is_of(name, left) for name in names):
            raise GameError(
                f"{game}: leave_out names {left!r}{nearest(left, names)}; the observation has {', '.join(names)}"
            )
    kept = [leaf for leaf, name in zip(leaves, names, strict=True) if not any(_is_of(name, left) for left in leave_out)]
    if not kept:
        because = f"leave_out is {list(leave_out)}; nothing is left of the" if leave_out else "there is nothing in the"
        raise UnsupportedSpaceError(f"{game}: {because} observation; expected at least one entry")
    return kept


def _is_of(name: str, left: str) -> bool:
    return name == left or name.startswith(f"{left}.")


def _check_served(game: str, leaves: list[tuple[Path, Space]], names: list[str], leave_out: Sequence[str]) -> None:
    """Every entry can be read; else say which cannot, and the option that trains without them."""
    served = spaces.Box | spaces.Discrete | spaces.MultiDiscrete | spaces.MultiBinary
    odd = {
        name: type(leaf).__name__ for name, (_, leaf) in zip(names, leaves, strict=True) if not isinstance(leaf, served)
    }
    if not odd:
        return
    found = ", ".join(f"entry {name!r} is a {kind}" for name, kind in odd.items())
    option = ", ".join(f'"{name}"' for name in (*leave_out, *odd))
    without = f"To train without: --set 'game_options.leave_out=[{option}]'. " if len(odd) < len(names) else ""
    raise UnsupportedSpaceError(
        f"{game}: observation {found}; supported are Box, Discrete, MultiDiscrete, MultiBinary, and Dict or Tuple of "
        f"them. {without}Else change it with a wrapper: docs/games.md"
    )


@dataclass(frozen=True, slots=True)
class _Part:
    """One leaf of the environment's action space and the heads that choose it."""

    path: Path
    kind: Literal["discrete", "many", "box"]
    heads: tuple[str, ...]
    choices: dict[str, int]  # of the Discrete heads
    leaf: Space
    start: Array | None  # what to add to choices counted from 0


class ActionLayout:
    """Turns the heads' choices into an environment's actions.

    Attributes:
        space: the flat Dict for `GameSpec.action_space`.
        choices: the number of choices of each Discrete head, in the space's own order.
        start: the first action of a plain Discrete space, else 0.
    """

    def __init__(self, space: Space, game: str) -> None:
        self._space = space
        self._parts = [_part(path, leaf, game) for path, leaf in _leaves(space)]
        _check_names(game, "action", [head for part in self._parts for head in part.heads])
        self.choices = {head: n for part in self._parts for head, n in part.choices.items()}
        self.space = spaces.Dict({head: space for part in self._parts for head, space in _head_spaces(part)})
        self.start = int(space.start) if isinstance(space, spaces.Discrete) else 0

    def batch(self, actions: Actions, n: int) -> Any:
        """The action of a vector environment: the space's own structure over arrays `[n, ...]`."""
        columns = {part.path: _column(part, actions, n) for part in self._parts}
        return _assemble(self._space, columns)

    def rows(self, actions: Actions, n: int) -> list[Any]:
        """`n` single actions in the environment's own structure, from arrays whose leading axes multiply to `n`."""
        columns = {part.path: list(_column(part, actions, n)) for part in self._parts}
        if () in columns:
            return columns[()]
        return [_assemble(self._space, {path: column[i] for path, column in columns.items()}) for i in range(n)]

    @property
    def mask_size(self) -> int:
        """How many entries the masks of all Discrete heads have together."""
        return sum(self.choices.values())

    def flat_mask(self, mask: Any, game: str) -> Array:
        """An environment's mask (an array, or arrays nested like the action space) as a row of 1-byte numbers.

        Raises:
            UnsupportedSpaceError: it has another number of entries than the heads have choices.
            Mismatch: it is no mask, or holds something else than 0 and 1.
        """
        try:
            flat = (
                mask.reshape(-1) if isinstance(mask, np.ndarray) else np.concatenate([*_mask_arrays(self._space, mask)])
            )
        except (TypeError, ValueError, KeyError) as error:
            raise Mismatch(
                f"the action mask is {described(mask)}; expected it to look like the action space"
            ) from error
        if flat.size != self.mask_size:
            raise UnsupportedSpaceError(
                f"{game}: the action mask has {flat.size} entries, but the Discrete heads {self.choices} have "
                f"{self.mask_size} choices; there must be one entry per choice"
            )
        return flat if flat.dtype.kind in "iub" and flat.dtype.itemsize == 1 else mask_bits(flat)

    def split_bits(self, mask: Array, acting: Array) -> dict[str, Array]:
        """A mask that was written as int8 numbers, `[..., mask_size]`, by head; `acting` has its leading axes.

        Raises:
            Mismatch: something else than 0 and 1, or a head of which somebody who acts may choose nothing.
        """
        masks = self.split_mask(check_mask_bits(mask))
        for name, allowed in masks.items():
            check_choice(name.removeprefix(ACTION_MASK_PREFIX), allowed, acting)
        return masks

    def split_mask(self, mask: Array) -> dict[str, Array]:
        """`[..., mask_size]` to one freshly owned `action_mask/<head>` per Discrete head."""
        borders = np.cumsum(list(self.choices.values()))[:-1]
        pieces = np.split(mask, borders, axis=-1)
        return {
            f"{ACTION_MASK_PREFIX}{head}": np.ascontiguousarray(piece)
            for head, piece in zip(self.choices, pieces, strict=True)
        }


@dataclass(frozen=True, slots=True)
class Layouts:
    """How a game reads what its environments show and makes their actions."""

    observations: ObservationLayout
    actions: ActionLayout
    masked: bool  # there are action masks: in the observation, or else in `info`


def _part(path: Path, leaf: Space, game: str) -> _Part:
    name = _name(path, "action")
    if isinstance(leaf, spaces.Discrete):
        return _Part(path, "discrete", (name,), {name: int(leaf.n)}, leaf, start_of(leaf.start))
    if isinstance(leaf, spaces.MultiDiscrete):
        heads = {f"{name}_{i}": int(n) for i, n in enumerate(leaf.nvec.ravel())}
        return _Part(path, "many", tuple(heads), heads, leaf, start_of(leaf.start))
    if isinstance(leaf, spaces.MultiBinary):
        heads = {f"{name}_{i}": 2 for i in range(int(np.prod(leaf.shape)))}
        return _Part(path, "many", tuple(heads), heads, leaf, None)
    if isinstance(leaf, spaces.Box) and np.issubdtype(leaf.dtype, np.floating):
        return _Part(path, "box", (name,), {}, leaf, None)
    raise UnsupportedSpaceError(
        f"{game}: action {name!r} is {leaf}; supported are Discrete, MultiDiscrete, MultiBinary, Box of floats, and "
        "Dict or Tuple of them. Change it with a wrapper."
    )


def _head_spaces(part: _Part) -> Iterator[tuple[str, Space]]:
    for head, n in part.choices.items():
        yield head, spaces.Discrete(n)
    if isinstance(part.leaf, spaces.Box):
        low, high = (bound.ravel() for bound in float32_bounds(part.leaf))
        yield part.heads[0], spaces.Box(low, high, dtype=np.float32)


def _column(part: _Part, actions: Actions, n: int) -> Array:
    """`n` actions of one leaf of the environment's action space."""
    if part.kind == "discrete":
        chosen = actions[part.heads[0]].reshape(n)
        return chosen if part.start is None else chosen + part.start
    shape, dtype = (n, *(part.leaf.shape or ())), part.leaf.dtype
    if part.kind == "many":
        chosen = np.stack([actions[head].reshape(n) for head in part.heads], axis=-1)
        return (chosen if part.start is None else chosen + part.start).reshape(shape).astype(dtype)
    values: Array = actions[part.heads[0]].reshape(shape).astype(dtype)
    if dtype != np.float32 and isinstance(part.leaf, spaces.Box):  # a bound rounded to float32 may lie outside the box
        values = np.clip(values, part.leaf.low, part.leaf.high)
    return values


def _assemble(space: Space, columns: Mapping[Path, Any], path: Path = ()) -> Any:
    """Put leaves back where the environment's space has them."""
    if isinstance(space, spaces.Dict):
        return {key: _assemble(inner, columns, (*path, key)) for key, inner in space.spaces.items()}
    if isinstance(space, spaces.Tuple):
        return tuple(_assemble(inner, columns, (*path, i)) for i, inner in enumerate(space.spaces))
    return columns[path]


def _mask_arrays(space: Space, mask: Any) -> Iterator[Array]:
    """The mask's flat pieces in the order of the space's Discrete heads; Box parts have none."""
    if isinstance(space, spaces.Dict):
        for key, inner in space.spaces.items():
            if key in mask:
                yield from _mask_arrays(inner, mask[key])
    elif isinstance(space, spaces.Tuple):
        for inner, part in zip(space.spaces, mask, strict=True):
            yield from _mask_arrays(inner, part)
    elif isinstance(space, spaces.MultiDiscrete) and isinstance(mask, tuple | list):
        yield from (np.asarray(part).reshape(-1) for part in mask)
    elif not isinstance(space, spaces.Box):
        yield np.asarray(mask).reshape(-1)
