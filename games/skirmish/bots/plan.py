"""What a scripted team knows of its lanes: where both sides' creeps meet and which towers stand, seen as team 0."""

from __future__ import annotations

from typing import Any

import numpy as np

from quintet.games.skirmish.engine.compile import kernel
from quintet.games.skirmish.state import Array, State
from quintet.games.skirmish.tables import Tables
from quintet.games.skirmish.world import World

MOST_LANES = 3
FAR = np.float32(1e9)
TICKS_S = 10  # ticks a second

# One team's view of its lanes. `_s` is a distance along the lane from the own core, in units.
PLAN_DTYPE = np.dtype(
    [
        ("length", "f4", (MOST_LANES,)),
        ("own_front", "f4", (MOST_LANES,)),  # the foremost own creep, or the outermost own tower if there is none
        ("own_creeps", "i8", (MOST_LANES,)),
        ("foe_front", "f4", (MOST_LANES,)),  # the foremost enemy creep in sight; the lane's length if there is none
        ("foe_creeps", "i8", (MOST_LANES,)),
        ("foe_heroes", "i8", (MOST_LANES,)),  # in sight on the lane
        ("own_tower", "i8", (MOST_LANES,)),  # the outermost that stands, or the core: index into the unit table
        ("own_tower_s", "f4", (MOST_LANES,)),
        ("foe_tower", "i8", (MOST_LANES,)),
        ("foe_tower_s", "f4", (MOST_LANES,)),
        ("foe_towers", "i8", (MOST_LANES,)),  # that stand
        ("open", "?"),  # the enemy's core can be hurt
        ("exposed", "?"),  # the own core can be hurt
        ("push", "i8"),  # the lane on which the team gathers
        ("defend", "i8"),  # the lane on which a building is in danger, or -1
        ("alive", "i8"),  # own heroes
        ("foes_alive", "i8"),  # deaths are announced
    ],
    align=True,
)


def roads(world: World) -> Array:
    """The lanes of team 0: x, y and the distance from the own core of their waypoints, f32 [lanes, points, 3]."""
    x, y = world.lane_x[0], world.lane_y[0]
    dx, dy = np.diff(x, axis=1), np.diff(y, axis=1)
    legs = np.sqrt(dx * dx + dy * dy)
    arcs = np.concatenate([np.zeros_like(x[:, :1]), np.cumsum(legs, axis=1, dtype=np.float32)], axis=1)
    return np.ascontiguousarray(np.stack([x, y, arcs], axis=-1), dtype=np.float32)


@kernel
def along(road: Array, lane: Any, x: Any, y: Any) -> tuple[Any, Any]:
    """The place on a lane that is nearest to (x, y): its distance from the own core, and how far off (x, y) is."""
    best, best_s = FAR, np.float32(0.0)
    for p in range(road.shape[1] - 1):
        ax, ay, start = road[lane, p, 0], road[lane, p, 1], road[lane, p, 2]
        bx, by, end = road[lane, p + 1, 0], road[lane, p + 1, 1], road[lane, p + 1, 2]
        length = end - start
        ux, uy = (bx - ax) / length, (by - ay) / length
        t = min(max((x - ax) * ux + (y - ay) * uy, np.float32(0.0)), length)
        dx, dy = ax + t * ux - x, ay + t * uy - y
        d2 = dx * dx + dy * dy
        if d2 < best:
            best, best_s = d2, start + t
    return best_s, np.sqrt(best)


@kernel
def place(road: Array, lane: Any, s: Any) -> tuple[Any, Any]:
    """The point of a lane at distance `s` from the own core."""
    last = road.shape[1] - 1
    p = 1
    while p < last and road[lane, p, 2] < s:
        p += 1
    ax, ay, start = road[lane, p - 1, 0], road[lane, p - 1, 1], road[lane, p - 1, 2]
    bx, by, end = road[lane, p, 0], road[lane, p, 1], road[lane, p, 2]
    t = min(max((s - start) / (end - start), np.float32(0.0)), np.float32(1.0))
    return ax + (bx - ax) * t, ay + (by - ay) * t


