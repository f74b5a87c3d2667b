"""Axes on a picture: where numbers stand, round ticks, lines, bars and legends."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, floor, isfinite, log10

from quintet.explain.plots.picture import GRAY, INK, LETTER, PALE, Array, Picture


@dataclass(frozen=True, slots=True)
class Scale:
    """Numbers low..high along start..end in pixels; logarithmic where asked, and then nothing is below `low`."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def __call__(self, number: float) -> float:
        """The pixel of a number."""
        low, high = self.low, self.high
        if self.log:
            number, low, high = log10(max(number, self.low)), log10(low), log10(high)
        return self.start + (number - low) / (high - low) * (self.end - self.start)

    def ticks(self, wanted: int = 5) -> list[float]:
        """Round numbers within the scale: tens where logarithmic, else 1, 2 or 5 times a power of ten apart."""
        if self.log:
            first, last = ceil(log10(self.low) - 1e-9), floor(log10(self.high) + 1e-9)
            every = max(1, ceil((last - first) / wanted))
            return [10.0**k for k in range(first, last + 1, every)]
        span = self.high - self.low
        power = 10.0 ** floor(log10(span / wanted))
        step = next(m * power for m in (1, 2, 5, 10) if span / (m * power) <= wanted)
        return [k * step for k in range(ceil(self.low / step - 1e-9), floor(self.high / step + 1e-9) + 1)]


def tick_text(number: float) -> str:
    """A tick's number, short."""
    size = abs(number)
    if size and (size < 1e-3 or size >= 1e5):
        return f"{number:.0e}".replace("e-0", "e-").replace("e+0", "e")
    return f"{number:,.0f}" if size >= 1000 else f"{number:.4g}"


class Axes:
    """A chart's rectangle in a picture; ranges are widened where they have no extent."""

    def __init__(
        self,
        picture: Picture,
        left_top: tuple[float, float],
        size: tuple[float, float],
        *,
        x_range: tuple[float, float],
        y_range: tuple[float, float],
        log_x: bool = False,
        log_y: bool = False,
    ) -> None:
        self.picture, (self.left, self.top), (self.width, self.height) = picture, left_top, size
        self.right, self.bottom = self.left + self.width, self.top + self.height
        self.x = Scale(*_extent(x_range, log=log_x), self.left, self.right, log_x)
        self.y = Scale(*_extent(y_range, log=log_y), self.bottom, self.top, log_y)

    def frame(
        self,
        *,
        title: str = "",
        x_label: str = "",
        y_label: str = "",
        x_ticks: bool = True,
        y_ticks: bool = True,
        note: str = "",
    ) -> None:
        """Grid, ticks and words; draw it first."""
        p = self.picture
        if y_ticks:
            for number in self.y.ticks(4):
                y = self.y(number)
                p.line([(self.left, y), (self.right, y)], PALE, 0.7)
                p.words(self.left - 5, y + 3.5, tick_text(number), 10, GRAY, anchor="end")
        p.line([(self.left, self.bottom), (self.right, self.bottom)], GRAY, 1)
        if x_ticks:
            for number in self.x.ticks(max(2, int(self.width / 70))):
                x = self.x(number)
                p.line([(x, self.bottom), (x, self.bottom + 4)], GRAY, 1)
                p.words(x, self.bottom + 15, tick_text(number), 10, GRAY, anchor="middle")
        if title:
            p.words(self.left, self.top - 9 - (14 if note else 0), title, 12.5, bold=True)
        if note:
            p.words(self.left, self.top - 9, note, 10.5, GRAY)
        if x_label:
            p.words((self.left + self.right) / 2, self.bottom + 29, x_label, 10.5, GRAY, anchor="middle")
        if y_label:
            p.words(self.left - 38, (self.top + self.bottom) / 2, y_label, 10.5, GRAY, anchor="middle", upwards=True)

    def plot(
        self,
        xs: Sequence[float] | Array,
        ys: Sequence[float] | Array,
        color: str,
        *,
        width: float = 1.6,
        dashes: str = "",
    ) -> None:
        """A line through the points whose numbers are finite; a gap where they are not. Cut off at the frame."""
        part: list[tuple[float, float]] = []
        for x, y in [*zip(map(float, xs), map(float, ys), strict=True), (0.0, float("nan"))]:
            if isfinite(y):
                part.append((self.x(x), min(max(self.y(y), self.top), self.bottom)))
            elif part:
                self.picture.line(part, color, width, dashes=dashes)
                part = []

    def band(self, start: float, end: float, fill: str) -> None:
        """Shade a range of x over the whole height."""
        self.picture.box(self.x(start), self.top, self.x(end) - self.x(start), self.height, fill)

    def legend(self, entries: Sequence[tuple[str, str, str]], at: tuple[float, float]) -> None:
        """(words, colour, dashes) below one another, in pixels."""
        x, y = at
        for text, color, dashes in entries:
            self.picture.line([(x, y - 3.5), (x + 22, y - 3.5)], color, 2, dashes=dashes)
            self.picture.words(x + 28, y, text, 10.5, INK)
            y += 15


def bars(
    picture: Picture,
    left_top: tuple[float, float],
    width: float,
    rows: Sequence[tuple[str, float, str, str]],
    *,
    label_width: float,
    row_height: float = 17,
    full: float = 0.0,
) -> float:
    """Level bars: (label, length, words behind it, colour); Returns where they end.

    `full` is the length of a whole bar. Long labels lose their end.
    """
    x, y = left_top
    most = full or max((length for _, length, _, _ in rows), default=1.0) or 1.0
    letters = int(label_width / (LETTER * 10.5))
    for label, length, behind, color in rows:
        shown = label if len(label) <= letters else label[: letters - 1] + "…"
        picture.words(x + label_width - 6, y + row_height - 5.5, shown, 10.5, INK, anchor="end")
        size = max(0.0, width * min(1.0, length / most))
        picture.box(x + label_width, y + 2, size, row_height - 5, color)
        picture.words(x + label_width + size + 5, y + row_height - 5.5, behind, 10, GRAY)
        y += row_height
    return y


def _extent(given: tuple[float, float], *, log: bool) -> tuple[float, float]:
    low, high = given
    if log:
        low = max(low, 1e-12)
        return (low, high) if high > low * 1.001 else (low / 2, low * 2)
    return (low, high) if high - low > 1e-9 * max(1.0, abs(low)) else (low - 0.5, low + 0.5)
