"""The units of a Box: a centre and a half-range, in which numbers are near +-1 whatever the environment counts in."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from gymnasium import spaces

from quintet.games.api import Array

WIDEST = 1e10
"""A wider dimension counts as one without bounds: some simulators declare the largest float32 and mean none."""


@dataclass(frozen=True, kw_only=True, slots=True)
class BoxUnits:
    """Each array has the box's shape. A number x of the box is (x - center) / half_range in these units."""

    center: Array  # f64; of a dimension without bounds the allowed number that is nearest to 0
    half_range: Array  # f64; 1 where the dimension has no bounds or no width
    bounded: Array  # bool: it has two bounds, one above the other
    varies: Array  # bool: false where low == high, a constant that nobody chooses


def box_units(space: spaces.Box) -> BoxUnits:
    """The units of every dimension of a Box."""
    low, high = space.low.astype(np.float64), space.high.astype(np.float64)
    with np.errstate(over="ignore"):
        width = high - low
    varies = width != 0
    bounded = varies & (width <= WIDEST)
    middle = low + np.where(bounded, width, 0.0) / 2
    return BoxUnits(
        center=np.where(bounded, middle, np.clip(0.0, low, high)),
        half_range=np.where(bounded, width / 2, 1.0),
        bounded=bounded,
        varies=varies,
    )


def float32_bounds(space: spaces.Box) -> tuple[Array, Array]:
    """Low and high in float32; what is too large for it is infinite."""
    with np.errstate(over="ignore"):
        return space.low.astype(np.float32), space.high.astype(np.float32)


def random_in_box(space: spaces.Box, lead: tuple[int, ...], random: np.random.Generator) -> Array:
    """f32 [*lead, *shape]: uniform between bounds, else normal about the centre; always inside the box."""
    units, shape = box_units(space), (*lead, *space.shape)
    drawn = random.uniform(-1.0, 1.0, shape)
    if not units.bounded.all():
        drawn = np.where(units.bounded, drawn, random.standard_normal(shape) * units.varies)
    return np.clip((units.center + units.half_range * drawn).astype(np.float32), space.low, space.high)
