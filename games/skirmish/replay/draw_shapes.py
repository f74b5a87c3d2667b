"""Smooth shapes on a picture: everything is drawn larger than it is shown, and scaled down at the end."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from math import cos, pi, sin

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from quintet.games.skirmish.state import Array

Color = tuple[int, int, int] | tuple[int, int, int, int]
Point = tuple[float, float]

OVERSAMPLED = 2  # Pillow's shapes have hard edges; this many times finer, then averaged, they have soft ones
WHITE, BLACK = (244, 244, 240), (12, 14, 18)


class Brush:
    """Draws on a picture in shown pixels; a colour with a fourth number is see-through.

    A background that is a picture is OVERSAMPLED times as large as what is shown.
    """

    def __init__(self, width: int, height: int, background: Image.Image | Color = BLACK) -> None:
        size = (width * OVERSAMPLED, height * OVERSAMPLED)
        if isinstance(background, Image.Image):
            self.image = background.copy()
        else:
            self.image = Image.new("RGB", size, background)
        self.pen = ImageDraw.Draw(self.image, "RGBA")

    def finish(self) -> Image.Image:
        """The picture at the size in which it is shown."""
        return self.image.reduce(OVERSAMPLED)

    def disc(self, at: Point, radius: float, fill: Color | None, line: Color | None = None, width: float = 1) -> None:
        """A disc, a ring, or both."""
        x, y, r = at[0] * OVERSAMPLED, at[1] * OVERSAMPLED, radius * OVERSAMPLED
        self.pen.ellipse((x - r, y - r, x + r, y + r), fill=fill, outline=line, width=round(width * OVERSAMPLED))

    def box(self, left_top: Point, size: Point, fill: Color | None, line: Color | None = None) -> None:
        """An upright rectangle; nothing where it has no area."""
        (x, y), (w, h) = left_top, size
        if w > 0 and h > 0:
            left, top = x * OVERSAMPLED, y * OVERSAMPLED
            right, bottom = left + max(0.0, w * OVERSAMPLED - 1), top + max(0.0, h * OVERSAMPLED - 1)
            self.pen.rectangle((left, top, right, bottom), fill=fill, outline=line)

    def line(self, points: Sequence[Point], color: Color, width: float = 1) -> None:
        """A line through points."""
        scaled = [(x * OVERSAMPLED, y * OVERSAMPLED) for x, y in points]
        self.pen.line(scaled, fill=color, width=max(1, round(width * OVERSAMPLED)), joint="curve")

    def shape(self, outline: Sequence[Point], at: Point, radius: float, fill: Color, line: Color | None = None) -> None:
        """A polygon given around the origin (y down), `radius` shown pixels to its unit."""
        scaled = [((at[0] + radius * x) * OVERSAMPLED, (at[1] + radius * y) * OVERSAMPLED) for x, y in outline]
        self.pen.polygon(scaled, fill=fill, outline=line, width=OVERSAMPLED)

    def bar(self, left_top: Point, size: Point, share: float, color: Color) -> None:
        """A filled share of a dark bar."""
        self.box((left_top[0] - 1, left_top[1] - 1), (size[0] + 2, size[1] + 2), (*BLACK, 220))
        self.box(left_top, (size[0] * min(1.0, max(0.0, share)), size[1]), color)

    def text(
        self, at: Point, text: str, size: float, color: Color = WHITE, anchor: str = "lm", edge: float = 0
    ) -> None:
        """Words; `anchor` as in Pillow: left, middle or right; ascender, middle or baseline."""
        place = (at[0] * OVERSAMPLED, at[1] * OVERSAMPLED)
        stroke = round(edge * OVERSAMPLED)
        face = font(round(size * OVERSAMPLED))
        self.pen.text(place, text, fill=color, font=face, anchor=anchor, stroke_width=stroke, stroke_fill=BLACK)

    def text_width(self, text: str, size: float) -> float:
        """How wide words would be, in shown pixels."""
        return float(font(round(size * OVERSAMPLED)).getlength(text)) / OVERSAMPLED


@lru_cache(maxsize=32)
def font(size: int) -> ImageFont.FreeTypeFont:
    """The typeface that comes inside Pillow, so that pictures look the same everywhere.

    Raises:
        RuntimeError: this Pillow was built without FreeType.
    """
    face = ImageFont.load_default(size)
    if not isinstance(face, ImageFont.FreeTypeFont):
        raise RuntimeError("this Pillow was built without FreeType and cannot write; install Pillow from its own wheel")
    return face


def pixels(image: Image.Image) -> Array:
    """uint8 [H, W, 3]."""
    return np.asarray(image.convert("RGB"))


def star(points: int, inner: float) -> tuple[Point, ...]:
    """A star with its first point up; `inner` 1 makes a polygon of twice as many corners."""
    radii = [1.0 if k % 2 == 0 else inner for k in range(2 * points)]
    return tuple((r * sin(pi * k / points), -r * cos(pi * k / points)) for k, r in enumerate(radii))


_ARM = 0.34
# What an archetype looks like, by its name in the rules.
GLYPHS: dict[str, tuple[Point, ...]] = {
    "tank": ((-0.8, -0.75), (0.8, -0.75), (0.75, 0.2), (0.0, 0.95), (-0.75, 0.2)),
    "carry": ((0.0, -1.0), (0.85, 0.75), (0.0, 0.35), (-0.85, 0.75)),
    "burst caster": star(5, 0.42),
    "healer": (
        (-_ARM, -1.0), (_ARM, -1.0), (_ARM, -_ARM), (1.0, -_ARM), (1.0, _ARM), (_ARM, _ARM), (_ARM, 1.0),
        (-_ARM, 1.0), (-_ARM, _ARM), (-1.0, _ARM), (-1.0, -_ARM), (-_ARM, -_ARM),
    ),
    "controller": tuple((sin(pi * k / 3), -cos(pi * k / 3)) for k in range(6)),
    "assassin": star(4, 0.36),
}  # fmt: skip
OTHER_GLYPH = tuple((sin(pi * k / 2), -cos(pi * k / 2)) for k in range(4))
TOWER_SHAPE = (
    (-0.95, -1.0), (-0.45, -1.0), (-0.45, -0.6), (0.45, -0.6), (0.45, -1.0), (0.95, -1.0), (0.7, 0.1), (0.95, 1.0),
    (-0.95, 1.0), (-0.7, 0.1),
)  # fmt: skip
CORE_SHAPE = tuple((sin(pi * (k + 0.5) / 4), -cos(pi * (k + 0.5) / 4)) for k in range(8))
