"""Rewards: what each hero has gained in a step, weighted, scaled by the clock and made zero-sum.

`gained` of a hero holds raw amounts, one for each component of `rules.REWARDS`; combat, pickups and the end of a game
add to it, `collect` empties it. What a component counts:

    win            +1 to every hero of the team that won, -1 to every hero of the other
    kill, death, assist, last_hit, deny     one for each
    gold           pieces gained, passive gold left out
    experience     points
    health, mana   `collect` fills them in: what the shaped share of health and the share of mana have changed
    tower_health, core_health    share of a building's full health that the team took, to every hero of the team
    tower, boss    one for each that fell to the team, to every hero of the team
    hero_damage    share of an enemy hero's full health that this hero took
    advance        `collect` fills it in: what has changed of how far the hero has come on its way to the enemy. It is a
                   difference of potentials (Ng et al. 1999), so it draws a beginner out of its base and pays nobody for
                   going to and fro
"""

from __future__ import annotations

import math
from decimal import Decimal
from typing import Any

import numpy as np

from quintet.games.skirmish.engine.compile import kernel
from quintet.games.skirmish.rules import BASE_RADIUS, REWARD_NAMES, TICK_S, TIME_SCALE, TIME_SCALE_S
from quintet.games.skirmish.state import Array, State
from quintet.games.skirmish.tables import Tables

COMPONENTS = len(REWARD_NAMES)
WIN = REWARD_NAMES.index("win")
KILL = REWARD_NAMES.index("kill")
DEATH = REWARD_NAMES.index("death")
ASSIST = REWARD_NAMES.index("assist")
LAST_HIT = REWARD_NAMES.index("last_hit")
DENY = REWARD_NAMES.index("deny")
GOLD = REWARD_NAMES.index("gold")
EXPERIENCE = REWARD_NAMES.index("experience")
HEALTH = REWARD_NAMES.index("health")
MANA = REWARD_NAMES.index("mana")
TOWER_HEALTH = REWARD_NAMES.index("tower_health")
TOWER_DOWN = REWARD_NAMES.index("tower")
CORE_HEALTH = REWARD_NAMES.index("core_health")
BOSS_DOWN = REWARD_NAMES.index("boss")
HERO_DAMAGE = REWARD_NAMES.index("hero_damage")
ADVANCE = REWARD_NAMES.index("advance")

# Of one tick. Decimal rounds alike on every machine, which a library's power function need not.
_TICK_FACTOR = float(Decimal(str(TIME_SCALE)) ** (Decimal(str(TICK_S)) / Decimal(str(TIME_SCALE_S))))
_ONE, _HALF = np.float32(1.0), np.float32(0.5)
_BASE = np.float32(BASE_RADIUS)


@kernel
def gain_team(state: State, tables: Tables, g: int, team: Any, component: int, amount: Any) -> None:
    """Give every hero of a team, alive or dead, `amount` of a team component."""
    for agent in range(tables.layout.heroes):
        state.hero[g, team * tables.layout.heroes + agent].gained[component] += np.float32(amount)


@kernel
def collect(state: State, tables: Tables, out: Array) -> None:
    """Write the reward of the step that was just played, f32 [G, 2, A], and empty `gained`.

    The mean of the enemies' rewards is subtracted, so the sum over both teams is 0. In a game in which nothing
    happened since the last call, be it new or over, all rewards are 0.
    """
    heroes = tables.layout.heroes
    own = np.empty(2 * heroes, np.float32)
    for g in range(len(state.game)):
        scale = np.float32(time_scale(state.game[g].tick))
        for h in range(2 * heroes):
            unit = state.unit[g, h // heroes * tables.layout.block + h % heroes]
            _gain_health(state.hero[g, h], unit)
            _gain_ground(state.hero[g, h], unit, tables)
            own[h] = _weigh(state.hero[g, h], tables.reward, scale)
        for team in range(2):
            theirs = np.float32(0.0)
            for agent in range(heroes):
                theirs += own[(1 - team) * heroes + agent]
            theirs = theirs / np.float32(heroes)
            for agent in range(heroes):
                out[g, team, agent] = own[team * heroes + agent] - theirs


@kernel
def _weigh(hero: Any, weights: Array, scale: Any) -> Any:
    """One hero's reward before the zero-sum step; adds it to `episode` by component."""
    total = np.float32(0.0)
    for c in range(COMPONENTS):
        part = weights[c] * hero.gained[c]
        if c != WIN:
            part *= scale
        hero.gained[c] = np.float32(0.0)
        hero.episode[c] += part
        total += part
    return total


@kernel
def _gain_health(hero: Any, unit: Any) -> None:
    """Health and mana lost and won back sum to nothing: the dead lack all of both."""
    health_missing, mana_missing = _ONE, _ONE
    if unit.alive:
        health_missing = _ONE - shaped_health(np.float32(unit.health) / np.float32(unit.max_health))
        mana_missing = _ONE - np.float32(hero.mana) / np.float32(max(hero.max_mana, 1))
    hero.gained[HEALTH] += hero.health_missing - health_missing
    hero.gained[MANA] += hero.mana_missing - mana_missing
    hero.health_missing = health_missing
    hero.mana_missing = mana_missing


@kernel
def _gain_ground(hero: Any, unit: Any, tables: Tables) -> None:
    """The way from the border of the own base to half the distance between the cores counts as 1."""
    advanced = np.float32(0.0)
    if unit.alive:
        world, team = tables.world, unit.team
        between = _distance(world.core_x[1] - world.core_x[0], world.core_y[1] - world.core_y[0])
        walked = _distance(unit.x - world.core_x[team], unit.y - world.core_y[team]) - _BASE
        advanced = min(max(walked / (between * _HALF - _BASE), np.float32(0.0)), _ONE)
    hero.gained[ADVANCE] += advanced - hero.advanced
    hero.advanced = advanced


@kernel
def _distance(x: Any, y: Any) -> Any:
    return np.float32(math.sqrt(x * x + y * y))


@kernel
def shaped_health(share: Any) -> Any:
    """A point of health counts the more the less there is: (x + 1 - (1 - x)^4) / 2 for a share x of the maximum."""
    lost = _ONE - share
    squared = lost * lost
    return (share + _ONE - squared * squared) * _HALF


@kernel
def time_scale(tick: int) -> float:
    """TIME_SCALE to the power of (seconds played / TIME_SCALE_S), by squaring: the same on every machine."""
    scale, factor = 1.0, _TICK_FACTOR
    while tick > 0:
        if tick % 2 == 1:
            scale *= factor
        factor *= factor
        tick //= 2
    return scale
