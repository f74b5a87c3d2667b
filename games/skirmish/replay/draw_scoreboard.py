"""The words around the map: clock, kills, towers and worth above it, a line for every hero below it."""

from __future__ import annotations

from typing import Any

import numpy as np
from PIL import Image

from quintet.games.skirmish.replay.draw_shapes import BLACK, GLYPHS, OTHER_GLYPH, TOWER_SHAPE, WHITE, Brush, Color
from quintet.games.skirmish.rules import HEROES, ITEMS, TICK_S, TOWER
from quintet.games.skirmish.state import RUNNING, Array, State
from quintet.games.skirmish.tables import Tables

TEAM_COLORS = ((92, 178, 255), (255, 112, 84), (226, 200, 110))  # two teams, and who belongs to none
BACKGROUND, FAINT = (22, 25, 32), (150, 156, 166)
DEFAULT_WIDTH = 640
BOARD_HEIGHT, ROW_HEIGHT, HEADING_HEIGHT = 56, 19, 16  # in a picture of the default width
ITEM_COLORS: tuple[tuple[int, int, int], ...] = (
    (104, 222, 110), (110, 150, 255), (255, 214, 64), (216, 216, 224), (255, 150, 70), (150, 160, 176),
    (180, 140, 255), (220, 60, 80), (255, 110, 30), (90, 220, 220),
)  # fmt: skip
# Where the columns of a hero's line end (numbers are set flush right), in pixels of half of the default width.
COLUMNS = {"lv": 128, "k / d / a": 178, "lh": 205, "gold": 245}


class Canvas:
    """What all pictures of games of one preset share."""

    def __init__(self, tables: Tables, width: int, teams: tuple[str, str]) -> None:
        self.tables, self.width, self.teams = tables, width, teams
        self.unit = width / DEFAULT_WIDTH  # what was one pixel in a picture of the default width

    @property
    def height(self) -> int:
        """Rows of the picture; even, as video codecs want it."""
        sheet = HEADING_HEIGHT + ROW_HEIGHT * self.tables.layout.heroes + 5
        height = round((BOARD_HEIGHT + sheet) * self.unit) + self.width
        return height + height % 2


def clock(tick: int) -> str:
    """Minutes and seconds of the game."""
    seconds = int(tick * TICK_S)
    return f"{seconds // 60}:{seconds % 60:02d}"


def verdict(state: State, teams: tuple[str, str]) -> str:
    """What became of a game; empty while it is played."""
    game = state.game[0]
    if game["phase"] == RUNNING:
        return ""
    if game["winner"] in (0, 1):
        return f"{teams[int(game['winner'])]} wins"
    return "time is up" if game["time_up"] else "both cores fell"


def draw_board(canvas: Canvas, now: State, team: int | None) -> Image.Image:
    """The strip above the map."""
    u, width = canvas.unit, canvas.width
    brush = Brush(width, round(BOARD_HEIGHT * u), BACKGROUND)
    game, center = now.game[0], width / 2
    brush.text((center, 17 * u), clock(int(game["tick"])), 24 * u, anchor="mm")
    end = verdict(now, canvas.teams)
    under = end or ("" if team is None else f"as {canvas.teams[team]} sees it")
    brush.text((center, 37 * u), under, 11 * u, WHITE if end else FAINT, "mm")
    worth = [int(_team(canvas, now.hero[0], side)["worth"].sum()) for side in range(2)]
    for side in range(2):
        _score(canvas, brush, now, side, worth[side] if team in (None, side) else None)
    if team is None:
        share = worth[0] / max(1, sum(worth))
        left = 0.25 * width
        brush.bar((left, 49 * u), (0.5 * width, 3 * u), 1.0, TEAM_COLORS[1])
        brush.bar((left, 49 * u), (0.5 * width * share, 3 * u), 1.0, TEAM_COLORS[0])
    return brush.finish()


