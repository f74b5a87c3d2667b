"""What a scripted hero can tell itself to do, written into its row of the actions, and how it walks."""

from __future__ import annotations

from typing import Any

import numpy as np

from quintet.games.skirmish.bots.plan import place
from quintet.games.skirmish.bots.scene import BASE
from quintet.games.skirmish.engine.compile import kernel
from quintet.games.skirmish.rules import (
    ATTACK,
    BUY_ITEM,
    FIRST_ABILITY,
    FOUNTAIN_RANGE,
    MOVE,
    NO_OP,
    OFFSET_STEP,
    OFFSETS,
    PICK_UP,
    RETREAT,
    USE_ITEM,
)
from quintet.games.skirmish.state import NOBODY, Array, State

MIDDLE = OFFSETS // 2
STEP = np.float32(OFFSET_STEP)
HALF = np.float32(0.5)
FAR_OFF = np.float32(500.0)  # units from its lane: then it takes the way over home
STRIDE = np.float32(450.0)  # it walks along a lane from point to point, at most so far apart
PRIMARY, TARGET, OFFSET_X, OFFSET_Y, ITEM = range(5)  # of an action; TARGET is an index into the unit table here


@kernel
def wait(act: Array) -> bool:
    """Go on with what it does."""
    act[PRIMARY], act[TARGET], act[OFFSET_X], act[OFFSET_Y], act[ITEM] = NO_OP, NOBODY, MIDDLE, MIDDLE, 0
    return True


@kernel
def flee(act: Array) -> bool:
    """Home."""
    act[PRIMARY] = RETREAT
    return True


@kernel
def strike(act: Array, u: Any) -> bool:
    """Attack a unit."""
    act[PRIMARY], act[TARGET] = ATTACK, u
    return True


@kernel
def pick_up(act: Array) -> bool:
    """Take the rune at its feet."""
    act[PRIMARY] = PICK_UP
    return True


@kernel
def buy(act: Array, item: Any) -> bool:
    """Buy an item."""
    act[PRIMARY], act[ITEM] = BUY_ITEM, item
    return True


@kernel
def use(act: Array, item: Any) -> bool:
    """Use an item."""
    act[PRIMARY], act[ITEM] = USE_ITEM, item
    return True


@kernel
def cast(act: Array, ability: Any, u: Any) -> bool:
    """Cast an ability at a unit, or at none (NOBODY)."""
    act[PRIMARY], act[TARGET] = FIRST_ABILITY + ability, u
    return True


@kernel
def aim(act: Array, dx: float, dy: float) -> None:
    """Set the offsets nearest to (dx, dy) from the hero; what is too far away is brought nearer on the same line."""
    furthest = max(abs(dx), abs(dy))
    limit = STEP * np.float32(MIDDLE)
    shrink = limit / furthest if furthest > limit else np.float32(1.0)
    act[OFFSET_X] = MIDDLE + _steps(dx * shrink)
    act[OFFSET_Y] = MIDDLE + _steps(dy * shrink)


@kernel
def _steps(d: Any) -> int:
    size = int(abs(d) / STEP + HALF)
    return size if d > 0 else -size


@kernel
def walk(scene: Any, act: Array, x: float, y: float) -> bool:
    """Straight towards a point; at it, stand."""
    act[PRIMARY] = MOVE
    aim(act, x - scene.x, y - scene.y)
    return True


@kernel
def walk_lane(road: Array, scene: Any, act: Array, s: float) -> bool:
    """Along the hero's lane to distance `s` from the own core."""
    if scene.off > FAR_OFF and scene.home > BASE:
        return flee(act)  # all lanes lead home, and the forest is in between
    if scene.off > FAR_OFF:
        x, y = place(road, scene.lane, STRIDE)
    else:
        x, y = place(road, scene.lane, min(max(s, scene.s - STRIDE), scene.s + STRIDE))
    return walk(scene, act, x, y)


@kernel
def keep_off(state: State, road: Array, scene: Any, act: Array) -> bool:
    """Leave the reach of an enemy building that nothing but the hero keeps busy."""
    if scene.tower == NOBODY:
        return False
    tower = state.unit[scene.g, scene.tower]
    danger = tower.reach if tower.reach > np.float32(0.0) else np.float32(FOUNTAIN_RANGE)
    if scene.tower_d > danger + np.float32(100.0):
        return False
    aimed = tower.seen[scene.team] != 0 and tower.target == scene.unit
    if not aimed and scene.tanks > 0:
        return False
    return walk_lane(road, scene, act, scene.s - STRIDE)
