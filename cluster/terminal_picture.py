"""A picture in the terminal: every character shows two pixels, one above the other."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from itertools import groupby

from PIL import Image
from rich.color import Color
from rich.console import Console, ConsoleOptions, RenderResult
from rich.measure import Measurement
from rich.segment import Segment
from rich.style import Style

UPPER_HALF = "▀"
SHADES = 24  # apart: colours that are nearly alike become one, so that a terminal has less to be told


class TerminalPicture:
    """An RGB picture of `columns` characters a line, in its own proportions."""

    def __init__(self, image: Image.Image, columns: int) -> None:
        rows = max(1, round(columns * image.height / image.width / 2))
        small = image.resize((columns, 2 * rows), Image.Resampling.BOX)
        self.columns, self.rows = columns, rows
        self.data = [value // SHADES * SHADES + SHADES // 2 for value in small.tobytes()]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Lines of half blocks: the upper pixel in front, the lower one behind."""
        for row in range(self.rows):
            for style, same in groupby(self._styles(row)):
                yield Segment(UPPER_HALF * len(list(same)), style)
            yield Segment.line()

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        """As wide as it is."""
        return Measurement(self.columns, self.columns)

    def _styles(self, row: int) -> Iterator[Style]:
        upper, lower = 2 * row * self.columns * 3, (2 * row + 1) * self.columns * 3
        for at in range(0, self.columns * 3, 3):
            yield _style(*self.data[upper + at : upper + at + 3], *self.data[lower + at : lower + at + 3])


@lru_cache(maxsize=2**14)
def _style(r: int, g: int, b: int, lower_r: int, lower_g: int, lower_b: int) -> Style:
    front, back = Color.from_rgb(min(255, r), min(255, g), min(255, b)), (lower_r, lower_g, lower_b)
    return Style(color=front, bgcolor=Color.from_rgb(*(min(255, part) for part in back)))
