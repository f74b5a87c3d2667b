"""SVGs that this project draws as PNGs: rectangles, lines, arrows, dots, words and grids; no other SVGs."""

from __future__ import annotations

import base64
import io
import itertools
import re
from functools import lru_cache
from xml.etree import ElementTree

from PIL import Image, ImageColor, ImageDraw, ImageFont

OVERSAMPLED = 2  # Pillow's shapes have hard edges; drawn this many times finer, then averaged, they have soft ones
FACES = ("LiberationSans-{}.ttf", "Arial{}.ttf", "DejaVuSans-{}.ttf")
# For machines without any of these fonts: Pillow's own has few letters.
SPELLED = str.maketrans(
    {
        "→": "->", "×": "x", "−": "-", "–": "-", "γ": "gamma", "λ": "lambda", "δ": "delta", "σ": "sigma", "½": "1/2",
        "²": "^2", "∂": "d", "‖": "|", "≥": ">=", "≤": "<=", "±": "+-", "√": "sqrt ", "…": "...", "τ": "tau",
        "ε": "eps",         "“": '"', "”": '"', "₀": "0", "ₜ": "t", "∈": "in",
    }
)  # fmt: skip
Points = list[tuple[float, float]]


def png(svg: str, scale: float = 1.5) -> bytes:
    """The picture as a PNG of `scale` pixels to the SVG's one.

    Raises:
        ValueError: an element that this project's pictures do not have.
    """
    root = ElementTree.fromstring(svg)
    width, height = (float(root.attrib[name]) for name in ("width", "height"))
    brush = _Brush(width, height, scale * OVERSAMPLED)
    for element in root.iter():
        tag = element.tag.rpartition("}")[2]
        if tag in ("svg", "defs", "marker") or element.get("d") == "M0,0 L8,4 L0,8 z":  # the head of an arrow
            continue
        draw = getattr(brush, f"draw_{tag}", None)
        if draw is None:
            raise ValueError(f"cannot draw <{tag}>; known are rect, line, polyline, polygon, path, circle, text, image")
        draw(element)
    size = (round(width * scale), round(height * scale))
    small = brush.image.resize(size, Image.Resampling.BOX).quantize(128, dither=Image.Dither.NONE)
    buffer = io.BytesIO()
    small.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


