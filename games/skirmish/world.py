"""The ground of a preset: where one can walk, the lanes, and where buildings, camps and pickups stand.

A square of cells around the origin. Team 0 lives in the corner of negative x and y, team 1 opposite; the river runs
along the other diagonal. Turning by 180 degrees maps the ground onto itself, cell by cell: everything is laid out for
team 0 and turned for team 1.
"""

from __future__ import annotations

import heapq
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from quintet.games.skirmish.rules import CELL, Preset
from quintet.games.skirmish.state import CAMP_SIZE, PICKUPS, Array

Point = tuple[float, float]

CORE_FROM_EDGE = 700.0  # of each side of the map
LANE_POINTS = 9  # waypoints of a lane, both cores among them; odd, so that one is where the waves meet
# What is carved out of the forest around its middle line or middle, in units.
LANE_WIDTH, RIVER_WIDTH, PATH_WIDTH, BASE_CLEARING, CAMP_CLEARING = 330.0, 280.0, 160.0, 850.0, 260.0
MIDDLE_CLEARING = 450.0  # the boss's place, where the middle lane crosses the river
NEUTRALS_APART = 120.0
# Where a lane's towers stand, outer first, as shares of the way from the own core to the enemy's.
TOWER_SHARES = {1: (0.30,), 2: (0.33, 0.13)}
# Where side 0's camps are, and what their paths lead to, in halves of the side.
_CAMPS: tuple[Point, ...] = ((-0.5, 0.0), (0.0, -0.5))
_PATHS: tuple[tuple[Point, ...], ...] = (
    ((-0.25, -0.25), (-0.3, 0.3), (-0.78, 0.0)),
    ((-0.25, -0.25), (0.3, -0.3), (0.0, -0.78)),
)
_PICKUP = (-0.42, 0.42)


class World(NamedTuple):
    """N x N cells; cell (i, j) covers x from (i - N/2) x CELL, y from (j - N/2) x CELL."""

    cells: int  # N, even
    half: float  # half of the side, in units; nobody leaves it
    walkable: Array  # bool [N, N]
    lane_ground: Array  # bool [N, N]: the part of it that creeps never leave
    home_x: Array  # f32 [2, N, N]: the direction in which a hero of that team walks home, a unit vector; (0, 0) at home
    home_y: Array  # f32 [2, N, N]
    lane_x: Array  # f32 [2, lanes, points]: waypoints of the lanes from the own core to the enemy's, per team
    lane_y: Array
    core_x: Array  # f32 [2]
    core_y: Array
    tower_x: Array  # f32 [2, towers]: lane by lane (own view), outer first
    tower_y: Array
    camp_x: Array  # f32 [2, camps x CAMP_SIZE]: where each neutral of a side stands
    camp_y: Array
    pickup_x: Array  # f32 [PICKUPS]
    pickup_y: Array


def build_world(preset: Preset) -> World:
    """Lay out a preset's ground; the same arrays on every machine."""
    half = preset.cells * CELL / 2
    core = half - CORE_FROM_EDGE
    lanes = _lanes(preset.lanes, core)
    camps = [(x * half, y * half) for x, y in _CAMPS[: preset.camps]]
    walkable, lane_ground = _carve(preset, half, lanes, camps)
    home = _way_home(walkable, half, core)
    lane = np.array(lanes, np.float32)  # [lanes, points, 2]
    towers = np.array([_along(points, s) for points in lanes for s in TOWER_SHARES[preset.tiers]], np.float32)
    neutrals = np.array([_neutral_place(camp, n) for camp in camps for n in range(CAMP_SIZE)], np.float32)
    pickups = np.array([(_PICKUP[0] * half * s, _PICKUP[1] * half * s) for s in (1, -1)], np.float32)
    assert len(pickups) == PICKUPS
    return World(
        cells=preset.cells,
        half=half,
        walkable=walkable,
        lane_ground=lane_ground,
        home_x=np.stack([home[0], -home[0][::-1, ::-1]]),
        home_y=np.stack([home[1], -home[1][::-1, ::-1]]),
        lane_x=_both(lane[..., 0]),
        lane_y=_both(lane[..., 1]),
        core_x=np.array([-core, core], np.float32),
        core_y=np.array([-core, core], np.float32),
        tower_x=_both(towers[:, 0]),
        tower_y=_both(towers[:, 1]),
        camp_x=_both(neutrals[:, 0]),
        camp_y=_both(neutrals[:, 1]),
        pickup_x=np.ascontiguousarray(pickups[:, 0]),
        pickup_y=np.ascontiguousarray(pickups[:, 1]),
    )


def _both(places: Array) -> Array:
    """A coordinate of team 0's places, and the same turned for team 1."""
    return np.stack([places, -places])


