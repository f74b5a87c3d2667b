"""The ground of a preset: where one can walk, the lanes, and where buildings, camps and pickups stand.

A square of cells around the origin. Team 0 lives in the corner of negative x and y, team 1 opposite; the river runs
along the other diagonal. Turning by 180 degrees maps the ground onto itself, cell by cell.
"""

from __future__ import annotations

from typing import NamedTuple

from games.skirmish.rules import Preset
from games.skirmish.state import Array


class World(NamedTuple):
    """N x N cells; cell (i, j) covers x from (i - N/2) x CELL, y from (j - N/2) x CELL."""

    cells: int  # N, even
    half: float  # half of the side, in units; nobody leaves it
    walkable: Array  # bool [N, N]
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
    """Lay out a preset's ground."""
    raise NotImplementedError
