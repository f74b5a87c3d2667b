"""The unit table as a team observes it: what it sees, what it remembers, and what everybody knows.

Slots: own heroes, enemy heroes (in sight, or as last seen; absent until then), own towers and core, enemy towers and
core (always known), then the creeps, neutrals and boss in sight in the order of the unit table from the team's view;
where there are more than slots, those nearest to a living own hero.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from quintet.games.skirmish.engine.combat import is_protected
from quintet.games.skirmish.engine.compile import kernel
from quintet.games.skirmish.observation.spec import FIRST_HERO_KIND
from quintet.games.skirmish.rules import HERO, POINT, SHIELD, SLOW, STUN, TICK_S
from quintet.games.skirmish.state import NOBODY, Array, State
from quintet.games.skirmish.tables import Tables, ticks

_ONE, _ZERO = np.float32(1), np.float32(0)
# What counts as 1.
_HEALTH, _DAMAGE = np.float32(1 / (2000 * POINT)), np.float32(1 / (100 * POINT))
_REACH, _SPEED = np.float32(1 / 650), np.float32(1 / (330 * TICK_S))
_STUN, _SLOW, _LEVEL = np.float32(1 / ticks(2)), np.float32(1 / 50), np.float32(1 / 10)
_SOON = ticks(10)  # t / (t + 10 s): near or far in time, without a bound


@kernel
def write_units(state: State, tables: Tables, g: int, team: int, rows: Array, mask: Array, slots: Array) -> None:
    """Fill a team's `rows` and `mask` [N], which are zero, and `slots` [N]."""
    layout = tables.layout
    for slot in range(len(slots)):
        slots[slot] = NOBODY
    own, enemy = team * layout.block, (1 - team) * layout.block
    for agent in range(layout.heroes):
        slots[agent] = own + agent
        hero = state.hero[g, (1 - team) * layout.heroes + agent]
        if hero.last_tick >= 0:
            slots[layout.heroes + agent] = enemy + agent
    n = 2 * layout.heroes
    for block in (own, enemy):
        for u in range(block + layout.first_tower, block + layout.block):
            slots[n] = u
            n += 1
    _list_others(state, tables, g, team, slots[n:])
    for slot in range(len(slots)):
        if slots[slot] != NOBODY:
            mask[slot] = True
            _write(state, tables, rows[slot], g, team, slots[slot])


@kernel
def _list_others(state: State, tables: Tables, g: int, team: int, slots: Array) -> None:
    """Put the creeps, neutrals and boss in sight into these slots."""
    layout, units = tables.layout, state.unit[g]
    seen = np.empty(layout.units, np.int32)
    n = 0
    for turn in range(2):
        block = (team if turn == 0 else 1 - team) * layout.block
        for u in range(block + layout.first_creep, block + layout.first_tower):
            if units[u].seen[team]:
                seen[n] = u
                n += 1
    half = layout.neutrals // 2
    for turn in range(2):
        block = layout.first_neutral + (team if turn == 0 else 1 - team) * half
        for u in range(block, block + half):
            if units[u].seen[team]:
                seen[n] = u
                n += 1
    if units[layout.boss].seen[team]:
        seen[n] = layout.boss
        n += 1
    if n > len(slots):
        n = _keep_nearest(state, tables, g, team, seen[:n], len(slots))
    for k in range(n):
        slots[k] = seen[k]


@kernel
def _keep_nearest(state: State, tables: Tables, g: int, team: int, seen: Array, room: int) -> int:
    """Drop those of `seen` that are farthest from every living own hero (or from the own core, if all are dead)."""
    far = np.empty(len(seen), np.float32)
    for k in range(len(seen)):
        far[k] = _distance_to_heroes(state, tables, g, team, seen[k])
    n = len(seen)
    while n > room:
        worst = 0
        for k in range(1, n):
            if far[k] >= far[worst]:
                worst = k
        for k in range(worst, n - 1):
            seen[k], far[k] = seen[k + 1], far[k + 1]
        n -= 1
    return n


