"""The end of a tick: what was added up is taken from health, who has nothing left dies, and who slew it is rewarded.

First all health changes, then all who died are counted while all of them still stand, then levels rise, then they
fall: so whatever happens in one tick happens at once. Gold, experience and counts are whole numbers: their order
does not matter.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from quintet.games.skirmish.engine import items, modifiers
from quintet.games.skirmish.engine.combat import is_building
from quintet.games.skirmish.engine.compile import kernel
from quintet.games.skirmish.rewards import (
    ASSIST,
    BOSS_DOWN,
    CORE_HEALTH,
    DEATH,
    DENY,
    EXPERIENCE,
    GOLD,
    KILL,
    LAST_HIT,
    TOWER_DOWN,
    TOWER_HEALTH,
    WIN,
    gain_team,
)
from quintet.games.skirmish.rules import (
    ASSIST_S,
    BOSS,
    BOSS_POWER_PCT,
    BOSS_POWER_S,
    BOSS_RESPAWN_S,
    CAMP_RESPAWN_S,
    DENY_EXPERIENCE_PCT,
    EXPERIENCE_RANGE,
    HERO,
    KILL_EXPERIENCE,
    KILL_EXPERIENCE_LEVEL,
    KILL_GOLD,
    KILL_GOLD_LEVEL,
    NEUTRAL,
    POWER,
    RESPAWN_LEVEL_S,
    RESPAWN_S,
    SHIELD,
    TOWER,
)
from quintet.games.skirmish.state import ENDED, NEUTRAL_TEAM, NOBODY, ORDER_NONE, State
from quintet.games.skirmish.tables import Tables, ticks

_ASSIST = ticks(ASSIST_S)
_RESPAWN, _RESPAWN_LEVEL = ticks(RESPAWN_S), ticks(RESPAWN_LEVEL_S)
_CAMP_RESPAWN, _BOSS_RESPAWN, _BOSS_POWER = ticks(CAMP_RESPAWN_S), ticks(BOSS_RESPAWN_S), ticks(BOSS_POWER_S)
_NEAR = np.float32(EXPERIENCE_RANGE * EXPERIENCE_RANGE)
_DYING = 0  # a unit that is alive with no more health than this has been slain in this tick


@kernel
def settle(state: State, tables: Tables, g: int) -> None:
    """Take and give what this tick has done, and bury the dead."""
    units = state.unit[g]
    deaths = 0
    for u in range(tables.layout.units):
        unit = units[u]
        if unit.incoming == 0 and unit.incoming_heal == 0:
            continue
        if unit.alive:
            before = unit.health
            _change_health(unit)
            deaths += unit.health <= _DYING
            if is_building(unit):
                lost = np.float32(before - max(unit.health, 0)) / np.float32(unit.max_health)
                gain_team(state, tables, g, 1 - unit.team, TOWER_HEALTH if unit.kind == TOWER else CORE_HEALTH, lost)
        unit.incoming, unit.incoming_heal, unit.incoming_most = 0, 0, 0
        if unit.health > _DYING:
            unit.incoming_from = NOBODY
    if deaths > 0:
        _bury(state, tables, g)


@kernel
def _bury(state: State, tables: Tables, g: int) -> None:
    """Reward who slew, while all who were slain still stand; then they fall."""
    units, layout = state.unit[g], tables.layout
    for u in range(layout.units):
        if units[u].alive and units[u].health <= _DYING:
            if units[u].kind == HERO:
                _hero_falls(state, tables, g, u)
            else:
                _body_falls(state, tables, g, u)
    for h in range(2 * layout.heroes):
        _rise(state, tables, g, h)
    for u in range(layout.units):
        if units[u].alive and units[u].health <= _DYING:
            _fall(state, tables, g, u)


@kernel
def _change_health(unit: Any) -> None:
    """A shield takes what it can of the damage; healing and damage of one tick count together."""
    damage = unit.incoming
    if damage > 0 and unit.modifier_ticks[SHIELD] > 0:
        taken = min(damage, unit.modifier_amount[SHIELD])
        unit.modifier_amount[SHIELD] -= taken
        damage -= taken
    unit.health = min(unit.health + unit.incoming_heal - damage, unit.max_health)


@kernel
def _slayer(state: State, tables: Tables, g: int, u: int) -> int:
    """The hero (index among heroes) who struck unit `u` hardest in the tick in which it fell, or NOBODY."""
    source = state.unit[g, u].incoming_from
    if source == NOBODY or state.unit[g, source].kind != HERO:
        return NOBODY
    team = state.unit[g, source].team
    return int(team * tables.layout.heroes + source - team * tables.layout.block)


@kernel
def _body_falls(state: State, tables: Tables, g: int, u: int) -> None:
    """Gold, experience and counts for the fall of a unit that is no hero."""
    units, heroes = state.unit[g], tables.layout.heroes
    unit = units[u]
    killer, body = _slayer(state, tables, g, u), tables.body[unit.kind]
    team = NEUTRAL_TEAM if unit.incoming_from == NOBODY else units[unit.incoming_from].team
    if unit.team == team:
        if killer != NOBODY:
            state.hero[g, killer].denies += 1
            state.hero[g, killer].gained[DENY] += np.float32(1.0)
        share_experience(state, tables, g, u, 1 - team, body.experience * DENY_EXPERIENCE_PCT // 100, NOBODY)
        return
    if killer != NOBODY:
        state.hero[g, killer].last_hits += 1
        state.hero[g, killer].gained[LAST_HIT] += np.float32(1.0)
        give_gold(state.hero[g, killer], body.gold)
    if unit.team != NEUTRAL_TEAM:
        team = 1 - unit.team  # whoever struck last, it is the other team's
    if team == NEUTRAL_TEAM:
        return
    share_experience(state, tables, g, u, team, body.experience, NOBODY)
    if body.team_gold > 0:
        for agent in range(heroes):
            give_gold(state.hero[g, team * heroes + agent], body.team_gold)
    if unit.kind == TOWER:
        gain_team(state, tables, g, team, TOWER_DOWN, np.float32(1.0))
    elif unit.kind == BOSS:
        _boss_falls(state, tables, g, team)


@kernel
def _boss_falls(state: State, tables: Tables, g: int, team: int) -> None:
    """The team that slew it is stronger for a while."""
    gain_team(state, tables, g, team, BOSS_DOWN, np.float32(1.0))
    for agent in range(tables.layout.heroes):
        unit = state.unit[g, team * tables.layout.block + agent]
        if unit.alive:
            modifiers.add(unit, POWER, _BOSS_POWER, BOSS_POWER_PCT)


@kernel
def give_gold(hero: Any, gold: int) -> None:
    """Gold that was earned, which is rewarded."""
    hero.gold += gold
    hero.worth += gold
    hero.gained[GOLD] += np.float32(gold)


@kernel
def _hero_falls(state: State, tables: Tables, g: int, u: int) -> None:
    """Half the gold to the killer, half among all who assisted; if no hero struck last, who hurt it last is the killer.

    A hero whom only creeps, towers or neutrals have hurt of late brings nobody anything.
    """
    size = tables.layout.heroes
    team = state.unit[g, u].team
    hero = state.hero[g, team * size + u - team * tables.layout.block]
    enemy, since = (1 - team) * size, state.game[g].tick - _ASSIST
    hero.deaths += 1
    hero.gained[DEATH] += np.float32(1.0)
    killer = _slayer(state, tables, g, u)
    if killer == NOBODY:
        killer = _last_to_hurt(hero, enemy, size, since)
    if killer == NOBODY:
        return
    helpers = 0
    for other in range(size):
        helpers += hero.hurt_at[other] >= since and enemy + other != killer
    gold = KILL_GOLD + KILL_GOLD_LEVEL * hero.level
    slayer = state.hero[g, killer]
    slayer.kills += 1
    slayer.gained[KILL] += np.float32(1.0)
    give_gold(slayer, gold - gold // 2 if helpers > 0 else gold)
    for other in range(size):
        if hero.hurt_at[other] >= since and enemy + other != killer:
            helper = state.hero[g, enemy + other]
            helper.assists += 1
            helper.gained[ASSIST] += np.float32(1.0)
            give_gold(helper, gold // 2 // helpers)
    experience = KILL_EXPERIENCE + KILL_EXPERIENCE_LEVEL * hero.level
    share_experience(state, tables, g, u, 1 - team, experience, killer)


@kernel
def _last_to_hurt(hero: Any, enemy: int, size: int, since: int) -> int:
    """The enemy hero who hurt this one last, not before `since`, or NOBODY; `enemy` is the index of their first."""
    killer, latest = NOBODY, since - 1
    for other in range(size):
        if hero.hurt_at[other] > latest:
            killer, latest = enemy + other, hero.hurt_at[other]
    return killer


@kernel
def share_experience(state: State, tables: Tables, g: int, u: int, team: int, experience: int, killer: int) -> None:
    """Divide experience among the team's living heroes near unit `u`, and hero `killer` wherever it is."""
    layout, units = tables.layout, state.unit[g]
    share = 0
    for turn in range(2):  # count, then give
        near = 0
        for agent in range(layout.heroes):
            other = units[team * layout.block + agent]
            dx, dy = other.x - units[u].x, other.y - units[u].y
            h = team * layout.heroes + agent
            if h == killer or (other.alive and dx * dx + dy * dy <= _NEAR):
                near += 1
                if turn == 1:
                    state.hero[g, h].experience += share
                    state.hero[g, h].gained[EXPERIENCE] += np.float32(share)
        share = experience // max(near, 1)


