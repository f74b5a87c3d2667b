"""Items: buying and using them, and what a hero is with its level and all that it carries."""

from __future__ import annotations

from typing import Any

from quintet.games.skirmish.engine import modifiers
from quintet.games.skirmish.engine.compile import kernel
from quintet.games.skirmish.rules import HASTE, ITEM_SLOTS, REGEN, SHIELD
from quintet.games.skirmish.state import NOBODY, State
from quintet.games.skirmish.tables import Tables

_MOST_ARMOR_PCT = 90


@kernel
def unit_of(tables: Tables, h: int) -> int:
    """The unit that hero `h` (team x A + agent) is."""
    heroes = tables.layout.heroes
    return h // heroes * tables.layout.block + h % heroes


@kernel
def free_slot(hero: Any) -> int:
    """The first slot that carries nothing, or NOBODY."""
    for slot in range(ITEM_SLOTS):
        if hero.items[slot] < 0:
            return slot
    return NOBODY


@kernel
def slot_with(hero: Any, item: int) -> int:
    """The first slot that carries this item, or NOBODY."""
    for slot in range(ITEM_SLOTS):
        if hero.items[slot] == item:
            return slot
    return NOBODY


@kernel
def buy(state: State, tables: Tables, g: int, h: int, item: int) -> None:
    """Pay for an item and carry it; more health and mana are there at once. The caller has checked `orders.may_buy`."""
    hero, unit = state.hero[g, h], state.unit[g, unit_of(tables, h)]
    slot, health, mana = free_slot(hero), unit.max_health, hero.max_mana
    hero.gold -= tables.item[item].cost
    hero.items[slot] = item
    hero.item_ready[slot] = 0
    refresh_hero(state, tables, g, h)
    unit.health += unit.max_health - health
    hero.mana += hero.max_mana - mana


@kernel
def use(state: State, tables: Tables, g: int, h: int, item: int) -> None:
    """Have the effect of an item. The caller has checked `orders.may_use`."""
    hero, unit, row = state.hero[g, h], state.unit[g, unit_of(tables, h)], tables.item[item]
    modifiers.add(unit, REGEN, row.heal, row.heal_amount)
    modifiers.add(unit, SHIELD, row.shield, row.shield_amount)
    modifiers.add(unit, HASTE, row.haste, row.haste_pct)
    hero.mana = min(hero.mana + row.mana_now, hero.max_mana)
    if row.consumed:
        hero.items[slot_with(hero, item)] = -1
        hero.worth -= row.cost
    for slot in range(ITEM_SLOTS):  # another of the same kind has to wait as well
        if hero.items[slot] == item:
            hero.item_ready[slot] = row.cooldown


@kernel
def refresh_hero(state: State, tables: Tables, g: int, h: int) -> None:
    """Set all that follows from archetype, level and items: damage, maxima and so on, but not health and mana now."""
    hero, unit = state.hero[g, h], state.unit[g, unit_of(tables, h)]
    row = tables.hero[hero.archetype]
    levels = hero.level - 1
    health, mana = row.health + levels * row.health_level, row.mana + levels * row.mana_level
    damage, armor_pct, hurry_pct, speed = row.damage + levels * row.damage_level, row.armor_pct, 0, row.speed
    for slot in range(ITEM_SLOTS):
        if hero.items[slot] >= 0:
            item = tables.item[hero.items[slot]]
            health += item.health
            mana += item.mana
            damage += item.damage
            armor_pct += item.armor_pct
            hurry_pct += item.attack_speed_pct
            speed += item.speed
    unit.max_health, hero.max_mana = health, mana
    unit.damage, unit.armor_pct, unit.speed = damage, min(armor_pct, _MOST_ARMOR_PCT), speed
    unit.period = max(row.period * 100 // (100 + hurry_pct), 1)
    unit.reach, unit.vision = row.reach, row.vision


@kernel
def regen_of(tables: Tables, hero: Any) -> tuple[int, int]:
    """Health and mana that come back to a living hero by themselves, in hundredths of a point a second."""
    health, mana = tables.hero[hero.archetype].regen, tables.hero[hero.archetype].mana_regen
    for slot in range(ITEM_SLOTS):
        if hero.items[slot] >= 0:
            health += tables.item[hero.items[slot]].regen
            mana += tables.item[hero.items[slot]].mana_regen
    return health, mana


@kernel
def ability_pct(tables: Tables, hero: Any) -> int:
    """Percentage of their own strength that abilities have by the items carried: 100 is normal."""
    total = 100
    for slot in range(ITEM_SLOTS):
        if hero.items[slot] >= 0:
            total += tables.item[hero.items[slot]].ability_pct
    return total
