"""What one scripted hero looks at: itself, what is near it among what its team observes, and who is stronger there."""

from __future__ import annotations

from typing import Any

import numpy as np

from quintet.games.skirmish.bots.plan import FAR, along
from quintet.games.skirmish.engine.combat import is_protected, may_be_denied
from quintet.games.skirmish.engine.compile import kernel
from quintet.games.skirmish.rules import ABILITY_SLOTS, BASE_RADIUS, CORE, HERO, MELEE_CREEP, POWER, RANGED_CREEP, TOWER
from quintet.games.skirmish.state import NOBODY, ORDER_RETREAT, PICKUPS, Array, State
from quintet.games.skirmish.tables import Tables

RANDOM, WEAK, MIDDLE, STRONG = range(4)
NEAR = np.float32(1100.0)  # units: who stands closer takes part in a fight
MEMORY = 40  # ticks for which an enemy hero out of sight is still reckoned with
LANES_OF_FIVE = np.array([0, 0, 1, 2, 2])
BASE = np.float32(BASE_RADIUS)
ZERO = np.float32(0.0)

SCENE_DTYPE = np.dtype(
    [
        ("strength", "i8"),  # of the bot
        ("bold", "?"),  # it fights to the death and keeps no spell
        ("g", "i8"),
        ("team", "i8"),
        ("agent", "i8"),
        ("h", "i8"),
        ("unit", "i8"),
        ("sign", "f4"),  # from the map to the own team's view
        ("x", "f4"),  # in the own team's view, like every position that a bot reckons with
        ("y", "f4"),
        ("health_pct", "i8"),
        ("mana_pct", "i8"),
        ("hurt_pct", "i8"),  # of full health, lost in the last step
        ("reach", "f4"),
        ("hit", "i8"),  # what its attack takes before armour, hundredths of a point
        ("lane", "i8"),
        ("s", "f4"),  # distance along that lane from the own core
        ("off", "f4"),  # and away from the lane
        ("home", "f4"),  # distance from the own core
        ("fleeing", "?"),
        # what it may do; see `means`
        ("ability", "i8", (ABILITY_SLOTS,)),  # that it can cast now, or NOBODY
        ("wanted", "i8"),  # the next item of its list, or NOBODY
        ("rich", "?"),  # it has the gold for it, and a place
        ("may_buy", "?"),  # it
        ("may_buy_salve", "?"),
        ("may_use", "i1", (4,)),  # salve, clarity, boots, amulet
        ("may_pick_up", "?"),
        ("rune_x", "f4"),  # the nearest rune in sight
        ("rune_y", "f4"),
        ("rune_d", "f4"),
        # units of the enemy in sight, or NOBODY
        ("any", "i8"),  # the nearest that may be attacked
        ("any_d", "f4"),
        ("foe", "i8"),  # the hero that is most worth striking
        ("foe_d", "f4"),
        ("foe_price", "f4"),  # its health, and the way to it
        ("foe_close", "f4"),  # distance of the nearest hero
        ("creep", "i8"),  # the weakest creep about
        ("creep_d", "f4"),
        ("creep_health", "i8"),
        ("deny", "i8"),  # an own creep that one blow kills
        ("tower", "i8"),  # the nearest building that stands
        ("tower_d", "f4"),
        ("tower_open", "?"),  # it is in sight and can be hurt
        ("tower_core", "?"),  # and is the core, near by
        ("tanks", "i8"),  # own creeps within its reach
        ("foes", "i8"),  # heroes near by, seen now or a moment ago
        ("friends", "i8"),  # own heroes near by, with itself
        ("foe_power", "i8"),
        ("own_power", "i8"),
        ("creeps_near", "i8"),  # enemy creeps within reach of a spell
    ],
    align=True,
)


@kernel
def look(state: State, tables: Tables, road: Array, slots: Array, g: int, team: int, agent: int, scene: Any) -> None:
    """Fill `scene` in for one hero, all but `strength` and what it may do. `slots` i32 [N]: what its team observes."""
    where, units = tables.layout, state.unit[g]
    scene.g, scene.team, scene.agent = g, team, agent
    scene.h, scene.unit = team * where.heroes + agent, team * where.block + agent
    scene.lane = LANES_OF_FIVE[agent] if where.heroes == 5 and len(road) == 3 else agent % len(road)
    _look_at_itself(units[scene.unit], state.hero[g, scene.h], road, scene)
    _forget(scene)
    scene.own_power = power(scene.health_pct, state.hero[g, scene.h].level)
    foes = (1 - team) * where.heroes - (1 - team) * where.block  # from a unit to its hero
    friends = team * where.heroes - team * where.block
    for k in range(len(slots)):
        u: Any = np.int64(slots[k])
        if u < 0 or u == scene.unit or not units[u].alive:
            continue
        if units[u].team == team:
            if units[u].kind == HERO:
                _notice_friend(units[u], state.hero[g, u + friends], scene)
            else:
                _consider_deny(units[u], u, scene)
        elif units[u].kind == HERO:
            _notice_foe(units[u], state.hero[g, u + foes], u, state.game[g].tick, scene)
        elif units[u].team == 1 - team:
            _notice_body(units, u, scene)
    _count_tanks(units, slots, scene)
    _look_for_runes(state, tables, scene)


@kernel
def _look_at_itself(me: Any, hero: Any, road: Array, scene: Any) -> None:
    scene.sign = np.float32(1 - 2 * scene.team)
    scene.x, scene.y = me.x * scene.sign, me.y * scene.sign
    scene.health_pct = 100 * me.health // max(me.max_health, 1)
    scene.mana_pct = 100 * hero.mana // max(hero.max_mana, 1)
    scene.hurt_pct = 100 * max(me.health_past[1] - me.health, 0) // max(me.max_health, 1)
    scene.reach = me.reach
    scene.hit = me.damage * (100 + me.modifier_amount[POWER]) // 100
    scene.s, scene.off = along(road, scene.lane, scene.x, scene.y)
    dx, dy = scene.x - road[0, 0, 0], scene.y - road[0, 0, 1]
    scene.home = np.sqrt(dx * dx + dy * dy)
    scene.fleeing = hero.order == ORDER_RETREAT


