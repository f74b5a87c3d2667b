"""The ground of every preset: symmetric, connected, and everything on it can be reached."""

from __future__ import annotations

import numpy as np
import pytest

from quintet.games.skirmish.rules import BODIES, CELL, PRESETS, TOWER
from quintet.games.skirmish.state import Array
from quintet.games.skirmish.tables import build_tables
from quintet.games.skirmish.world import LANE_WIDTH, World, build_world

WORLDS = {name: build_world(preset) for name, preset in PRESETS.items()}
every_preset = pytest.mark.parametrize("name", PRESETS)


def cell(world: World, x: float, y: float) -> tuple[int, int]:
    return int((x + world.half) // CELL), int((y + world.half) // CELL)


def lane_places(world: World, lane: int) -> tuple[Array, Array]:
    """x and y of many places along a lane of team 0."""
    xs, ys = world.lane_x[0][lane], world.lane_y[0][lane]
    at = np.linspace(0, len(xs) - 1, 400)
    return np.interp(at, np.arange(len(xs)), xs), np.interp(at, np.arange(len(ys)), ys)


def steps_home(world: World) -> Array:
    """How many cells the way home of team 0 is long, following the directions; -1 where it never arrives."""
    i, j = np.indices(world.walkable.shape)
    steps = np.full(i.shape, -1)
    home = cell(world, world.core_x[0], world.core_y[0])
    for step in range(4 * world.cells):
        steps[(i == home[0]) & (j == home[1]) & (steps < 0)] = step
        di, dj = np.sign(world.home_x[0][i, j]).astype(int), np.sign(world.home_y[0][i, j]).astype(int)
        i, j = i + di, j + dj
    return steps


@every_preset
def test_turning_the_map_by_half_a_circle_changes_nothing(name: str) -> None:
    world = WORLDS[name]
    for ground in (world.walkable, world.lane_ground):
        assert np.array_equal(ground, ground[::-1, ::-1])
    assert np.array_equal(world.home_x[1], -world.home_x[0][::-1, ::-1])
    for places in (world.core_x, world.tower_x, world.camp_y, world.lane_y):
        assert np.array_equal(places[1], -places[0])
    assert np.array_equal(world.pickup_x, -world.pickup_x[::-1])


@every_preset
def test_the_edge_is_closed_and_a_good_part_of_the_rest_is_open(name: str) -> None:
    ground = WORLDS[name].walkable
    assert not ground[[0, -1]].any()
    assert not ground[:, [0, -1]].any()
    assert 0.25 < ground.mean() < 0.75


@every_preset
def test_from_every_open_cell_the_way_home_arrives_over_open_cells(name: str) -> None:
    world = WORLDS[name]
    assert np.array_equal(steps_home(world) >= 0, world.walkable)
    expected = world.walkable.astype(np.float32)
    expected[cell(world, world.core_x[0], world.core_y[0])] = 0
    np.testing.assert_allclose(np.hypot(world.home_x[0], world.home_y[0]), expected, rtol=1e-6)


@every_preset
def test_buildings_camps_and_runes_stand_on_open_ground(name: str) -> None:
    world = WORLDS[name]
    for xs, ys in (
        (world.core_x, world.core_y),
        (world.tower_x, world.tower_y),
        (world.camp_x, world.camp_y),
        (world.pickup_x, world.pickup_y),
    ):
        for x, y in zip(np.ravel(xs), np.ravel(ys), strict=True):
            assert world.walkable[cell(world, x, y)]


@every_preset
def test_lanes_lead_from_core_to_core_over_lane_ground(name: str) -> None:
    world = WORLDS[name]
    for lane, (xs, ys) in enumerate(zip(world.lane_x[0], world.lane_y[0], strict=True)):
        assert (xs[0], ys[0]) == (world.core_x[0], world.core_y[0])
        assert (xs[-1], ys[-1]) == (world.core_x[1], world.core_y[1])
        for x, y in zip(*lane_places(world, lane), strict=True):
            assert world.lane_ground[cell(world, x, y)]
    assert (world.walkable | ~world.lane_ground).all()


@every_preset
def test_a_lane_walked_the_other_way_is_the_opposite_lane_turned(name: str) -> None:
    world = WORLDS[name]
    lanes = len(world.lane_x[0])
    for lane in range(lanes):
        assert np.array_equal(world.lane_x[0][lane][::-1], world.lane_x[1][lanes - 1 - lane])
        assert np.array_equal(world.lane_y[0][lane][::-1], world.lane_y[1][lanes - 1 - lane])


@every_preset
def test_towers_stand_by_their_lane_with_the_outer_one_first_and_out_of_reach_of_the_enemys(name: str) -> None:
    world, preset = WORLDS[name], PRESETS[name]
    xs = world.tower_x[0].reshape(preset.lanes, preset.tiers)
    ys = world.tower_y[0].reshape(preset.lanes, preset.tiers)
    to_core = np.hypot(xs - world.core_x[0], ys - world.core_y[0])
    assert (np.diff(to_core, axis=1) < 0).all()
    for lane in range(preset.lanes):
        for x, y in zip(xs[lane], ys[lane], strict=True):
            assert np.hypot(*(np.stack(lane_places(world, lane)) - [[x], [y]])).min() < LANE_WIDTH
    apart = np.hypot(world.tower_x[0][:, None] - world.tower_x[1], world.tower_y[0][:, None] - world.tower_y[1])
    assert apart.min() > 2 * BODIES[TOWER].attack_range


@every_preset
def test_kernels_get_the_same_numbers_with_the_map_in_the_middle_of_the_grid(name: str) -> None:
    tables = build_tables(PRESETS[name])
    world, record = tables.world, tables.record["world"]
    margin = (record["walkable"].shape[0] - world.cells) // 2
    inside = slice(margin, margin + world.cells)
    assert np.array_equal(record["walkable"][inside, inside], world.walkable)
    assert np.array_equal(record["home_y"][:, inside, inside], world.home_y)
    assert record["walkable"].sum() == world.walkable.sum()
    assert np.array_equal(record["lane_x"][:, : PRESETS[name].lanes], world.lane_x)
    assert np.array_equal(tables.record["item"], tables.item)
    assert tables.record["layout"]["block"] == tables.layout.block
    assert len({build_tables(preset).record.dtype for preset in PRESETS.values()}) == 1
