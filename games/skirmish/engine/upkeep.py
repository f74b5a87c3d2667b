"""What passes with time, once a step: gold, cooldowns, regeneration, and the fountains of the bases."""

from __future__ import annotations

from typing import Any

import numpy as np

from quintet.games.skirmish.engine import items
from quintet.games.skirmish.engine.combat import SECOND, strike
from quintet.games.skirmish.engine.compile import kernel
from quintet.games.skirmish.rules import (
    ABILITY_SLOTS,
    BASE_RADIUS,
    FOUNTAIN_DAMAGE_S,
    FOUNTAIN_RANGE,
    FOUNTAIN_REGEN_PCT_S,
    FRAME_SKIP,
    ITEM_SLOTS,
    NEUTRAL_REGEN_PCT_S,
    PASSIVE_GOLD_S,
    REGEN,
    STEP_S,
)
from quintet.games.skirmish.state import NOBODY, State
from quintet.games.skirmish.tables import Tables, points

_GOLD = round(100 * PASSIVE_GOLD_S * STEP_S)  # hundredths of a piece
_FOUNTAIN_DAMAGE = points(FOUNTAIN_DAMAGE_S * STEP_S)
_FOUNTAIN_PCT_S = round(FOUNTAIN_REGEN_PCT_S)
_BASE = np.float32(BASE_RADIUS * BASE_RADIUS)
_FOUNTAIN = np.float32(FOUNTAIN_RANGE * FOUNTAIN_RANGE)


@kernel
def upkeep(state: State, tables: Tables, g: int) -> None:
    """One step's worth for every hero and every neutral."""
    units, layout = state.unit[g], tables.layout
    for h in range(2 * layout.heroes):
        hero, u = state.hero[g, h], items.unit_of(tables, h)
        hero.gold_rest += _GOLD
        hero.gold += hero.gold_rest // 100
        hero.worth += hero.gold_rest // 100
        hero.gold_rest %= 100
        for slot in range(ABILITY_SLOTS):
            hero.ability_ready[slot] = max(hero.ability_ready[slot] - FRAME_SKIP, 0)
        for slot in range(ITEM_SLOTS):
            hero.item_ready[slot] = max(hero.item_ready[slot] - FRAME_SKIP, 0)
        if units[u].alive:
            health_s, mana_s = items.regen_of(tables, hero)
            _regenerate(units[u], hero, health_s, mana_s, _core_distance2(units[u], tables, units[u].team) <= _BASE)
            _burn(state, tables, g, u)
    for u in range(layout.first_neutral, layout.units):
        if units[u].alive and units[u].target == NOBODY:
            units[u].incoming_heal += units[u].max_health * NEUTRAL_REGEN_PCT_S * FRAME_SKIP // (100 * SECOND)


@kernel
def _core_distance2(unit: Any, tables: Tables, team: int) -> Any:
    dx, dy = unit.x - tables.world.core_x[team], unit.y - tables.world.core_y[team]
    return dx * dx + dy * dy


@kernel
def _regenerate(unit: Any, hero: Any, health_s: int, mana_s: int, at_home: bool) -> None:
    """Health through `incoming_heal`, mana at once; what is less than a hundredth is kept for the next step."""
    if unit.modifier_ticks[REGEN] > 0:
        health_s += unit.modifier_amount[REGEN]
    if at_home:
        health_s += unit.max_health * _FOUNTAIN_PCT_S // 100
        mana_s += hero.max_mana * _FOUNTAIN_PCT_S // 100
    unit.regen_rest += health_s * FRAME_SKIP
    unit.incoming_heal += unit.regen_rest // SECOND
    unit.regen_rest %= SECOND
    hero.mana_rest += mana_s * FRAME_SKIP
    hero.mana = min(hero.mana + hero.mana_rest // SECOND, hero.max_mana)
    hero.mana_rest %= SECOND


@kernel
def _burn(state: State, tables: Tables, g: int, u: int) -> None:
    """The fountain of a standing core hurts enemy heroes who come too near."""
    enemy = 1 - state.unit[g, u].team
    core = enemy * tables.layout.block + tables.layout.core
    if state.unit[g, core].alive and _core_distance2(state.unit[g, u], tables, enemy) <= _FOUNTAIN:
        strike(state, tables, g, core, u, _FOUNTAIN_DAMAGE)
