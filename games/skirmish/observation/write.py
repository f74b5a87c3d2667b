"""Fills an `ObservationArrays` from the state: both teams of every game, each as if it were team 0."""

from __future__ import annotations

from typing import Any

import numpy as np

from quintet.games.skirmish import rules
from quintet.games.skirmish.engine.compile import kernel
from quintet.games.skirmish.engine.orders import may_act
from quintet.games.skirmish.observation.action_masks import spread_attack, write_attack, write_masks
from quintet.games.skirmish.observation.heroes import (
    root,
    write_abilities,
    write_hero,
    write_items,
    write_modifiers,
    write_terrain,
)
from quintet.games.skirmish.observation.spec import ObservationArrays
from quintet.games.skirmish.observation.units import nearness, readiness, write_units
from quintet.games.skirmish.rules import ABILITY_SLOTS, ATTACK
from quintet.games.skirmish.state import NOBODY, PICKUPS, RUNNING, Array, State
from quintet.games.skirmish.tables import Tables, ticks

_ONE = np.float32(1)
_MINUTES, _KILLS, _WORTH = np.float32(1 / ticks(600)), np.float32(1 / 20), np.float32(1 / 4000)
_LEVEL, _FIRST_WAVE = np.float32(1 / 10), np.float32(1 / ticks(60))
_GOLD, _RESPAWN = np.float32(1 / 1000), np.float32(1 / ticks(20))
_RUNES = len(rules.RUNE_NAMES)
HAND_IN_TICKS = ticks(rules.ASSIST_S)
UNKNOWN, EVEN = np.float32(-1), np.float32(0.5)


@kernel
def observe_games(state: State, tables: Tables, view: ObservationArrays, stood: Array) -> None:
    """Write what both teams of every game observe into `view`, which is zero.

    `stood` i8 [G, 2, towers + 1] says which buildings of each team stood when they were last observed; it is kept here.
    """
    heroes = tables.layout.heroes
    for g in range(len(state.game)):
        running = state.game[g].phase == RUNNING
        for team in range(2):
            slots = view.slots[g, team]
            write_units(state, tables, g, team, view.units[g, team], view.units_mask[g, team], slots)
            _write_globals(state, tables, view.globals[g, team], g, team)
            _write_pickups(view.pickups[g, team], view.pickups_mask[g, team], state, tables, g, team)
            attacks = running and write_attack(state, tables, g, team, slots, view.target[g, team, 0, ATTACK])
            for agent in range(heroes):
                h = team * heroes + agent
                unit = state.unit[g, team * tables.layout.block + agent]
                view.allies_mask[g, team, agent] = True
                write_hero(view.hero[g, team, agent], view.allies[g, team, agent], state, tables, g, team, agent)
                write_abilities(
                    view.abilities[g, team, agent], view.abilities_mask[g, team, agent], state.hero[g, h], tables
                )
                write_items(view.items[g, team, agent], view.items_mask[g, team, agent], state.hero[g, h], tables)
                write_modifiers(view.modifiers[g, team, agent], view.modifiers_mask[g, team, agent], unit)
                write_terrain(view.terrain[g, team, agent], unit, tables, team)
                _write_hidden(view.hidden[g, team, agent], state, tables, g, team, agent)
                _write_outcome(view.label_win[g, team, agent], view.label_worth[g, team, agent], state, g, team, agent)
                _write_buildings(state, tables, view.label_buildings[g, team, agent], stood, g, team, agent)
                if running and may_act(state, tables, g, h):
                    view.acting[g, team, agent] = True
                    primary, target = view.primary[g, team, agent], view.target[g, team, agent]
                    primary[ATTACK] = attacks
                    write_masks(state, tables, g, h, slots, primary, target, view.item[g, team, agent])
            spread_attack(view.target[g, team], view.acting[g, team])
        _note_buildings(state, tables, stood, g)


@kernel
def _write_globals(state: State, tables: Tables, row: Any, g: int, team: int) -> None:
    game, layout = state.game[g], tables.layout
    row.clock = np.float32(game.tick) / np.float32(tables.limit)
    row.minutes = game.tick * _MINUTES
    row.next_wave = nearness(max(game.wave_at - game.tick, 0))
    row.own_rune = nearness(max(game.pickup_at[team] - game.tick, 0))
    row.enemy_rune = nearness(max(game.pickup_at[1 - team] - game.tick, 0))
    boss = state.unit[g, layout.boss]
    row.boss_alive = boss.alive
    if not boss.alive:
        row.boss_return = nearness(max(boss.respawn_at - game.tick, 0))
    row.start_level, row.first_wave = game.start_level * _LEVEL, game.first_wave * _FIRST_WAVE
    for kind in range(_RUNES):
        row.rune_kinds[kind] = game.rune_kinds >> kind & 1
    worth, own_deaths, enemy_deaths = 0, 0, 0
    for agent in range(layout.heroes):
        own, enemy = state.hero[g, team * layout.heroes + agent], state.hero[g, (1 - team) * layout.heroes + agent]
        row.own_line_up[own.archetype] += _ONE
        row.enemy_line_up[enemy.archetype] += _ONE
        worth += own.worth
        own_deaths += own.deaths
        enemy_deaths += enemy.deaths
    row.own_worth = root(np.float32(worth) / np.float32(layout.heroes) * _WORTH)
    row.own_kills, row.enemy_kills = root(enemy_deaths * _KILLS), root(own_deaths * _KILLS)
    row.own_towers = _standing(state, tables, g, team)
    row.enemy_towers = _standing(state, tables, g, 1 - team)


