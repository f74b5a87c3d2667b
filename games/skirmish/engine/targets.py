"""Whom creeps, towers, neutrals and the boss attack; heroes attack only whom they were ordered to.

A quarter of the units choose anew in each tick, the same quarter in both teams. Whoever is nearest is chosen; among
equals the first in the team's own order, so a mirrored game chooses the mirrored unit.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from quintet.games.skirmish.engine.combat import check_order, is_protected
from quintet.games.skirmish.engine.compile import kernel
from quintet.games.skirmish.rules import (
    CREEP_AGGRO,
    HERO,
    NEUTRAL,
    NEUTRAL_AGGRO,
    NEUTRAL_ANGER_S,
    NEUTRAL_LEASH,
    TOWER_HERO_FOCUS_S,
)
from quintet.games.skirmish.state import CAMP_SIZE, NOBODY, State
from quintet.games.skirmish.tables import Tables, ticks

QUARTERS = 4
_ZERO = np.float32(0.0)
_FAR = np.float32(1e12)  # squared; farther than anything on a map
_CREEP_AGGRO = np.float32(CREEP_AGGRO * CREEP_AGGRO)
_NEUTRAL_AGGRO = np.float32(NEUTRAL_AGGRO * NEUTRAL_AGGRO)
_LEASH = np.float32(NEUTRAL_LEASH)
_FOCUS = ticks(TOWER_HERO_FOCUS_S)
_ANGER = ticks(NEUTRAL_ANGER_S)


@kernel
def choose_targets(state: State, tables: Tables, g: int) -> None:
    """Forget targets that are dead, and let this tick's quarter choose anew."""
    units, layout = state.unit[g], tables.layout
    for u in range(layout.units):
        unit = units[u]
        if unit.target != NOBODY and not units[unit.target].alive:
            unit.target = NOBODY
    for team in range(2):
        for agent in range(layout.heroes):
            if units[team * layout.block + agent].alive:
                check_order(units, team * layout.block + agent, state.hero[g, team * layout.heroes + agent])
        _choose_for_team(units, layout, team, state.game[g].tick)
    _choose_for_neutrals(units, layout, tables.world, state.game[g])


@kernel
def _choose_for_team(units: Any, layout: Any, team: int, tick: int) -> None:
    """A quarter of the creeps and towers of a team."""
    first, enemy = team * layout.block, (1 - team) * layout.block
    for u in range(first + layout.first_creep + tick % QUARTERS, first + layout.first_tower, QUARTERS):
        if units[u].alive:
            units[u].target = _for_creep(units, u, enemy, layout)
    for u in range(first + layout.first_tower + tick % QUARTERS, first + layout.core, QUARTERS):
        if units[u].alive:
            units[u].target = _for_tower(units, u, enemy, layout, tick)


@kernel
def _choose_for_neutrals(units: Any, layout: Any, world: Any, game: Any) -> None:
    """A quarter of those in the camps, or the boss. A camp looks first at the team on whose side it is."""
    quarter, side_size = game.tick % QUARTERS, layout.neutrals // 2
    for side in range(2):
        first = layout.first_neutral + side * side_size
        for k in range(quarter, side_size, QUARTERS):
            if units[first + k].alive:
                x, y, camp = world.camp_x[side, k], world.camp_y[side, k], first + k // CAMP_SIZE * CAMP_SIZE
                units[first + k].target = _for_neutral(units, first + k, camp, CAMP_SIZE, x, y, side, layout, game.tick)
    boss = layout.boss
    if quarter == 0 and units[boss].alive:
        units[boss].target = _for_neutral(units, boss, boss, 1, _ZERO, _ZERO, game.tie, layout, game.tick)


@kernel
def distance2(units: Any, u: int, other: int) -> Any:
    """Squared distance of two units when the tick began."""
    dx, dy = units[other].old_x - units[u].old_x, units[other].old_y - units[u].old_y
    return dx * dx + dy * dy


@kernel
def _nearest(units: Any, u: int, first: int, end: int, within: Any) -> int:
    """The nearest living unit of slots first ... end - 1 closer than `within` (squared), or NOBODY."""
    best, best_distance = NOBODY, within
    for other in range(first, end):
        if units[other].alive:
            distance = distance2(units, u, other)
            if distance < best_distance:
                best, best_distance = other, distance
    return best


@kernel
def _for_creep(units: Any, u: int, enemy: int, layout: Any) -> int:
    """The nearest creep of the opposite lane or hero; if there is none, a building of that lane or the core."""
    lane = layout.lanes - 1 - units[u].lane  # the same lane, as the enemy counts
    size = layout.creeps // layout.lanes
    first = enemy + layout.first_creep + lane * size
    best = _nearest(units, u, first, first + size, _CREEP_AGGRO)
    within = _CREEP_AGGRO if best == NOBODY else distance2(units, u, best)
    hero = _nearest(units, u, enemy, enemy + layout.heroes, within)
    if hero != NOBODY:
        return hero
    if best != NOBODY:
        return best
    tiers = layout.towers // layout.lanes
    first = enemy + layout.first_tower + lane * tiers
    best = _nearest(units, u, first, first + tiers, _CREEP_AGGRO)
    if best == NOBODY:
        core = enemy + layout.core
        best = _nearest(units, u, core, core + 1, _CREEP_AGGRO)
    return NOBODY if best != NOBODY and is_protected(units, best) else best


@kernel
def _for_tower(units: Any, u: int, enemy: int, layout: Any, tick: int) -> int:
    """Who has just struck an allied hero under the tower; else whom it has; else the nearest creep; else a hero."""
    tower = units[u]
    within = tower.reach * tower.reach
    own = tower.team * layout.block
    focus, nearest = NOBODY, within
    for other in range(enemy, enemy + layout.heroes):
        offender = units[other]
        if not offender.alive or tick - offender.struck_at > _FOCUS:
            continue
        if own <= offender.struck < own + layout.heroes and distance2(units, u, offender.struck) <= within:
            distance = distance2(units, u, other)
            if distance < nearest:
                focus, nearest = other, distance
    if focus != NOBODY:
        return focus
    if tower.target != NOBODY and distance2(units, u, tower.target) <= within:
        return int(tower.target)
    size = layout.creeps // layout.lanes
    first = enemy + layout.first_creep + (layout.lanes - 1 - tower.lane) * size
    creep = _nearest(units, u, first, first + size, within)
    return creep if creep != NOBODY else _nearest(units, u, enemy, enemy + layout.heroes, within)


@kernel
def _for_neutral(
    units: Any, u: int, camp: int, camp_size: int, home_x: Any, home_y: Any, first_team: int, layout: Any, tick: int
) -> int:
    """The nearest hero who came too close or struck one of the camp, as long as it is not led too far from home.

    The boss minds only blows: `camp` is its own slot then.
    """
    unit = units[u]
    leash = (_LEASH + unit.reach) * (_LEASH + unit.reach)
    best, best_distance = NOBODY, _FAR
    for turn in range(2):
        first = (first_team if turn == 0 else 1 - first_team) * layout.block
        for other in range(first, first + layout.heroes):
            hero = units[other]
            if not hero.alive or hero.kind != HERO:
                continue
            dx, dy = hero.old_x - home_x, hero.old_y - home_y
            if dx * dx + dy * dy > leash:
                continue
            distance = distance2(units, u, other)
            angry = camp <= hero.struck < camp + camp_size and tick - hero.struck_at <= _ANGER
            angry = angry or (unit.kind == NEUTRAL and (distance < _NEUTRAL_AGGRO or unit.target == other))
            if angry and distance < best_distance:
                best, best_distance = other, distance
    return best
