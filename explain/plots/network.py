"""Boxes and arrows as an SVG, laid out in columns from left to right; knows nothing of networks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal
from xml.sax.saxutils import escape

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
LINES: dict[Style, tuple[str, str]] = {  # colour, dashes
    "data": ("#555555", ""),
    "keys": ("#3f7fc8", "7 4"),
    "choice": ("#8663bf", "2 3"),
    "stopped": ("#8a9a3c", "1 4"),
}
MEANINGS: dict[Style, str] = {
    "data": "numbers",
    "keys": "slot embeddings, the keys of pointers",
    "choice": "the chosen primary action",
    "stopped": "behind a stop-gradient",
}
FONT = "font-family='Helvetica, Arial, sans-serif'"
TITLE, TEXT, LINE, PAD, GAP, COLUMN_GAP, BAR = 13, 11, 15, 9, 12, 46, 34
LETTER = 0.59  # of the size, about, is how wide a letter of the font is


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
        texts = [*((line, TEXT) for line in self.lines), (self.note, TEXT * 1.1), (self.title, TITLE * 1.1)]
        return max(LETTER * size * len(text) for text, size in texts) + 2 * PAD

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


def draw(drawing: Drawing) -> str:
    """The whole picture as SVG text."""
    places, width, height = _lay_out(drawing)
    boxes = {box.key: box for box in [*(b for lane in drawing.lanes for b in lane), drawing.bar]}
    boxes |= {box.key: box for stack in drawing.stacks for box in stack}
    starts = _column_starts(places)
    parts = [_text(20, 30, drawing.title, 18, weight="bold"), _text(20, 50, drawing.subtitle, 12, "#555555")]
    parts += [_arrow(places, starts, arrow) for arrow in drawing.arrows]
    parts += [_bar(places[key]) if key == drawing.bar.key else "" for key in boxes]
    parts += [_bar_text(places[drawing.bar.key], drawing.bar)]
    parts += [_box(places[key], box) for key, box in boxes.items() if key != drawing.bar.key]
    parts += _legend(height - 16, {arrow.style for arrow in drawing.arrows})
    size = f"width='{width:.0f}' height='{height:.0f}' viewBox='0 0 {width:.0f} {height:.0f}'"
    return "\n".join(
        [
            f"<svg xmlns='http://www.w3.org/2000/svg' {size} {FONT}>",
            _MARKERS,
            "<rect width='100%' height='100%' fill='white'/>",
        ]
        + [part for part in parts if part]
        + ["</svg>\n"]
    )


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


def _column_starts(places: dict[str, _Place]) -> dict[int, float]:
    return {place.column: place.x for place in places.values()}


def _arrow(places: dict[str, _Place], starts: dict[int, float], arrow: Arrow) -> str:
    """Level, then upright in the gap before the target's column, then level again; a choice goes round the outside."""
    source, target = places[arrow.source], places[arrow.target]
    x1, y1 = source.x + source.width, source.middle
    if arrow.style == "keys":
        return _keys_path(places, source, target)
    if arrow.style == "choice":
        right = x1 + 14
        return _path(
            [(x1, y1), (right, y1), (right, target.middle), (target.x + target.width + 2, target.middle)], "choice"
        )
    if source.column == target.column:
        x, down = source.x + source.width / 2, target.y > source.y
        start, end = (source.y + source.height, target.y - 2) if down else (source.y, target.y + target.height + 2)
        return _path([(x, start), (x, end)], arrow.style)
    gap = starts[target.column] - COLUMN_GAP * (0.35 if arrow.style == "stopped" else 0.5)
    y2 = min(max(y1, target.y + 8), target.y + target.height - 8)  # straight, if the target is that tall
    return _path([(x1, y1), (gap, y1), (gap, y2), (target.x - 2, y2)], arrow.style)


