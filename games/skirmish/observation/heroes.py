"""A hero as it knows itself: its own numbers, abilities, items, modifiers and the ground around it; and its allies."""

from __future__ import annotations

from typing import Any

import numpy as np

from quintet.games.skirmish.engine.compile import kernel
from quintet.games.skirmish.observation.spec import TERRAIN
from quintet.games.skirmish.observation.units import nearness, readiness
from quintet.games.skirmish.rules import (
    ABILITY_SLOTS,
    BASE_RADIUS,
    CELL,
    ITEM_SLOTS,
    MODIFIER_NAMES,
    POINT,
    REGEN,
    SHIELD,
    TICK_S,
)
from quintet.games.skirmish.state import (
    NOBODY,
    ORDER_ATTACK,
    ORDER_MOVE,
    ORDER_NONE,
    ORDER_RETREAT,
    Array,
    State,
)
from quintet.games.skirmish.tables import Tables, ticks

_ONE = np.float32(1)
# What counts as 1.
_HEALTH, _MANA, _DAMAGE = np.float32(1 / (2000 * POINT)), np.float32(1 / (600 * POINT)), np.float32(1 / (100 * POINT))
_GOLD, _WORTH = np.float32(1 / 1000), np.float32(1 / 4000)  # of what the square root is taken
_NEAR = np.float32(1 / 1000)
_REACH, _SPEED, _PERIOD = np.float32(1 / 650), np.float32(1 / (330 * TICK_S)), np.float32(1 / ticks(2))
_LEVEL, _RESPAWN, _MODIFIER = np.float32(1 / 10), np.float32(1 / ticks(20)), np.float32(1 / ticks(8))
_KILLS, _LAST_HITS = np.float32(1 / 10), np.float32(1 / 60)
_PERCENT, _SHIELD, _REGEN = np.float32(1 / 50), np.float32(1 / (200 * POINT)), np.float32(1 / (30 * POINT))
_MOST = np.float32(2)  # what has no bound is clipped to it


@kernel
def write_hero(row: Any, ally: Any, state: State, tables: Tables, g: int, team: int, agent: int) -> None:
    """Fill a hero's own row and its row of `allies`; both are zero."""
    hero = state.hero[g, team * tables.layout.heroes + agent]
    unit = state.unit[g, team * tables.layout.block + agent]
    _write_self(row, unit, hero, tables, team, state.game[g].tick)
    _write_order(row, unit, hero, team)
    _write_ally(ally, row, hero, tables)


@kernel
def _write_self(row: Any, unit: Any, hero: Any, tables: Tables, team: int, tick: int) -> None:
    sign = np.float32(1 - 2 * team)
    scale = sign / np.float32(tables.world.half)
    row.x, row.y = unit.x * scale, unit.y * scale
    row.level = hero.level * _LEVEL
    row.experience = _experience(hero, tables)
    if unit.alive:
        row.alive = 1
        row.health = np.float32(unit.health) / np.float32(max(unit.max_health, 1))
    else:
        row.respawn = min(max(unit.respawn_at - tick, 0) * _RESPAWN, _MOST)
    row.mana = np.float32(hero.mana) / np.float32(max(hero.max_mana, 1))
    row.max_health, row.max_mana = unit.max_health * _HEALTH, hero.max_mana * _MANA
    row.gold = root(hero.gold * _GOLD)
    row.worth = root(hero.worth * _WORTH)
    dx, dy = unit.x - tables.world.core_x[team], unit.y - tables.world.core_y[team]
    home = np.sqrt(dx * dx + dy * dy)
    row.in_base = home <= np.float32(BASE_RADIUS)
    row.home = home / np.float32(2 * tables.world.half)
    row.kills, row.deaths = min(hero.kills * _KILLS, _MOST), min(hero.deaths * _KILLS, _MOST)
    row.last_hits = min(hero.last_hits * _LAST_HITS, _MOST)
    free = 0
    for k in range(ITEM_SLOTS):
        free += hero.items[k] == NOBODY
    row.free_slots = np.float32(free) / np.float32(ITEM_SLOTS)
    row.ready = readiness(unit.ready, unit.period)
    row.speed, row.damage, row.reach = unit.speed * _SPEED, unit.damage * _DAMAGE, unit.reach * _REACH
    row.armor, row.period = unit.armor_pct * _PERCENT, unit.period * _PERIOD


