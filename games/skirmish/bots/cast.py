"""When the strong bot casts and uses items: chosen by what an ability does, not by its name."""

from __future__ import annotations

from typing import Any

import numpy as np

from quintet.games.skirmish.bots.means import AMULET, BOOTS, CLARITY, SALVE, USABLE
from quintet.games.skirmish.bots.moves import aim, cast, use
from quintet.games.skirmish.bots.plan import place
from quintet.games.skirmish.bots.scene import away, health_of, is_creep
from quintet.games.skirmish.engine.compile import kernel
from quintet.games.skirmish.rules import ABILITY_SLOTS, HERO, REGEN, SHIELD, STUN
from quintet.games.skirmish.state import NOBODY, Array
from quintet.games.skirmish.tables import AIM_ALLY, AIM_ENEMY, AIM_POINT, AIM_SELF

# Not plain numbers: numba would compile what they are handed to once for each.
HEROES, CREEPS, NONE = np.int64(0), np.int64(1), np.int64(NOBODY)
LONG = 300  # ticks of cooldown from which an ability is kept for a real fight
RICH_PCT = 55  # of mana from which it is spent on a mere nuisance
SQUARE_REACH = np.float32(600.0)  # what offsets can aim at, on each axis


@kernel
def use_items(units: Any, scene: Any, act: Array) -> bool:
    """Drink when hurt, shield when struck, run when fleeing."""
    me = units[scene.unit]
    if scene.may_use[SALVE] and scene.health_pct < 55 and me.modifier_ticks[REGEN] == 0:
        return use(act, USABLE[SALVE])
    struck = scene.hurt_pct >= 3 and scene.health_pct < 80
    if scene.may_use[AMULET] and struck and me.modifier_ticks[SHIELD] == 0:
        return use(act, USABLE[AMULET])
    if scene.may_use[CLARITY] and scene.mana_pct < 35:
        return use(act, USABLE[CLARITY])
    return scene.may_use[BOOTS] and scene.fleeing and scene.foe_close < np.float32(900.0) and use(act, USABLE[BOOTS])


@kernel
def support(units: Any, spells: Array, road: Array, slots: Array, scene: Any, act: Array) -> bool:
    """Heal and shield who needs it, or get away."""
    for k in range(ABILITY_SLOTS - 1, -1, -1):
        ability = scene.ability[k]
        if ability == NOBODY or spells[ability].damage > 0:
            continue
        row = spells[ability]
        if row.aim == AIM_ALLY and _help(units, row, slots, scene, act, ability):
            return True
        if row.aim == AIM_SELF and _help_around(units, row, slots, scene):
            return cast(act, ability, NONE)
        if row.aim == AIM_POINT and scene.fleeing and scene.foe_close < np.float32(700.0):
            x, y = place(road, scene.lane, scene.s - row.dash)
            aim(act, x - scene.x, y - scene.y)
            return cast(act, ability, NONE)
    return False


@kernel
def attack(units: Any, spells: Array, hero: Any, slots: Array, scene: Any, act: Array) -> bool:
    """Harm heroes; with mana to spare, creeps."""
    for k in range(ABILITY_SLOTS - 1, -1, -1):
        ability = scene.ability[k]
        if ability == NOBODY:
            continue
        row = spells[ability]
        if scene.foe != NOBODY and _worth_it(units[scene.foe], row, hero, scene):
            if row.aim == AIM_ENEMY and scene.foe_d <= row.reach:
                return cast(act, ability, scene.foe)
            if row.aim == AIM_POINT and _at(units[scene.foe], row, scene, act):
                return cast(act, ability, NONE)
            if row.aim == AIM_SELF and _around(units, row, slots, scene, HEROES) > 0:
                return cast(act, ability, NONE)
        clears = row.radius > 0 and row.cooldown < LONG and scene.mana_pct > RICH_PCT + 10 and scene.creeps_near >= 3
        if clears and _clear(units, row, slots, scene, act):
            return cast(act, ability, NONE)
    return False


