"""One game as a picture: the map with everything on it, a scoreboard above and the heroes' sheets below.

Team 0 lives at the bottom left. `Artist.draw` shows what is there, or, with `team`, what that team sees.
"""

from __future__ import annotations

from math import cos, sin, sqrt
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from quintet.games.skirmish import rules
from quintet.games.skirmish.replay.draw_scoreboard import (
    BOARD_HEIGHT,
    DEFAULT_WIDTH,
    TEAM_COLORS,
    Canvas,
    draw_board,
    draw_sheets,
)
from quintet.games.skirmish.replay.draw_shapes import (
    BLACK,
    CORE_SHAPE,
    GLYPHS,
    OTHER_GLYPH,
    OVERSAMPLED,
    TOWER_SHAPE,
    WHITE,
    Brush,
    Color,
    Point,
    pixels,
)
from quintet.games.skirmish.rules import BASE_RADIUS, BOSS, CELL, CORE, HERO, HEROES, NEUTRAL, RANGED_CREEP, TOWER
from quintet.games.skirmish.state import CAMP_SIZE, NEUTRAL_TEAM, NOBODY, Array, State
from quintet.games.skirmish.tables import AIM_POINT, AIM_SELF, Tables
from quintet.games.skirmish.world import LANE_WIDTH, RIVER_WIDTH, World

OPEN, WOODS, RIVER, LANE = (62, 74, 58), (30, 40, 33), (44, 82, 104), (96, 92, 72)
BASES = ((48, 84, 128), (128, 66, 48))


def draw_ground(world: World, width: int) -> Image.Image:
    """A square picture for a brush that shows it `width` wide, north up; x grows to the right."""
    side = width * OVERSAMPLED
    middle = ((np.arange(side) + 0.5) / side * 2 - 1) * world.half
    x, y = middle[None, :], -middle[:, None]
    picture = np.empty((side, side, 3), np.float32)
    picture[:] = OPEN
    _mix(picture, RIVER, np.clip((RIVER_WIDTH - np.abs(x + y) / 2**0.5) / CELL + 0.5, 0, 1))
    _mix(picture, LANE, 0.75 * _lanes(world, side))
    for team, color in enumerate(BASES):
        distance = np.hypot(x - world.core_x[team], y - world.core_y[team])
        _mix(picture, color, np.clip((BASE_RADIUS - distance) / CELL + 0.5, 0, 1) * 0.6)
    woods = _woods(world, side)
    _mix(picture, WOODS, woods)
    picture *= (1 + (0.05 + 0.10 * woods) * _grain(side))[..., None]
    image = Image.fromarray(np.clip(picture, 0, 255).astype(np.uint8))
    _camps(image, world)
    return image


def _mix(picture: Array, color: tuple[int, int, int], share: Array) -> None:
    picture += share[..., None] * (np.array(color, np.float32) - picture)


def _lanes(world: World, side: int) -> Array:
    """[side, side] how much of the ground is a lane, soft at the edges."""
    image = Image.new("L", (side, side))
    pen = ImageDraw.Draw(image)
    scale = side / (2 * world.half)
    width = 0.8 * LANE_WIDTH * scale  # trodden is only the middle of what is open
    for xs, ys in zip(world.lane_x[0], world.lane_y[0], strict=True):
        points = [((px + world.half) * scale, (world.half - py) * scale) for px, py in zip(xs, ys, strict=True)]
        pen.line(points, fill=255, width=round(width), joint="curve")
        for px, py in points:
            pen.ellipse((px - width / 2, py - width / 2, px + width / 2, py + width / 2), fill=255)
    return np.asarray(image.filter(ImageFilter.GaussianBlur(0.3 * CELL * scale)), np.float32) / 255


def _woods(world: World, side: int) -> Array:
    """[side, side] where nobody walks; cells' corners rounded."""
    blocked = Image.fromarray(np.where(world.walkable.T[::-1], 0, 255).astype(np.uint8))
    scale = side / world.cells
    large = blocked.resize((side, side), Image.Resampling.NEAREST).filter(ImageFilter.GaussianBlur(0.35 * scale))
    return np.clip((np.asarray(large, np.float32) / 255 - 0.5) * 5 + 0.5, 0, 1)


