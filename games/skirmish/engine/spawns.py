"""Who comes to the map and when: the start of a game, waves of creeps, neutrals, the boss, and heroes who died."""

from __future__ import annotations

from typing import Any

import numpy as np

from quintet.games.skirmish.engine import items
from quintet.games.skirmish.engine.combat import MINUTE, random_u32
from quintet.games.skirmish.engine.compile import kernel
from quintet.games.skirmish.rules import (
    BOSS,
    BOSS_FIRST_S,
    CORE,
    CREEP_GROWTH_PCT,
    HEALTH_HISTORY,
    HERO,
    MELEE_CREEP,
    NEUTRAL,
    RANGED_CREEP,
    RUNE_FIRST_S,
    START_GOLD,
    TOWER,
    WAVE_MELEE,
    WAVE_PERIOD_S,
    WAVE_RANGED,
)
from quintet.games.skirmish.state import (
    GAME_DTYPE,
    HERO_DTYPE,
    NEUTRAL_TEAM,
    NEVER,
    NOBODY,
    UNIT_DTYPE,
    State,
)
from quintet.games.skirmish.tables import Tables, ticks

_WAVE_PERIOD = ticks(WAVE_PERIOD_S)
_BOSS_FIRST = ticks(BOSS_FIRST_S)
NORMAL = 100 * MINUTE  # a percentage for every minute is a count for every tick
_SPREAD = np.float32(100.0)  # heroes stand so far apart where they come to life

# What a new game's records are set to before anything is filled in.
_NO_GAME, _NO_UNIT, _NO_HERO = np.zeros(1, GAME_DTYPE), np.zeros(1, UNIT_DTYPE), np.zeros(1, HERO_DTYPE)
_NO_GAME["winner"], _NO_GAME["pickup_kind"], _NO_GAME["pickup_at"] = -1, -1, ticks(RUNE_FIRST_S)
for _field in ("target", "struck", "incoming_from"):
    _NO_UNIT[_field] = NOBODY
_NO_UNIT["struck_at"], _NO_UNIT["respawn_at"], _NO_UNIT["lane"], _NO_UNIT["team"] = NEVER, -1, -1, NEUTRAL_TEAM
_NO_HERO["hurt_at"], _NO_HERO["last_tick"], _NO_HERO["items"] = NEVER, -1, -1
_NO_HERO["target_unit"], _NO_HERO["gold"], _NO_HERO["worth"] = NOBODY, START_GOLD, START_GOLD


