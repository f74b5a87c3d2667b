"""The rules as arrays: what the kernels read and never write."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from quintet.games.skirmish import rules
from quintet.games.skirmish.engine.compile import passed_as_record
from quintet.games.skirmish.rules import ABILITIES, BODIES, HEROES, ITEMS, POINT, TICK_S, Preset
from quintet.games.skirmish.state import CAMP_SIZE, PICKUPS, Array, Layout, layout
from quintet.games.skirmish.world import LANE_POINTS, World, build_world

# Points are counted in hundredths here, times in ticks, speeds in units a tick; `reach` is a range.
AIM_ENEMY, AIM_ALLY, AIM_POINT, AIM_SELF = range(4)
_AIMS = {"enemy": AIM_ENEMY, "ally": AIM_ALLY, "point": AIM_POINT, "self": AIM_SELF}


@passed_as_record
class Tables(NamedTuple):
    """All that is fixed for one preset: arrays for Python, and one record of the same names for the kernels.

    The record has the same type for every preset, so kernels are compiled once. Where a preset has less than the
    largest, its arrays are followed by zeros; but grids of cells have the map's middle in theirs.
    """

    layout: Layout
    world: World
    ability: Array  # records like rules.ABILITIES
    item: Array  # records like rules.ITEMS
    hero: Array  # records like rules.HEROES
    body: Array  # records like rules.BODIES, one for each kind of unit; heroes' is empty
    rune_modifier: Array  # [n, 3] i32: modifier, amount, ticks; modifier -1 for the bounty
    level_experience: Array  # i32
    reward: Array  # f32 [C], rules.REWARDS
    limit: int  # ticks
    record: Array  # [] of RECORD_DTYPE

    @property
    def data(self) -> memoryview:
        """The record's bytes, where numba looks for them."""
        return self.record.reshape(1).view(np.uint8).data


def ticks(seconds: float) -> int:
    """A time of the rules in ticks."""
    return round(seconds / TICK_S)


def points(amount: float) -> int:
    """Points in hundredths."""
    return round(amount * POINT)


def _records(rows: Any, convert: dict[str, tuple[str, str]], **more: Array) -> Array:
    """One record a row: `convert` names each column's field of the rules and how it is counted."""
    counted: dict[str, tuple[Callable[[Any], Any], str]] = {
        "points": (points, "i4"), "ticks": (ticks, "i4"), "plain": (int, "i4"), "units": (float, "f4"),
        "per_tick": (lambda v: v * TICK_S, "f4"), "flag": (bool, "?"),
    }  # fmt: skip
    columns = {
        column: np.array([counted[how][0](getattr(row, field)) for row in rows], counted[how][1])
        for column, (field, how) in convert.items()
    } | more
    records = np.zeros(len(rows), [(name, array.dtype, array.shape[1:]) for name, array in columns.items()])
    for name, array in columns.items():
        records[name] = array
    return records


def _abilities() -> Array:
    return _records(
        ABILITIES,
        {
            "mana": ("mana", "points"), "cooldown": ("cooldown_s", "ticks"), "reach": ("range", "units"),
            "radius": ("radius", "units"), "level": ("level", "plain"), "level_pct": ("level_pct", "plain"),
            "damage": ("damage", "points"), "heal": ("heal", "points"), "stun": ("stun_s", "ticks"),
            "slow_pct": ("slow_pct", "plain"), "slow": ("slow_s", "ticks"), "shield_amount": ("shield", "points"),
            "shield": ("shield_s", "ticks"), "haste_pct": ("haste_pct", "plain"), "haste": ("haste_s", "ticks"),
            "power_pct": ("power_pct", "plain"), "power": ("power_s", "ticks"), "dash": ("dash", "units"),
        },
        aim=np.array([_AIMS[a.aim] for a in ABILITIES], np.int32),
    )  # fmt: skip


def _items() -> Array:
    return _records(
            ITEMS,
            {
                "cost": ("cost", "plain"), "damage": ("damage", "points"), "health": ("health", "points"),
                "mana": ("mana", "points"), "armor_pct": ("armor_pct", "plain"), "speed": ("speed", "per_tick"),
                "attack_speed_pct": ("attack_speed_pct", "plain"), "regen": ("regen", "points"),
                "mana_regen": ("mana_regen", "points"), "lifesteal_pct": ("lifesteal_pct", "plain"),
                "ability_pct": ("ability_pct", "plain"), "cooldown": ("cooldown_s", "ticks"),
                "consumed": ("consumed", "flag"), "heal": ("heal_s", "ticks"), "heal_amount": ("heal_per_s", "points"),
                "mana_now": ("mana_now", "points"), "shield_amount": ("shield", "points"),
                "shield": ("shield_s", "ticks"), "haste_pct": ("haste_pct", "plain"), "haste": ("haste_s", "ticks"),
            },
    )  # fmt: skip


