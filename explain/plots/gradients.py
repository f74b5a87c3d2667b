"""`GradientReport` as a picture and in words."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from quintet.explain.gradients import GradientCurve, GradientReport
from quintet.explain.plots.figure import BLUE, GRAY, GREEN, ORANGE, PINK, RED, SHADE, SKY, caption, new_figure, styled

LOOKS = {  # curve -> colour and dashes
    "LSTM, its cells": (BLUE, "-"),
    "LSTM, its output": (SKY, "--"),
    "LSTM before training, its cells": (GREEN, "--"),
    "plain RNN that learned to do what the LSTM does": (RED, "-"),
    "plain RNN before training": (ORANGE, "--"),
    "plain RNN, small random weights": (PINK, ":"),
}
FLOOR = 1e-9


@styled
def draw_gradients(report: GradientReport) -> Figure:
    """Norms over the window that training uses, and over a longer one."""
    figure = new_figure(
        530,
        f"How far the gradient reaches back: {report.subject.name}",
        "Norm of the gradient of one step's PPO loss by the memory of earlier steps, relative to its own step; "
        f"mean over {report.columns} agents' games.",
    )
    longest = len(report.curves[0].norms)
    window = min(report.bptt_steps, longest)
    left, right = figure.subplots(1, 2, width_ratios=(4, 5))
    _curves(left, report, window)
    caption(left, f"Through the window of {window} steps")
    highest = max(float(curve.norms.max()) for curve in report.curves)
    left.set_ylim(0, max(1.0, highest) * 1.02)
    _curves(right, report, longest)
    caption(right, f"The same over {longest} steps, logarithmic")
    least = min(float(curve.norms.min()) for curve in report.curves)
    right.set_yscale("log")
    right.set_ylim(10 ** np.floor(np.log10(max(least, FLOOR))), left.get_ylim()[1])
    right.yaxis.set_major_formatter(lambda number, _: short(number))
    right.axvspan(0, max(1, window - 1), color=SHADE, zorder=0)
    right.annotate(f"the {report.bptt_steps} steps of training", (0, 0), (5, 6), xycoords="axes fraction",
                   textcoords="offset points", color=GRAY)  # fmt: skip
    _legend(figure, report)
    return figure


def _curves(axes: Axes, report: GradientReport, rows: int) -> None:
    for curve in report.curves:
        color, dashes = LOOKS[curve.name]
        axes.plot(curve.norms[:rows], dashes, color=color, linewidth=2)
    axes.set(xlabel="steps back from the loss", ylabel="gradient norm", xlim=(0, max(1, rows - 1)))
    axes.xaxis.set_major_locator(MaxNLocator(8, integer=True))


def _legend(figure: Figure, report: GradientReport) -> None:
    """Every curve with what is left at the far end of the window and of the longer stretch, in three columns."""
    far = len(report.curves[0].norms) - 1
    last = min(report.bptt_steps - 1, far)
    nothing = Line2D([], [], linestyle="none")
    lines = [nothing, *figure.axes[0].get_lines()]
    labels = ["", *(curve.name for curve in report.curves)]
    for head, row in ((f"left after {last} steps", last), (f"after {far} steps", far)):
        lines += [nothing] * (len(report.curves) + 1)
        labels += [head, *(share(curve, row) for curve in report.curves)]
    legend = figure.legend(lines, labels, loc="outside lower center", ncols=3, handlelength=3)
    for text in legend.get_texts()[len(report.curves) + 1 :: len(report.curves) + 1]:
        text.set_fontweight("bold")


def share(curve: GradientCurve, row: int) -> str:
    """What is left at a row, short."""
    left = float(curve.norms[row])
    if left < 1e-30:
        return "< 1e-30"
    return f"{left:.1%}" if left >= 0.001 else short(left)


def short(number: float) -> str:
    """A positive number in a few letters: 0.5, 5e-4."""
    return f"{number:g}" if number >= 1e-3 else f"{number:.0e}".replace("e-0", "e-")


def gradient_words(report: GradientReport) -> tuple[str, str]:
    """Two plain paragraphs."""
    by_name = {curve.name: curve for curve in report.curves}
    cells, learned = by_name["LSTM, its cells"], by_name["plain RNN that learned to do what the LSTM does"]
    small = by_name["plain RNN, small random weights"]
    last, far = min(report.bptt_steps, len(cells.norms)) - 1, len(cells.norms) - 1
    radius = report.recurrent_radius["plain RNN, small random weights"]
    first = (
        "To learn what to remember, the gradient of a step's loss has to reach the step in which it could have been "
        "remembered. In a plain RNN, h = tanh(W h + ...), it is multiplied at every step by W and by the slope of "
        f"tanh: with small random weights (largest eigenvalue {radius:.2f}) {share(small, last)} of it is left after "
        f"{last} steps, and in one that was trained to put out what this LSTM puts out (it explains "
        f"{report.imitation:.0%} of it) {share(learned, last)}. The LSTM's cell is c = f c + i g: its direct path back "
        "is a multiplication by the forget gate alone, without W and without tanh, and the network chooses f. Here "
        f"{share(cells, last)} is left after {last} steps, and {share(cells, far)} after {far}, where the trained RNN "
        f"has {share(learned, far)}. From "
        f"{crossing(cells, learned)} steps back on the LSTM's is the larger: what is left by then is in cells that "
        "keep."
    )
    second = (
        f"Training back-propagates through windows of {report.bptt_steps} steps and starts each from the state that "
        "the worker had stored, so the memory itself runs on through the whole game while its gradient is cut. Three "
        "further things keep the numbers sane, which is the normalisation that the network's drawing does not show: "
        "every input is shifted and scaled by running statistics and cut to ±5, the return is scaled before the value "
        "learns it, and the gradient is clipped before Adam sees it. The forget gates start at 0.73 (a bias of 1), so "
        "that at the beginning the cells keep rather than forget."
    )
    return first, second


def crossing(cells: GradientCurve, other: GradientCurve) -> int:
    """From how many steps back on the first curve has more left than the other, all the way."""
    behind = np.flatnonzero(cells.norms <= other.norms)
    return int(behind[-1]) + 1 if len(behind) else 0
