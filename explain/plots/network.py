"""Boxes and arrows in columns from left to right, as a picture; knows nothing of networks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch, Rectangle
from matplotlib.path import Path

from quintet.explain.plots.figure import styled, text_width

Kind = Literal["input", "encoder", "pool", "layer", "memory", "head", "value", "auxiliary", "critic"]
Style = Literal["data", "keys", "choice", "stopped"]

FILLS: dict[Kind, tuple[str, str]] = {  # fill, edge
    "input": ("#f5f5f2", "#a9a9a0"),
    "encoder": ("#e3eefb", "#5b8fd0"),
    "pool": ("#e4f4ec", "#4f9f78"),
    "layer": ("#fdf0da", "#d09a3c"),
    "memory": ("#fbe3de", "#cf6a50"),
    "head": ("#ede6f9", "#8663bf"),
    "value": ("#f9e3ef", "#c05a90"),
    "auxiliary": ("#eef3dc", "#8a9a3c"),
    "critic": ("#f0e6dd", "#9a7350"),
}
LINES: dict[Style, tuple[str, tuple[int, ...]]] = {  # colour, dashes
    "data": ("#555555", ()),
    "keys": ("#3f7fc8", (5, 3)),
    "choice": ("#8663bf", (2, 2)),
    "stopped": ("#8a9a3c", (1, 3)),
}
MEANINGS: dict[Style, str] = {
    "data": "numbers",
    "keys": "slot embeddings, the keys of pointers",
    "choice": "the chosen primary action",
    "stopped": "behind a stop-gradient",
}
TITLE, TEXT, LINE, PAD, GAP, COLUMN_GAP, BAR = 12, 10, 15, 9, 12, 46, 34  # points


@dataclass(frozen=True, kw_only=True, slots=True)
class Box:
    """A piece of the network. `share` is of all parameters; `copies` more than 1 is drawn as a stack of cards."""

    key: str
    title: str
    kind: Kind
    lines: tuple[str, ...] = ()
    note: str = ""  # the last line, in bold: what it costs
    count: int = 0  # of parameters
    share: float = 0.0
    copies: int = 1

    @property
    def width(self) -> float:
        """As wide as its longest line."""
        widths = [text_width(self.title, TITLE, "bold"), text_width(self.note, TEXT, "bold")]
        return max(widths + [text_width(line, TEXT) for line in self.lines]) + 2 * PAD

    @property
    def height(self) -> float:
        """Title, lines, note and the bar of the share."""
        return 2 * PAD + TITLE + LINE * (len(self.lines) + bool(self.note)) + (5 if self.note else 0)


@dataclass(frozen=True, slots=True)
class Arrow:
    """From one box to another, by key."""

    source: str
    target: str
    style: Style = "data"


@dataclass(frozen=True, kw_only=True, slots=True)
class Drawing:
    """What `draw` draws.

    Every lane is a row of boxes that stand beside one another, one a column; where lanes join, a bar closes the first
    `joined` of them. Every stack is a further column.
    """

    title: str
    subtitle: str
    lanes: Sequence[Sequence[Box]]
    joined: int
    bar: Box
    stacks: Sequence[Sequence[Box]]
    arrows: Sequence[Arrow]

    @property
    def boxes(self) -> list[Box]:
        """All of them but the bar."""
        return [box for row in (*self.lanes, *self.stacks) for box in row]


@dataclass(frozen=True, slots=True)
class _Place:
    x: float
    y: float
    width: float
    height: float
    column: int

    @property
    def middle(self) -> float:
        return self.y + self.height / 2


@styled
def draw(drawing: Drawing) -> Figure:
    """The whole picture; a unit of its axes is a point, counted from the top left."""
    places, width, height = _lay_out(drawing)
    figure = Figure(figsize=(width / 72, height / 72))
    axes = figure.add_axes((0, 0, 1, 1), xlim=(0, width), ylim=(height, 0))
    axes.axis("off")
    axes.text(20, 30, drawing.title, size=17, weight="bold")
    axes.text(20, 50, drawing.subtitle, size=12, color="#555555")
    starts = {place.column: place.x for place in places.values()}
    for arrow in drawing.arrows:
        _line(axes, _way(places, starts, arrow), arrow.style)
    _bar(axes, places[drawing.bar.key], drawing.bar)
    for box in drawing.boxes:
        _box(axes, places[box.key], box)
    x = 20.0
    for style, meaning in MEANINGS.items():
        if any(arrow.style == style for arrow in drawing.arrows):
            _line(axes, [(x, height - 20), (x + 34, height - 20)], style)
            axes.text(x + 42, height - 16, meaning, color="#555555")
            x += 70 + text_width(meaning, TEXT)
    return figure


def _lay_out(drawing: Drawing) -> tuple[dict[str, _Place], float, float]:
    """Where everything goes, and how large the picture is."""
    columns = max(len(lane) for lane in drawing.lanes)
    widths = [max((lane[k].width for lane in drawing.lanes if len(lane) > k), default=0) for k in range(columns)]
    widths += [BAR, *(max(box.width for box in stack) for stack in drawing.stacks)]
    starts = [20.0]
    for width in widths:
        starts.append(starts[-1] + width + COLUMN_GAP)
    lane_heights = [max(box.height for box in lane) for lane in drawing.lanes]
    lanes_high = sum(lane_heights) + GAP * (len(lane_heights) - 1)
    stack_heights = [sum(box.height for box in stack) + 2 * GAP * (len(stack) - 1) for stack in drawing.stacks]
    joined_high = sum(lane_heights[: drawing.joined]) + GAP * (drawing.joined - 1)
    top = 84.0
    content = max(lanes_high, *stack_heights)
    places: dict[str, _Place] = {}
    y = top + (content - lanes_high) / 2
    places[drawing.bar.key] = _Place(starts[columns], y, BAR, joined_high, columns)
    middle = min(max(y + joined_high / 2, top + max(stack_heights) / 2), top + content - max(stack_heights) / 2)
    for lane, high in zip(drawing.lanes, lane_heights, strict=True):
        for k, box in enumerate(lane):
            places[box.key] = _Place(starts[k], y + (high - box.height) / 2, widths[k], box.height, k)
        y += high + GAP
    for k, (stack, high) in enumerate(zip(drawing.stacks, stack_heights, strict=True), start=columns + 1):
        y = middle - high / 2
        for box in stack:
            places[box.key] = _Place(starts[k], y, widths[k], box.height, k)
            y += box.height + 2 * GAP
    return places, starts[-1] - COLUMN_GAP + 60, top + content + 50


def _way(places: dict[str, _Place], starts: dict[int, float], arrow: Arrow) -> list[tuple[float, float]]:
    """Level, then upright in the gap before the target's column, then level again; a choice goes round the outside."""
    source, target = places[arrow.source], places[arrow.target]
    x1, y1 = source.x + source.width, source.middle
    if arrow.style == "keys":  # above everything, since what it passes has nothing to do with it
        top = min(place.y for place in places.values()) - 14
        out, into, y2 = x1 + 18, target.x - 10, target.middle + 7
        return [(x1, y1 - 7), (out, y1 - 7), (out, top), (into, top), (into, y2), (target.x - 2, y2)]
    if arrow.style == "choice":
        right = x1 + 14
        return [(x1, y1), (right, y1), (right, target.middle), (target.x + target.width + 2, target.middle)]
    if source.column == target.column:
        x, down = source.x + source.width / 2, target.y > source.y
        start, end = (source.y + source.height, target.y - 2) if down else (source.y, target.y + target.height + 2)
        return [(x, start), (x, end)]
    gap = starts[target.column] - COLUMN_GAP * (0.35 if arrow.style == "stopped" else 0.5)
    y2 = min(max(y1, target.y + 8), target.y + target.height - 8)  # straight, if the target is that tall
    return [(x1, y1), (gap, y1), (gap, y2), (target.x - 2, y2)]


