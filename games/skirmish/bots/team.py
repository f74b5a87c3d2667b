"""The strong bot: laning first, then together; it fights where it is stronger and leaves where it is not."""

from __future__ import annotations

from typing import Any

import numpy as np

from quintet.games.skirmish.bots import cast as bot_cast
from quintet.games.skirmish.bots.lane import SIEGE_FROM, farm, fetch, finish, hold_lane, last_hit, recover, shop, siege
from quintet.games.skirmish.bots.moves import keep_off, pick_up, strike, walk, walk_lane
from quintet.games.skirmish.bots.plan import along
from quintet.games.skirmish.bots.scene import BASE, blow
from quintet.games.skirmish.engine.compile import kernel
from quintet.games.skirmish.rules import SIEGE_PCT_MIN
from quintet.games.skirmish.state import NOBODY, Array, State

CROSSROADS = np.float32(1300.0)  # units from the own core, beyond which the lanes have parted
ASIDE = np.float32(300.0)
# From this tick on, with more heroes than lanes, who sets out from home goes where the team pushes.
GATHER_AT = 1800
HELD = np.float32(0.5)  # of a lane's length: where the enemies' creeps stand if it can be left alone
MINUTE = 600  # ticks
WAY = 15  # ticks until it stands before a building
STORM_PCT = 40  # of health must be left when the building falls
RUNE_WAY = np.float32(1300.0)  # units it goes out of its way for a rune
CHASE = np.float32(250.0)  # units beyond its reach


@kernel
def strong(state: State, spells: Array, road: Array, slots: Array, plan: Any, scene: Any, act: Array) -> bool:
    """Survive, kill, then take gold, towers and the core."""
    units, hero = state.unit[scene.g], state.hero[scene.g, scene.h]
    choose_lane(road, state.game[scene.g].tick, plan, scene)
    if shop(scene, act) or bot_cast.use_items(units, scene, act):
        return True
    if finish(state, scene, act) or bot_cast.support(units, spells, road, slots, scene, act):
        return True
    if storm(state, scene, act) or leave(road, plan, scene, act) or keep_off(state, road, scene, act):
        return True
    scene.bold = brave(scene)
    if scene.bold and fight(units, spells, hero, slots, scene, act):
        return True
    scene.bold = False
    if last_hit(state, scene, act) or siege(state, scene, act):
        return True
    if bot_cast.attack(units, spells, hero, slots, scene, act):
        return True
    if take_rune(scene, act) or farm(scene, act):
        return True
    return hold_lane(road, plan, scene, act)


@kernel
def choose_lane(road: Array, tick: int, plan: Any, scene: Any) -> None:
    """On a lane it stays there; at home it chooses anew: the lane in danger, where the core is open, or its own."""
    lane = scene.lane
    if scene.home > CROSSROADS:
        nearest = scene.off
        for other in range(len(road)):
            off = along(road, np.int64(other), scene.x, scene.y)[1]
            if off < nearest - ASIDE:
                nearest, lane = off, np.int64(other)
    elif plan.exposed and plan.defend >= 0:
        lane = plan.defend
    elif plan.foe_front[lane] > HELD * plan.length[lane]:
        more = tick >= GATHER_AT and plan.alive > len(road)
        lane = plan.push if plan.open or more else lane
    if lane != scene.lane:
        scene.lane = lane
        scene.s, scene.off = along(road, scene.lane, scene.x, scene.y)


@kernel
def storm(state: State, scene: Any, act: Array) -> bool:
    """Strike a building without creeps, with few or no enemies about, if that costs no more than a part of health."""
    if not scene.tower_open or scene.tower_d > SIEGE_FROM or scene.own_power * 10 < scene.foe_power * 11:
        return False
    if not scene.tower_core and scene.own_power < 2 * scene.foe_power:
        return False
    me, tower = state.unit[scene.g, scene.unit], state.unit[scene.g, scene.tower]
    growth = 100 + SIEGE_PCT_MIN * state.game[scene.g].tick // MINUTE
    blows = 1 + tower.health * 100 // (max(blow(tower, scene), 1) * growth * scene.friends)
    struck = 1 + (blows * me.period + WAY) // tower.period  # how often, if it is the one who is struck
    left = me.health - struck * tower.damage * (100 - me.armor_pct) // 100
    return left * 100 > me.max_health * STORM_PCT and strike(act, scene.tower)


@kernel
def leave(road: Array, plan: Any, scene: Any, act: Array) -> bool:
    """Home when hurt or rich, back along the lane when the enemies here are stronger."""
    at_core = scene.tower_core and scene.tower_d < scene.reach + np.float32(50.0)
    if not at_core and recover(plan, scene, act):
        return True
    if fetch(plan, scene, act):
        return True
    if scene.home > BASE and scene.foe_close < np.float32(900.0) and scene.foe_power * 10 > scene.own_power * 14:
        return walk_lane(road, scene, act, scene.s - np.float32(450.0))
    return False


@kernel
def brave(scene: Any) -> bool:
    """There is somebody to fight, and the own side is not the weaker one."""
    near = scene.foe != NOBODY and scene.foe_d < scene.reach + np.float32(350.0)
    return bool(near and scene.own_power * 10 >= scene.foe_power * 9)


@kernel
def fight(units: Any, spells: Array, hero: Any, slots: Array, scene: Any, act: Array) -> bool:
    """With spells and blows, where no tower decides."""
    if bot_cast.attack(units, spells, hero, slots, scene, act):
        return True
    if scene.foe_d > scene.reach and guarded(units, scene):
        return False
    return scene.foe_d <= scene.reach + CHASE and strike(act, scene.foe)


@kernel
def guarded(units: Any, scene: Any) -> bool:
    """To reach the chosen hero, the own hero would come within a tower's reach."""
    if scene.tower == NOBODY:
        return False
    foe, tower = units[scene.foe], units[scene.tower]
    dx, dy = foe.x - tower.x, foe.y - tower.y
    return bool(np.sqrt(dx * dx + dy * dy) - scene.reach < tower.reach)


@kernel
def take_rune(scene: Any, act: Array) -> bool:
    """Fetch a rune that lies near and in sight, where nobody is about."""
    if scene.may_pick_up:
        return pick_up(act)
    near = scene.rune_d < RUNE_WAY and scene.foe_close > np.float32(800.0)
    return near and walk(scene, act, scene.rune_x, scene.rune_y)
