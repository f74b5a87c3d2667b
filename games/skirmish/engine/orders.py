"""What a hero may do, and how what the heroes chose a step ago becomes orders, purchases and casts.

The same predicates make the masks and are asked again when an action lands: what was legal a step ago may not be any
more, and then nothing happens.
"""

from __future__ import annotations

import numpy as np

from quintet.games.skirmish.engine import abilities, items, modifiers, pickups
from quintet.games.skirmish.engine.abilities import may_aim, offset_of, slot_of
from quintet.games.skirmish.engine.combat import is_protected, may_be_denied
from quintet.games.skirmish.engine.compile import kernel
from quintet.games.skirmish.engine.items import unit_of
from quintet.games.skirmish.rules import (
    ATTACK,
    BASE_RADIUS,
    BUY_ITEM,
    FIRST_ABILITY,
    ITEM_SLOTS,
    MELEE_CREEP,
    MOVE,
    NO_OP,
    PICK_UP,
    RANGED_CREEP,
    RETREAT,
    USE_ITEM,
)
from quintet.games.skirmish.state import NOBODY, ORDER_ATTACK, ORDER_MOVE, ORDER_RETREAT, State
from quintet.games.skirmish.tables import AIM_ALLY, AIM_ENEMY, Tables

_BASE2 = np.float32(BASE_RADIUS * BASE_RADIUS)


@kernel
def may_act(state: State, tables: Tables, g: int, h: int) -> bool:
    """Whether a hero can do anything now: it lives and is not stunned."""
    unit = state.unit[g, unit_of(tables, h)]
    return bool(unit.alive and not modifiers.stunned(unit))


@kernel
def may_attack(state: State, tables: Tables, g: int, h: int, target: int) -> bool:
    """Whether a hero may be told to attack that unit: an enemy or neutral in sight, or a weak creep of its own."""
    if target == NOBODY:
        return False
    units = state.unit[g]
    team, other = units[unit_of(tables, h)].team, units[target]
    if not other.alive:
        return False
    if other.team == team:
        return bool(other.kind in (MELEE_CREEP, RANGED_CREEP) and may_be_denied(other))
    return bool(other.seen[team] and not is_protected(units, target))


@kernel
def may_cast(state: State, tables: Tables, g: int, h: int, ability: int) -> bool:
    """Whether a hero can cast that row of ABILITIES now, its target aside (see `abilities.may_aim`)."""
    hero, row = state.hero[g, h], tables.ability[ability]
    slot = slot_of(tables, hero, ability)
    return bool(slot != NOBODY and hero.level >= row.level and hero.mana >= row.mana and hero.ability_ready[slot] == 0)


@kernel
def in_base(state: State, tables: Tables, g: int, h: int) -> bool:
    """Whether a hero stands within BASE_RADIUS of where its own core is."""
    unit = state.unit[g, unit_of(tables, h)]
    dx, dy = unit.x - tables.world.core_x[unit.team], unit.y - tables.world.core_y[unit.team]
    return bool(dx * dx + dy * dy <= _BASE2)


@kernel
def may_buy(state: State, tables: Tables, g: int, h: int, item: int) -> bool:
    """Whether a hero can buy that item now: at home, with the gold and a free slot, and none yet that lasts."""
    hero, row = state.hero[g, h], tables.item[item]
    if hero.gold < row.cost or items.free_slot(hero) == NOBODY:
        return False
    if not row.consumed and items.slot_with(hero, item) != NOBODY:
        return False
    return in_base(state, tables, g, h)


@kernel
def may_use(state: State, tables: Tables, g: int, h: int, item: int) -> bool:
    """Whether a hero carries that item, it can be used, and is ready."""
    if tables.item[item].cooldown == 0:
        return False
    hero, ready = state.hero[g, h], False
    for slot in range(ITEM_SLOTS):
        ready = ready or bool(hero.items[slot] == item and hero.item_ready[slot] == 0)
    return ready


@kernel
def may_pick_up(state: State, tables: Tables, g: int, h: int) -> bool:
    """Whether a rune lies within the hero's reach."""
    return pickups.in_range(state, tables, g, h)


@kernel
def legal(state: State, tables: Tables, g: int, h: int) -> bool:
    """Whether the action that waits in a hero's record may be carried out now."""
    hero = state.hero[g, h]
    primary = hero.primary
    if not may_act(state, tables, g, h):
        return False
    if primary in (NO_OP, MOVE, RETREAT):
        return True
    if primary == ATTACK:
        return may_attack(state, tables, g, h, hero.target_unit)
    if primary == PICK_UP:
        return may_pick_up(state, tables, g, h)
    if primary == USE_ITEM:
        return may_use(state, tables, g, h, hero.item)
    if primary == BUY_ITEM:
        return may_buy(state, tables, g, h, hero.item)
    ability = primary - FIRST_ABILITY
    if not may_cast(state, tables, g, h, ability):
        return False
    aim = tables.ability[ability].aim
    return aim not in (AIM_ENEMY, AIM_ALLY) or may_aim(state, tables, g, h, ability, hero.target_unit)


@kernel
def land_actions(state: State, tables: Tables, g: int) -> None:
    """Carry out what the heroes' records hold, as if all at once: everything is judged before anything is changed.

    `old_x` and `old_y` are where everybody stands now (see `engine.snapshot`).
    What has become illegal is turned into a no-op. Casts come last, so that armour bought in the same step counts
    whoever casts, and dashes after them, when nobody's place is asked for any more.
    """
    n_heroes = 2 * tables.layout.heroes
    for h in range(n_heroes):
        if not legal(state, tables, g, h):
            state.hero[g, h].primary = NO_OP
    pickups.take(state, tables, g)
    for h in range(n_heroes):
        _obey(state, tables, g, h)
    for h in range(n_heroes):
        if state.hero[g, h].primary >= FIRST_ABILITY:
            abilities.cast(state, tables, g, h)
    for h in range(n_heroes):
        if state.hero[g, h].primary >= FIRST_ABILITY:
            abilities.dash(state, tables, g, h)


@kernel
def _obey(state: State, tables: Tables, g: int, h: int) -> None:
    """What an action changes about the hero itself."""
    hero, unit = state.hero[g, h], state.unit[g, unit_of(tables, h)]
    if hero.primary == MOVE:
        half = np.float32(tables.world.half)
        hero.order, unit.target = ORDER_MOVE, NOBODY
        hero.order_x = min(max(unit.x + offset_of(hero.offset_x), -half), half)
        hero.order_y = min(max(unit.y + offset_of(hero.offset_y), -half), half)
    elif hero.primary == ATTACK:
        hero.order, unit.target = ORDER_ATTACK, hero.target_unit
    elif hero.primary == RETREAT:
        hero.order, unit.target = ORDER_RETREAT, NOBODY
    elif hero.primary == USE_ITEM:
        items.use(state, tables, g, h, hero.item)
    elif hero.primary == BUY_ITEM:
        items.buy(state, tables, g, h, hero.item)
