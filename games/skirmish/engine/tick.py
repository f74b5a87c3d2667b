"""A step of the game: the orders land, then FRAME_SKIP ticks, then what each team sees.

In a tick everybody decides by what was there when it began, and everything that they do to one another is settled at
its end. So nobody is served before another, and a mirrored game stays mirrored, bit by bit.
"""

from __future__ import annotations

from typing import Any

from quintet.games.skirmish.engine import modifiers, orders, pickups
from quintet.games.skirmish.engine.combat import attack
from quintet.games.skirmish.engine.compile import kernel
from quintet.games.skirmish.engine.movement import move
from quintet.games.skirmish.engine.settle import end_game, settle
from quintet.games.skirmish.engine.spawns import spawn
from quintet.games.skirmish.engine.targets import choose_targets
from quintet.games.skirmish.engine.upkeep import upkeep
from quintet.games.skirmish.engine.vision import see
from quintet.games.skirmish.rules import FRAME_SKIP, HEALTH_HISTORY, STUN
from quintet.games.skirmish.state import RUNNING, Array, State
from quintet.games.skirmish.tables import Tables


@kernel
def step_games(state: State, tables: Tables, actions: Array) -> None:
    """Play one step of every game that runs.

    `actions` is i32 [G, H, 5]: primary, target unit, offset x, offset y, item, in terms of the unit table and of the
    map's own directions. They land in the next step; those that were handed in before land now.
    """
    for g in range(len(state.game)):
        if state.game[g].phase == RUNNING:
            step_game(state, tables, g, actions)


@kernel
def step_game(state: State, tables: Tables, g: int, actions: Array) -> None:
    """Play one step of game `g`; less than FRAME_SKIP ticks if it ends."""
    snapshot(state.unit[g])
    orders.land_actions(state, tables, g)
    for h in range(2 * tables.layout.heroes):
        hero = state.hero[g, h]
        hero.primary, hero.target_unit = actions[g, h, 0], actions[g, h, 1]
        hero.offset_x, hero.offset_y, hero.item = actions[g, h, 2], actions[g, h, 3], actions[g, h, 4]
    upkeep(state, tables, g)
    for k in range(FRAME_SKIP):
        if k > 0:
            snapshot(state.unit[g])
        tick(state, tables, g)
        if state.game[g].phase != RUNNING:
            break
    see(state, tables, g)
    _remember_health(state.unit[g])


@kernel
def tick(state: State, tables: Tables, g: int) -> None:
    """Advance the rules by one tick, after `snapshot`."""
    choose_targets(state, tables, g)
    attack(state, tables, g)
    move(state, tables, g)
    spawn(state, tables, g)
    pickups.spawn(state, tables, g)
    modifiers.count_down(state.unit[g])
    settle(state, tables, g)
    state.game[g].tick += 1
    end_game(state, tables, g)


@kernel
def snapshot(units: Any) -> None:
    """What every decision of the next tick reads: where units stand and who is stunned."""
    for u in range(len(units)):
        unit = units[u]
        if unit.alive:
            unit.old_x, unit.old_y, unit.frozen = unit.x, unit.y, unit.modifier_ticks[STUN] > 0


@kernel
def _remember_health(units: Any) -> None:
    """Health after the last steps, newest first."""
    for u in range(len(units)):
        past = units[u].health_past
        for k in range(HEALTH_HISTORY - 1, 0, -1):
            past[k] = past[k - 1]
        past[0] = units[u].health
