"""The ground as a picture: woods, open land, lanes, the river, and the bases."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from games.skirmish.frame_brush import OVERSAMPLED
from games.skirmish.rules import BASE_RADIUS, CELL
from games.skirmish.state import CAMP_SIZE, Array
from games.skirmish.world import LANE_WIDTH, RIVER_WIDTH, World

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
