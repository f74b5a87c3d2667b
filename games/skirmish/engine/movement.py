"""Walking: creeps along their lanes, attackers to their targets, heroes where they were told, neutrals home.

Units do not stand in one another's way. Whoever meets a wall slides along it.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from quintet.games.skirmish.engine.combat import in_reach
from quintet.games.skirmish.engine.compile import kernel
from quintet.games.skirmish.engine.modifiers import speed_pct
from quintet.games.skirmish.rules import CELL
from quintet.games.skirmish.state import NOBODY, ORDER_MOVE, ORDER_NONE, ORDER_RETREAT, Array, State
from quintet.games.skirmish.tables import Tables

_CELL = np.float32(CELL)
_ZERO = np.float32(0.0)
_ARRIVED = np.float32(120.0)  # as near as a creep has to come to a waypoint
_RANK = np.float32(40.0)  # creeps walk four abreast and in file, so far from their waypoints
_HUNDRED = np.float32(100.0)


@kernel
def cell_of(at: Any, other: Any, cells: int) -> int:
    """The row or column of a coordinate; -1 or less, or `cells` or more, is off the map.

    A border between cells belongs to the outer one, and the middle line to the side that the `other` coordinate is on:
    so a turned place is in the turned cell.
    """
    outward = int(abs(at) / _CELL)
    if at > _ZERO or (at == _ZERO and other >= _ZERO):
        return cells // 2 + outward
    return cells // 2 - 1 - outward


@kernel
def is_open(ground: Array, x: Any, y: Any) -> bool:
    """Whether one can stand there; nobody can off the map."""
    cells = ground.shape[0]
    i, j = cell_of(x, y, cells), cell_of(y, x, cells)
    return bool(0 <= i < cells and 0 <= j < cells and ground[i, j])


@kernel
def walk(ground: Array, unit: Any, x: Any, y: Any, length: Any) -> bool:
    """Go towards (x, y), `length` at most, and face it; true if it is reached."""
    dx, dy = x - unit.x, y - unit.y
    distance2 = dx * dx + dy * dy
    if distance2 == _ZERO:
        return True
    distance = np.sqrt(distance2)
    unit.face_x, unit.face_y = dx / distance, dy / distance
    if distance <= length:
        if is_open(ground, x, y):
            unit.x, unit.y = x, y
        return True
    new_x, new_y = unit.x + unit.face_x * length, unit.y + unit.face_y * length
    if is_open(ground, new_x, new_y):
        unit.x, unit.y = new_x, new_y
        return False
    new_x, new_y = unit.x + _at_most(dx, length), unit.y + _at_most(dy, length)
    if is_open(ground, new_x, unit.y):
        unit.x = new_x
    elif is_open(ground, unit.x, new_y):
        unit.y = new_y
    return False


@kernel
def _at_most(way: Any, length: Any) -> Any:
    """The way, but not longer than `length` in either direction."""
    if way > length:
        return length
    return -length if way < -length else way


@kernel
def move(state: State, tables: Tables, g: int) -> None:
    """One tick of walking for everybody who can."""
    units, layout, world = state.unit[g], tables.layout, tables.world
    for team in range(2):
        first = team * layout.block
        for agent in range(layout.heroes):
            unit = units[first + agent]
            if unit.alive and not unit.frozen:
                _move_hero(units, first + agent, state.hero[g, team * layout.heroes + agent], world)
        for u in range(first + layout.first_creep, first + layout.first_tower):
            unit = units[u]
            if unit.alive and not unit.frozen and not _pursue(units, u, world.lane_ground):
                rank = (u - first - layout.first_creep) % 4
                _follow_lane(unit, rank, world.lane_ground, world.lane_x[team], world.lane_y[team])
    side_size = layout.neutrals // 2
    for side in range(2):
        for k in range(side_size):
            u = layout.first_neutral + side * side_size + k
            if units[u].alive and not units[u].frozen and not _pursue(units, u, world.walkable):
                walk(world.walkable, units[u], world.camp_x[side, k], world.camp_y[side, k], _pace(units[u]))
    boss = units[layout.boss]
    if boss.alive and not boss.frozen and not _pursue(units, layout.boss, world.walkable):
        walk(world.walkable, boss, _ZERO, _ZERO, _pace(boss))


@kernel
def _pace(unit: Any) -> Any:
    """How far it gets in this tick."""
    return unit.speed * np.float32(speed_pct(unit)) / _HUNDRED


@kernel
def _pursue(units: Any, u: int, ground: Array) -> bool:
    """Walk within reach of the target, if there is one; whoever is there stands and looks at it."""
    unit = units[u]
    if unit.target == NOBODY:
        return False
    target = units[unit.target]
    near = in_reach(units, u, unit.target)
    walk(ground, unit, target.old_x, target.old_y, _ZERO if near else _pace(unit))
    return True


@kernel
def _move_hero(units: Any, u: int, hero: Any, world: Any) -> None:
    """Carry out the order; a hero who has arrived has none."""
    unit = units[u]
    if hero.order == ORDER_MOVE:
        if walk(world.walkable, unit, hero.order_x, hero.order_y, _pace(unit)):
            hero.order = ORDER_NONE
    elif hero.order == ORDER_RETREAT:
        if _walk_home(unit, world):
            hero.order = ORDER_NONE
    else:
        _pursue(units, u, world.walkable)


@kernel
def _walk_home(unit: Any, world: Any) -> bool:
    """Follow the shortest way to the own core; true at home. Team 1 reads the ways of team 0, turned."""
    turn = np.float32(1.0) if unit.team == 0 else np.float32(-1.0)
    cells = world.home_x.shape[1]
    x, y = unit.x * turn, unit.y * turn
    i, j = cell_of(x, y, cells), cell_of(y, x, cells)
    dx, dy = world.home_x[0, i, j] * turn, world.home_y[0, i, j] * turn
    if dx == _ZERO and dy == _ZERO:
        return walk(world.walkable, unit, world.core_x[unit.team], world.core_y[unit.team], _pace(unit))
    walk(world.walkable, unit, unit.x + dx * _CELL, unit.y + dy * _CELL, _pace(unit))
    return False


@kernel
def _follow_lane(unit: Any, rank: int, ground: Array, lane_x: Array, lane_y: Array) -> None:
    """Towards the next waypoint, in formation; the last one is the enemy's core."""
    side, row = _RANK * np.float32(2 * (rank % 2) - 1), _RANK * np.float32(2 * (rank // 2) - 1)
    if unit.team == 1:
        side, row = -side, -row
    x, y = lane_x[unit.lane, unit.waypoint] + side, lane_y[unit.lane, unit.waypoint] + row
    walk(ground, unit, x, y, _pace(unit))
    dx, dy = x - unit.x, y - unit.y
    if dx * dx + dy * dy < _ARRIVED * _ARRIVED and unit.waypoint < lane_x.shape[1] - 1:
        unit.waypoint += 1
