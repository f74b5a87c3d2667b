"""All that changes in a game: three arrays of records, for games, units and heroes, which the kernels get as they are.

Records keep what belongs together in one cache line, and numba compiles them many times faster than as many arrays.

Units stand in one table of U slots, whose order never changes:

    team 0: heroes, creeps, towers (lane by lane, outer first), core | team 1: the same | neutrals of side 0, 1 | boss

so the unit opposite to slot u of team 0 is u + block. A hero's index among heroes is h = team x A + agent, and its unit
is team x block + agent. Positions have their origin in the middle of the map, so that turning the map by 180 degrees
negates them: every rule is written so that this changes nothing but signs. Amounts of health, mana and damage are
integers, in hundredths of a point; times are in ticks. Lanes are counted from the own team's view: lane 0 of team 1 is
the turned lane 0 of team 0, which is the last lane of team 0 walked the other way.
"""

from __future__ import annotations

import hashlib
from typing import Any, NamedTuple

import numpy as np

from quintet.games.skirmish.rules import (
    ABILITY_SLOTS,
    HEALTH_HISTORY,
    ITEM_SLOTS,
    MODIFIER_NAMES,
    REWARD_NAMES,
    Preset,
)

Array = np.ndarray[Any, np.dtype[Any]]
NOBODY = -1
NEVER = -(10**6)  # a tick long before any game
NEUTRAL_TEAM = 2
CAMP_SIZE = 2
MOST_HEROES = 5  # of a team, in any preset: record sizes do not depend on the preset
PICKUPS = 2  # one on each half of the river, opposite to each other

# What a hero was told to do, and still does.
ORDER_NONE, ORDER_MOVE, ORDER_ATTACK, ORDER_RETREAT = range(4)

# `phase` of a game.
RUNNING, ENDED, LAST_SEEN = range(3)  # being played; ended in the last step; its last observation was shown


class Layout(NamedTuple):
    """Where the units of one preset stand in the table: plain numbers, the same for every game."""

    heroes: int  # A, of a team
    lanes: int
    creeps: int
    towers: int
    block: int  # units of a team: heroes + creeps + towers + 1
    neutrals: int  # of both sides
    units: int  # U
    first_creep: int  # within a block
    first_tower: int
    core: int
    first_neutral: int  # in the whole table
    boss: int


def layout(preset: Preset) -> Layout:
    """The unit table of a preset."""
    towers = preset.lanes * preset.tiers
    block = preset.heroes + preset.creeps + towers + 1
    neutrals = 2 * preset.camps * CAMP_SIZE
    return Layout(
        heroes=preset.heroes,
        lanes=preset.lanes,
        creeps=preset.creeps,
        towers=towers,
        block=block,
        neutrals=neutrals,
        units=2 * block + neutrals + 1,
        first_creep=preset.heroes,
        first_tower=preset.heroes + preset.creeps,
        core=block - 1,
        first_neutral=2 * block,
        boss=2 * block + neutrals,
    )


GAME_DTYPE = np.dtype(
    [
        ("tick", "i4"),  # of the game's rules
        ("phase", "i1"),  # RUNNING, ENDED, LAST_SEEN
        ("winner", "i1"),  # -1 none, 0, 1; 2 both cores fell in the same tick
        ("time_up", "?"),  # ended by the limit, a draw
        ("rng", "u8"),  # the state of splitmix64
        ("tie", "i1"),  # the team that is favoured where a rule has to choose between two equals; drawn at the start
        ("waves", "i4"),  # sent so far
        ("wave_at", "i4"),  # tick of the next wave
        ("pickup_kind", "i1", (PICKUPS,)),  # RUNE_*; -1 none lies there
        ("pickup_at", "i4", (PICKUPS,)),  # tick of the next pair
        ("pickup_seen", "i1", (PICKUPS, 2)),  # 1 if that team sees its place now
        # how it was started, by the options of `start.py`
        ("rune_kinds", "i4"),  # bit k: RUNE k may appear
        ("start_level", "i4"),  # of every hero
        ("first_wave", "i4"),  # tick
    ],
    align=True,
)

