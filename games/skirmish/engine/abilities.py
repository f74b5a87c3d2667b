"""Casts: what an ability does to whom, from where everybody stood before anything of this step landed.

Effects are only added up (blows, healing) or kept at their largest (modifiers), so the order of casts does not matter.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from quintet.games.skirmish.engine import modifiers
from quintet.games.skirmish.engine.combat import strike
from quintet.games.skirmish.engine.compile import kernel
from quintet.games.skirmish.engine.items import ability_pct, unit_of
from quintet.games.skirmish.engine.movement import is_open
from quintet.games.skirmish.rules import (
    ABILITY_SLOTS,
    DASH_STOPS_SHORT,
    FIRST_ABILITY,
    HASTE,
    OFFSET_STEP,
    OFFSETS,
    POWER,
    SHIELD,
    SLOW,
    STUN,
)
from quintet.games.skirmish.state import NEUTRAL_TEAM, NOBODY, Array, State
from quintet.games.skirmish.tables import AIM_ALLY, AIM_ENEMY, AIM_POINT, Tables

_STEP = np.float32(OFFSET_STEP)
_MIDDLE = OFFSETS // 2
_ZERO = np.float32(0.0)
_STOP = np.float32(DASH_STOPS_SHORT)
_STRIDE = np.float32(20.0)  # how closely the way of a dash is searched for walls


@kernel
def slot_of(tables: Tables, hero: Any, ability: int) -> int:
    """Which of the hero's own abilities this row of ABILITIES is, or NOBODY."""
    for slot in range(ABILITY_SLOTS):
        if tables.hero[hero.archetype].abilities[slot] == ability:
            return slot
    return NOBODY


@kernel
def offset_of(index: int) -> Any:
    """What a choice of the x or the y head is in units."""
    return np.float32(index - _MIDDLE) * _STEP


@kernel
def cast(state: State, tables: Tables, g: int, h: int) -> None:
    """Carry out a hero's cast, all but the dash. The caller has checked `orders.legal`."""
    hero, u = state.hero[g, h], unit_of(tables, h)
    ability = hero.primary - FIRST_ABILITY
    row = tables.ability[ability]
    hero.mana -= row.mana
    hero.ability_ready[slot_of(tables, hero, ability)] = row.cooldown
    if row.radius > _ZERO:
        _reach_all(state, tables, g, h, ability)
    elif row.aim == AIM_ENEMY:
        _harm(state, tables, g, h, ability, hero.target_unit)
    elif row.aim == AIM_ALLY:
        _help(state, tables, g, h, ability, hero.target_unit)
    if row.radius == _ZERO and row.aim != AIM_ALLY:  # what it gives goes to the caster
        _help(state, tables, g, h, ability, u)


@kernel
def dash(state: State, tables: Tables, g: int, h: int) -> None:
    """Take the caster towards the centre of its cast, if the ability does; a wall ends the way."""
    hero, unit = state.hero[g, h], state.unit[g, unit_of(tables, h)]
    row = tables.ability[hero.primary - FIRST_ABILITY]
    if row.dash == _ZERO:
        return
    x, y = _centre(state.unit[g], tables, hero, unit, row)
    dx, dy = x - unit.old_x, y - unit.old_y
    distance = np.sqrt(dx * dx + dy * dy)
    if distance == _ZERO:
        return
    unit.face_x, unit.face_y = dx / distance, dy / distance
    length = distance if row.aim == AIM_POINT else max(distance - _STOP, _ZERO)
    _rush(tables.world.walkable, unit, min(length, row.dash))


@kernel
def _rush(ground: Array, unit: Any, length: Any) -> None:
    """Straight ahead to the last open place within `length`."""
    for stride in range(1, int(length / _STRIDE) + 2):
        way = min(np.float32(stride) * _STRIDE, length)
        x, y = unit.old_x + unit.face_x * way, unit.old_y + unit.face_y * way
        if not is_open(ground, x, y):
            return
        unit.x, unit.y = x, y