@kernel
def _forget(scene: Any) -> None:
    scene.any = scene.foe = scene.creep = scene.deny = scene.tower = NOBODY
    scene.any_d = scene.foe_d = scene.foe_price = scene.foe_close = scene.creep_d = scene.tower_d = scene.rune_d = FAR
    scene.creep_health = 1 << 40
    scene.tanks = scene.foes = scene.foe_power = scene.creeps_near = 0
    scene.friends = 1
    scene.bold = scene.tower_open = scene.tower_core = False


@kernel
def power(health_pct: Any, level: Any) -> Any:
    """How much a hero counts in a fight."""
    return (health_pct + 20) * (level + 4)


@kernel
def away(unit: Any, scene: Any) -> Any:
    """From the hero to a unit, in units."""
    dx, dy = unit.x * scene.sign - scene.x, unit.y * scene.sign - scene.y
    return np.sqrt(dx * dx + dy * dy)


@kernel
def health_of(unit: Any) -> Any:
    """Percent of full health."""
    return np.int64(100 * unit.health // max(unit.max_health, 1))


@kernel
def blow(unit: Any, scene: Any) -> Any:
    """What one attack of the hero takes from a unit, hundredths of a point."""
    return np.int64(scene.hit * (100 - unit.armor_pct) // 100)


@kernel
def is_creep(unit: Any) -> bool:
    """Of a wave."""
    return bool(unit.kind in (MELEE_CREEP, RANGED_CREEP))


@kernel
def _notice_friend(unit: Any, hero: Any, scene: Any) -> None:
    if away(unit, scene) < NEAR:
        scene.friends += 1
        scene.own_power += power(health_of(unit), np.int64(hero.level))


@kernel
def _consider_deny(unit: Any, u: Any, scene: Any) -> None:
    deniable = is_creep(unit) and may_be_denied(unit) and blow(unit, scene) >= unit.health
    if deniable and away(unit, scene) < scene.reach + np.float32(150.0):
        scene.deny = u


@kernel
def _notice_foe(unit: Any, hero: Any, u: Any, tick: int, scene: Any) -> None:
    """Enemy heroes: those in sight may be struck; those of a moment ago still count."""
    if not unit.seen[scene.team]:
        dx, dy = hero.last_x * scene.sign - scene.x, hero.last_y * scene.sign - scene.y
        if hero.last_tick >= 0 and tick - hero.last_tick < MEMORY and dx * dx + dy * dy < NEAR * NEAR:
            scene.foes += 1
            scene.foe_power += power(60, np.int64(hero.last_level))
        return
    d = away(unit, scene)
    scene.foe_close = min(scene.foe_close, d)
    if d < scene.any_d:
        scene.any, scene.any_d = u, d
    if d < NEAR:
        scene.foes += 1
        scene.foe_power += power(health_of(unit), np.int64(hero.level))
        price = np.float32(unit.health) * np.float32(0.01) + max(d - scene.reach, ZERO) * np.float32(1.2)
        if price < scene.foe_price:
            scene.foe, scene.foe_d, scene.foe_price = u, d, price


@kernel
def _notice_body(units: Any, u: Any, scene: Any) -> None:
    """The enemy's creeps in sight, and buildings, which everybody knows of."""
    unit, d = units[u], away(units[u], scene)
    seen, building = unit.seen[scene.team] != 0, unit.kind in (TOWER, CORE)
    can_be_hurt = seen and not is_protected(units, u)
    if building:
        if d < scene.tower_d:
            scene.tower, scene.tower_d, scene.tower_open = u, d, can_be_hurt
            scene.tower_core = can_be_hurt and unit.kind == CORE and d < NEAR
    elif seen:
        if d < np.float32(650.0):
            scene.creeps_near += 1
        if d < max(scene.reach + np.float32(200.0), np.float32(700.0)) and unit.health < scene.creep_health:
            scene.creep, scene.creep_d, scene.creep_health = u, d, unit.health
    if can_be_hurt and d < scene.any_d:
        scene.any, scene.any_d = u, d


@kernel
def _count_tanks(units: Any, slots: Array, scene: Any) -> None:
    """Own creeps that stand where the nearest enemy building can strike them."""
    if scene.tower_d > np.float32(1800.0):
        return
    tower = units[scene.tower]
    near = max(tower.reach, np.float32(500.0))
    for k in range(len(slots)):
        u: Any = np.int64(slots[k])
        if u >= 0 and units[u].alive and units[u].team == scene.team and is_creep(units[u]):
            dx, dy = units[u].x - tower.x, units[u].y - tower.y
            if dx * dx + dy * dy < near * near:
                scene.tanks += 1


@kernel
def _look_for_runes(state: State, tables: Tables, scene: Any) -> None:
    """The nearest rune that the team sees, the one on the own half first."""
    game = state.game[scene.g]
    for turn in range(PICKUPS):
        k = turn if scene.team == 0 else PICKUPS - 1 - turn
        if game.pickup_kind[k] >= 0 and game.pickup_seen[k, scene.team]:
            x, y = tables.world.pickup_x[k] * scene.sign, tables.world.pickup_y[k] * scene.sign
            d = np.sqrt((x - scene.x) * (x - scene.x) + (y - scene.y) * (y - scene.y))
            if d < scene.rune_d:
                scene.rune_x, scene.rune_y, scene.rune_d = x, y, d
