"""Runes: they appear on both halves of the river at once and of one kind, and whoever is nearest takes one."""

from __future__ import annotations

from typing import Any

import numpy as np

from quintet.games.skirmish.engine import modifiers
from quintet.games.skirmish.engine.combat import random_u32
from quintet.games.skirmish.engine.compile import kernel
from quintet.games.skirmish.engine.items import unit_of
from quintet.games.skirmish.rewards import GOLD
from quintet.games.skirmish.rules import (
    PICK_UP,
    PICKUP_RANGE,
    RUNE_BOUNTY,
    RUNE_BOUNTY_GOLD,
    RUNE_NAMES,
    RUNE_PERIOD_S,
)
from quintet.games.skirmish.state import NOBODY, PICKUPS, State
from quintet.games.skirmish.tables import Tables, ticks

RUNE_KINDS = len(RUNE_NAMES)
_PERIOD = ticks(RUNE_PERIOD_S)
_RANGE2 = np.float32(PICKUP_RANGE * PICKUP_RANGE)


@kernel
def spawn(state: State, tables: Tables, g: int) -> None:
    """Put the next pair of runes down when it is time; what still lies there is replaced."""
    game = state.game[g]
    if game.tick < game.pickup_at[0]:
        return
    kind = _draw(game)
    for place in range(PICKUPS):
        game.pickup_kind[place] = kind
        game.pickup_at[place] += _PERIOD


@kernel
def _draw(game: Any) -> int:
    """One of the kinds that this game has, or -1 if it has none."""
    kinds = 0
    for kind in range(RUNE_KINDS):
        kinds += (game.rune_kinds >> kind) & 1
    if kinds == 0:
        return -1
    nth = random_u32(game) % kinds
    for kind in range(RUNE_KINDS):
        if (game.rune_kinds >> kind) & 1:
            if nth == 0:
                return kind
            nth -= 1
    return -1


@kernel
def distance2(state: State, tables: Tables, g: int, h: int, place: int) -> Any:
    """Squared distance of a hero from one of the places where runes lie."""
    unit = state.unit[g, unit_of(tables, h)]
    dx, dy = unit.x - tables.world.pickup_x[place], unit.y - tables.world.pickup_y[place]
    return dx * dx + dy * dy


@kernel
def in_range(state: State, tables: Tables, g: int, h: int) -> bool:
    """Whether a rune lies within PICKUP_RANGE of a hero."""
    for place in range(PICKUPS):
        if state.game[g].pickup_kind[place] >= 0 and distance2(state, tables, g, h, place) <= _RANGE2:
            return True
    return False


@kernel
def take(state: State, tables: Tables, g: int) -> None:
    """Give each rune to the nearest of the heroes who pick up; the favoured team wins a tie, then the first agent."""
    game, heroes = state.game[g], tables.layout.heroes
    for place in range(PICKUPS):
        if game.pickup_kind[place] < 0:
            continue
        nearest, least = NOBODY, _RANGE2
        for n in range(2 * heroes):
            h = n if game.tie == 0 else (n + heroes) % (2 * heroes)
            if state.hero[g, h].primary == PICK_UP:
                away = distance2(state, tables, g, h, place)
                if away < least or (away == least and nearest == NOBODY):
                    nearest, least = h, away
        if nearest != NOBODY:
            _give(state, tables, g, nearest, game.pickup_kind[place])
            game.pickup_kind[place] = -1


@kernel
def _give(state: State, tables: Tables, g: int, h: int, kind: int) -> None:
    """What a rune does to a hero."""
    hero = state.hero[g, h]
    if kind == RUNE_BOUNTY:
        hero.gold += RUNE_BOUNTY_GOLD
        hero.worth += RUNE_BOUNTY_GOLD
        hero.gained[GOLD] += np.float32(RUNE_BOUNTY_GOLD)
        return
    row = tables.rune_modifier[kind]
    modifiers.add(state.unit[g, unit_of(tables, h)], row[0], row[2], row[1])