def _heroes() -> Array:
    names = [ability.name for ability in ABILITIES]
    return _records(
        HEROES,
        {
            "health": ("health", "points"), "health_level": ("health_level", "points"), "mana": ("mana", "points"),
            "mana_level": ("mana_level", "points"), "regen": ("regen", "points"),
            "mana_regen": ("mana_regen", "points"),
            "damage": ("damage", "points"), "damage_level": ("damage_level", "points"),
            "armor_pct": ("armor_pct", "plain"), "reach": ("attack_range", "units"),
            "period": ("attack_period_s", "ticks"), "speed": ("speed", "per_tick"), "vision": ("vision", "units"),
        },
        abilities=np.array([[names.index(name) for name in hero.abilities] for hero in HEROES], np.int32),
    )  # fmt: skip


def _bodies() -> Array:
    nothing = rules.Body(health=0, damage=0, vision=0)
    return _records(
            [BODIES.get(kind, nothing) for kind in range(len(rules.UNIT_NAMES))],
            {
                "health": ("health", "points"), "damage": ("damage", "points"), "armor_pct": ("armor_pct", "plain"),
                "reach": ("attack_range", "units"), "period": ("attack_period_s", "ticks"),
            "speed": ("speed", "per_tick"),
                "vision": ("vision", "units"), "gold": ("gold", "plain"), "team_gold": ("team_gold", "plain"),
                "experience": ("experience", "plain"),
            },
    )  # fmt: skip


def build_tables(preset: Preset, rewards: Mapping[str, float] | None = None) -> Tables:
    """Everything fixed that the kernels of one preset need; `rewards` are weights that replace those of the rules."""
    runes = [rules.RUNE_MODIFIERS.get(kind) for kind in range(len(rules.RUNE_NAMES))]
    # REGEN counts hundredths of a point a second, HASTE and POWER percent.
    rune_rows = [
        (-1, 0, 0) if r is None else (r[0], points(r[1]) if r[0] == rules.REGEN else r[1], ticks(r[2])) for r in runes
    ]
    fields: dict[str, Any] = {
        "layout": layout(preset),
        "world": build_world(preset),
        "ability": _abilities(),
        "item": _items(),
        "hero": _heroes(),
        "body": _bodies(),
        "rune_modifier": np.array(rune_rows, np.int32),
        "level_experience": np.array(rules.LEVEL_EXPERIENCE, np.int32),
        "reward": np.array(list({**rules.REWARDS, **(rewards or {})}.values()), np.float32),
        "limit": ticks(preset.limit_s),
    }
    return Tables(**fields, record=_pack(fields))


# What the largest preset has.
_CELLS = max(preset.cells for preset in rules.PRESETS.values())
_LANES = max(preset.lanes for preset in rules.PRESETS.values())
_TOWERS = max(preset.lanes * preset.tiers for preset in rules.PRESETS.values())
_NEUTRALS = max(preset.camps for preset in rules.PRESETS.values()) * CAMP_SIZE
_WORLD_SHAPES = {
    "walkable": (_CELLS, _CELLS), "lane_ground": (_CELLS, _CELLS), "home": (2, _CELLS, _CELLS),
    "lane": (2, _LANES, LANE_POINTS), "core": (2,), "tower": (2, _TOWERS), "camp": (2, _NEUTRALS), "pickup": (PICKUPS,),
}  # fmt: skip


def _pack(fields: dict[str, Any]) -> Array:
    """All fields in one record."""
    layout_dtype = np.dtype([(name, "i8") for name in Layout._fields])
    world_dtype = np.dtype([(name, *_world_field(name, fields["world"])) for name in World._fields], align=True)
    columns: list[Any] = [("layout", layout_dtype), ("world", world_dtype), ("limit", "i8")]
    arrays = [name for name in fields if isinstance(fields[name], np.ndarray)]
    columns += [(name, fields[name].dtype, fields[name].shape) for name in arrays]
    record = np.zeros((), np.dtype(columns, align=True))
    record["limit"] = fields["limit"]
    for name in arrays:
        record[name] = fields[name]
    for name, number in fields["layout"]._asdict().items():
        record["layout"][name] = number
    cells = fields["world"].cells
    margin = (_CELLS - cells) // 2
    for name, value in fields["world"]._asdict().items():
        place = record["world"][name]
        if np.shape(value)[-2:] == (cells, cells):
            place[..., margin : margin + cells, margin : margin + cells] = value
        elif isinstance(value, np.ndarray):
            place[tuple(slice(n) for n in value.shape)] = value
        else:
            record["world"][name] = value
    return record


def _world_field(name: str, world: World) -> tuple[Any, tuple[int, ...]]:
    """Type and shape of a field of the world in the record; numba knows no arrays of bool inside records."""
    value = getattr(world, name)
    if not isinstance(value, np.ndarray):
        return ("f8" if isinstance(value, float) else "i8"), ()
    shape = _WORLD_SHAPES[name.removesuffix("_x").removesuffix("_y")]
    return ("u1" if value.dtype == np.bool_ else value.dtype), shape