@kernel
def _centre(units: Any, tables: Tables, hero: Any, unit: Any, row: Any) -> tuple[Any, Any]:
    """Where a cast is aimed at, from where everybody stood."""
    if row.aim in (AIM_ENEMY, AIM_ALLY):
        target = units[hero.target_unit]
        return target.old_x, target.old_y
    if row.aim == AIM_POINT:
        dx, dy = offset_of(hero.offset_x), offset_of(hero.offset_y)
        distance2 = dx * dx + dy * dy
        if distance2 > row.reach * row.reach:
            shrink = row.reach / np.sqrt(distance2)
            dx, dy = dx * shrink, dy * shrink
        return unit.old_x + dx, unit.old_y + dy
    return unit.old_x, unit.old_y


@kernel
def _reach_all(state: State, tables: Tables, g: int, h: int, ability: int) -> None:
    """Everybody around the centre: enemies and neutrals are harmed, own heroes and creeps helped; no buildings."""
    units, layout, row = state.unit[g], tables.layout, tables.ability[ability]
    unit = units[unit_of(tables, h)]
    x, y = _centre(units, tables, state.hero[g, h], unit, row)
    reach2 = row.radius * row.radius
    own, enemy = unit.team * layout.block, (1 - unit.team) * layout.block
    for u in range(own, own + layout.first_tower):
        if units[u].alive and _distance2(units[u], x, y) <= reach2:
            _help(state, tables, g, h, ability, u)
    for u in range(enemy, enemy + layout.first_tower):
        if units[u].alive and _distance2(units[u], x, y) <= reach2:
            _harm(state, tables, g, h, ability, u)
    for u in range(layout.first_neutral, layout.units):
        if units[u].alive and _distance2(units[u], x, y) <= reach2:
            _harm(state, tables, g, h, ability, u)


@kernel
def _distance2(unit: Any, x: Any, y: Any) -> Any:
    dx, dy = unit.old_x - x, unit.old_y - y
    return dx * dx + dy * dy


@kernel
def _harm(state: State, tables: Tables, g: int, h: int, ability: int, victim: int) -> None:
    """Damage, stun and slow."""
    hero, u, row = state.hero[g, h], unit_of(tables, h), tables.ability[ability]
    if row.damage > 0:
        amount = _grown(tables, hero, row, row.damage) * modifiers.power_pct(state.unit[g, u]) // 100
        strike(state, tables, g, u, victim, amount)
    modifiers.add(state.unit[g, victim], STUN, row.stun, 0)
    modifiers.add(state.unit[g, victim], SLOW, row.slow, row.slow_pct)


@kernel
def _help(state: State, tables: Tables, g: int, h: int, ability: int, friend: int) -> None:
    """Healing, shield, haste and power."""
    unit, row = state.unit[g, friend], tables.ability[ability]
    if row.heal > 0:
        unit.incoming_heal += _grown(tables, state.hero[g, h], row, row.heal)
    modifiers.add(unit, SHIELD, row.shield, row.shield_amount)
    modifiers.add(unit, HASTE, row.haste, row.haste_pct)
    modifiers.add(unit, POWER, row.power, row.power_pct)


@kernel
def _grown(tables: Tables, hero: Any, row: Any, amount: int) -> int:
    """An amount at the hero's level and with its items."""
    return int(amount * (100 + row.level_pct * (hero.level - 1)) // 100 * ability_pct(tables, hero) // 100)


@kernel
def may_aim(state: State, tables: Tables, g: int, h: int, ability: int, target: int) -> bool:
    """Whether an `enemy` ability could now be cast at that unit, or an `ally` ability on it, mana and all else aside.

    Enemies are whoever is seen and no building, neutrals among them; allies are own heroes, the caster included.
    """
    if target == NOBODY:
        return False
    layout, row = tables.layout, tables.ability[ability]
    unit, other = state.unit[g, unit_of(tables, h)], state.unit[g, target]
    if not other.alive:
        return False
    within = target - other.team * layout.block
    if row.aim == AIM_ALLY:
        if other.team != unit.team or within >= layout.heroes:
            return False
    else:
        building = other.team != NEUTRAL_TEAM and within >= layout.first_tower
        if building or other.team == unit.team or not other.seen[unit.team]:
            return False
    dx, dy = other.x - unit.x, other.y - unit.y
    return bool(dx * dx + dy * dy <= row.reach * row.reach)