def _score(canvas: Canvas, brush: Brush, now: State, side: int, worth: int | None) -> None:
    """One team's name, kills, standing towers and worth; the right-hand team mirrored."""
    u, color = canvas.unit, TEAM_COLORS[side]
    anchor = ("lm", "rm")[side]

    def x(distance: float) -> float:
        return distance * u if side == 0 else canvas.width - distance * u

    heroes = _team(canvas, now.hero[0], side)
    where = canvas.tables.layout
    block = now.unit[0][side * where.block : (side + 1) * where.block]
    towers = int((block["alive"] & (block["kind"] == TOWER)).sum())
    brush.text((x(12), 18 * u), canvas.teams[side], 15 * u, color, anchor)
    brush.text((x(210), 18 * u), str(int(heroes["kills"].sum())), 24 * u, color, "mm")
    brush.text((x(250), 18 * u), "kills", 10 * u, FAINT, "mm")
    brush.shape(TOWER_SHAPE, (x(18), 38 * u), 6 * u, color)
    brush.text((x(29), 38 * u), f"{towers} of {where.towers}", 11 * u, WHITE, anchor)
    gold = "worth ?" if worth is None else f"worth {worth:,}"
    brush.text((x(86), 38 * u), gold, 11 * u, WHITE, anchor)


def _team(canvas: Canvas, heroes: Array, side: int) -> Array:
    a = canvas.tables.layout.heroes
    return heroes[side * a : (side + 1) * a]


def draw_sheets(canvas: Canvas, now: State, team: int | None) -> Image.Image:
    """The lines below the map: own heroes at the left; what a team cannot know of the other is left out."""
    u, half = canvas.unit, canvas.width / 2
    where = canvas.tables.layout
    brush = Brush(canvas.width, canvas.height - canvas.width - round(BOARD_HEIGHT * u), BACKGROUND)
    for side in range(2):
        left = side * half
        for name, end in COLUMNS.items():
            brush.text((left + end * u, HEADING_HEIGHT / 2 * u), name, 9 * u, FAINT, "rm")
        brush.text((left + 255 * u, HEADING_HEIGHT / 2 * u), "items", 9 * u, FAINT, "lm")
        units = now.unit[0][side * where.block : side * where.block + where.heroes]
        for k, (unit, hero) in enumerate(zip(units, _team(canvas, now.hero[0], side), strict=True)):
            y = (HEADING_HEIGHT + ROW_HEIGHT * (k + 0.5)) * u
            _sheet(brush, left, y, u, unit, hero, side, int(now.game["tick"][0]), open_=team in (None, side))
    return brush.finish()


def _sheet(
    brush: Brush, left: float, y: float, u: float, unit: Any, hero: Any, side: int, tick: int, *, open_: bool
) -> None:
    alive = bool(unit["alive"])
    color: Color = TEAM_COLORS[side] if alive else FAINT
    archetype = HEROES[int(hero["archetype"])].name
    brush.shape(GLYPHS.get(archetype, OTHER_GLYPH), (left + 14 * u, y), 7 * u, color)
    brush.text((left + 26 * u, y), archetype, 11 * u, color)
    if not alive:
        back = max(0.0, (int(unit["respawn_at"]) - tick) * TICK_S)
        start = left + 30 * u + brush.text_width(archetype, 11 * u)
        brush.text((start, y), f"{back:.0f}s", 10 * u, (255, 220, 90))
    numbers = (
        str(hero["level"] if open_ or unit["seen"][1 - side] else max(1, int(hero["last_level"]))),
        f"{hero['kills']} / {hero['deaths']} / {hero['assists']}",
        str(hero["last_hits"]) if open_ else "?",
        f"{int(hero['gold']):,}" if open_ else "?",
    )
    for end, text in zip(COLUMNS.values(), numbers, strict=True):
        brush.text((left + end * u, y), text, 11 * u, WHITE if alive else FAINT, "rm")
    if open_:
        _items(brush, left + 255 * u, y, u, np.asarray(hero["items"]))


def _items(brush: Brush, left: float, y: float, u: float, items: Array) -> None:
    """A square with two letters for every item that is carried."""
    for slot, item in enumerate(items):
        x = left + slot * 16 * u
        if item < 0:
            brush.box((x, y - 7 * u), (14 * u, 14 * u), (255, 255, 255, 14))
            continue
        brush.box((x, y - 7 * u), (14 * u, 14 * u), ITEM_COLORS[item % len(ITEM_COLORS)])
        words = ITEMS[item].name.split()
        letters = "".join(word[0] for word in words)[:2] if len(words) > 1 else words[0][:2]
        brush.text((x + 7 * u, y), letters, 9 * u, BLACK, "mm")
