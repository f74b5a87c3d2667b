"""The scripted players: random, weak, middle and strong, which choose for every seat of every game at once.

A bot reads only what its team sees, remembers nothing, and reckons as if it were team 0, so that turning the map turns
what it does. Its chance comes from a hash of the game's state, which it does not touch.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from quintet.games.skirmish import rules
from quintet.games.skirmish.bots.lane import middle, weak
from quintet.games.skirmish.bots.means import note_means
from quintet.games.skirmish.bots.moves import TARGET, wait
from quintet.games.skirmish.bots.plan import PLAN_DTYPE, roads, survey
from quintet.games.skirmish.bots.random import SALTS, chance, random_action
from quintet.games.skirmish.bots.scene import MIDDLE, RANDOM, SCENE_DTYPE, WEAK, look
from quintet.games.skirmish.bots.team import strong
from quintet.games.skirmish.engine.compile import kernel
from quintet.games.skirmish.engine.orders import may_act
from quintet.games.skirmish.state import NOBODY, RUNNING, Array, State
from quintet.games.skirmish.tables import Tables

NAMES = ("random", "weak", "middle", "strong")
# Of a hundred steps, how many a bot of each strength lets pass: it is no machine, and no two games are the same.
SLIPS_PCT = np.array([0, 12, 4, 2])
CHANCES = np.int64(100)
_OF_REWARDS = ("REWARDS", "REWARD_NAMES", "TIME_SCALE", "TIME_SCALE_S")


def source_hash() -> str:
    """12 hex digits over the bots' sources and the numbers of the rules: the same hash, the same opponents.

    What rewards weigh is left out: bots do not ask for it, and learning may change it.
    """
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    for name, number in sorted(vars(rules).items()):
        if name.isupper() and name not in _OF_REWARDS:
            digest.update(f"{name}={number!r}\0".encode())
    return digest.hexdigest()[:12]


BOTS: Mapping[str, str] = {name: source_hash() for name in NAMES}


def bot_step(name: str, state: State, tables: Tables, slots: Array) -> Array:
    """What the bot `name` does on every seat, i32 [G, 2, A, 5]: primary, target slot, offset x, offset y, item.

    Args:
        name: one of NAMES.
        state: of all games; only read.
        tables: of the preset.
        slots: i32 [G, 2, N], the unit in each slot that a team observes, or -1.

    Raises:
        ValueError: no bot has that name.
    """
    if name not in NAMES:
        raise ValueError(f"no bot is called {name!r}; there are {', '.join(NAMES)}")
    actions = np.zeros((len(state.game), 2, tables.layout.heroes, 5), np.int32)
    scenes = np.zeros(1, SCENE_DTYPE)
    scenes["strength"] = NAMES.index(name)
    _choose_all(state, tables, roads(tables.world), slots, np.zeros(1, PLAN_DTYPE), scenes, actions)
    return actions


@kernel
def _choose_all(
    state: State, tables: Tables, road: Array, slots: Array, plans: Array, scenes: Array, actions: Array
) -> None:
    plan, scene = plans[0], scenes[0]
    for g in range(len(state.game)):
        for team in range(2):
            if scene.strength != RANDOM and state.game[g].phase == RUNNING:
                survey(state, tables, road, g, team, plan)
            for agent in range(tables.layout.heroes):
                act = actions[g, team, agent]
                wait(act)
                if state.game[g].phase == RUNNING and may_act(state, tables, g, team * tables.layout.heroes + agent):
                    look(state, tables, road, slots[g, team], g, team, agent, scene)
                    _choose(state, tables, road, slots[g, team], plan, scene, act)
                _to_slot(slots[g, team], act)


@kernel
def _choose(state: State, tables: Tables, road: Array, slots: Array, plan: Any, scene: Any, act: Array) -> None:
    if scene.strength == RANDOM:
        random_action(state, tables, slots, scene, act)
        return
    if chance(state, scene, SALTS[4], CHANCES) < SLIPS_PCT[scene.strength]:
        return
    if scene.strength == WEAK:
        weak(road, plan, scene, act)
        return
    note_means(state, tables, scene)
    if scene.strength == MIDDLE:
        middle(state, road, plan, scene, act)
    else:
        strong(state, tables.ability, road, slots, plan, scene, act)


@kernel
def _to_slot(slots: Array, act: Array) -> None:
    """From an index into the unit table to the slot that shows it; what no slot shows cannot be aimed at."""
    wanted = act[TARGET]
    act[TARGET] = 0
    if wanted == NOBODY:
        return
    for k in range(len(slots)):
        if slots[k] == wanted:
            act[TARGET] = k
            return
    wait(act)
    act[TARGET] = 0
