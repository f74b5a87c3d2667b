"""Blows: what strikes whom, and what of it arrives.

Every blow of a tick is added up in the victim's `incoming` and settled at the tick's end; positions are those of the
tick's beginning. So the order in which units strike does not matter.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from quintet.games.skirmish.engine.compile import kernel
from quintet.games.skirmish.engine.modifiers import power_pct
from quintet.games.skirmish.rewards import HERO_DAMAGE
from quintet.games.skirmish.rules import CORE, CORE_OPENS_LANES, DENY_BELOW_PCT, HERO, ITEM_SLOTS, SIEGE_PCT_MIN, TOWER
from quintet.games.skirmish.state import NOBODY, ORDER_ATTACK, ORDER_NONE, State
from quintet.games.skirmish.tables import Tables, ticks

MINUTE = ticks(60.0)
SECOND = ticks(1.0)


@kernel
def random_u32(game: Any) -> int:
    """The next 32 bits of the game's own splitmix64 stream."""
    game.rng = game.rng + np.uint64(0x9E3779B97F4A7C15)
    z = game.rng
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.int64((z ^ (z >> np.uint64(31))) >> np.uint64(32))  # type: ignore[return-value]


@kernel
def is_building(unit: Any) -> bool:
    """Whether it is a tower or a core: these two kinds stand beside each other in the rules."""
    return bool(TOWER <= unit.kind <= CORE)


@kernel
def is_protected(units: Any, u: int) -> bool:
    """Whether a building cannot be hurt yet: what stands before it has to fall first.

    A tower waits for the next outer one of its lane, a core for every tower on CORE_OPENS_LANES lanes.
    """
    unit = units[u]
    if unit.kind == TOWER:
        before = units[u - 1]
        return bool(before.kind == TOWER and before.lane == unit.lane and before.alive)
    if unit.kind != CORE:
        return False
    open_lanes = 0
    inner, lane = u - 1, -1  # towers stand lane by lane, the inner one last, and fall from the outside in
    while inner >= 0 and units[inner].kind == TOWER:
        if units[inner].lane != lane:
            lane = units[inner].lane
            open_lanes += not units[inner].alive
        inner -= 1
    return open_lanes < CORE_OPENS_LANES


@kernel
def may_be_denied(unit: Any) -> bool:
    """Whether a creep is so weak that its own heroes may strike it."""
    return bool(unit.health * 100 < unit.max_health * DENY_BELOW_PCT)


@kernel
def strike(state: State, tables: Tables, g: int, source: int, victim: int, amount: int) -> int:
    """A blow of `amount` hundredths by unit `source`, by an attack or an ability; returns what passes the armour.

    Buildings that are still protected take nothing; others take more and more as the game goes on.
    """
    units, game = state.unit[g], state.game[g]
    unit, by = units[victim], units[source]
    damage = amount * (100 - unit.armor_pct) // 100
    if is_building(unit):
        if is_protected(units, victim):
            return 0
        damage = damage * (100 * MINUTE + SIEGE_PCT_MIN * game.tick) // (100 * MINUTE)
    block = tables.layout.block
    unit.incoming += damage
    if damage > unit.incoming_most or (
        damage == unit.incoming_most and _goes_before(source, unit.incoming_from, game.tie, block)
    ):
        unit.incoming_most, unit.incoming_from = damage, source
    if unit.kind == HERO or by.struck_at != game.tick:  # a blow at a hero is what towers look for
        by.struck_at, by.struck = game.tick, victim
    if by.kind == HERO and unit.kind == HERO and by.team != unit.team:
        heroes = tables.layout.heroes
        agent = source - by.team * block
        hurt = state.hero[g, unit.team * heroes + victim - unit.team * block]
        hurt.hurt_at[agent] = game.tick
        striker = state.hero[g, by.team * heroes + agent]
        striker.gained[HERO_DAMAGE] += np.float32(min(damage, unit.health)) / np.float32(unit.max_health)
    return int(damage)


@kernel
def _goes_before(source: int, other: int, tie: int, block: int) -> bool:
    """Which of two equally hard blows counts as the last: those of the favoured team, then of the earlier slot."""
    if other == NOBODY:
        return True
    team, other_team = source // block, other // block
    if team != other_team:
        return bool(team == tie or (other_team != tie and team < other_team))
    return source < other


@kernel
def attack(state: State, tables: Tables, g: int) -> None:
    """Everybody who has a target within reach and is ready strikes it."""
    units = state.unit[g]
    for u in range(tables.layout.units):
        unit = units[u]
        if not unit.alive:
            continue
        if unit.ready > 0:
            unit.ready -= 1
        if unit.ready == 0 and unit.target != NOBODY and not unit.frozen and in_reach(units, u, unit.target):
            if unit.kind == HERO:
                _hero_attack(state, tables, g, u)
            else:
                strike(state, tables, g, u, unit.target, unit.damage)
            unit.ready = unit.period


@kernel
def in_reach(units: Any, u: int, target: int) -> bool:
    """Whether unit `u` could strike the target from where both stood when the tick began."""
    unit, other = units[u], units[target]
    dx, dy = other.old_x - unit.old_x, other.old_y - unit.old_y
    return bool(dx * dx + dy * dy <= unit.reach * unit.reach)


@kernel
def _hero_attack(state: State, tables: Tables, g: int, u: int) -> None:
    """A hero's blow grows with power, and heals it if an item says so and the victim is no building."""
    unit = state.unit[g, u]
    hero = state.hero[g, unit.team * tables.layout.heroes + u - unit.team * tables.layout.block]
    victim = state.unit[g, unit.target]
    dealt = strike(state, tables, g, u, unit.target, unit.damage * power_pct(unit) // 100)
    if is_building(victim):
        return
    stolen_pct = 0
    for slot in range(ITEM_SLOTS):
        if hero.items[slot] >= 0:
            stolen_pct += tables.item[hero.items[slot]].lifesteal_pct
    unit.incoming_heal += dealt * stolen_pct // 100


@kernel
def check_order(units: Any, u: int, hero: Any) -> None:
    """End a hero's order to attack once its target is dead, out of sight, or not to be struck any more."""
    unit = units[u]
    if hero.order != ORDER_ATTACK:
        unit.target = NOBODY
        return
    if unit.target != NOBODY:
        target = units[unit.target]
        allowed = may_be_denied(target) if target.team == unit.team else not is_protected(units, unit.target)
        if target.alive and target.seen[unit.team] and allowed:
            return
    unit.target, hero.order = NOBODY, ORDER_NONE