UNIT_DTYPE = np.dtype(
    [
        ("kind", "i1"),  # HERO ... BOSS
        ("team", "i1"),  # 0, 1, NEUTRAL_TEAM
        ("alive", "?"),
        ("x", "f4"),
        ("y", "f4"),
        ("face_x", "f4"),  # a unit vector or (0, 0)
        ("face_y", "f4"),
        # where it stood, and whether it was stunned, when the tick began: what every decision of a tick reads
        ("old_x", "f4"),
        ("old_y", "f4"),
        ("frozen", "i1"),
        # what this tick does to it, settled at the tick's end, so that no unit is served before another
        ("incoming", "i4"),  # damage, after armour
        ("incoming_heal", "i4"),
        ("incoming_most", "i4"),  # the hardest of the blows
        ("incoming_from", "i4"),  # and who struck it, or NOBODY
        ("health", "i4"),
        ("max_health", "i4"),
        ("health_past", "i4", (HEALTH_HISTORY,)),  # after the last steps, newest first
        ("regen_rest", "i4"),  # what regeneration has not yet given (hundredths of a point x ticks a second)
        ("damage", "i4"),  # of an attack
        ("armor_pct", "i4"),
        ("reach", "f4"),  # of an attack
        ("period", "i4"),  # ticks between attacks
        ("ready", "i4"),  # ticks until the next attack
        ("speed", "f4"),  # units a tick
        ("vision", "f4"),
        ("target", "i4"),  # the unit that is being attacked, or NOBODY
        ("struck_at", "i4"),  # tick of its last attack (a tower looks at it); or NEVER
        ("struck", "i4"),  # whom
        ("lane", "i1"),  # of creeps and towers, from the own team's view; -1
        ("waypoint", "i4"),  # of creeps: the next one
        ("respawn_at", "i4"),  # tick at which a dead hero, neutral or the boss comes back; -1
        ("modifier_ticks", "i4", (len(MODIFIER_NAMES),)),  # left
        ("modifier_amount", "i4", (len(MODIFIER_NAMES),)),
        ("seen", "i1", (2,)),  # 1 if that team sees it now
    ],
    align=True,
)

HERO_DTYPE = np.dtype(
    [
        ("archetype", "i1"),
        ("level", "i4"),  # from 1
        ("experience", "i4"),
        ("gold", "i4"),
        ("gold_rest", "i4"),  # passive gold that is not yet a whole piece (hundredths)
        ("worth", "i4"),  # gold, and what its items cost
        ("mana", "i4"),
        ("max_mana", "i4"),
        ("mana_rest", "i4"),
        ("kills", "i4"),
        ("deaths", "i4"),
        ("assists", "i4"),
        ("last_hits", "i4"),
        ("denies", "i4"),
        ("order", "i1"),  # ORDER_NONE ...
        ("order_x", "f4"),  # of ORDER_MOVE
        ("order_y", "f4"),
        ("ability_ready", "i4", (ABILITY_SLOTS,)),  # ticks until it may be cast again
        ("items", "i1", (ITEM_SLOTS,)),  # index into ITEMS or -1
        ("item_ready", "i4", (ITEM_SLOTS,)),
        ("hurt_at", "i4", (MOST_HEROES,)),  # tick at which that hero of the other team last hurt this one; or NEVER
        # what the other team knows of this hero while it is out of sight
        ("last_tick", "i4"),  # when it was last seen; -1 never
        ("last_x", "f4"),
        ("last_y", "f4"),
        ("last_health", "i4"),
        ("last_mana", "i4"),
        ("last_level", "i4"),
        # the action that waits for its step: computed from step t, it lands at t + 1
        ("primary", "i4"),
        ("target_unit", "i4"),  # index into the unit table or NOBODY
        ("offset_x", "i4"),  # 0 ... OFFSETS - 1, in the map's own directions (already turned for team 1)
        ("offset_y", "i4"),
        ("item", "i4"),
        ("gained", "f4", (len(REWARD_NAMES),)),  # raw amounts of the reward components since `rewards.collect`
        ("episode", "f4", (len(REWARD_NAMES),)),  # weighted rewards of the game so far, before the zero-sum step
        # what the shaped share of health and the share of mana lacked of 1 when rewards were last collected
        ("health_missing", "f4"),
        ("mana_missing", "f4"),
        ("advanced", "f4"),  # share of the way to the enemy, when rewards were last collected
    ],
    align=True,
)


class State(NamedTuple):
    """G games of U units and H heroes (of both teams)."""

    game: Array  # [G] of GAME_DTYPE
    unit: Array  # [G, U] of UNIT_DTYPE
    hero: Array  # [G, H] of HERO_DTYPE


def empty_state(preset: Preset, n_games: int) -> State:
    """Zeroed records for `n_games` games; `spawns.start_game` fills a game in."""
    where = layout(preset)
    return State(
        game=np.zeros(n_games, GAME_DTYPE),
        unit=np.zeros((n_games, where.units), UNIT_DTYPE),
        hero=np.zeros((n_games, 2 * where.heroes), HERO_DTYPE),
    )


def state_hash(state: State, game: int) -> str:
    """16 hex digits over everything that a game is, the same on every machine.

    Left out: padding, the sign of 0, and the books of rewards, whose weights are nobody's but the learner's.
    """
    digest = hashlib.sha256()
    for records in (state.game[game : game + 1], state.unit[game], state.hero[game]):
        for name in (n for n in records.dtype.names or () if n != "episode"):
            part = np.ascontiguousarray(records[name])
            part = part + 0.0 if part.dtype.kind == "f" else part
            digest.update(part.astype(part.dtype.newbyteorder("<")).tobytes())
    return digest.hexdigest()[:16]