def _keys_path(places: dict[str, _Place], source: _Place, target: _Place) -> str:
    """Above everything, since what it passes has nothing to do with it."""
    top = min(place.y for place in places.values()) - 14
    x1, out, into = source.x + source.width, source.x + source.width + 18, target.x - 10
    y1, y2 = source.middle - 7, target.middle + 7
    return _path([(x1, y1), (out, y1), (out, top), (into, top), (into, y2), (target.x - 2, y2)], "keys")


def _path(points: Sequence[tuple[float, float]], style: Style) -> str:
    color, dashes = LINES[style]
    steps = " ".join(f"{'M' if k == 0 else 'L'}{x:.1f},{y:.1f}" for k, (x, y) in enumerate(points))
    dashed = f" stroke-dasharray='{dashes}'" if dashes else ""
    return (
        f"<path d='{steps}' fill='none' stroke='{color}' stroke-width='1.4' stroke-linejoin='round'{dashed} "
        f"marker-end='url(#{style})'/>"
    )


def _box(place: _Place, box: Box) -> str:
    fill, edge = FILLS[box.kind]
    cards = [
        f"<rect x='{place.x + d:.1f}' y='{place.y - d:.1f}' width='{place.width:.1f}' height='{place.height:.1f}' "
        f"rx='6' fill='{fill}' stroke='{edge}' stroke-width='1.2'/>"
        for d in ((8, 4, 0) if box.copies > 1 else (0,))
    ]
    x, y = place.x + PAD, place.y + PAD + TITLE - 2
    texts = [_text(x, y, box.title, TITLE, weight="bold")]
    for line in box.lines:
        y += LINE
        texts.append(_text(x, y, line, TEXT, "#333333"))
    if box.note:
        texts.append(_text(x, y + LINE, box.note, TEXT, edge, weight="bold"))
        full = place.width - 2 * PAD
        bottom = place.y + place.height - 8
        texts.append(f"<rect x='{x:.1f}' y='{bottom:.1f}' width='{full:.1f}' height='3' fill='white' rx='1'/>")
        share = full * min(1.0, box.share)
        texts.append(f"<rect x='{x:.1f}' y='{bottom:.1f}' width='{share:.1f}' height='3' fill='{edge}' rx='1'/>")
    return "\n".join([*cards, *texts])


def _bar(place: _Place) -> str:
    fill, edge = FILLS["pool"]
    size = f"x='{place.x:.1f}' y='{place.y:.1f}' width='{place.width:.1f}' height='{place.height:.1f}'"
    return f"<rect {size} rx='6' fill='{fill}' stroke='{edge}' stroke-width='1.2'/>"


def _bar_text(place: _Place, box: Box) -> str:
    """Title and lines, written upwards; the title alone where there is no room for more."""
    x, y = place.x + place.width / 2 + 4, place.middle
    words = ", ".join([box.title, *box.lines])
    if LETTER * TEXT * len(words) > place.height - 2 * PAD:
        words = box.title
    return (
        f"<text transform='translate({x:.1f},{y:.1f}) rotate(-90)' text-anchor='middle' font-size='{TEXT}' "
        f"fill='#333333'>{escape(words)}</text>"
    )


def _text(x: float, y: float, text: str, size: float, color: str = "#111111", weight: str = "normal") -> str:
    return (
        f"<text x='{x:.1f}' y='{y:.1f}' font-size='{size}' font-weight='{weight}' fill='{color}'>{escape(text)}</text>"
    )


def _legend(y: float, styles: Iterable[Style]) -> list[str]:
    parts, x = [], 20.0
    shown = set(styles)
    for style, meaning in MEANINGS.items():
        if style in shown:
            parts += [_path([(x, y - 4), (x + 34, y - 4)], style), _text(x + 42, y, meaning, TEXT, "#555555")]
            x += 70 + LETTER * TEXT * len(meaning)
    return parts


_MARKERS = "<defs>{}</defs>".format(
    "".join(
        f"<marker id='{style}' viewBox='0 0 8 8' refX='7' refY='4' markerWidth='7' markerHeight='7' orient='auto'>"
        f"<path d='M0,0 L8,4 L0,8 z' fill='{color}'/></marker>"
        for style, (color, _) in LINES.items()
    )
)
