"""A made-up moment of a skirmish, set up by hand: no kernel is compiled for it."""

from __future__ import annotations

import numpy as np

from quintet.games.skirmish.rules import CORE, HERO, MELEE_CREEP, NEUTRAL, PRESETS, RUNE_HASTE, TOWER
from quintet.games.skirmish.state import NEUTRAL_TEAM, NEVER, NOBODY, State, empty_state
from quintet.games.skirmish.tables import Tables, build_tables


def scene(name: str) -> tuple[Tables, State]:
    """Everybody alive and well: buildings in their places, heroes in a row by the river, the rest dead."""
    preset = PRESETS[name]
    tables, state = build_tables(preset), empty_state(preset, 1)
    where, world, units, heroes = tables.layout, tables.world, state.unit[0], state.hero[0]
    state.game["tick"], state.game["winner"] = 754, -1
    state.game["pickup_kind"] = [RUNE_HASTE, -1]
    units["struck_at"], units["struck"], units["target"] = NEVER, NOBODY, NOBODY
    units["health"] = units["max_health"] = 50_000
    units["team"] = np.repeat([0, 1, NEUTRAL_TEAM], [where.block, where.block, where.neutrals + 1])
    for team in range(2):
        block = units[team * where.block : (team + 1) * where.block]
        block["kind"] = MELEE_CREEP
        block["kind"][: where.heroes], block["kind"][where.first_tower : where.core] = HERO, TOWER
        block["kind"][where.core] = CORE
        block["alive"][: where.heroes], block["alive"][where.first_tower :] = True, True
        block["vision"][: where.heroes] = 900
        block["x"][where.first_tower : where.core] = world.tower_x[team]
        block["y"][where.first_tower : where.core] = world.tower_y[team]
        block["x"][where.core], block["y"][where.core] = world.core_x[team], world.core_y[team]
        block["x"][: where.heroes] = (2 * team - 1) * 900.0
        block["y"][: where.heroes] = 500.0 * np.arange(where.heroes) - 200.0
        block["seen"][:, team] = 1
    units["kind"][where.first_neutral :] = NEUTRAL
    heroes["archetype"] = np.arange(2 * where.heroes) % 6
    heroes["level"], heroes["gold"], heroes["worth"] = 3, 321, 1234
    heroes["mana"], heroes["max_mana"], heroes["last_tick"] = 10_000, 20_000, -1
    heroes["items"], heroes["last_level"] = -1, 1
    return tables, state
