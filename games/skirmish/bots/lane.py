"""The weak bot, which walks and fights what it meets, and the middle bot, which keeps its lane."""

from __future__ import annotations

from typing import Any

import numpy as np

from quintet.games.skirmish.bots.means import SALVE, USABLE
from quintet.games.skirmish.bots.moves import buy, flee, keep_off, strike, wait, walk_lane
from quintet.games.skirmish.bots.scene import BASE, STRONG, ZERO, blow
from quintet.games.skirmish.engine.compile import kernel
from quintet.games.skirmish.state import NOBODY, Array, State

# By strength: health in percent below which it goes home, and at which it comes back; own creeps that must take a
# tower's blows before it strikes the tower.
FLEE_PCT, RETURN_PCT, TANKS = np.array([0, 0, 20, 25]), np.array([0, 0, 80, 85]), np.array([0, 0, 1, 1])
STAND_BACK = np.array([0.0, 0.0, 0.3, 0.16], np.float32)  # of its reach, behind the foremost own creep
AWAY = np.float32(1000.0)  # an enemy hero who is farther away than this is not minded
SIEGE_FROM = np.float32(1200.0)  # units from a building at which it goes to strike it


@kernel
def weak(road: Array, plan: Any, scene: Any, act: Array) -> bool:
    """Walk down the lane; strike the nearest thing on the way."""
    if scene.tower_core:
        return strike(act, scene.tower)
    if scene.any_d < scene.reach + np.float32(50.0):
        return strike(act, scene.any)
    return walk_lane(road, scene, act, plan.length[scene.lane])


@kernel
def middle(state: State, road: Array, plan: Any, scene: Any, act: Array) -> bool:
    """Keep the lane: last hits and denies, towers while creeps take the blows, home when hurt."""
    if shop(scene, act) or finish(state, scene, act) or recover(plan, scene, act) or keep_off(state, road, scene, act):
        return True
    if fetch(plan, scene, act):
        return True
    if last_hit(state, scene, act) or siege(state, scene, act):
        return True
    if trade(scene, act) or farm(scene, act):
        return True
    return hold_lane(road, plan, scene, act)


@kernel
def shop(scene: Any, act: Array) -> bool:
    """Buy the next wanted item; the strong bot a salve too."""
    if scene.may_buy:
        return buy(act, scene.wanted)
    return scene.strength == STRONG and scene.may_buy_salve and buy(act, USABLE[SALVE])


@kernel
def recover(plan: Any, scene: Any, act: Array) -> bool:
    """Go home when hurt, or hurt twice as badly if no enemy hero lives, and stay until it is well again."""
    below = FLEE_PCT[scene.strength] if plan.foes_alive > 0 else FLEE_PCT[scene.strength] // 2
    at_home = scene.fleeing or scene.home < BASE
    if scene.health_pct < below or (at_home and scene.health_pct < RETURN_PCT[scene.strength]):
        return flee(act)
    return False


@kernel
def fetch(plan: Any, scene: Any, act: Array) -> bool:
    """Home for what it has the gold for, while nothing is to be lost or won here."""
    quiet = scene.foe_close > AWAY and scene.creeps_near <= 1 and scene.tanks == 0
    chance = plan.foes_alive == 0 and scene.tower_d < np.float32(1500.0)
    return scene.rich and ((quiet and not chance) or scene.fleeing) and flee(act)


@kernel
def finish(state: State, scene: Any, act: Array) -> bool:
    """A hero within reach whom one blow kills, whatever else."""
    if scene.foe == NOBODY or scene.foe_d > scene.reach + np.float32(60.0):
        return False
    foe = state.unit[scene.g, scene.foe]
    return foe.health <= blow(foe, scene) and strike(act, scene.foe)


@kernel
def last_hit(state: State, scene: Any, act: Array) -> bool:
    """A creep that one blow kills, or an own one that is better denied."""
    near = scene.creep_d < scene.reach + np.float32(250.0)
    if near and scene.creep_health <= blow(state.unit[scene.g, scene.creep], scene):
        return strike(act, scene.creep)
    return scene.deny != NOBODY and scene.foe_close < AWAY and strike(act, scene.deny)


@kernel
def siege(state: State, scene: Any, act: Array) -> bool:
    """Strike a building while own creeps take its blows; the core always."""
    if scene.tower_core:
        return strike(act, scene.tower)
    if not scene.tower_open or scene.tanks < TANKS[scene.strength]:
        return False
    return scene.tower_d < SIEGE_FROM and strike(act, scene.tower)


@kernel
def trade(scene: Any, act: Array) -> bool:
    """Strike a hero within reach, unless the enemies are stronger here."""
    if scene.own_power * 10 < scene.foe_power * 8:
        return False
    way = np.float32(200.0 if scene.own_power * 10 > scene.foe_power * 12 else 50.0)
    return scene.foe_d < scene.reach + way and strike(act, scene.foe)


@kernel
def farm(scene: Any, act: Array) -> bool:
    """Strike the weakest creep; with an enemy hero about, only from where it stands."""
    if scene.creep == NOBODY or (scene.foe_close < AWAY and scene.creep_d > scene.reach + np.float32(150.0)):
        return False
    return strike(act, scene.creep)


@kernel
def hold_lane(road: Array, plan: Any, scene: Any, act: Array) -> bool:
    """Stand behind the own creeps, or at the own tower when there are none."""
    lane = scene.lane
    post = max(plan.own_tower_s[lane] - np.float32(100.0), ZERO)
    s = max(plan.own_front[lane] - (STAND_BACK[scene.strength] * scene.reach if scene.foe_close < AWAY else ZERO), post)
    if plan.own_creeps[lane] == 0:
        s = post
    elif plan.foe_creeps[lane] > 0:
        s = min(s, plan.foe_front[lane] - scene.reach)
    if abs(s - scene.s) < np.float32(80.0) and scene.off < np.float32(200.0):
        return wait(act)
    return walk_lane(road, scene, act, s)
