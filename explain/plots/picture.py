"""A picture as SVG text: rectangles, lines, dots, words and grids of colours, in a handful of colours."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable
from typing import Any, Literal
from xml.sax.saxutils import escape

import numpy as np
from PIL import Image

Array = np.ndarray[Any, np.dtype[Any]]
Point = tuple[float, float]
Anchor = Literal["start", "middle", "end"]

# Colours that also differ for eyes that cannot tell red from green (Okabe and Ito).
BLUE, ORANGE, GREEN, RED, PINK, SKY = "#0072b2", "#e69f00", "#009e73", "#d55e00", "#cc79a7", "#56b4e9"
INK, GRAY, PALE, SHADE = "#1f2328", "#6b7280", "#d9dce1", "#f1f3f6"
SERIES = (BLUE, RED, GREEN, ORANGE, PINK, SKY)
FONT = "font-family='Helvetica, Arial, sans-serif'"
LETTER = 0.53  # of the size, about, is how wide a letter of the font is


class Picture:
    """Shapes in pixels, the origin at the top left; later ones cover earlier ones."""

    def __init__(self, width: float, height: float) -> None:
        self.width, self.height = width, height
        self.parts: list[str] = []

    def box(self, x: float, y: float, width: float, height: float, fill: str, *, line: str = "none") -> None:
        """An upright rectangle."""
        size = f"width='{_n(width)}' height='{_n(height)}'"
        self.parts.append(f"<rect x='{_n(x)}' y='{_n(y)}' {size} fill='{fill}' stroke='{line}'/>")

    def line(self, points: Iterable[Point], color: str, width: float = 1.5, *, dashes: str = "") -> None:
        """A line through points; `dashes` as in SVG: "4 3"."""
        path = " ".join(f"{_n(x)},{_n(y)}" for x, y in points)
        dashed = f" stroke-dasharray='{dashes}'" if dashes else ""
        self.parts.append(
            f"<polyline points='{path}' fill='none' stroke='{color}' stroke-width='{_n(width)}' "
            f"stroke-linejoin='round'{dashed}/>"
        )

    def area(self, points: Iterable[Point], fill: str) -> None:
        """A polygon."""
        path = " ".join(f"{_n(x)},{_n(y)}" for x, y in points)
        self.parts.append(f"<polygon points='{path}' fill='{fill}' stroke='none'/>")

    def dot(self, x: float, y: float, radius: float, fill: str, *, line: str = "none") -> None:
        """A disc."""
        self.parts.append(f"<circle cx='{_n(x)}' cy='{_n(y)}' r='{_n(radius)}' fill='{fill}' stroke='{line}'/>")

    def words(
        self,
        x: float,
        y: float,
        text: str,
        size: float = 11,
        color: str = INK,
        *,
        anchor: Anchor = "start",
        bold: bool = False,
        upwards: bool = False,
    ) -> None:
        """A line of text whose baseline is at y; `upwards`: turned by a quarter, around (x, y)."""
        at = f"transform='translate({_n(x)},{_n(y)}) rotate(-90)'" if upwards else f"x='{_n(x)}' y='{_n(y)}'"
        weight = " font-weight='bold'" if bold else ""
        self.parts.append(
            f"<text {at} font-size='{_n(size)}' fill='{color}' text-anchor='{anchor}'{weight}>{escape(text)}</text>"
        )

    def pixels(self, x: float, y: float, width: float, height: float, colors: Array) -> None:
        """A grid of colours, uint8 [rows, columns, 3], stretched over a rectangle without smoothing."""
        buffer = io.BytesIO()
        Image.fromarray(colors).quantize(64).save(buffer, "PNG", optimize=True)
        data = base64.b64encode(buffer.getvalue()).decode()
        size = f"width='{_n(width)}' height='{_n(height)}'"
        self.parts.append(
            f"<image x='{_n(x)}' y='{_n(y)}' {size} preserveAspectRatio='none' style='image-rendering:pixelated' "
            f"href='data:image/png;base64,{data}'/>"
        )

    def svg(self) -> str:
        """All of it, on white."""
        size = f"width='{_n(self.width)}' height='{_n(self.height)}' viewBox='0 0 {_n(self.width)} {_n(self.height)}'"
        head = f"<svg xmlns='http://www.w3.org/2000/svg' {size} {FONT}>"
        return "\n".join([head, "<rect width='100%' height='100%' fill='white'/>", *self.parts, "</svg>\n"])


def diverging(values: Array, limit: float) -> Array:
    """Numbers in -limit..limit as colours, uint8 [..., 3]: blue below zero, white at zero, red above."""
    share = np.clip(values / limit, -1.0, 1.0)[..., None]
    white, low, high = np.array([255.0] * 3), np.array([0.0, 92, 170]), np.array([200.0, 60, 10])
    end = np.where(share < 0, low, high)
    colors: Array = (white + (end - white) * np.abs(share)).round().astype(np.uint8)
    return colors


def _n(number: float) -> str:
    """A number as short as a tenth of a pixel needs."""
    return f"{number:.1f}".rstrip("0").rstrip(".") if number % 1 else f"{int(number)}"
