"""What each hero may do now, as masks: the predicates of `orders` for everything that a hero could name."""

from __future__ import annotations

from quintet.games.skirmish.engine.abilities import may_aim
from quintet.games.skirmish.engine.compile import kernel
from quintet.games.skirmish.engine.orders import in_base, may_attack, may_buy, may_cast, may_pick_up, may_use
from quintet.games.skirmish.rules import (
    ABILITY_SLOTS,
    ATTACK,
    BUY_ITEM,
    FIRST_ABILITY,
    ITEM_SLOTS,
    MOVE,
    NO_OP,
    PICK_UP,
    RETREAT,
    USE_ITEM,
)
from quintet.games.skirmish.state import NOBODY, Array, State
from quintet.games.skirmish.tables import AIM_ALLY, AIM_ENEMY, Tables


@kernel
def write_attack(state: State, tables: Tables, g: int, team: int, slots: Array, attack: Array) -> bool:
    """Which slots a team's heroes may attack, into the zeroed `attack` [N]; whether there is any."""
    layout = tables.layout
    h, some = team * layout.heroes, False
    enemy_buildings = 2 * layout.heroes + layout.towers + 1
    for slot in range(layout.heroes, 2 * layout.heroes):
        if may_attack(state, tables, g, h, slots[slot]):
            attack[slot] = some = True
    for slot in range(enemy_buildings, len(slots)):  # and everybody who follows
        if slots[slot] == NOBODY:
            break
        if may_attack(state, tables, g, h, slots[slot]):
            attack[slot] = some = True
    return some


@kernel
def spread_attack(target: Array, acting: Array) -> None:
    """The first hero's attack row of `target` [A, P, N] is everybody's who is acting, and nobody else's."""
    for slot in range(target.shape[2]):
        for agent in range(len(acting) - 1, -1, -1):
            target[agent, ATTACK, slot] = acting[agent] and target[0, ATTACK, slot]


@kernel
def write_masks(
    state: State, tables: Tables, g: int, h: int, slots: Array, primary: Array, target: Array, item: Array
) -> None:
    """The masks of a hero who is acting, but for its attack: zeroed `primary` [P], `target` [P, N], `item` [P, I]."""
    primary[NO_OP] = primary[MOVE] = primary[RETREAT] = True
    primary[PICK_UP] = may_pick_up(state, tables, g, h)
    hero = state.hero[g, h]
    for k in range(ITEM_SLOTS):
        if hero.items[k] != NOBODY and may_use(state, tables, g, h, hero.items[k]):
            primary[USE_ITEM] = item[USE_ITEM, hero.items[k]] = True
    if in_base(state, tables, g, h):
        for k in range(len(tables.item)):
            if may_buy(state, tables, g, h, k):
                primary[BUY_ITEM] = item[BUY_ITEM, k] = True
    for k in range(ABILITY_SLOTS):
        ability = tables.hero[hero.archetype].abilities[k]
        if may_cast(state, tables, g, h, ability):
            _write_aims(state, tables, g, h, ability, slots, primary, target)


@kernel
def _write_aims(
    state: State, tables: Tables, g: int, h: int, ability: int, slots: Array, primary: Array, target: Array
) -> None:
    """At whom a hero can cast now what it may cast; without anybody to be cast at, it is not legal either."""
    heroes, action = tables.layout.heroes, FIRST_ABILITY + ability
    aim, some = tables.ability[ability].aim, False
    if aim == AIM_ENEMY:
        for slot in range(heroes, 2 * heroes):
            if may_aim(state, tables, g, h, ability, slots[slot]):
                target[action, slot] = some = True
        for slot in range(2 * (heroes + tables.layout.towers + 1), len(slots)):  # who is no building
            if slots[slot] == NOBODY:
                break
            if may_aim(state, tables, g, h, ability, slots[slot]):
                target[action, slot] = some = True
    elif aim == AIM_ALLY:
        for slot in range(heroes):
            if may_aim(state, tables, g, h, ability, slots[slot]):
                target[action, slot] = some = True
    else:
        some = True
    primary[action] = some