@kernel
def _rise(state: State, tables: Tables, g: int, h: int) -> None:
    """The levels that a hero's experience is worth; who rises lacks as much health and mana as before."""
    hero = state.hero[g, h]
    if hero.level == len(tables.level_experience) or hero.experience < tables.level_experience[hero.level]:
        return
    while hero.level < len(tables.level_experience) and hero.experience >= tables.level_experience[hero.level]:
        hero.level += 1
    unit = state.unit[g, items.unit_of(tables, h)]
    health, mana = unit.max_health, hero.max_mana
    items.refresh_hero(state, tables, g, h)
    if unit.alive and unit.health > _DYING:
        unit.health += unit.max_health - health
        hero.mana += hero.max_mana - mana


@kernel
def _fall(state: State, tables: Tables, g: int, u: int) -> None:
    """Unit `u` is dead; some come back."""
    unit, game = state.unit[g, u], state.game[g]
    unit.alive, unit.health, unit.target, unit.ready = False, 0, NOBODY, 0
    unit.incoming_from = NOBODY
    modifiers.clear(unit)
    if unit.kind == NEUTRAL:
        unit.respawn_at = game.tick + _CAMP_RESPAWN
    elif unit.kind == BOSS:
        unit.respawn_at = game.tick + _BOSS_RESPAWN
    elif unit.kind == HERO:
        hero = state.hero[g, unit.team * tables.layout.heroes + u - unit.team * tables.layout.block]
        unit.respawn_at = game.tick + _RESPAWN + _RESPAWN_LEVEL * hero.level
        hero.order, hero.mana, hero.mana_rest, unit.regen_rest = ORDER_NONE, 0, 0, 0


@kernel
def end_game(state: State, tables: Tables, g: int) -> None:
    """See whether a core has fallen or time is up; both cores in one tick are a draw."""
    game, units, core = state.game[g], state.unit[g], tables.layout.core
    first, second = units[core].alive, units[tables.layout.block + core].alive
    if not first or not second:
        game.phase = ENDED
        game.winner = 2 if first == second else (0 if first else 1)
        if game.winner < 2:
            gain_team(state, tables, g, game.winner, WIN, np.float32(1.0))
            gain_team(state, tables, g, 1 - game.winner, WIN, np.float32(-1.0))
    elif game.tick >= tables.limit:
        game.phase, game.time_up = ENDED, True