class _Brush:
    """Draws elements at a scale."""

    def __init__(self, width: float, height: float, scale: float) -> None:
        self.size, self.scale = (width, height), scale
        self.image = Image.new("RGB", (round(width * scale), round(height * scale)), "white")
        self.pen = ImageDraw.Draw(self.image)

    def number(self, element: ElementTree.Element, name: str, whole: float = 0.0) -> float:
        """An attribute in scaled pixels; a percentage of `whole`."""
        text = element.get(name, "0")
        return (float(text[:-1]) / 100 * whole if text.endswith("%") else float(text)) * self.scale

    def draw_rect(self, element: ElementTree.Element) -> None:
        """Upright, perhaps with round corners."""
        x, y = self.number(element, "x"), self.number(element, "y")
        w, h = self.number(element, "width", self.size[0]), self.number(element, "height", self.size[1])
        if w < 1 or h < 1:
            return
        fill, line = color(element.get("fill")), color(element.get("stroke"))
        width = max(1, round(self.number(element, "stroke-width"))) if line else 0
        self.pen.rounded_rectangle((x, y, x + w, y + h), self.number(element, "rx"), fill, line, width)

    def draw_circle(self, element: ElementTree.Element) -> None:
        """A disc."""
        x, y, r = (self.number(element, name) for name in ("cx", "cy", "r"))
        line = color(element.get("stroke"))
        self.pen.ellipse(
            (x - r, y - r, x + r, y + r), color(element.get("fill")), line, round(self.scale) if line else 0
        )

    def draw_polyline(self, element: ElementTree.Element) -> None:
        """A line through points."""
        self.stroke(element, self.points(element.get("points", "")))

    def draw_polygon(self, element: ElementTree.Element) -> None:
        """Filled."""
        points = self.points(element.get("points", ""))
        if len(points) > 2:
            self.pen.polygon(points, color(element.get("fill")))

    def draw_path(self, element: ElementTree.Element) -> None:
        """A path of straight lines, with the head of an arrow where it has a marker at its end."""
        points = self.points(re.sub(r"[MLz]", " ", element.get("d", "")))
        self.stroke(element, points)
        if element.get("marker-end") and len(points) > 1:
            (x0, y0), (x1, y1) = points[-2:]
            length = max(1e-6, ((x1 - x0) ** 2 + (y1 - y0) ** 2) ** 0.5)
            dx, dy, s = (x1 - x0) / length, (y1 - y0) / length, 8 * self.scale
            tail = (x1 - dx * s, y1 - dy * s)
            sides = [(tail[0] + side * dy * s / 2, tail[1] - side * dx * s / 2) for side in (-1, 1)]
            self.pen.polygon([(x1, y1), *sides], color(element.get("stroke")))

    def draw_text(self, element: ElementTree.Element) -> None:
        """One line; the only transformation is a move and a quarter turn."""
        face, spelled = font(
            max(1, round(self.number(element, "font-size"))), bold=element.get("font-weight") == "bold"
        )
        text, fill = element.text or "", color(element.get("fill")) or "black"
        text = text.translate(SPELLED) if spelled else text
        anchor = {"start": "ls", "middle": "ms", "end": "rs"}[element.get("text-anchor", "start")]
        moved = re.match(r"translate\(([-\d.]+),([-\d.]+)\) rotate\(-90\)", element.get("transform", ""))
        if moved is None:
            self.pen.text((self.number(element, "x"), self.number(element, "y")), text, fill, face, anchor)
            return
        x, y = (float(number) * self.scale for number in moved.groups())
        length, size = round(face.getlength(text)), face.size
        strip = Image.new("L", (length + 4, round(size * 1.5)), 0)
        ImageDraw.Draw(strip).text((2, round(size * 1.1)), text, 255, face, "ls")
        turned = strip.rotate(90, expand=True)
        before = {"ls": 0.0, "ms": 0.5, "rs": 1.0}[anchor] * length
        self.image.paste(fill, (round(x - size * 1.1), round(y + before - length - 2)), turned)

    def draw_image(self, element: ElementTree.Element) -> None:
        """A grid of colours from a data URL."""
        data = element.get("href", "").partition("base64,")[2]
        grid = Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB")
        x, y, w, h = (round(self.number(element, name)) for name in ("x", "y", "width", "height"))
        self.image.paste(grid.resize((max(1, w), max(1, h)), Image.Resampling.NEAREST), (x, y))

    def stroke(self, element: ElementTree.Element, points: Points) -> None:
        """A line, dashed where the element says so."""
        line = color(element.get("stroke"))
        if line is None or len(points) < 2:
            return
        width = max(1, round(self.number(element, "stroke-width")))
        dashes = [float(part) * self.scale for part in element.get("stroke-dasharray", "").split()]
        for part in dashed(points, dashes) if dashes else [points]:
            self.pen.line(part, line, width, joint="curve")

    def points(self, text: str) -> Points:
        """`1,2 3,4` in scaled pixels."""
        numbers = [float(number) * self.scale for number in re.split(r"[\s,]+", text.strip()) if number]
        return list(zip(numbers[::2], numbers[1::2], strict=True))


def dashed(points: Points, dashes: list[float]) -> list[Points]:
    """The strokes of a line that is drawn for dashes[0], left out for dashes[1], and so on."""
    strokes: list[Points] = []
    at, left, drawing = 0, dashes[0], True
    stroke = [points[0]]
    for (x0, y0), (x1, y1) in itertools.pairwise(points):
        length, done = ((x1 - x0) ** 2 + (y1 - y0) ** 2) ** 0.5, 0.0
        while length - done > left:
            done += left
            place = (x0 + (x1 - x0) * done / length, y0 + (y1 - y0) * done / length)
            if drawing:
                strokes.append([*stroke, place])
            stroke, drawing, at = [place], not drawing, (at + 1) % len(dashes)
            left = dashes[at]
        left -= length - done
        stroke.append((x1, y1))
    return [*strokes, stroke] if drawing and len(stroke) > 1 else strokes


def color(text: str | None) -> tuple[int, ...] | None:
    """None where nothing is painted."""
    return None if text in (None, "none") else ImageColor.getrgb(text)


@lru_cache(maxsize=64)
def font(size: int, *, bold: bool) -> tuple[ImageFont.FreeTypeFont, bool]:
    """A font of this machine, or Pillow's own; and whether letters beyond ASCII have to be spelled out."""
    for pattern in FACES:
        name = (
            pattern.format("Bold" if bold else "Regular") if "-" in pattern else pattern.format(" Bold" if bold else "")
        )
        for candidate in (name, name.replace("-Regular", "")):
            try:
                return ImageFont.truetype(candidate, size), False
            except OSError:
                continue
    face = ImageFont.load_default(size)
    if not isinstance(face, ImageFont.FreeTypeFont):
        raise RuntimeError("Pillow was built without FreeType, which draws words; install Pillow's own wheel")
    return face, True
