"""How the pictures of `quintet explain` look: size, colours and letters, captions and level bars; as SVG and as PNG.

A picture is a matplotlib Figure whose unit is a point, and a point becomes a pixel of the SVG. pyplot, which keeps
figures in a state of the whole process, is not used.
"""

from __future__ import annotations

import io
import re
from collections.abc import Sequence

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.textpath import text_to_path
from PIL import Image

# Colours that also differ for eyes that cannot tell red from green (Okabe and Ito).
BLUE, ORANGE, GREEN, RED, PINK, SKY = "#0072b2", "#e69f00", "#009e73", "#d55e00", "#cc79a7", "#56b4e9"
INK, GRAY, PALE, SHADE = "#1f2328", "#6b7280", "#d9dce1", "#f1f3f6"
SERIES = (BLUE, RED, GREEN)
WIDTH, HEAD, MARGIN = 1080, 68, 20
PIXELS = 1.5  # of the PNG to a point
MOST_LETTERS = 44  # of a bar's label

styled = rc_context(
    {
        "figure.dpi": 72,  # a pixel is a point
        # Matplotlib brings DejaVu Sans and measures words by it; whoever shows an SVG without it has a narrower one.
        "font.sans-serif": ["DejaVu Sans", "Helvetica", "Arial"],
        "font.size": 10,
        "text.color": INK,
        "text.parse_math": False,
        "text.hinting": "none",  # a line is as wide as it is measured to be
        "axes.titlesize": 12,
        "axes.titleweight": "bold",
        "axes.titlelocation": "left",
        "axes.labelcolor": GRAY,
        "axes.edgecolor": GRAY,
        "axes.spines.left": False,
        "axes.spines.right": False,
        "axes.spines.top": False,
        "axes.axisbelow": True,
        "axes.grid": True,
        "axes.grid.axis": "y",
        "axes.xmargin": 0,
        "axes.formatter.useoffset": False,
        "grid.color": PALE,
        "grid.linewidth": 0.7,
        "xtick.color": GRAY,
        "ytick.color": GRAY,
        "ytick.left": False,
        "legend.frameon": False,
        "legend.borderaxespad": 1.0,
        "svg.fonttype": "none",
        "svg.hashsalt": "quintet",  # the same picture is the same file
    }
)
"""Decorates whatever draws or writes: the look holds while it runs, and the process's own settings stay."""


def text_width(text: str, size: float, weight: str = "normal") -> float:
    """How wide a line of text is, in points."""
    face = FontProperties(size=size, weight=weight)
    return text_to_path.get_text_width_height_descent(text, face, ismath=False)[0] if text else 0.0


def new_figure(height: float, title: str, note: str) -> Figure:
    """WIDTH x height points with words at the top left and the rest left to be laid out."""
    layout = ConstrainedLayoutEngine(rect=(0, 0, 1, 1 - HEAD / height), w_pad=10 / 72, h_pad=6 / 72)
    figure = Figure(figsize=(WIDTH / 72, height / 72), layout=layout)
    size = 17 * min(1.0, (WIDTH - 2 * MARGIN) / text_width(title, 17, "bold"))
    figure.text(MARGIN / WIDTH, 1 - 28 / height, title, size=size, weight="bold")
    figure.text(MARGIN / WIDTH, 1 - 47 / height, note, size=12, color=GRAY)
    return figure


def caption(axes: Axes, title: str, note: str = "") -> None:
    """A title at the top left of a chart; the lines of the note under it say more, in gray."""
    axes.set_title(title, pad=6 + 14 * (note.count("\n") + bool(note)))
    if note:
        axes.annotate(note, (0, 1), (0, 6), xycoords="axes fraction", textcoords="offset points", color=GRAY)


def bars(axes: Axes, rows: Sequence[tuple[str, float, str, str]], *, full: float, room: int = 0) -> None:
    """Level bars, the first at the top; long labels lose their end.

    Args:
        axes: the chart.
        rows: (label, length, words behind the bar, colour).
        full: the length that is as wide as the chart.
        room: for so many bars at least, so that a few are not thick.
    """
    labels = [label if len(label) <= MOST_LETTERS else f"{label[: MOST_LETTERS - 1]}…" for label, _, _, _ in rows]
    drawn = axes.barh(range(len(rows)), [row[1] for row in rows], 0.7, color=[row[3] for row in rows])
    axes.bar_label(drawn, [row[2] for row in rows], padding=4, color=GRAY)
    axes.set_yticks(range(len(rows)), labels, color=INK)
    axes.set(xlim=(0, full), ylim=(max(len(rows), room) - 0.5, -0.5))
    axes.xaxis.set_visible(False)
    axes.spines.bottom.set_visible(False)
    axes.grid(visible=False)


@styled
def svg(figure: Figure) -> str:
    """The picture as SVG text that is the same whenever it is drawn."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    return re.sub(r'(width|height)="([\d.]+)pt"', r'\1="\2"', text[text.index("<svg") :], count=2)


@styled
def png(figure: Figure) -> bytes:
    """The picture as a PNG of PIXELS pixels to a point."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=72 * PIXELS)
    small = io.BytesIO()
    Image.open(buffer).convert("RGB").quantize(256, dither=Image.Dither.NONE).save(small, "PNG", optimize=True)
    return small.getvalue()
