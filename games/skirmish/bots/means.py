"""What a scripted hero may do now: spells that it can cast, items that it can buy or use, runes at its feet."""

from __future__ import annotations

from typing import Any

import numpy as np

from quintet.games.skirmish.bots.scene import MIDDLE
from quintet.games.skirmish.engine.compile import kernel
from quintet.games.skirmish.engine.orders import may_buy, may_cast, may_pick_up, may_use
from quintet.games.skirmish.rules import ABILITY_SLOTS, HEROES, ITEM_SLOTS, ITEMS
from quintet.games.skirmish.state import NOBODY, State
from quintet.games.skirmish.tables import Tables

_NAMES = [item.name for item in ITEMS]
_BLOWS = ("long blade", "claws", "vampire fang", "plate vest")  # for who casts nothing, from afar
_BRAWL = ("long blade", "plate vest", "vampire fang", "claws")  # and at arm's length
_SPELLS = (
    ("long blade", "claws", "plate vest", "ward amulet"),
    ("long blade", "claws", "vampire fang", "swift boots"),
    ("ember staff", "plate vest", "sage ring", "swift boots"),
    ("long blade", "claws", "ember staff", "sage ring"),
    ("ember staff", "long blade", "claws", "plate vest"),
    ("long blade", "vampire fang", "plate vest", "claws"),
)
_PLAIN = tuple(_BRAWL if hero.attack_range < 300 else _BLOWS for hero in HEROES)
# [middle or strong, archetype, ITEM_SLOTS], first things first
LISTS = np.array([[[_NAMES.index(name) for name in row] for row in rows] for rows in (_PLAIN, _SPELLS)])
USABLE = np.array([_NAMES.index(name) for name in ("salve", "clarity", "swift boots", "ward amulet")])
SALVE, CLARITY, BOOTS, AMULET = range(4)  # places in USABLE


@kernel
def note_means(state: State, tables: Tables, scene: Any) -> None:
    """Fill in what `scene` says that the hero may do."""
    hero = state.hero[scene.g, scene.h]
    for k in range(ABILITY_SLOTS):
        ability: Any = np.int64(tables.hero[hero.archetype].abilities[k])
        scene.ability[k] = ability if may_cast(state, tables, scene.g, scene.h, ability) else NOBODY
    for k in range(len(USABLE)):
        scene.may_use[k] = may_use(state, tables, scene.g, scene.h, USABLE[k])
    scene.may_pick_up = may_pick_up(state, tables, scene.g, scene.h)
    scene.wanted, scene.may_buy, scene.rich = NOBODY, False, False
    for k in range(ITEM_SLOTS - 1, -1, -1):
        item = LISTS[scene.strength - MIDDLE, hero.archetype, k]
        if not carries(hero, item):
            scene.wanted = item
    if scene.wanted != NOBODY:
        scene.rich = hero.gold >= tables.item[scene.wanted].cost and free_places(hero) > 0
        scene.may_buy = may_buy(state, tables, scene.g, scene.h, scene.wanted)
    salve = not carries(hero, USABLE[SALVE]) and free_places(hero) > 1
    scene.may_buy_salve = salve and may_buy(state, tables, scene.g, scene.h, USABLE[SALVE])


@kernel
def carries(hero: Any, item: Any) -> bool:
    """Whether the hero has an item of that kind."""
    found = False
    for slot in range(ITEM_SLOTS):
        found |= hero.items[slot] == item
    return found


@kernel
def free_places(hero: Any) -> int:
    """Item slots that hold nothing."""
    free = 0
    for slot in range(ITEM_SLOTS):
        free += hero.items[slot] < 0
    return free