@kernel
def _experience(hero: Any, tables: Tables) -> Any:
    """Share of the way to the next level; 1 at the last."""
    if hero.level >= len(tables.level_experience):
        return _ONE
    here, there = tables.level_experience[hero.level - 1], tables.level_experience[hero.level]
    return np.float32(hero.experience - here) / np.float32(there - here)


@kernel
def root(amount: Any) -> Any:
    """Square root, clipped: money counts less the more there is."""
    return min(np.float32(np.sqrt(np.float32(max(amount, np.float32(0))))), _MOST)


@kernel
def _write_order(row: Any, unit: Any, hero: Any, team: int) -> None:
    row.order_none, row.order_move = hero.order == ORDER_NONE, hero.order == ORDER_MOVE
    row.order_attack, row.order_retreat = hero.order == ORDER_ATTACK, hero.order == ORDER_RETREAT
    if hero.order == ORDER_MOVE:
        scale = np.float32(1 - 2 * team) * _NEAR
        row.order_x = min(max((hero.order_x - unit.x) * scale, -_MOST), _MOST)
        row.order_y = min(max((hero.order_y - unit.y) * scale, -_MOST), _MOST)


@kernel
def _write_ally(row: Any, own: Any, hero: Any, tables: Tables) -> None:
    row.archetype = hero.archetype
    row.x, row.y, row.level, row.health, row.mana = own.x, own.y, own.level, own.health, own.mana
    row.gold, row.worth, row.respawn, row.alive = own.gold, own.worth, own.respawn, own.alive
    for k in range(ABILITY_SLOTS):
        ability = tables.ability[tables.hero[hero.archetype].abilities[k]]
        row.ready[k] = readiness(hero.ability_ready[k], ability.cooldown)


@kernel
def write_abilities(rows: Array, mask: Array, hero: Any, tables: Tables) -> None:
    """Fill the zeroed `rows` and `mask` [ABILITY_SLOTS]."""
    for k in range(ABILITY_SLOTS):
        mask[k] = True
        number = tables.hero[hero.archetype].abilities[k]
        ability, row = tables.ability[number], rows[k]
        row.ability = number
        row.ready = readiness(hero.ability_ready[k], ability.cooldown)
        row.wait = nearness(hero.ability_ready[k])
        row.mana = hero.mana >= ability.mana
        row.level = hero.level >= ability.level


@kernel
def write_items(rows: Array, mask: Array, hero: Any, tables: Tables) -> None:
    """Fill the zeroed `rows` and `mask` [ITEM_SLOTS]."""
    for k in range(ITEM_SLOTS):
        number = hero.items[k]
        if number != NOBODY:
            mask[k] = True
            rows[k].item = number
            rows[k].ready = readiness(hero.item_ready[k], tables.item[number].cooldown)
            rows[k].wait = nearness(hero.item_ready[k])


@kernel
def write_modifiers(rows: Array, mask: Array, unit: Any) -> None:
    """Fill the zeroed `rows` and `mask`, one slot for each kind."""
    for kind in range(len(MODIFIER_NAMES)):
        rows[kind].kind = kind
        if unit.modifier_ticks[kind] > 0:
            mask[kind] = True
            rows[kind].time = min(unit.modifier_ticks[kind] * _MODIFIER, _MOST)
            scale = _SHIELD if kind == SHIELD else _REGEN if kind == REGEN else _PERCENT
            rows[kind].amount = min(unit.modifier_amount[kind] * scale, _MOST)


@kernel
def write_terrain(cells: Array, unit: Any, tables: Tables, team: int) -> None:
    """True where one can walk, row by row of x, as seen by team 0; `cells` are False."""
    n, sign = tables.world.cells, np.float32(1 - 2 * team)
    half, ground = np.float32(tables.world.half), tables.world.walkable
    margin = (ground.shape[0] - n) // 2  # kernels see every map in the middle of the largest
    i0 = int((unit.x * sign + half) / np.float32(CELL)) - TERRAIN // 2
    j0 = int((unit.y * sign + half) / np.float32(CELL)) - TERRAIN // 2
    for i in range(TERRAIN):
        for j in range(TERRAIN):
            if i0 + i >= 0 and i0 + i < n and j0 + j >= 0 and j0 + j < n:
                cells[i * TERRAIN + j] = ground[margin + i0 + i, margin + j0 + j]
