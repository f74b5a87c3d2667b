"""`GradientReport` as a picture and in words."""

from __future__ import annotations

import numpy as np

from quintet.explain.gradients import Curve, GradientReport
from quintet.explain.plots.axes import Axes, tick_text
from quintet.explain.plots.picture import BLUE, GRAY, GREEN, INK, ORANGE, PINK, RED, SHADE, SKY, Picture

LOOKS = {  # curve -> colour and dashes
    "LSTM, its cells": (BLUE, ""),
    "LSTM, its output": (SKY, "5 3"),
    "LSTM before training, its cells": (GREEN, "5 3"),
    "plain RNN that learned to do what the LSTM does": (RED, ""),
    "plain RNN before training": (ORANGE, "5 3"),
    "plain RNN, small random weights": (PINK, "2 3"),
}
FLOOR = 1e-9


def draw_gradients(report: GradientReport) -> str:
    """Norms over the window that training uses, and over a longer one."""
    picture = Picture(1080, 500)
    picture.words(20, 28, f"How far the gradient reaches back: {report.subject.name}", 17, bold=True)
    said = (
        "Norm of the gradient of one step's PPO loss by the memory of earlier steps, relative to its own step; "
        f"mean over {report.columns} agents' games."
    )
    picture.words(20, 47, said, 12, GRAY)
    window = min(report.bptt_steps, len(report.curves[0].norms))
    _panel(picture, report, (62, 104), (400, 270), window, f"Through the window of {window} steps", linear=True)
    longest = len(report.curves[0].norms)
    _panel(
        picture, report, (545, 104), (510, 270), longest, f"The same over {longest} steps, logarithmic", linear=False
    )
    _legend(picture, report)
    return picture.svg()


def _panel(
    picture: Picture,
    report: GradientReport,
    at: tuple[float, float],
    size: tuple[float, float],
    rows: int,
    title: str,
    *,
    linear: bool,
) -> None:
    least = min(float(curve.norms[:rows].min()) for curve in report.curves)
    low = 0.0 if linear else max(FLOOR, 10 ** np.floor(np.log10(max(least, FLOOR))))
    highest = max(float(curve.norms[:rows].max()) for curve in report.curves)
    axes = Axes(
        picture, at, size, x_range=(0, max(1, rows - 1)), y_range=(low, max(1.0, highest)), log_y=not linear
    )  # fmt: skip
    if not linear:
        axes.band(0, min(rows - 1, report.bptt_steps - 1), SHADE)
        picture.words(axes.x(0) + 5, axes.bottom - 8, f"the {report.bptt_steps} steps of training", 10, GRAY)
    axes.frame(title=title, x_label="steps back from the loss", y_label="gradient norm")
    for curve in report.curves:
        color, dashes = LOOKS[curve.name]
        norms = np.where(curve.norms[:rows] >= low, curve.norms[:rows], np.nan)
        axes.plot(np.arange(rows), norms, color, dashes=dashes, width=2)


def _legend(picture: Picture, report: GradientReport) -> None:
    """Every curve with what is left at the far end of the window and of the longer stretch."""
    last, far = min(report.bptt_steps, len(report.curves[0].norms)) - 1, len(report.curves[0].norms) - 1
    picture.words(720, 428, f"left after {last} steps", 10.5, INK, anchor="end", bold=True)
    picture.words(860, 428, f"after {far} steps", 10.5, INK, anchor="end", bold=True)
    for k, curve in enumerate(report.curves):
        y = 442 + k * 13
        color, dashes = LOOKS[curve.name]
        picture.line([(240, y - 3.5), (268, y - 3.5)], color, 2, dashes=dashes)
        picture.words(276, y, curve.name, 10.5)
        picture.words(720, y, share(curve, last), 10.5, anchor="end")
        picture.words(860, y, share(curve, far), 10.5, anchor="end")
    picture.height = 442 + 13 * len(report.curves) + 8


def share(curve: Curve, row: int) -> str:
    """What is left at a row, short."""
    left = float(curve.norms[row])
    if left < 1e-30:
        return "< 1e-30"
    return f"{left:.1%}" if left >= 0.001 else tick_text(float(f"{left:.1e}"))


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


def crossing(cells: Curve, other: Curve) -> int:
    """From how many steps back on the first curve has more left than the other, all the way."""
    behind = np.flatnonzero(cells.norms <= other.norms)
    return int(behind[-1]) + 1 if len(behind) else 0