@kernel
def start_game(state: State, tables: Tables, g: int, seed: Any, start: Any) -> None:
    """Make game `g` a new one: `seed` is a uint64, `start` one record of START_DTYPE (see start.py)."""
    layout = tables.layout
    state.game[g] = _NO_GAME[0]
    for u in range(layout.units):
        state.unit[g, u] = _NO_UNIT[0]
    game = state.game[g]
    game.rng = np.uint64(seed)
    game.tie = random_u32(game) & 1
    game.wave_at, game.first_wave = start.first_wave, start.first_wave
    game.rune_kinds, game.start_level = start.rune_kinds, start.level
    _place_units(state.unit[g], tables)
    for h in range(2 * layout.heroes):
        state.hero[g, h] = _NO_HERO[0]
        hero = state.hero[g, h]
        hero.archetype = start.archetype[h // layout.heroes, h % layout.heroes]
        hero.level, hero.experience = start.level, tables.level_experience[start.level - 1]
        items.refresh_hero(state, tables, g, h)
        revive_hero(state, tables, g, h)
    for u in range(layout.units):
        unit = state.unit[g, u]
        for k in range(HEALTH_HISTORY):
            unit.health_past[k] = unit.health


@kernel
def _place_units(units: Any, tables: Tables) -> None:
    """Everybody but the heroes: creeps wait to be sent, the boss to come."""
    layout, world = tables.layout, tables.world
    lanes = layout.lanes
    for team in range(2):
        first = team * layout.block
        for k in range(layout.block):
            units[first + k].team = team
        for k in range(layout.heroes):
            units[first + k].kind = HERO
        for k in range(layout.creeps):
            unit = units[first + layout.first_creep + k]
            unit.kind, unit.lane = MELEE_CREEP, k // (layout.creeps // lanes)
        for k in range(layout.towers):
            unit = units[first + layout.first_tower + k]
            unit.kind, unit.lane = TOWER, k // (layout.towers // lanes)
            unit.x, unit.y = world.tower_x[team, k], world.tower_y[team, k]
            _make(unit, tables.body[TOWER], NORMAL)
        core = units[first + layout.core]
        core.kind, core.x, core.y = CORE, world.core_x[team], world.core_y[team]
        _make(core, tables.body[CORE], NORMAL)
    for u in range(layout.first_neutral, layout.boss):
        units[u].kind = NEUTRAL
        _make(units[u], tables.body[NEUTRAL], NORMAL)
        _revive_neutral(units, u, tables)
    boss = units[layout.boss]
    boss.kind = BOSS
    _make(boss, tables.body[BOSS], NORMAL)
    boss.alive, boss.health, boss.respawn_at = False, 0, _BOSS_FIRST


@kernel
def _make(unit: Any, body: Any, strength: int) -> None:
    """A living unit with the numbers of the rules; a `strength` of NORMAL is as they say."""
    unit.damage = body.damage * strength // NORMAL
    unit.armor_pct, unit.reach, unit.period = body.armor_pct, body.reach, body.period
    unit.speed, unit.vision = body.speed, body.vision
    unit.max_health = body.health * strength // NORMAL
    _come_alive(unit)


@kernel
def revive_hero(state: State, tables: Tables, g: int, h: int) -> None:
    """A hero stands in its base, with full health and mana."""
    team, agent = h // tables.layout.heroes, h % tables.layout.heroes
    unit, hero = state.unit[g, items.unit_of(tables, h)], state.hero[g, h]
    turn = _SPREAD if team == 0 else -_SPREAD
    unit.x = tables.world.core_x[team] + turn * np.float32(agent % 3 - 1)
    unit.y = tables.world.core_y[team] + turn * np.float32(1 - agent // 3)
    unit.old_x, unit.old_y, unit.frozen = unit.x, unit.y, 0
    unit.face_x, unit.face_y = np.float32(0.0), np.float32(0.0)
    unit.alive, unit.respawn_at, unit.ready = True, -1, 0
    unit.health, hero.mana = unit.max_health, hero.max_mana


@kernel
def spawn(state: State, tables: Tables, g: int) -> None:
    """Bring to the map who is due in this tick."""
    units, game, layout = state.unit[g], state.game[g], tables.layout
    for h in range(2 * layout.heroes):
        unit = units[items.unit_of(tables, h)]
        if not unit.alive and game.tick >= unit.respawn_at:
            revive_hero(state, tables, g, h)
    for u in range(layout.first_neutral, layout.units):
        if not units[u].alive and game.tick >= units[u].respawn_at:
            _revive_neutral(units, u, tables)
    if game.tick >= game.wave_at:
        for team in range(2):
            _send_wave(units, tables, team, NORMAL + CREEP_GROWTH_PCT * game.tick)
        game.waves += 1
        game.wave_at += _WAVE_PERIOD


@kernel
def _revive_neutral(units: Any, u: int, tables: Tables) -> None:
    """A neutral in its camp, or the boss in the middle."""
    unit, k = units[u], u - tables.layout.first_neutral
    side_size = tables.layout.neutrals // 2
    unit.x, unit.y = np.float32(0.0), np.float32(0.0)
    if unit.kind == NEUTRAL:
        unit.x = tables.world.camp_x[k // side_size, k % side_size]
        unit.y = tables.world.camp_y[k // side_size, k % side_size]
    _come_alive(unit)


@kernel
def _come_alive(unit: Any) -> None:
    unit.alive, unit.respawn_at = True, -1
    unit.old_x, unit.old_y, unit.frozen = unit.x, unit.y, 0
    unit.face_x, unit.face_y = np.float32(0.0), np.float32(0.0)
    unit.health = unit.max_health
    unit.target, unit.ready = NOBODY, 0
    for k in range(HEALTH_HISTORY):
        unit.health_past[k] = unit.health


@kernel
def _send_wave(units: Any, tables: Tables, team: int, strength: int) -> None:
    """A wave on every lane, as far as the lane's slots are free."""
    layout, world = tables.layout, tables.world
    lanes = layout.lanes
    size = layout.creeps // lanes
    for lane in range(lanes):
        sent, first = 0, team * layout.block + layout.first_creep + lane * size
        for u in range(first, first + size):
            if units[u].alive or sent == WAVE_MELEE + WAVE_RANGED:
                continue
            kind = MELEE_CREEP if sent < WAVE_MELEE else RANGED_CREEP
            units[u].x, units[u].y = world.lane_x[team, lane, 0], world.lane_y[team, lane, 0]
            units[u].kind, units[u].waypoint = kind, 1
            _make(units[u], tables.body[kind], strength)
            sent += 1