@kernel
def survey(state: State, tables: Tables, road: Array, g: int, team: int, plan: Any) -> None:
    """Fill `plan` in from what `team` sees."""
    lanes = len(road)
    for lane in range(lanes):
        plan.length[lane] = road[lane, road.shape[1] - 1, 2]
        plan.own_creeps[lane] = plan.foe_creeps[lane] = plan.foe_heroes[lane] = 0
        plan.foe_front[lane] = plan.length[lane]
        plan.own_front[lane] = np.float32(-1.0)
    _buildings(state, tables, road, g, team, plan)
    _creeps(state, tables, road, g, team, plan)
    _heroes(state, tables, road, g, team, plan)
    for lane in range(lanes):
        if plan.own_creeps[lane] == 0:
            plan.own_front[lane] = plan.own_tower_s[lane]
    _intentions(plan, lanes)


@kernel
def _buildings(state: State, tables: Tables, road: Array, g: int, team: int, plan: Any) -> None:
    where, lanes = tables.layout, len(road)
    units = state.unit[g]
    tiers = where.towers // lanes
    plan.open = plan.exposed = False
    for lane in range(lanes):
        for side in range(2):  # 0 own, 1 the enemy's, whose lanes count the other way round
            base = (team if side == 0 else 1 - team) * where.block
            row = lane if side == 0 else lanes - 1 - lane
            found, standing = base + where.core, 0
            for tier in range(tiers - 1, -1, -1):
                u = base + where.first_tower + row * tiers + tier
                if units[u].alive:
                    found, standing = u, standing + 1
            s = _progress(state.unit[g, found], road, team, np.int64(lane))
            if side == 0:
                plan.own_tower[lane], plan.own_tower_s[lane] = found, s
                plan.exposed |= standing == 0
            else:
                plan.foe_tower[lane], plan.foe_tower_s[lane], plan.foe_towers[lane] = found, s, standing
                plan.open |= standing == 0


@kernel
def _progress(unit: Any, road: Array, team: int, lane: Any) -> Any:
    sign = np.float32(1 - 2 * team)
    return along(road, lane, unit.x * sign, unit.y * sign)[0]


@kernel
def _creeps(state: State, tables: Tables, road: Array, g: int, team: int, plan: Any) -> None:
    where, lanes = tables.layout, len(road)
    units = state.unit[g]
    for i in range(where.first_creep, where.first_tower):
        u = team * where.block + i
        if units[u].alive:
            lane: Any = np.int64(units[u].lane)
            plan.own_creeps[lane] += 1
            plan.own_front[lane] = max(plan.own_front[lane], _progress(units[u], road, team, lane))
        u = (1 - team) * where.block + i
        if units[u].alive and units[u].seen[team]:
            lane = np.int64(lanes - 1 - units[u].lane)
            plan.foe_creeps[lane] += 1
            plan.foe_front[lane] = min(plan.foe_front[lane], _progress(units[u], road, team, lane))


@kernel
def _heroes(state: State, tables: Tables, road: Array, g: int, team: int, plan: Any) -> None:
    where, units = tables.layout, state.unit[g]
    sign = np.float32(1 - 2 * team)
    plan.alive = plan.foes_alive = 0
    for a in range(where.heroes):
        plan.alive += 1 if units[team * where.block + a].alive else 0
        u = (1 - team) * where.block + a
        plan.foes_alive += units[u].alive
        if not units[u].alive or not units[u].seen[team]:
            continue
        nearest, lane = FAR, 0
        for candidate in range(len(road)):
            off = along(road, np.int64(candidate), units[u].x * sign, units[u].y * sign)[1]
            if off < nearest:
                nearest, lane = off, candidate
        plan.foe_heroes[lane] += 1


@kernel
def _intentions(plan: Any, lanes: int) -> None:
    """Gather where the fewest towers are left and the way is shortest; defend what is under attack."""
    plan.push, plan.defend = 0, -1
    best, danger = FAR, np.float32(0.0)
    for lane in range(lanes):
        way = np.float32(3000.0) * plan.foe_towers[lane] + plan.foe_tower_s[lane] - plan.own_front[lane]
        if way < best:
            best, plan.push = way, lane
        close = plan.foe_front[lane] < plan.own_tower_s[lane] + np.float32(900.0)
        threat = np.float32(plan.foe_creeps[lane] + 3 * plan.foe_heroes[lane])
        if close and threat > danger and threat >= np.float32(3.0):
            danger, plan.defend = threat, lane
