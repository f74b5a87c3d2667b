"""Where the words of a picture stand."""

from __future__ import annotations

from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.transforms import Bbox

from quintet.explain.plots.figure import styled


@styled
def words_of(figure: Figure) -> list[tuple[str, Bbox]]:
    """Every text that is drawn, with its place in points from the bottom left."""
    figure.draw_without_rendering()
    hidden: set[Text] = set()
    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            low, high = sorted(axis.get_view_interval())
            for tick in axis.get_major_ticks():
                if not (low <= tick.get_loc() <= high and axis.get_visible() and axes.axison):
                    hidden.add(tick.label1)
    texts = [text for text in figure.findobj(Text) if isinstance(text, Text) and text not in hidden]
    return [(t.get_text(), t.get_window_extent()) for t in texts if t.get_visible() and t.get_text().strip()]


def overlaps(words: list[tuple[str, Bbox]]) -> list[tuple[str, str]]:
    """Pairs of texts that lie on each other by more than a point."""
    return [
        (text, other)
        for k, (text, a) in enumerate(words)
        for other, b in words[k + 1 :]
        if min(a.x1, b.x1) - max(a.x0, b.x0) > 1 and min(a.y1, b.y1) - max(a.y0, b.y0) > 1
    ]
