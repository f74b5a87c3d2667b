"""What an environment does that can be trained on but is hardly meant: said once, by a warning at the start."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from gymnasium import spaces

from quintet.games.api import Array

SLACK = 1e-4  # how far float32 may be outside a box, relative to its size
PICTURE_SIDE = 16  # the least width and height of numbers that are surely a picture
PICTURE_CHANNELS = 4


def flat_image(name: str, leaf: spaces.Space[Any], offered: spaces.Space[Any]) -> str | None:
    """A picture that is taken for so many single numbers: it has no axis of channels, or is not uint8."""
    if not isinstance(leaf, spaces.Box) or not isinstance(offered, spaces.Box) or len(offered.shape) != 1:
        return None
    sides = sorted(leaf.shape)
    channels = sides[0] if len(sides) == 3 else 1
    if len(sides) not in (2, 3) or sides[-2] < PICTURE_SIDE or channels > PICTURE_CHANNELS:
        return None
    missing = "an axis of channels: x[..., None]" if len(sides) == 2 else "the dtype np.uint8"
    return (
        f"{name!r} of shape {leaf.shape} and dtype {leaf.dtype} is taken for {offered.shape[0]:,} single numbers; an "
        f"image, which convolutions look at, has three axes, of uint8: give it {missing}, in the space as well"
    )


def float64_box(name: str, leaf: spaces.Space[Any]) -> str | None:
    """A Box of float64, whose numbers are rounded."""
    if not isinstance(leaf, spaces.Box) or leaf.dtype != np.float64:
        return None
    return f"{name!r} is a Box of float64: its numbers are rounded to float32"


def unread_text(name: str, leaf: spaces.Space[Any]) -> str:
    """An entry of the observation that is a text."""
    return (
        f"{name!r} is a text ({type(leaf).__name__}), and no text is read: it is left out; "
        f'game_options.leave_out=["{name}"] does so without a warning'
    )


def leaf_remarks(name: str, leaf: spaces.Space[Any], value: Array) -> Iterator[tuple[str, str]]:
    """What is wrong with one value, or with one per environment: (kind, text)."""
    if not isinstance(leaf, spaces.Box) or not value.size:
        return
    if value.dtype == np.float64 and leaf.dtype == np.float32:
        yield "float64", f"{name!r} is float64 where its space says float32: it is rounded; return x.astype(np.float32)"
    slack = SLACK * np.maximum(1.0, np.abs(value)) if value.dtype.kind == "f" else 0
    outside = (value < leaf.low - slack) | (value > leaf.high + slack)
    if outside.any():
        found = value[tuple(np.argwhere(outside)[0])]
        yield (
            "outside",
            f"{name!r} holds {found:.6g}, outside its space {leaf}: it is taken as it is, since inputs are normalised "
            "by what is seen; correct the bounds or the number",
        )