def _lanes(lanes: int, core: float) -> list[list[Point]]:
    """Waypoints of team 0's lanes: along the upper edge, through the middle, along the lower edge; or the middle only.

    The last lane, walked the other way, is the first one turned; so the waves of opposite lanes meet.
    """
    steps = LANE_POINTS - 1
    middle = [(core * (2 * k - steps) / steps,) * 2 for k in range(LANE_POINTS)]
    if lanes == 1:
        return [middle]
    leg = [core * (4 * k - steps) / steps for k in range(steps // 2 + 1)]  # -core ... core
    upper = [(-core, y) for y in leg] + [(x, core) for x in leg[1:]]
    lower = [(-x, -y) for x, y in reversed(upper)]
    return [upper, middle, lower]


def _along(points: list[Point], share: float) -> Point:
    """The place at that share of a lane; waypoints are equally far apart."""
    at = share * (len(points) - 1)
    k = min(int(at), len(points) - 2)
    (x0, y0), (x1, y1) = points[k], points[k + 1]
    return x0 + (x1 - x0) * (at - k), y0 + (y1 - y0) * (at - k)


def _neutral_place(camp: Point, n: int) -> Point:
    return camp[0] + NEUTRALS_APART * (n - (CAMP_SIZE - 1) / 2), camp[1]


def _carve(preset: Preset, half: float, lanes: list[list[Point]], camps: list[Point]) -> tuple[Array, Array]:
    """Where one can walk: all is forest but what is near a lane, the river, a base, a camp or a path to one.

    Also the part of it that is near a lane or a base.
    """
    middles = (np.arange(preset.cells) + 0.5) * CELL - half
    x, y = np.meshgrid(middles, middles, indexing="ij")
    lane_end = half - CORE_FROM_EDGE

    def near(a: Point, b: Point, width: float) -> Array:
        """Whether a cell's middle is within `width` of the line from a to b."""
        dx, dy = b[0] - a[0], b[1] - a[1]
        along = ((x - a[0]) * dx + (y - a[1]) * dy) / max(dx * dx + dy * dy, 1.0)
        along = np.clip(along, 0.0, 1.0)
        return np.asarray((x - a[0] - along * dx) ** 2 + (y - a[1] - along * dy) ** 2 < width * width)

    lane_ground = near((-lane_end, -lane_end), (-lane_end, -lane_end), BASE_CLEARING)
    for points in lanes:
        for a, b in pairwise(points):
            lane_ground |= near(a, b, LANE_WIDTH)
    open_ground = lane_ground | near((0.0, 0.0), (0.0, 0.0), MIDDLE_CLEARING)
    open_ground |= near((-lane_end, lane_end), (0.0, 0.0), RIVER_WIDTH)
    for camp, ends in zip(camps, _PATHS, strict=False):
        open_ground |= near(camp, camp, CAMP_CLEARING)
        for end_x, end_y in ends if preset.lanes > 1 else ends[:2]:
            open_ground |= near(camp, (end_x * half, end_y * half), PATH_WIDTH)
    inside = np.zeros_like(open_ground)
    inside[1:-1, 1:-1] = True
    open_ground, lane_ground = (
        np.ascontiguousarray((part | part[::-1, ::-1]) & inside) for part in (open_ground, lane_ground)
    )
    return open_ground, lane_ground


def _way_home(walkable: Array, half: float, core: float) -> tuple[Array, Array]:
    """The direction of the shortest way to team 0's core from every cell (f32 [N, N] each); (0, 0) where there is none.

    Dijkstra's search over the eight neighbours with whole-number costs; no way leads between two diagonal walls.
    """
    cells = len(walkable)
    home = int((half - core) // CELL)
    cost = np.full((cells, cells), np.iinfo(np.int64).max)
    home_x, home_y = np.zeros((2, cells, cells), np.float32)
    cost[home, home] = 0
    edge = [(0, home, home)]
    diagonal = np.float32(np.sqrt(np.float32(0.5)))
    while edge:
        so_far, i, j = heapq.heappop(edge)
        if so_far > cost[i, j]:
            continue
        for di, dj in ((1, 0), (0, 1), (-1, 0), (0, -1), (1, 1), (-1, 1), (-1, -1), (1, -1)):
            a, b = i + di, j + dj
            if not (walkable[a, b] and walkable[a, j] and walkable[i, b]):
                continue
            there = so_far + (99 if di and dj else 70)
            if there < cost[a, b]:
                cost[a, b] = there
                length = diagonal if di and dj else np.float32(1.0)
                home_x[a, b], home_y[a, b] = -di * length, -dj * length
                heapq.heappush(edge, (there, a, b))
    return home_x, home_y