def _line(axes: Axes, points: Sequence[tuple[float, float]], style: Style) -> None:
    color, dashes = LINES[style]
    path, look = Path(points), (0, dashes) if dashes else "-"
    axes.add_patch(FancyArrowPatch(path=path, arrowstyle="-|>", mutation_scale=9, color=color, lw=1.2, ls=look))


def _card(axes: Axes, place: _Place, kind: Kind, shift: float = 0) -> None:
    fill, edge = FILLS[kind]
    corner = (place.x + shift, place.y - shift)
    look = "round,pad=0,rounding_size=6"
    axes.add_patch(FancyBboxPatch(corner, place.width, place.height, look, fc=fill, ec=edge, linewidth=1.2))


def _box(axes: Axes, place: _Place, box: Box) -> None:
    for shift in (8, 4, 0) if box.copies > 1 else (0,):
        _card(axes, place, box.kind, shift)
    x, y, edge = place.x + PAD, place.y + PAD + TITLE - 2, FILLS[box.kind][1]
    axes.text(x, y, box.title, size=TITLE, weight="bold")
    for line in box.lines:
        y += LINE
        axes.text(x, y, line, color="#333333")
    if box.note:
        axes.text(x, y + LINE, box.note, color=edge, weight="bold")
        full, bottom = place.width - 2 * PAD, place.y + place.height - 8
        axes.add_patch(Rectangle((x, bottom), full, 3, color="white", linewidth=0))
        axes.add_patch(Rectangle((x, bottom), full * min(1.0, box.share), 3, color=edge, linewidth=0))


def _bar(axes: Axes, place: _Place, box: Box) -> None:
    """Title and lines, written upwards; the title alone where there is no room for more."""
    _card(axes, place, box.kind)
    words = ", ".join([box.title, *box.lines])
    if text_width(words, TEXT) > place.height - 2 * PAD:
        words = box.title
    axes.text(place.x + place.width / 2, place.middle, words, color="#333333", rotation=90, ha="center", va="center")
