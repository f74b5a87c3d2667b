"""Chance for bots, a hash of the game's state; and the bot that takes any legal action as gladly as another."""

from __future__ import annotations

from typing import Any

import numpy as np

from quintet.games.skirmish.bots.moves import ITEM, OFFSET_X, OFFSET_Y, PRIMARY, TARGET
from quintet.games.skirmish.engine.abilities import may_aim
from quintet.games.skirmish.engine.compile import kernel
from quintet.games.skirmish.engine.orders import may_attack, may_buy, may_cast, may_pick_up, may_use
from quintet.games.skirmish.rules import (
    ABILITIES,
    ATTACK,
    BUY_ITEM,
    FIRST_ABILITY,
    ITEMS,
    OFFSETS,
    PICK_UP,
    USE_ITEM,
)
from quintet.games.skirmish.state import Array, State
from quintet.games.skirmish.tables import AIM_ALLY, AIM_ENEMY, Tables

N_PRIMARY = FIRST_ABILITY + len(ABILITIES)
N_ITEMS = len(ITEMS)
SALTS = np.arange(1, 6)  # for the slip and the heads
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX_A, _MIX_B = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_30, _27, _31 = np.uint64(30), np.uint64(27), np.uint64(31)


@kernel
def chance(state: State, scene: Any, salt: Any, n: Any) -> Any:
    """A number from 0 to n - 1 that depends on the game, the tick, the hero and `salt`, and on nothing else.

    Seats are told apart by whom ties favour, so that turning the map turns the numbers too.
    """
    game = state.game[scene.g]
    seat = (scene.team ^ game.tie) * 8 + scene.agent
    z = game.rng ^ (np.uint64(np.int64(game.tick) * 4096 + seat * 64 + salt) * _GOLDEN)
    z = (z ^ (z >> _30)) * _MIX_A
    z = (z ^ (z >> _27)) * _MIX_B
    z = z ^ (z >> _31)
    return np.int64((z >> _31) % np.uint64(n))


@kernel
def random_action(state: State, tables: Tables, slots: Array, scene: Any, act: Array) -> None:
    """A legal primary action, then a legal choice for each head that it reads, all as likely as one another."""
    found, legal = np.empty(len(slots) + N_ITEMS, np.int64), np.empty(N_PRIMARY, np.int64)
    n = 0
    for primary in range(N_PRIMARY):
        if _choices(state, tables, slots, scene, np.int64(primary), found) > 0:
            legal[n] = primary
            n += 1
    act[PRIMARY] = legal[chance(state, scene, SALTS[0], np.int64(n))]
    act[OFFSET_X] = chance(state, scene, SALTS[1], SALTS[0] * OFFSETS)
    act[OFFSET_Y] = chance(state, scene, SALTS[2], SALTS[0] * OFFSETS)
    n = _choices(state, tables, slots, scene, np.int64(act[PRIMARY]), found)
    choice = found[chance(state, scene, SALTS[3], np.int64(n))]
    if act[PRIMARY] == BUY_ITEM or act[PRIMARY] == USE_ITEM:
        act[ITEM] = choice
    else:
        act[TARGET] = choice


@kernel
def _choices(state: State, tables: Tables, slots: Array, scene: Any, primary: Any, found: Array) -> int:
    """Write into `found` what a primary action may take, items or units, and return how many; -1 stands for none."""
    g, h, n = scene.g, scene.h, 0
    if primary in (USE_ITEM, BUY_ITEM):
        for item in range(N_ITEMS):
            if may_buy(state, tables, g, h, item) if primary == BUY_ITEM else may_use(state, tables, g, h, item):
                found[n] = item
                n += 1
        return n
    ability = primary - FIRST_ABILITY
    if ability >= 0 and not may_cast(state, tables, g, h, ability):
        return 0
    aims = ability >= 0 and (tables.ability[ability].aim == AIM_ENEMY or tables.ability[ability].aim == AIM_ALLY)
    if primary != ATTACK and not aims:
        found[0] = -1
        return 1 if primary != PICK_UP or may_pick_up(state, tables, g, h) else 0
    for k in range(len(slots)):
        u: Any = np.int64(slots[k])
        if u < 0:
            continue
        if may_aim(state, tables, g, h, ability, u) if aims else may_attack(state, tables, g, h, u):
            found[n] = u
            n += 1
    return n
