"""Heroes of both teams in the open, told what to do by hand."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from quintet.games.skirmish import rewards
from quintet.games.skirmish.engine import items, orders, spawns
from quintet.games.skirmish.engine import tick as engine
from quintet.games.skirmish.rules import ABILITIES, FIRST_ABILITY, HEROES, ITEMS, NO_OP, OFFSETS, PRESETS
from quintet.games.skirmish.start import StartOptions, draw_start
from quintet.games.skirmish.state import Array, State, empty_state
from quintet.games.skirmish.tables import Tables, build_tables

MIDDLE = OFFSETS // 2
FAR_AWAY = (-1300.0, -1300.0)  # on the middle lane
ABILITY = {row.name: n for n, row in enumerate(ABILITIES)}
ITEM = {row.name: n for n, row in enumerate(ITEMS)}
ARCHETYPE = {row.name: n for n, row in enumerate(HEROES)}


@dataclass
class Fight:
    """A game of three against three; heroes 0, 1, 2 are team 0, heroes 3, 4, 5 are team 1."""

    tables: Tables
    state: State

    @property
    def heroes(self) -> Array:
        """Records of the heroes, [6]."""
        return np.asarray(self.state.hero[0])

    @property
    def units(self) -> Array:
        """Records of all units."""
        return np.asarray(self.state.unit[0])

    @property
    def game(self) -> Any:
        """The record of the game."""
        return self.state.game[0]

    def unit(self, h: int) -> int:
        """The unit that a hero is."""
        where = self.tables.layout
        return h // where.heroes * where.block + h % where.heroes

    def body(self, h: int) -> Any:
        """The record of a hero's unit."""
        return self.units[self.unit(h)]

    def stand(self, h: int, x: float, y: float) -> None:
        """Put a hero somewhere."""
        body = self.body(h)
        body["x"] = body["old_x"] = x
        body["y"] = body["old_y"] = y

    def become(self, h: int, archetype: str, level: int = 1) -> None:
        """Make a hero another one, unhurt."""
        self.heroes[h]["archetype"], self.heroes[h]["level"] = ARCHETYPE[archetype], level
        self.refresh(h)

    def carry(self, h: int, *names: str) -> None:
        """Give a hero items, ready for use."""
        self.heroes[h]["items"] = ([ITEM[name] for name in names] + [-1] * 4)[:4]
        self.heroes[h]["item_ready"] = 0
        self.refresh(h)

    def refresh(self, h: int) -> None:
        """Bring a hero's numbers up to date, unhurt."""
        items.refresh_hero(self.state, self.tables, 0, h)
        self.body(h)["health"], self.heroes[h]["mana"] = self.body(h)["max_health"], self.heroes[h]["max_mana"]

    def order(
        self, h: int, primary: int, *, target: int = -1, x: int = MIDDLE, y: int = MIDDLE, item: str | None = None
    ) -> None:
        """Let an action wait in the hero's record; `target` is a unit."""
        hero = self.heroes[h]
        hero["primary"], hero["target_unit"], hero["offset_x"], hero["offset_y"] = primary, target, x, y
        hero["item"] = -1 if item is None else ITEM[item]

    def cast(self, h: int, ability: str, *, target: int = -1, x: int = MIDDLE, y: int = MIDDLE) -> None:
        """Let a cast wait in the hero's record."""
        self.order(h, FIRST_ABILITY + ABILITY[ability], target=target, x=x, y=y)

    def land(self) -> None:
        """Have what waits landed, and nothing else."""
        self.units["old_x"], self.units["old_y"] = self.units["x"], self.units["y"]
        orders.land_actions(self.state, self.tables, 0)

    def steps(self, n: int) -> None:
        """Play on; what waits lands in the first step, then nobody chooses anything new."""
        nothing = np.full((1, len(self.heroes), 5), NO_OP, np.int32)
        for _ in range(n):
            engine.step_games(self.state, self.tables, nothing)

    def see_all(self) -> None:
        """Both teams see everything."""
        self.units["seen"] = 1

    def rewards(self) -> Array:
        """What `collect` gives, f32 [2, 3]."""
        out = np.full((1, 2, self.tables.layout.heroes), np.nan, np.float32)
        rewards.collect(self.state, self.tables, out)
        return np.array(out[0])


def fight(seed: int = 1) -> Fight:
    """Everybody sees everybody; all heroes far away from the middle, at level 1 and unhurt; no creeps are coming."""
    preset = PRESETS["skirmish-3v3"]
    tables, state = build_tables(preset), empty_state(preset, 1)
    start = draw_start(StartOptions(preset=preset, line_up=("tank", "carry", "healer")), seed)
    spawns.start_game(state, tables, 0, seed, start)
    made = Fight(tables, state)
    state.game["wave_at"] = 10**6
    for h in range(6):
        made.stand(h, *FAR_AWAY if h < 3 else (-FAR_AWAY[0], -FAR_AWAY[1]))
    made.see_all()
    made.rewards()  # as if they had always stood there
    made.heroes["episode"] = 0
    return made
