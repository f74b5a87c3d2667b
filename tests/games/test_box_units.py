"""A Box in units of itself: with bounds, without, with half of them, and where nobody has a choice."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from gymnasium import spaces

from quintet.games.adapters.spaces import ActionLayout, ObservationLayout
from quintet.games.box_units import WIDEST, box_units, random_in_box

LARGEST = np.finfo(np.float32).max
LOW = np.array([-2, 10, 0.5, -LARGEST, -np.inf, 3, -np.inf, -1e10, 0], np.float32)
HIGH = np.array([6, 11, 0.5, LARGEST, np.inf, np.inf, -7, 1e10, 1e-30], np.float32)
SPACE = spaces.Box(LOW, HIGH)


def test_centre_and_half_range_of_every_kind_of_dimension() -> None:
    units = box_units(SPACE)
    np.testing.assert_allclose(units.center, [2, 10.5, 0.5, 0, 0, 3, -7, 0, 5e-31], rtol=1e-6)
    np.testing.assert_allclose(units.half_range, [4, 0.5, 1, 1, 1, 1, 1, 1, 5e-31], rtol=1e-6)
    assert units.bounded.tolist() == [True, True, False, False, False, False, False, False, True]
    assert units.varies.tolist() == [True, True, False, True, True, True, True, True, True]


def test_bounds_of_the_widest_float64_are_none_and_say_so_without_a_warning() -> None:
    big = np.finfo(np.float64).max
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        units = box_units(spaces.Box(-big, big, (2,), np.float64))
    assert not units.bounded.any()
    assert units.half_range.tolist() == [1.0, 1.0]


def test_the_widest_box_that_has_bounds_is_a_number_away_from_one_that_has_none() -> None:
    half = WIDEST / 2
    assert box_units(spaces.Box(-half, half, (1,), np.float64)).bounded.all()
    assert not box_units(spaces.Box(-half, 1.01 * half, (1,), np.float64)).bounded.any()


def test_random_numbers_lie_in_the_box_and_fill_what_is_bounded() -> None:
    drawn = random_in_box(SPACE, (500, 2), np.random.default_rng(0))
    assert drawn.shape == (500, 2, 9)
    assert drawn.dtype == np.float32
    flat = drawn.reshape(-1, 9)
    assert all(SPACE.contains(row) for row in flat)
    assert flat[:, :2].min(axis=0) == pytest.approx(LOW[:2], abs=0.1)
    assert flat[:, :2].max(axis=0) == pytest.approx(HIGH[:2], abs=0.1)
    assert (flat[:, 2] == np.float32(0.5)).all()
    assert flat[:, [3, 4, 7]].std(axis=0) == pytest.approx(1.0, abs=0.1)
    assert (flat[:, 5] > 3).mean() == pytest.approx(0.5, abs=0.1)


def test_a_box_with_bounds_is_drawn_from_as_numpy_draws() -> None:
    space = spaces.Box(-1.0, 1.0, (3,))
    drawn = random_in_box(space, (4,), np.random.default_rng(5))
    np.testing.assert_array_equal(drawn, np.random.default_rng(5).uniform(-1, 1, (4, 3)).astype(np.float32))


def test_an_environment_with_the_widest_bounds_is_seen_and_handed_what_it_holds() -> None:
    big = np.finfo(np.float64).max
    space = spaces.Box(np.array([-big, 0.1, -1]), np.array([big, 0.1, 1]), dtype=np.float64)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        layout, seen = ActionLayout(space, "wide"), ObservationLayout(space, "wide")
    head = layout.space["action"]
    assert isinstance(head, spaces.Box)
    drawn = random_in_box(head, (20,), np.random.default_rng(0))
    rows = layout.rows({"action": drawn}, 20)
    assert all(space.contains(row) for row in rows)
    assert all(row[1] == 0.1 for row in rows)
    arrays = seen.empty((20,))
    for k, row in enumerate(rows):
        seen.write(arrays, (k,), row)
    np.testing.assert_array_equal(seen.finish(arrays, (20,))["observation"], drawn)
