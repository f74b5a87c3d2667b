"""What a team is shown and what it may answer: columns, spaces, and the arrays that the observing kernels fill.

Everything is seen as if by team 0: for team 1 the map is turned, so that positions, facings and offsets change their
sign. Floats are near +-1 and travel as float16.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from gymnasium import spaces

from quintet.games.api import ACTION_MASK_PREFIX, Auxiliary, EntryUse, GameSpec, Observation, Relation, Target
from quintet.games.skirmish import rules
from quintet.games.skirmish.rules import (
    ABILITIES,
    ABILITY_SLOTS,
    HEROES,
    ITEM_SLOTS,
    ITEMS,
    MODIFIER_NAMES,
    OFFSETS,
    Preset,
)
from quintet.games.skirmish.state import PICKUPS, Array, layout
from quintet.games.skirmish.world import World

N_PRIMARY = rules.FIRST_ABILITY + len(ABILITIES)
TERRAIN = 7  # cells on a side of what a hero knows of the ground around it
UNIT_KINDS = len(rules.UNIT_NAMES) + len(HEROES)  # a hero's category is FIRST_HERO_KIND + archetype
FIRST_HERO_KIND = len(rules.UNIT_NAMES)
RELATION_SCALE = 1000.0  # units
BUILDING_HORIZON_S = 120.0
WIN_TRUNK_GRADIENT = 0.05
LIMIT = 4.0  # bounds of every float; the kernels stay near +-1 and clip what has no bound


def _columns(*names: str | tuple[str, int]) -> np.dtype[Any]:
    """Columns as a record, so that the kernels call them by name; a pair is so many columns with one name."""
    return np.dtype([(name, "f4") if isinstance(name, str) else (name[0], "f4", (name[1],)) for name in names])


# fmt: off
# Columns of `units`. Past healths are those one, two and three steps ago.
UNIT = _columns(
    "kind",
    "side",  # 1 own, -1 enemy, 0 neutral
    "x",  # in half map sides, as Y
    "y",
    "health",  # share of the maximum, as the past ones
    "health_1",
    "health_2",
    "health_3",
    "max_health",
    "damage",
    "reach",
    "face_x",
    "face_y",
    "speed",
    "ready",  # 1: may attack now; 0: has just attacked
    "stun",
    "slow",
    "shield",
    "attacks",  # 1 an own hero, -1 an enemy hero
    "visible",  # 0: as last seen
    "unseen",  # t / (t + 10 s), t the time since it was seen
    "level",
    "mana",
    "protected",  # a building that cannot be hurt yet
)
# Columns of `hero`.
SELF = _columns(
    "x",
    "y",
    "level",
    "experience",  # share of the way to the next level
    "health",
    "mana",
    "max_health",
    "max_mana",
    "gold",  # sqrt(gold / 1000)
    "worth",
    "respawn",
    "alive",
    "order_none",
    "order_move",
    "order_attack",
    "order_retreat",
    "order_x",  # where it is going, from where it stands
    "order_y",
    "in_base",
    "home",  # distance to the own core, in map sides
    "free_slots",
    "kills",
    "deaths",
    "last_hits",
    "ready",
    "speed",
    "damage",
    "reach",
    "armor",
    "period",
)
# Columns of `allies`: slot k is the own hero k.
ALLY = _columns(
    "archetype",
    "x",
    "y",
    "level",
    "health",
    "mana",
    "gold",
    "worth",
    "respawn",
    "alive",
    ("ready", ABILITY_SLOTS),  # shares of the cooldowns that are over
)
# Columns of `abilities`.
ABILITY = _columns(
    "ability",
    "ready",  # share of the cooldown that is over
    "wait",  # t / (t + 10 s), t the time until it is ready
    "mana",  # enough of it
    "level",  # high enough
)
# Columns of `items`.
ITEM = _columns(
    "item",
    "ready",
    "wait",
)
# Columns of `modifiers`.
MODIFIER = _columns(
    "kind",
    "time",  # left
    "amount",
)
# Columns of `pickups`; only those in sight are there.
PICKUP = _columns(
    "kind",
    "x",
    "y",
)
# Columns of `globals`.
GLOBAL = _columns(
    "clock",  # share of the time limit
    "minutes",  # of the game / 10
    "own_kills",
    "enemy_kills",
    "own_towers",  # share that stands
    "enemy_towers",
    "own_worth",
    "next_wave",
    "own_rune",  # time to the next one on the own half
    "enemy_rune",
    "boss_alive",  # both its fall and its return are announced
    "boss_return",
    "start_level",
    "first_wave",
    ("own_line_up", len(HEROES)),  # how many of each archetype
    ("enemy_line_up", len(HEROES)),
    ("rune_kinds", len(rules.RUNE_NAMES)),  # those that may appear
)
# Columns of each enemy hero in `hidden`: what fog hides from the policy, for the critic.
HIDDEN = _columns(
    "x",
    "y",
    "health",
    "mana",
    "gold",
    "worth",
    "level",
    "respawn",
    ("ready", ABILITY_SLOTS),
)
# fmt: on


class ObservationArrays(NamedTuple):
    """One observation of G games: records of the columns above, each array beginning with [G, 2] or [G, 2, A]."""

    units: Array  # UNIT [G, 2, N]
    units_mask: Array  # bool, as all masks
    slots: Array  # i32 [G, 2, N]: the unit that is in a slot, or NOBODY; not part of the observation
    hero: Array  # SELF [G, 2, A]
    allies: Array  # ALLY [G, 2, A]
    allies_mask: Array
    abilities: Array  # ABILITY [G, 2, A, ABILITY_SLOTS]
    abilities_mask: Array
    items: Array  # ITEM [G, 2, A, ITEM_SLOTS]
    items_mask: Array
    modifiers: Array  # MODIFIER [G, 2, A, MODIFIER_NAMES]
    modifiers_mask: Array
    pickups: Array  # PICKUP [G, 2, PICKUPS]
    pickups_mask: Array
    terrain: Array  # bool [G, 2, A, TERRAIN^2]
    globals: Array  # GLOBAL [G, 2]
    hidden: Array  # HIDDEN [G, 2, A]
    label_win: Array  # f32 [G, 2, A, 1]
    label_worth: Array  # f32 [G, 2, A, A]
    label_buildings: Array  # f32 [G, 2, A, towers + 1]: the enemy's
    acting: Array  # bool [G, 2, A]
    primary: Array  # bool [G, 2, A, N_PRIMARY]
    target: Array  # bool [G, 2, A, N_PRIMARY, N]
    item: Array  # bool [G, 2, A, N_PRIMARY, ITEMS]


TEAM_SHARED = ("units", "allies", "pickups", "globals", "hidden")
_SETS: dict[str, tuple[np.dtype[Any], int]] = {  # columns, and the values of the first one
    "units": (UNIT, UNIT_KINDS),
    "allies": (ALLY, len(HEROES)),
    "abilities": (ABILITY, len(ABILITIES)),
    "items": (ITEM, len(ITEMS)),
    "modifiers": (MODIFIER, len(MODIFIER_NAMES)),
    "pickups": (PICKUP, len(rules.RUNE_NAMES)),
}
_MASKS = ("primary", "target", "item")


def width(columns: np.dtype[Any]) -> int:
    """How many columns."""
    return columns.itemsize // 4


def set_slots(preset: Preset) -> dict[str, int]:
    """Slots of each entity set."""
    return {
        "units": preset.slots,
        "allies": preset.heroes,
        "abilities": ABILITY_SLOTS,
        "items": ITEM_SLOTS,
        "modifiers": len(MODIFIER_NAMES),
        "pickups": PICKUPS,
    }


class Page:
    """An `ObservationArrays` in one piece of memory, and the same memory as the observation that the game returns."""

    def __init__(self, preset: Preset, n_games: int, *, full_state: bool) -> None:
        shapes = _shapes(preset, n_games)
        sizes = {name: int(np.prod(shape)) * np.dtype(dtype).itemsize for name, (shape, dtype) in shapes.items()}
        self._memory = np.zeros(sum(-(-size // 64) * 64 for size in sizes.values()), np.uint8)
        arrays, start = {}, 0
        for name, (shape, dtype) in shapes.items():
            arrays[name] = self._memory[start : start + sizes[name]].view(dtype).reshape(shape)
            start += -(-sizes[name] // 64) * 64
        self.view = ObservationArrays(**arrays)
        hidden = {"slots"} if full_state else {"slots", "hidden"}
        hidden |= {"label_worth"} if preset.heroes == 1 else set()
        self.observation: Observation = {
            f"{ACTION_MASK_PREFIX}{name}" if name in _MASKS else name: _plain(array, name)
            for name, array in arrays.items()
            if name not in hidden
        }

    def clear(self) -> None:
        """All zero, all masked out: what the kernels begin from."""
        self._memory.fill(0)


def _shapes(preset: Preset, n_games: int) -> dict[str, tuple[tuple[int, ...], Any]]:
    """Shape and dtype of every array of an `ObservationArrays`."""
    team, agent, n_units = (n_games, 2), (n_games, 2, preset.heroes), preset.slots
    shapes: dict[str, tuple[tuple[int, ...], Any]] = {
        "hero": (agent, SELF),
        "terrain": ((*agent, TERRAIN * TERRAIN), np.bool_),
        "globals": (team, GLOBAL),
        "hidden": (agent, HIDDEN),
        "label_win": ((*agent, 1), np.float32),
        "label_worth": ((*agent, preset.heroes), np.float32),
        "label_buildings": ((*agent, layout(preset).towers + 1), np.float32),
        "acting": (agent, np.bool_),
        "primary": ((*agent, N_PRIMARY), np.bool_),
        "target": ((*agent, N_PRIMARY, n_units), np.bool_),
        "item": ((*agent, N_PRIMARY, len(ITEMS)), np.bool_),
        "slots": ((*team, n_units), np.int32),
    }
    for name, slots in set_slots(preset).items():
        lead = (*(team if name in TEAM_SHARED else agent), slots)
        shapes[name], shapes[f"{name}_mask"] = (lead, _SETS[name][0]), (lead, np.bool_)
    return shapes


def _plain(array: Array, name: str) -> Array:
    """Records as floats: a column more on the last axis; `hidden` is one row a team."""
    if array.dtype.names is None:
        return array
    floats = array.view(np.float32).reshape(*array.shape, width(array.dtype))
    return floats.reshape(*array.shape[:2], -1) if name == "hidden" else floats


def _reads() -> tuple[frozenset[str], ...]:
    """Per primary action, the other heads that it reads."""
    aims = {"enemy": {"target"}, "ally": {"target"}, "point": {"x", "y"}, "self": set[str]()}
    basic = {
        rules.MOVE: {"x", "y"}, rules.ATTACK: {"target"}, rules.USE_ITEM: {"item"}, rules.BUY_ITEM: {"item"},
    }  # fmt: skip
    return tuple(frozenset(basic.get(k, ())) for k in range(rules.FIRST_ABILITY)) + tuple(
        frozenset(aims[ability.aim]) for ability in ABILITIES
    )


def _set_space(slots: int, columns: int, categories: int) -> spaces.Box:
    low, high = np.full((slots, columns), -LIMIT, np.float32), np.full((slots, columns), LIMIT, np.float32)
    low[:, 0], high[:, 0] = 0, categories - 1
    return spaces.Box(low, high)


def _position(columns: np.dtype[Any]) -> tuple[int, int]:
    names = list(columns.names or ())
    return names.index("x"), names.index("y")


def _labels(preset: Preset) -> dict[str, tuple[int, Auxiliary]]:
    """Name of the prediction -> how many numbers, and what they are."""
    labels = {
        "win": (1, Auxiliary(label="label_win", kind="binary", trunk_gradient=WIN_TRUNK_GRADIENT)),
        "buildings": (
            layout(preset).towers + 1,
            Auxiliary(label="label_buildings", kind="binary", discount=1 - rules.STEP_S / BUILDING_HORIZON_S),
        ),
    }
    if preset.heroes > 1:
        labels["worth"] = (preset.heroes, Auxiliary(label="label_worth", kind="categorical"))
    return labels


def game_spec(preset: Preset, world: World, *, full_state: bool) -> GameSpec:
    """The spec of a preset; `full_state` adds `hidden`, which only a critic reads."""
    slots, labels = set_slots(preset), _labels(preset)
    entries: dict[str, spaces.Space[object]] = {}
    for name, (columns, categories) in _SETS.items():
        entries[name] = _set_space(slots[name], width(columns), categories)
        entries[f"{name}_mask"] = spaces.MultiBinary(slots[name])
    vectors = {"hero": width(SELF), "globals": width(GLOBAL)} | {a.label: n for n, a in labels.values()}
    vectors |= {"hidden": preset.heroes * width(HIDDEN)} if full_state else {}
    entries |= {name: spaces.Box(-LIMIT, LIMIT, (n,)) for name, n in vectors.items()}
    entries["terrain"] = spaces.MultiBinary(TERRAIN * TERRAIN)
    uses: dict[str, EntryUse] = {auxiliary.label: "label" for _, auxiliary in labels.values()}
    uses |= {"hidden": "critic"} if full_state else {}
    shared = {*TEAM_SHARED, *(f"{name}_mask" for name in TEAM_SHARED)} & set(entries)
    return GameSpec(
        name=preset.name,
        teams=2,
        agents_per_team=preset.heroes,
        observation_space=spaces.Dict(entries),
        action_space=spaces.Dict(
            {
                "primary": spaces.Discrete(N_PRIMARY),
                "target": Target("units", preset.slots),
                "x": spaces.Discrete(OFFSETS),
                "y": spaces.Discrete(OFFSETS),
                "item": spaces.Discrete(len(ITEMS)),
            }
        ),
        step_s=rules.STEP_S,
        max_steps=round(preset.limit_s / rules.STEP_S),
        zero_sum=True,
        team_names=("south-west", "north-east"),
        masked_heads=frozenset({"primary", "target", "item"}),
        team_shared=frozenset(shared),
        uses=uses,
        wire_dtypes={name: "float16" for name, space in entries.items() if isinstance(space, spaces.Box)},
        primary_head="primary",
        reads=_reads(),
        masked_by_primary=frozenset({"target", "item"}),
        set_categories={name: {0: categories} for name, (_, categories) in _SETS.items()},
        relations={
            name: Relation(
                set_columns=_position(_SETS[name][0]), agent_entry="hero", agent_columns=_position(SELF),
                scale=RELATION_SCALE / world.half,
            )
            for name in ("units", "allies", "pickups")
        },
        own_slots={name: tuple(range(preset.heroes)) for name in ("units", "allies")},
        auxiliary={name: auxiliary for name, (_, auxiliary) in labels.items()},
    )  # fmt: skip