def _grain(side: int) -> Array:
    """[side, side] about 0: a texture that is the same in every picture."""
    fine = np.random.default_rng(5).standard_normal((side // 4, side // 4)).astype(np.float32)
    large = Image.fromarray(fine).resize((side, side), Image.Resampling.BICUBIC)
    return np.asarray(large, np.float32)


def _camps(image: Image.Image, world: World) -> None:
    """A trodden ring around every camp."""
    pen = ImageDraw.Draw(image, "RGBA")
    scale = image.width / (2 * world.half)
    for team in range(2):
        xs, ys = (c[team].reshape(-1, CAMP_SIZE).mean(axis=1) for c in (world.camp_x, world.camp_y))
        for cx, cy in zip(xs, ys, strict=True):
            px, py, r = (cx + world.half) * scale, (world.half - cy) * scale, 1.8 * CELL * scale
            pen.ellipse(
                (px - r, py - r, px + r, py + r), fill=(120, 104, 60, 70), outline=(190, 170, 100, 120), width=2
            )


HERO_RADIUS = 10.5  # in a picture of the default width
HEALTH, MANA, GONE = (104, 222, 110), (96, 150, 255), (160, 160, 160)
RUNE_COLORS: tuple[Color, ...] = ((255, 214, 64), (255, 84, 84), (98, 230, 120), (255, 168, 48))
# What is drawn around a unit, by modifier: stun, slow, shield, haste, power, regen.
MODIFIER_COLORS: tuple[Color, ...] = (
    (255, 240, 80, 255), (90, 170, 255, 230), (240, 240, 255, 220), (255, 200, 40, 200), (255, 70, 120, 220),
    (90, 255, 130, 200),
)  # fmt: skip
HARM_COLOR, HELP_COLOR = (255, 120, 40), (120, 255, 190)
BOSS_MARK = (90, 20, 120)


def snapshot(state: State, game: int = 0) -> State:
    """A copy of one game that the engine does not change."""
    return State(
        state.game[game : game + 1].copy(), state.unit[game : game + 1].copy(), state.hero[game : game + 1].copy()
    )


class Artist(Canvas):
    """Draws games of one preset; the ground is drawn once. `figures` makes units larger, for coarse pictures."""

    def __init__(
        self,
        tables: Tables,
        *,
        width: int = DEFAULT_WIDTH,
        teams: tuple[str, str] = ("blue", "red"),
        figures: float = 1.0,
    ) -> None:
        super().__init__(tables, width, teams)
        self.figures = figures
        self.scale = width / (2 * tables.world.half)  # pixels a map unit
        self.ground = draw_ground(tables.world, width)

    def draw(self, now: State, before: State | None = None, *, team: int | None = None, share: float = 1.0) -> Array:
        """uint8 [height, width, 3].

        Args:
            now: one game, as `snapshot` gives it.
            before: the same game one step earlier; with it, casts and deaths of the step are shown.
            team: whose eyes to look through; None sees everything.
            share: how much of the step has passed; less than 1 shows units on their way.
        """
        whole = Image.new("RGB", (self.width, self.height), BLACK)
        top = round(BOARD_HEIGHT * self.unit)
        whole.paste(draw_board(self, now, team), (0, 0))
        whole.paste(self.draw_map(now, before, team=team, share=share), (0, top))
        whole.paste(draw_sheets(self, now, team), (0, top + self.width))
        return pixels(whole)

    def draw_map(
        self, now: State, before: State | None = None, *, team: int | None = None, share: float = 1.0
    ) -> Image.Image:
        """The map alone, a square."""
        return _Map(self, now, before, team, share).draw()


class _Map:
    """One picture of the map in the making."""

    def __init__(self, artist: Artist, now: State, before: State | None, team: int | None, share: float) -> None:
        self.artist, self.tables, self.team = artist, artist.tables, team
        self.now, self.before = now, before
        self.game, self.units, self.heroes = now.game[0], now.unit[0], now.hero[0]
        roomy = 1.15 if self.tables.layout.heroes < 3 else 1.0  # a small map has room for larger figures
        self.u = artist.unit * artist.figures * roomy
        self.x, self.y = self._positions(share)
        self._spread()
        ground = artist.ground if team is None else self._foggy(artist.ground)
        self.brush = Brush(artist.width, artist.width, ground)

    def _positions(self, share: float) -> tuple[Array, Array]:
        """Where every unit stands, part of the way from `before`; who came back to life did not walk."""
        x, y = self.units["x"].astype(np.float64), self.units["y"].astype(np.float64)
        if self.before is None or share >= 1:
            return x, y
        old = self.before.unit[0]
        walked = self.units["alive"] & old["alive"] & (self.units["kind"] == old["kind"])
        walked &= np.hypot(x - old["x"], y - old["y"]) < rules.CELL * 10
        return np.where(walked, old["x"] + share * (x - old["x"]), x), np.where(
            walked, old["y"] + share * (y - old["y"]), y
        )

    def _spread(self) -> None:
        """Heroes who stand on the same spot are shown beside one another."""
        heroes = [u for u in _those(self.units["alive"] & (self.units["kind"] == HERO)) if self.sees(u)]
        apart = HERO_RADIUS * 1.5 * self.u / self.artist.scale
        for _ in range(8):
            for k, a in enumerate(heroes):
                for b in heroes[k + 1 :]:
                    dx, dy = float(self.x[b] - self.x[a]), float(self.y[b] - self.y[a])
                    distance = sqrt(dx * dx + dy * dy)
                    if distance < apart:
                        push = 0.25 * (apart - distance) / max(distance, 1.0)
                        dx, dy = (dx, dy) if distance >= 1 else (cos(a + b), sin(a + b))  # any way will do
                        for u, sign in ((a, -1), (b, 1)):
                            self.x[u] += sign * push * dx
                            self.y[u] += sign * push * dy

    def _foggy(self, ground: Image.Image) -> Image.Image:
        """The ground, darker where the team does not see."""
        side = self.artist.width // 4
        middle = (np.arange(side) + 0.5) / side * 2 - 1
        x, y = middle[None, :] * self.tables.world.half, -middle[:, None] * self.tables.world.half
        lit = np.zeros((side, side), bool)
        for u in _those(self.units["alive"] & (self.units["team"] == self.team)):
            lit |= (x - self.x[u]) ** 2 + (y - self.y[u]) ** 2 <= float(self.units["vision"][u]) ** 2
        mask = Image.fromarray(np.where(lit, 255, 110).astype(np.uint8)).resize(ground.size, Image.Resampling.BILINEAR)
        return Image.composite(ground, Image.new("RGB", ground.size, BLACK), mask)

    def at(self, x: float, y: float) -> Point:
        """A place of the map in pixels."""
        half, scale = self.tables.world.half, self.artist.scale
        return (float(x) + half) * scale, (half - float(y)) * scale

    def place(self, u: int) -> Point:
        """Where a unit stands, in pixels."""
        return self.at(self.x[u], self.y[u])

    def sees(self, u: int) -> bool:
        """Whether a unit is shown: buildings are always known."""
        if self.team is None or self.units["kind"][u] in (TOWER, CORE):
            return True
        return bool(self.units["team"][u] == self.team or self.units["seen"][u][self.team])

    def draw(self) -> Image.Image:
        """Everything, what matters most last."""
        self._pickups()
        self._attacks()
        alive = self.units["alive"]
        shown = [u for u in range(len(self.units)) if self.sees(u)]
        for u in shown:
            if self.units["kind"][u] in (TOWER, CORE):
                self._building(u)
        for u in shown:
            if alive[u] and self.units["kind"][u] not in (HERO, TOWER, CORE):
                self._creature(u)
        if self.team is not None:
            self._ghosts(1 - self.team)
        self._casts()
        for u in shown:
            if alive[u] and self.units["kind"][u] == HERO:
                self._hero(u)
        self._deaths()
        return self.brush.finish()

    def _pickups(self) -> None:
        for k, kind in enumerate(self.game["pickup_kind"]):
            place = self.at(self.tables.world.pickup_x[k], self.tables.world.pickup_y[k])
            self.brush.disc(place, 7 * self.u, (*BLACK, 120), (*WHITE, 60))
            if kind >= 0:
                self.brush.shape(OTHER_GLYPH, place, 6.5 * self.u, RUNE_COLORS[kind % len(RUNE_COLORS)], BLACK)

    def _attacks(self) -> None:
        """A line from everybody who struck in the last step to whom it struck."""
        recent = int(self.game["tick"]) - self.units["struck_at"] < rules.FRAME_SKIP
        for u in _those(recent & (self.units["struck"] != NOBODY)):
            victim = int(self.units["struck"][u])
            if self.sees(u) and self.sees(victim):
                heavy = self.units["kind"][u] in (HERO, TOWER, BOSS)
                color = (*self._color(u), 210 if heavy else 130)
                self.brush.line((self.place(u), self.place(victim)), color, (1.8 if heavy else 1.0) * self.u)

    def _color(self, u: int) -> tuple[int, int, int]:
        return TEAM_COLORS[min(int(self.units["team"][u]), NEUTRAL_TEAM)]

    def _health(self, u: int, width: float, above: float, height: float = 3.0, color: Color = HEALTH) -> None:
        """A health bar, `above` a unit by so much."""
        x, y = self.place(u)
        share = self.units["health"][u] / max(1, self.units["max_health"][u])
        self.brush.bar((x - width / 2, y - above), (width, height * self.u), float(share), color)

    def _building(self, u: int) -> None:
        core = self.units["kind"][u] == CORE
        radius, shape = (13 * self.u, CORE_SHAPE) if core else (9 * self.u, TOWER_SHAPE)
        if not self.units["alive"][u]:
            self.brush.shape(shape, self.place(u), radius * 0.7, (*GONE, 70), (*BLACK, 120))
            return
        self.brush.shape(shape, self.place(u), radius, self._color(u), BLACK)
        if core:
            self.brush.disc(self.place(u), 5 * self.u, WHITE)
        self._health(u, 2.4 * radius, radius + 6 * self.u)

    def _creature(self, u: int) -> None:
        """Creeps, neutrals and the boss."""
        kind = self.units["kind"][u]
        if kind == BOSS:
            self.brush.disc(self.place(u), 12 * self.u, self._color(u), BLACK, 1.5)
            self.brush.shape(GLYPHS["burst caster"], self.place(u), 8 * self.u, BOSS_MARK)
            self._health(u, 28 * self.u, 18 * self.u)
            return
        radius = {RANGED_CREEP: 3.0, NEUTRAL: 4.5}.get(int(kind), 3.8) * self.u
        self.brush.disc(self.place(u), radius, self._color(u), BLACK)
        if kind == RANGED_CREEP:
            self.brush.disc(self.place(u), 1.2 * self.u, BLACK)
        if self.units["health"][u] < self.units["max_health"][u]:
            self._health(u, 9 * self.u, radius + 4 * self.u, 2.0)

    def _hero(self, u: int) -> None:
        unit, hero = self.units[u], self.heroes[self._hero_of(u)]
        brush, place, radius = self.brush, self.place(u), HERO_RADIUS * self.u
        self._modifiers(unit, place, radius)
        x, y = place
        tip = (x + 1.5 * radius * float(unit["face_x"]), y - 1.5 * radius * float(unit["face_y"]))
        brush.line((place, tip), WHITE, 2 * self.u)
        brush.disc(place, radius, self._color(u), WHITE, 1.2)
        glyph = GLYPHS.get(HEROES[int(hero["archetype"])].name, OTHER_GLYPH)
        brush.shape(glyph, place, 0.68 * radius, BLACK)
        width, top = 26 * self.u, radius + 9 * self.u
        self._health(u, width, top, 4.0, HEALTH if self.team in (None, unit["team"]) else (255, 96, 80))
        mana = float(hero["mana"] / max(1, hero["max_mana"]))
        brush.bar((x - width / 2, y - top + 4.8 * self.u), (width, 2 * self.u), mana, MANA)
        badge = (x + 0.85 * radius, y + 0.85 * radius)
        brush.disc(badge, 5.6 * self.u, (*BLACK, 230))
        brush.text(badge, str(hero["level"]), 9 * self.u, anchor="mm", edge=0.5)

    def _modifiers(self, unit: Any, place: Point, radius: float) -> None:
        active = [k for k in range(len(rules.MODIFIER_NAMES)) if unit["modifier_ticks"][k] > 0]
        for ring, kind in enumerate(active):
            self.brush.disc(place, radius + (2.5 + 2.2 * ring) * self.u, None, MODIFIER_COLORS[kind], 1.6 * self.u)

    def _hero_of(self, u: int) -> int:
        """The hero's number, of both teams, of a unit that is a hero."""
        where = self.tables.layout
        return u if u < where.heroes else u - where.block + where.heroes

    def _unit_of(self, h: int) -> int:
        where = self.tables.layout
        return h if h < where.heroes else h - where.heroes + where.block

    def _ghosts(self, team: int) -> None:
        """Heroes of the other team where they were last seen."""
        heroes = self.tables.layout.heroes
        for h in range(team * heroes, (team + 1) * heroes):
            hero, u = self.heroes[h], self._unit_of(h)
            if self.units["alive"][u] and not self.sees(u) and hero["last_tick"] >= 0:
                place = self.at(hero["last_x"], hero["last_y"])
                age = (int(self.game["tick"]) - int(hero["last_tick"])) * rules.TICK_S
                self.brush.disc(place, 9 * self.u, (*self._color(u), 60), (*WHITE, 110))
                self.brush.text(place, f"{age:.0f}s", 9 * self.u, (*WHITE, 200), "mm", 1)

    def _casts(self) -> None:
        """Abilities whose cooldown began in the last step."""
        if self.before is None:
            return
        for h, (old, new) in enumerate(zip(self.before.hero[0], self.heroes, strict=True)):
            cast = int(old["primary"]) - rules.FIRST_ABILITY
            slots = [s for s, a in enumerate(self.tables.hero["abilities"][int(new["archetype"])]) if a == cast]
            if (
                slots
                and new["ability_ready"][slots[0]] > old["ability_ready"][slots[0]]
                and self.sees(self._unit_of(h))
            ):
                self._cast(self._unit_of(h), cast, old)

    def _cast(self, u: int, cast: int, told: Any) -> None:
        ability = self.tables.ability[cast]
        harms = ability["damage"] > 0 or ability["stun"] > 0 or ability["slow"] > 0
        color = HARM_COLOR if harms else HELP_COLOR
        old = self.before.unit[0][u] if self.before is not None else self.units[u]
        start = self.at(old["x"], old["y"])
        end = self.place(u)
        if ability["aim"] == AIM_POINT:
            dx, dy = ((float(told[k]) - rules.OFFSETS // 2) * rules.OFFSET_STEP for k in ("offset_x", "offset_y"))
            shorten = min(1.0, float(ability["reach"]) / max(1.0, sqrt(dx * dx + dy * dy)))
            end = self.at(old["x"] + shorten * dx, old["y"] + shorten * dy)
        elif ability["aim"] != AIM_SELF and told["target_unit"] != NOBODY:
            end = self.place(int(told["target_unit"]))
        self.brush.line((start, end), (*color, 230), 2.6 * self.u)
        radius = float(ability["radius"]) * self.artist.scale
        self.brush.disc(end, max(radius, 14 * self.u), (*color, 60 if radius else 0), (*color, 240), 1.8 * self.u)

    def _deaths(self) -> None:
        """A cross where a hero or a building fell in the last step."""
        if self.before is None:
            return
        old = self.before.unit[0]
        fell = old["alive"] & ~self.units["alive"] & np.isin(self.units["kind"], (HERO, TOWER, CORE, BOSS))
        for u in _those(fell):
            if self.sees(u):
                (x, y), r = self.at(old["x"][u], old["y"][u]), 9 * self.u
                for color, width in ((BLACK, 6.0), (self._color(u), 3.0)):
                    self.brush.line(((x - r, y - r), (x + r, y + r)), color, width * self.u)
                    self.brush.line(((x - r, y + r), (x + r, y - r)), color, width * self.u)


def _those(mask: Array) -> list[int]:
    """The numbers of the units for which a mask is true."""
    found: list[int] = np.flatnonzero(mask).tolist()
    return found