@kernel
def _standing(state: State, tables: Tables, g: int, team: int) -> Any:
    """Share of a team's towers that stand."""
    first, standing = team * tables.layout.block + tables.layout.first_tower, 0
    for tower in range(tables.layout.towers):
        standing += state.unit[g, first + tower].alive
    return np.float32(standing) / np.float32(tables.layout.towers)


@kernel
def _write_pickups(rows: Array, mask: Array, state: State, tables: Tables, g: int, team: int) -> None:
    """The own half's pickup first; only those that lie where the team sees."""
    game = state.game[g]
    scale = np.float32(1 - 2 * team) / np.float32(tables.world.half)
    for slot in range(PICKUPS):
        k = slot if team == 0 else PICKUPS - 1 - slot
        if game.pickup_kind[k] != NOBODY and game.pickup_seen[k, team]:
            mask[slot] = True
            rows[slot].kind = game.pickup_kind[k]
            rows[slot].x, rows[slot].y = tables.world.pickup_x[k] * scale, tables.world.pickup_y[k] * scale


@kernel
def _write_hidden(row: Any, state: State, tables: Tables, g: int, team: int, agent: int) -> None:
    """An enemy hero as it is, seen or not."""
    hero = state.hero[g, (1 - team) * tables.layout.heroes + agent]
    unit = state.unit[g, (1 - team) * tables.layout.block + agent]
    scale = np.float32(1 - 2 * team) / np.float32(tables.world.half)
    row.x, row.y = unit.x * scale, unit.y * scale
    if unit.alive:
        row.health = np.float32(unit.health) / np.float32(max(unit.max_health, 1))
    else:
        row.respawn = min(max(unit.respawn_at - state.game[g].tick, 0) * _RESPAWN, np.float32(2))
    row.mana = np.float32(hero.mana) / np.float32(max(hero.max_mana, 1))
    row.gold, row.worth, row.level = root(hero.gold * _GOLD), root(hero.worth * _WORTH), hero.level * _LEVEL
    for k in range(ABILITY_SLOTS):
        ability = tables.ability[tables.hero[hero.archetype].abilities[k]]
        row.ready[k] = readiness(hero.ability_ready[k], ability.cooldown)


@kernel
def _write_outcome(win: Array, worth: Array, state: State, g: int, team: int, agent: int) -> None:
    """Who has won, and the rank of the hero's worth, once the game has ended; unknown (-1) until then."""
    running = state.game[g].phase == RUNNING
    for k in range(len(worth)):
        worth[k] = UNKNOWN if running else np.float32(0)
    if running:
        win[0] = UNKNOWN
    else:
        win[0] = _won(state.game[g].winner, team)
        worth[_rank(state.hero[g], team * len(worth), agent, len(worth))] = 1


@kernel
def _won(winner: int, team: int) -> Any:
    """1 won, 0 lost, a half for what nobody has won."""
    if winner == team:
        return _ONE
    return np.float32(0) if winner == 1 - team else EVEN


@kernel
def _rank(heroes: Array, first: int, agent: int, n: int) -> int:
    """Of a hero's worth among its team: 0 for the richest; of equals, the first comes first."""
    worth, rank = heroes[first + agent].worth, 0
    for other in range(n):
        richer = heroes[first + other].worth
        rank += richer > worth or (richer == worth and other < agent)
    return rank


@kernel
def _write_buildings(state: State, tables: Tables, row: Array, stood: Array, g: int, team: int, agent: int) -> None:
    """1 for an enemy building that has fallen in this step by this hero's hand too; 0 for the others in that row.

    A row's label is known for all buildings or for none, so a building that falls ends the question about the others
    for this hero; it is asked anew from the next row on.
    """
    layout, game = tables.layout, state.game[g]
    hero = state.unit[g, team * layout.block + agent]
    first = (1 - team) * layout.block + layout.first_tower
    known = game.phase != RUNNING
    for k in range(layout.towers + 1):
        known = known or _helped(state.unit[g], stood[g, 1 - team, k], hero, first + k, game.tick)
    for k in range(layout.towers + 1):
        row[k] = _helped(state.unit[g], stood[g, 1 - team, k], hero, first + k, game.tick) if known else UNKNOWN


@kernel
def _helped(units: Array, stood: int, hero: Any, building: int, tick: int) -> bool:
    """Whether a building that stood has fallen, and the hero was at it."""
    fell = stood != 0 and not units[building].alive
    return bool(fell and hero.struck == building and tick - hero.struck_at <= HAND_IN_TICKS)


@kernel
def _note_buildings(state: State, tables: Tables, stood: Array, g: int) -> None:
    layout = tables.layout
    for team in range(2):
        for k in range(layout.towers + 1):
            stood[g, team, k] = state.unit[g, team * layout.block + layout.first_tower + k].alive
