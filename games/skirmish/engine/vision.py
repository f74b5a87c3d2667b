"""The fog of war: which units each team sees at the end of a step, and what it remembers of the others' heroes.

A unit is seen where any living unit of the team has it within its range of sight. Who strikes from the dark is seen by
the team that was struck, for a while. Walls do not hide anything.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from quintet.games.skirmish import rules
from quintet.games.skirmish.engine.compile import kernel
from quintet.games.skirmish.state import NEUTRAL_TEAM, PICKUPS, Array, State
from quintet.games.skirmish.tables import Tables, ticks

REVEAL_TICKS = ticks(rules.REVEAL_S)


@kernel
def see(state: State, tables: Tables, g: int) -> None:
    """Set `seen` of every unit and `last_...` of every hero in sight, for both teams of game `g`."""
    units, block = state.unit[g], tables.layout.block
    eyes = np.empty((block, 3), np.float32)  # x, y and squared range of sight of those who see
    game = state.game[g]
    tick = game.tick
    for team in range(2):
        n_eyes = _open_eyes(units, team * block, block, eyes)
        for k in range(PICKUPS):
            game.pickup_seen[k, team] = _in_sight(eyes, n_eyes, tables.world.pickup_x[k], tables.world.pickup_y[k])
        for u in range(tables.layout.units):
            unit = units[u]
            if unit.team == team:
                unit.seen[team] = unit.alive
            else:
                unit.seen[team] = unit.alive and (
                    _in_sight(eyes, n_eyes, unit.x, unit.y) or _revealed(unit, tick, team, block)
                )
        _remember(state, tables, g, team, tick)


@kernel
def _open_eyes(units: Array, first: int, block: int, eyes: Array) -> int:
    n = 0
    for u in range(first, first + block):
        unit = units[u]
        if unit.alive:
            eyes[n, 0], eyes[n, 1], eyes[n, 2] = unit.x, unit.y, unit.vision * unit.vision
            n += 1
    return n


@kernel
def _in_sight(eyes: Array, n_eyes: int, x: float, y: float) -> bool:
    for k in range(n_eyes):
        dx, dy = x - eyes[k, 0], y - eyes[k, 1]
        if dx * dx + dy * dy <= eyes[k, 2]:
            return True
    return False


@kernel
def _revealed(unit: Any, tick: int, team: int, block: int) -> bool:
    """It has just struck somebody of that team."""
    if unit.team == NEUTRAL_TEAM or tick - unit.struck_at > REVEAL_TICKS:
        return False
    return bool(unit.struck >= team * block and unit.struck < (team + 1) * block)


@kernel
def _remember(state: State, tables: Tables, g: int, team: int, tick: int) -> None:
    """What `team` knows of the enemy heroes that it sees now."""
    layout = tables.layout
    for agent in range(layout.heroes):
        unit = state.unit[g, (1 - team) * layout.block + agent]
        if unit.seen[team]:
            hero = state.hero[g, (1 - team) * layout.heroes + agent]
            hero.last_tick = tick
            hero.last_x, hero.last_y = unit.x, unit.y
            hero.last_health, hero.last_mana, hero.last_level = unit.health, hero.mana, hero.level
