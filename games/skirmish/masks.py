"""What each hero may do now, as masks: the predicates of `orders` for everything that a hero could name."""

from __future__ import annotations

from games.skirmish.abilities import may_aim
from games.skirmish.kernel import kernel
from games.skirmish.orders import may_attack, may_buy, may_cast, may_pick_up, may_use
from games.skirmish.rules import (
    ABILITY_SLOTS,
    ATTACK,
    BUY_ITEM,
    FIRST_ABILITY,
    MOVE,
    NO_OP,
    PICK_UP,
    RETREAT,
    USE_ITEM,
)
from games.skirmish.state import Array, State
from games.skirmish.tables import AIM_ALLY, AIM_ENEMY, Tables


@kernel
def write_attack(state: State, tables: Tables, g: int, team: int, slots: Array, attack: Array) -> bool:
    """Which slots a team's heroes may attack, into the zeroed `attack` [N]; whether there is any."""
    some = False
    for slot in range(len(slots)):
        if may_attack(state, tables, g, team * tables.layout.heroes, slots[slot]):
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
    for k in range(len(tables.item)):
        if may_use(state, tables, g, h, k):
            primary[USE_ITEM] = item[USE_ITEM, k] = True
        if may_buy(state, tables, g, h, k):
            primary[BUY_ITEM] = item[BUY_ITEM, k] = True
    for k in range(ABILITY_SLOTS):
        ability = tables.hero[state.hero[g, h].archetype].abilities[k]
        if may_cast(state, tables, g, h, ability):
            action = FIRST_ABILITY + ability
            aim = tables.ability[ability].aim
            if aim in (AIM_ENEMY, AIM_ALLY):
                primary[action] = _write_aims(state, tables, g, h, ability, slots, target[action])
            else:
                primary[action] = True


@kernel
def _write_aims(state: State, tables: Tables, g: int, h: int, ability: int, slots: Array, aims: Array) -> bool:
    """Which slots a hero can cast at now; whether there is any."""
    some = False
    for slot in range(len(slots)):
        if may_aim(state, tables, g, h, ability, slots[slot]):
            aims[slot] = some = True
    return some
