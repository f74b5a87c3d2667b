"""What an environment hands back is compared with what its spaces promise: shapes, kinds of numbers, their sizes.

A check on the way of every row costs a comparison or two; what is wrong is found out, and said, only once one fails.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from quintet.games.api import Array

#: Larger numbers are refused like infinite ones, here and on the wire: their squares, summed over a batch, would be
#: infinite soon.
LARGEST_NUMBER = 1e12
_SQUARE = LARGEST_NUMBER**2
FLOAT32 = np.dtype(np.float32)
FLOAT64 = np.dtype(np.float64)
PLAIN = (float, int)  # the types of rewards that need no look
_FLAGS = (bool, np.bool_)


class Mismatch(Exception):  # noqa: N818  (the adapter that knows whose it is makes an error of it)
    """Something returned that is not what was promised: found, expected, what to do.

    Attributes:
        at: which of the leading axes (slot, team, agent), where several were looked at together.
        method: which of the environment's methods returned it, where that is not the one that was called.
    """

    def __init__(self, text: str, at: tuple[int, ...] = (), method: str = "") -> None:
        super().__init__(text)
        self.at, self.method = at, method


def described(value: Any) -> str:
    """A value in a few words: its type, and shape or number."""
    if isinstance(value, np.ndarray):
        return f"an array {value.dtype} {value.shape}"
    text = " ".join(repr(value).split())
    return text if len(text) <= 40 else f"a {type(value).__name__}"


def as_promised(value: Any, name: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    """A value that is no array of just this shape and dtype, as an array that may be copied into one.

    Raises:
        Mismatch: another shape, no numbers, or numbers that the dtype would change.
    """
    try:
        array = np.asarray(value)
    except ValueError:  # of no one shape
        array = np.asarray(None)
    if array.dtype.kind not in "biuf":
        raise Mismatch(f"{name} is {described(value)}; expected numbers of shape {shape}, as its space says")
    if array.shape != shape:
        raise Mismatch(
            f"{name} has shape {array.shape}; expected {shape}, as its space says: change the space or what is returned"
        )
    if array.dtype.kind == "f" and dtype != FLOAT32:
        kind = "uint8 image" if dtype == np.uint8 else "whole numbers"
        hint = "(x * 255).astype(np.uint8)" if dtype == np.uint8 else "int(x)"
        raise Mismatch(
            f"{name} holds floats ({_range(array)}); expected {kind}, as its space says: return {hint}, or make the "
            "space a Box of dtype np.float32"
        )
    if dtype == np.uint8 and array.size and not (array.min() >= 0 and array.max() <= 255):
        raise Mismatch(f"{name} holds {_range(array)}; expected 0 to 255, as its space says: change the space")
    return array


def number(reward: Any, at: tuple[int, ...] = ()) -> float:
    """A reward that is no Python float; `at` says whose.

    Raises:
        Mismatch: it is None, an array with axes, or no number at all.
    """
    if isinstance(reward, int | float | np.number | np.bool_):
        return float(reward)
    if isinstance(reward, np.ndarray) and reward.shape == () and reward.dtype.kind in "biuf":
        return float(reward)
    hint = "float(reward[0])" if isinstance(reward, np.ndarray | list | tuple) else "a float, 0.0 where nothing is won"
    raise Mismatch(f"the reward is {described(reward)}; expected one number: return {hint}", at)


def flag(value: Any, name: str) -> bool:
    """A `terminated` or `truncated`.

    Raises:
        Mismatch: it is neither true nor false.
    """
    if isinstance(value, _FLAGS) or (isinstance(value, int | np.integer) and value in (0, 1)):
        return bool(value)
    if isinstance(value, np.ndarray) and value.shape == () and value.dtype == np.bool_:
        return bool(value)
    raise Mismatch(f"{name} is {described(value)}; expected True or False: return bool({name})")


def is_sound(values: Array) -> bool:
    """Whether no float [any shape, contiguous] is NaN, infinite or beyond the largest; few false alarms, of large ones.

    The sum of squares is one pass of the fastest kind there is, and NaN where any of them is.
    """
    flat = values.reshape(-1)
    return bool(np.vdot(flat, flat) <= _SQUARE)


def first_unsound(values: Array) -> tuple[int, ...] | None:
    """Where the first float is that is NaN, infinite or beyond the largest; None after a false alarm of `is_sound`."""
    wrong = ~(np.abs(values.astype(np.float64)) <= LARGEST_NUMBER)
    return tuple(np.argwhere(wrong)[0].tolist()) if wrong.any() else None


def check_sizes(name: str, values: Array, lead: int) -> None:
    """Floats that are finite and small enough to travel.

    Args:
        name: of the entry, or `the reward`.
        values: [..., F]; the first `lead` axes say whose they are.
        lead: how many axes do.

    Raises:
        Mismatch: the first that is not.
    """
    if is_sound(values) or (at := first_unsound(values)) is None:
        return
    which = f" at index {list(at[lead:])}" if at[lead:] else ""
    found = values[at]
    too_far = " (infinite, or too large for float32)" if np.isinf(found) else ""
    raise Mismatch(
        f"{name} is {found:.6g}{too_far}{which}; expected finite numbers of at most {LARGEST_NUMBER:g}: look for a "
        "division by zero, or clip it",
        at[:lead],
    )


def check_categories(name: str, values: Array, n: int | Array, lead: int, start: Array | None) -> None:
    """Categories, counted from 0, that exist.

    Args:
        name: of the entry.
        values: [..., k] int64; the first `lead` axes say whose they are.
        n: how many there are, one number or one per column.
        lead: how many axes do.
        start: what was subtracted, so that they count from 0.

    Raises:
        Mismatch: the first that does not exist.
    """
    unsigned = values.view(np.uint64)  # negative ones become huge
    if isinstance(n, int):
        if values.size == 0 or np.maximum.reduce(unsigned, axis=None) < n:
            return
    elif not (unsigned >= n).any():
        return
    at = tuple(np.argwhere(unsigned >= n)[0].tolist())
    counts = np.broadcast_to(np.asarray(n), values.shape)
    offset = 0 if start is None else np.broadcast_to(start, values.shape)[at]
    raise Mismatch(
        f"{name} is {values[at] + offset}; expected {offset} to {counts[at] + offset - 1}, as its space says: make the "
        "space larger or correct the number",
        at[:lead],
    )


def check_bits(name: str, values: Array, lead: int) -> Array:
    """int8 numbers that are 0 or 1, as booleans, on the same memory.

    Raises:
        Mismatch: the first that is neither.
    """
    if values.size and np.maximum.reduce(values.view(np.uint8), axis=None) > 1:
        at = tuple(np.argwhere(values.view(np.uint8) > 1)[0].tolist())
        raise Mismatch(f"{name} holds {values[at]}; expected 0 and 1 alone, as a MultiBinary has", at[:lead])
    bits: Array = values.view(np.bool_)
    return bits


def no_late_mask(info: Any) -> None:
    """An info of an environment whose first one had no action mask: a mask that comes later would be passed over.

    Raises:
        Mismatch: it has one.
    """
    if info and "action_mask" in info:
        raise Mismatch(
            "the info has an action_mask, which the info of reset did not have: no action would be masked; return one "
            "from reset as well"
        )


def mask_bits(mask: Array) -> Array:
    """A flat action mask as booleans.

    Raises:
        Mismatch: it holds something else than 0, 1, False and True.
    """
    if mask.dtype == np.bool_:
        return mask
    if mask.dtype.kind in "iuf" and bool(((mask == 0) | (mask == 1)).all()):
        bits: Array = mask == 1
        return bits
    wrong = next((value for value in mask.tolist() if value not in (0, 1)), None)
    raise Mismatch(
        f"the action mask holds {wrong}; expected 1 or True where an action is allowed and 0 or False where not (masks "
        "that are added to logits, 0 and -inf, are read the other way round: return mask == 0)"
    )


def check_mask_bits(mask: Array) -> Array:
    """Masks that were written as int8 numbers, [..., n], as booleans on the same memory.

    Raises:
        Mismatch: something else than 0 and 1.
    """
    bits = mask.view(np.uint8)
    if bits.size and np.maximum.reduce(bits, axis=None) > 1:
        at = tuple(np.argwhere(bits > 1)[0].tolist())
        try:
            mask_bits(mask[at[:-1]])
        except Mismatch as wrong:
            raise Mismatch(str(wrong), at[:-1]) from None
    allowed: Array = mask.view(np.bool_)
    return allowed


def check_choice(head: str, allowed: Array, acting: Array) -> None:
    """Whoever acts may choose something.

    Args:
        head: of the action.
        allowed: bool [..., n].
        acting: bool [...].

    Raises:
        Mismatch: the first who may not.
    """
    some = np.logical_or.reduce(allowed, axis=-1)
    if not np.logical_and.reduce(some, axis=None) and (empty := acting & ~some).any():
        raise Mismatch(
            f"the action mask allows nothing of {head!r} ({allowed.shape[-1]} choices); expected at least one 1 "
            "wherever an action is asked for: allow one that does nothing, or end the game",
            tuple(np.argwhere(empty)[0].tolist()),
        )


def _range(array: Array) -> str:
    return f"{array.min()} to {array.max()}" if array.size else "nothing"