@kernel
def _worth_it(foe: Any, row: Any, hero: Any, scene: Any) -> bool:
    """Whether this ability should be spent on the chosen enemy hero now."""
    if row.damage == 0:
        return bool(scene.bold and row.power > 0 and scene.foe_d < scene.reach + np.float32(150.0))
    growth = 100 + row.level_pct * (hero.level - 1)
    if row.damage * growth // 100 * (100 - foe.armor_pct) // 100 >= foe.health:
        return True
    if row.stun > 0 and foe.modifier_ticks[STUN] > 4:
        return False
    if row.dash > 0:
        return bool(scene.bold and row.stun > 0)
    return bool(scene.bold or (row.cooldown < LONG and scene.mana_pct > RICH_PCT))


@kernel
def _at(unit: Any, row: Any, scene: Any, act: Array) -> bool:
    """Aim at the ground under a unit, if that is within range."""
    dx, dy = unit.x * scene.sign - scene.x, unit.y * scene.sign - scene.y
    if row.damage == 0 or max(abs(dx), abs(dy)) > SQUARE_REACH or dx * dx + dy * dy > row.reach * row.reach:
        return False
    aim(act, dx, dy)
    return True


@kernel
def _around(units: Any, row: Any, slots: Array, scene: Any, whom: Any) -> int:
    """Enemy heroes, or creeps, that an area around the hero would reach."""
    radius = row.radius * np.float32(0.9)
    if row.damage == 0:  # it strengthens the hero itself
        radius = scene.reach + np.float32(150.0)
    n = 0
    for k in range(len(slots)):
        u: Any = np.int64(slots[k])
        if u < 0 or not units[u].alive or units[u].team != 1 - scene.team or not units[u].seen[scene.team]:
            continue
        wanted = units[u].kind == HERO if whom == HEROES else is_creep(units[u])
        if wanted and away(units[u], scene) < radius:
            n += 1
    return n


@kernel
def _clear(units: Any, row: Any, slots: Array, scene: Any, act: Array) -> bool:
    """Aim an area at a wave of creeps."""
    if row.damage == 0 or scene.creep == NOBODY:
        return False
    if row.aim == AIM_SELF:
        return _around(units, row, slots, scene, CREEPS) >= 3
    return row.aim == AIM_POINT and _at(units[scene.creep], row, scene, act)


@kernel
def _help(units: Any, row: Any, slots: Array, scene: Any, act: Array, ability: Any) -> bool:
    """On the own hero within range, itself included, that is worst off."""
    least, who = 70 if row.heal > 0 else 85, NONE
    for k in range(len(slots)):
        u: Any = np.int64(slots[k])
        if u < 0 or not units[u].alive or units[u].team != scene.team or units[u].kind != HERO:
            continue
        unit = units[u]
        struck = (unit.health_past[1] - unit.health) * 100 > 3 * unit.max_health and unit.modifier_ticks[SHIELD] == 0
        pct = health_of(unit)
        if pct < least and (row.heal > 0 or struck) and away(unit, scene) <= row.reach:
            least, who = pct, u
    return who != NOBODY and cast(act, ability, who)


@kernel
def _help_around(units: Any, row: Any, slots: Array, scene: Any) -> bool:
    """Auras of healing when several need it or the hero itself badly does; a shield when struck."""
    if row.heal == 0:
        return bool(row.shield > 0 and scene.hurt_pct >= 4 and scene.health_pct < 85)
    hurt = 0
    for k in range(len(slots)):
        u: Any = np.int64(slots[k])
        if u < 0 or not units[u].alive or units[u].team != scene.team or units[u].kind != HERO:
            continue
        if health_of(units[u]) < 60 and away(units[u], scene) < row.radius:
            hurt += 1
    return hurt > 1 or scene.health_pct < 45
