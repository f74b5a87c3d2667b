"""A game of skirmish as a browser draws it: the ground and the names once, then one small scene a step."""

from __future__ import annotations

from base64 import b64encode
from functools import cache
from io import BytesIO
from math import hypot
from typing import Any

import numpy as np

from quintet.games.api import Observation
from quintet.games.skirmish import rules
from quintet.games.skirmish.observation.spec import Page
from quintet.games.skirmish.observation.write import observe_games
from quintet.games.skirmish.replay.draw import (
    BOSS_MARK,
    HARM_COLOR,
    HEALTH,
    HELP_COLOR,
    MANA,
    MODIFIER_COLORS,
    RUNE_COLORS,
    draw_ground,
)
from quintet.games.skirmish.replay.draw_scoreboard import ITEM_COLORS, TEAM_COLORS, clock, verdict
from quintet.games.skirmish.replay.draw_shapes import CORE_SHAPE, GLYPHS, OTHER_GLYPH, OVERSAMPLED, TOWER_SHAPE
from quintet.games.skirmish.rules import HEROES, PRESETS, TICK_S, TOWER, Preset
from quintet.games.skirmish.state import NOBODY, Array, State
from quintet.games.skirmish.tables import AIM_POINT, AIM_SELF, Tables, build_tables
from quintet.games.skirmish.world import build_world

GROUND_WIDTH = 960  # pixels
COLORS = {
    "teams": TEAM_COLORS, "runes": RUNE_COLORS, "modifiers": MODIFIER_COLORS, "items": ITEM_COLORS, "health": HEALTH,
    "mana": MANA, "harm": HARM_COLOR, "help": HELP_COLOR, "boss": BOSS_MARK,
}  # fmt: skip
_FRACTION = 1000  # shares travel in thousandths


def setting(preset: Preset) -> dict[str, Any]:
    """What does not change during a game: the ground, names, shapes, colours."""
    tables, world = build_tables(preset), build_world(preset)
    return {
        "half": world.half,
        "heroes": preset.heroes,
        "ground": ground_picture(preset.name),
        "pickups": [[float(x), float(y)] for x, y in zip(world.pickup_x, world.pickup_y, strict=True)],
        "block": tables.layout.block,
        "archetypes": [hero.name for hero in HEROES],
        "abilities": [[rules.FIRST_ABILITY + a for a in slots] for slots in tables.hero["abilities"].tolist()],
        "kinds": rules.UNIT_NAMES,
        "items": [item.name for item in rules.ITEMS],
        "modifiers": rules.MODIFIER_NAMES,
        "glyphs": [GLYPHS.get(hero.name, OTHER_GLYPH) for hero in HEROES],
        "shapes": {"tower": TOWER_SHAPE, "core": CORE_SHAPE, "boss": GLYPHS["burst caster"], "other": OTHER_GLYPH},
        "colors": COLORS,
        "offsets": {"count": rules.OFFSETS, "step": rules.OFFSET_STEP},
    }


def choice_names(head: str) -> list[str] | None:
    """What a head of skirmish chooses between; None where the choices are numbers or units."""
    names = {
        "primary": [*rules.PRIMARY_NAMES, *(ability.name for ability in rules.ABILITIES)],
        "item": [item.name for item in rules.ITEMS],
    }
    return names.get(head)


def choice_labels(head: str) -> list[str] | None:
    """Short signs for the choices of a head of numbers: how many offset steps from where the hero stands."""
    middle = rules.OFFSETS // 2
    return [f"{k - middle:+d}" if k != middle else "0" for k in range(rules.OFFSETS)] if head in ("x", "y") else None