@kernel
def _distance_to_heroes(state: State, tables: Tables, g: int, team: int, u: int) -> Any:
    """Squared."""
    units, layout = state.unit[g], tables.layout
    core = units[team * layout.block + layout.core]
    least, any_alive = np.float32(0), False
    for agent in range(layout.heroes):
        hero = units[team * layout.block + agent]
        if hero.alive:
            dx, dy = units[u].x - hero.x, units[u].y - hero.y
            square = dx * dx + dy * dy
            least = min(least, square) if any_alive else square
            any_alive = True
    if any_alive:
        return least
    dx, dy = units[u].x - core.x, units[u].y - core.y
    return dx * dx + dy * dy


@kernel
def _write(state: State, tables: Tables, row: Any, g: int, team: int, u: int) -> None:
    unit, layout = state.unit[g, u], tables.layout
    side = 0 if u >= 2 * layout.block else 1 if u // layout.block == team else -1
    row.side = side
    row.kind = unit.kind
    h = 0
    if unit.kind == HERO:
        h = u // layout.block * layout.heroes + u % layout.block
        row.kind = FIRST_HERO_KIND + state.hero[g, h].archetype
        if side < 0 and not unit.seen[team]:
            _write_remembered(state, tables, row, g, team, h)
            return
        row.level = state.hero[g, h].level * _LEVEL
        row.mana = np.float32(state.hero[g, h].mana) / np.float32(max(state.hero[g, h].max_mana, 1))
    row.visible = unit.seen[team]
    _write_body(row, unit, tables, team)
    _write_doings(row, unit, tables, team)
    row.protected = is_protected(state.unit[g], u)


@kernel
def _write_body(row: Any, unit: Any, tables: Tables, team: int) -> None:
    """Where it is and what it can do."""
    sign = np.float32(1 - 2 * team)
    scale = sign / np.float32(tables.world.half)
    row.x, row.y = unit.x * scale, unit.y * scale
    row.face_x, row.face_y = unit.face_x * sign, unit.face_y * sign
    share = _ONE / np.float32(max(unit.max_health, 1))
    if unit.alive:
        row.health = unit.health * share
    row.health_1 = unit.health_past[1] * share
    row.health_2 = unit.health_past[2] * share
    row.health_3 = unit.health_past[3] * share
    row.max_health = unit.max_health * _HEALTH
    row.shield = min(unit.modifier_amount[SHIELD] * share, _ONE)
    row.damage = unit.damage * _DAMAGE
    row.reach = unit.reach * _REACH
    row.speed = unit.speed * _SPEED


@kernel
def _write_doings(row: Any, unit: Any, tables: Tables, team: int) -> None:
    """What it is doing and what is done to it."""
    row.ready = readiness(unit.ready, unit.period)
    row.stun = min(unit.modifier_ticks[STUN] * _STUN, _ONE)
    row.slow = unit.modifier_amount[SLOW] * _SLOW
    block = tables.layout.block
    if unit.target >= 0 and unit.target < 2 * block and unit.target % block < tables.layout.heroes:
        row.attacks = 1 if unit.target // block == team else -1


@kernel
def _write_remembered(state: State, tables: Tables, row: Any, g: int, team: int, h: int) -> None:
    """An enemy hero out of sight: as last seen. Deaths are announced; nothing else of it is known."""
    hero, heroes = state.hero[g, h], tables.layout.heroes
    unit = state.unit[g, h // heroes * tables.layout.block + h % heroes]
    scale = np.float32(1 - 2 * team) / np.float32(tables.world.half)
    row.x, row.y = hero.last_x * scale, hero.last_y * scale
    row.level = hero.last_level * _LEVEL
    body = tables.hero[hero.archetype]
    # The maxima without items, which may have been bought since.
    most = body.health + body.health_level * (hero.last_level - 1)
    row.max_health = most * _HEALTH
    if unit.alive:
        row.health = min(np.float32(hero.last_health) / np.float32(most), _ONE)
    row.mana = min(np.float32(hero.last_mana) / np.float32(body.mana + body.mana_level * (hero.last_level - 1)), _ONE)
    row.unseen = nearness(state.game[g].tick - hero.last_tick)


@kernel
def readiness(left: int, period: int) -> Any:
    """1: ready; 0: a whole period to wait."""
    return _ONE - np.float32(min(left, period)) / np.float32(max(period, 1))


@kernel
def nearness(n_ticks: int) -> Any:
    """t / (t + 10 s) of a time from 0 on."""
    return np.float32(n_ticks) / np.float32(max(n_ticks, 0) + _SOON)