@cache
def ground_picture(preset: str) -> str:
    """The ground as a data URL."""
    picture = draw_ground(build_world(PRESETS[preset]), GROUND_WIDTH // OVERSAMPLED)
    file = BytesIO()
    picture.save(file, "WEBP", quality=82)
    return f"data:image/webp;base64,{b64encode(file.getvalue()).decode('ascii')}"


class Eyes:
    """What both teams observe of one game, and which unit stands in which slot of that."""

    def __init__(self, preset: Preset, *, full_state: bool) -> None:
        self.page = Page(preset, 1, full_state=full_state)
        self.stood = np.zeros((1, 2, build_tables(preset).layout.towers + 1), np.int8)

    def look(self, state: State, tables: Tables) -> tuple[Observation, Array]:
        """The observation, per entry [1, 2, ...], and its units, i32 [2, slots]; both change at the next look."""
        self.page.clear()
        observe_games(state, tables, self.page.view, self.stood)
        return dict(self.page.observation), self.page.view.slots[0]


def scene(now: State, before: State | None, tables: Tables, teams: tuple[str, str]) -> dict[str, Any]:
    """One game at one step; `before` is the step before it, and shows what was cast and who fell."""
    game, units, heroes = now.game[0], now.unit[0], now.hero[0]
    tick, where = int(game["tick"]), tables.layout
    struck = (tick - units["struck_at"] < rules.FRAME_SKIP) & (units["struck"] != NOBODY)
    block = where.block
    return {
        "clock": clock(tick),
        "over": verdict(now, teams),
        "units": [_unit(u, units[u]) for u in range(len(units)) if units["alive"][u] or units["kind"][u] in _STANDING],
        "heroes": [_hero(h, heroes[h], units[_unit_of(h, tables)], tick) for h in range(len(heroes))],
        "score": [
            {
                "kills": int(heroes["kills"][t * where.heroes : (t + 1) * where.heroes].sum()),
                "worth": int(heroes["worth"][t * where.heroes : (t + 1) * where.heroes].sum()),
                "towers": int((units["alive"] & (units["kind"] == TOWER))[t * block : (t + 1) * block].sum()),
            }
            for t in range(2)
        ],
        "towers": where.towers,
        "pickups": game["pickup_kind"].tolist(),
        "attacks": [[int(u), int(units["struck"][u])] for u in np.flatnonzero(struck)],
        "casts": [] if before is None else _casts(now, before, tables),
        "fell": [] if before is None else _fell(now, before),
    }


_STANDING = (TOWER, rules.CORE)  # drawn even when they have fallen
_NOTABLE = (rules.HERO, rules.TOWER, rules.CORE, rules.BOSS)


def _unit_of(h: int, tables: Tables) -> int:
    where = tables.layout
    return h if h < where.heroes else h - where.heroes + where.block


def _unit(u: int, unit: Any) -> list[int]:
    """Number, kind, team, x, y, health, alive, seen by (bits), vision, facing x and y (in hundredths), modifiers."""
    modifiers = sum(1 << k for k, ticks in enumerate(unit["modifier_ticks"]) if ticks > 0)
    return [
        u, int(unit["kind"]), int(unit["team"]), round(float(unit["x"])), round(float(unit["y"])),
        round(_FRACTION * int(unit["health"]) / max(1, int(unit["max_health"]))), int(unit["alive"]),
        int(unit["seen"][0]) | int(unit["seen"][1]) << 1, round(float(unit["vision"])),
        round(100 * float(unit["face_x"])), round(100 * float(unit["face_y"])), modifiers,
    ]  # fmt: skip


def _hero(h: int, hero: Any, unit: Any, tick: int) -> dict[str, Any]:
    back = 0.0 if unit["alive"] else max(0.0, (int(unit["respawn_at"]) - tick) * TICK_S)
    known = int(hero["last_tick"]) >= 0
    last = [round(float(hero["last_x"])), round(float(hero["last_y"])), round((tick - int(hero["last_tick"])) * TICK_S)]
    return {
        "archetype": int(hero["archetype"]),
        "level": int(hero["level"]),
        "health": [int(unit["health"]) // rules.POINT, int(unit["max_health"]) // rules.POINT],
        "mana": [int(hero["mana"]) // rules.POINT, int(hero["max_mana"]) // rules.POINT],
        "gold": int(hero["gold"]),
        "worth": int(hero["worth"]),
        "kda": [int(hero["kills"]), int(hero["deaths"]), int(hero["assists"])],
        "last_hits": int(hero["last_hits"]),
        "items": hero["items"].tolist(),
        "ready_s": [round(int(ticks) * TICK_S, 1) for ticks in hero["ability_ready"]],
        "back_s": round(back, 1),
        "order": [int(hero["order"]), round(float(hero["order_x"])), round(float(hero["order_y"]))],
        "last_seen": last if known else None,
    }


def _casts(now: State, before: State, tables: Tables) -> list[list[float]]:
    """Unit, ability, x, y, radius, harms (0 or 1) of every cast of the step: those whose cooldown began in it."""
    found = []
    for h, (old, new) in enumerate(zip(before.hero[0], now.hero[0], strict=True)):
        ability = int(old["primary"]) - rules.FIRST_ABILITY
        slots = tables.hero["abilities"][int(new["archetype"])].tolist()
        if ability not in slots:
            continue
        slot = slots.index(ability)
        if new["ability_ready"][slot] > old["ability_ready"][slot]:
            row = tables.ability[ability]
            x, y = _aim(h, old, row, now, before, tables)
            harms = row["damage"] > 0 or row["stun"] > 0 or row["slow"] > 0
            found.append([_unit_of(h, tables), ability, round(x), round(y), float(row["radius"]), int(harms)])
    return found


def _aim(h: int, told: Any, ability: Any, now: State, before: State, tables: Tables) -> tuple[float, float]:
    """Where a cast went."""
    caster = before.unit[0][_unit_of(h, tables)]
    if ability["aim"] == AIM_POINT:
        dx, dy = ((float(told[k]) - rules.OFFSETS // 2) * rules.OFFSET_STEP for k in ("offset_x", "offset_y"))
        shorten = min(1.0, float(ability["reach"]) / max(1.0, hypot(dx, dy)))
        return float(caster["x"]) + shorten * dx, float(caster["y"]) + shorten * dy
    at = now.unit[0][_unit_of(h, tables)]
    if ability["aim"] != AIM_SELF and told["target_unit"] != NOBODY:
        at = now.unit[0][int(told["target_unit"])]
    return float(at["x"]), float(at["y"])


def _fell(now: State, before: State) -> list[list[int]]:
    """Number, kind, team, x, y of the heroes, buildings and bosses that fell in the step."""
    old = before.unit[0]
    gone = np.flatnonzero(old["alive"] & ~now.unit[0]["alive"] & np.isin(old["kind"], _NOTABLE))
    return [
        [int(u), int(old["kind"][u]), int(old["team"][u]), round(float(old["x"][u])), round(float(old["y"][u]))]
        for u in gone
    ]
