"""`LstmReport` as a picture and in words."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Colormap, LinearSegmentedColormap, ListedColormap
from matplotlib.figure import Figure, SubFigure

from quintet.explain.lstm import BEFORE, Departures, LstmReport, ReadOut
from quintet.explain.plots.figure import (
    BLUE,
    GRAY,
    GREEN,
    INK,
    ORANGE,
    PINK,
    RED,
    SERIES,
    SHADE,
    bars,
    caption,
    new_figure,
    styled,
)
from quintet.games.api import Array

SHOWN_ROWS, GATE_ROWS, READ_OUT_ROWS = 240, 120, 160  # the last ones of the game shown
BLUE_WHITE_RED = LinearSegmentedColormap.from_list("units", ["#005caa", "white", "#c83c0a"], N=65)


@styled
def draw_lstm(report: LstmReport) -> Figure:
    """The units over a game, their half-lives, the gates of three of them, and what the memory knows."""
    units = report.hidden.shape[1]
    knows = report.departures is not None or report.read_outs
    heights = [270, 270, 230] if knows else [270, 270]
    figure = new_figure(
        sum(heights) + 70,
        f"Inside the LSTM: {report.subject.name}",
        f"{units:,} units: {units:,} numbers that every agent carries from step to step, not {units:,} steps.",
    )
    top, middle, *bottom = figure.subfigures(len(heights), 1, squeeze=False, height_ratios=heights)[:, 0]
    left, right = top.subfigures(1, 2, squeeze=False, width_ratios=(2, 1))[0]
    _units(left, report)
    _half_lives(right.subplots(), report)
    _gates(middle, report)
    if knows:
        _knowledge(bottom[0], report)
    return figure


def _units(figure: SubFigure, report: LstmReport) -> None:
    """Every unit's output over the rows, those with the longest memory at the bottom; below them what is in sight."""
    hidden, sight = report.hidden[-SHOWN_ROWS:, report.order], report.out_of_sight
    parts = figure.subplots(1 if sight is None else 2, 1, sharex=True, squeeze=False,
                            height_ratios=[1] if sight is None else [24, 1])[:, 0]  # fmt: skip
    caption(parts[0], "Output of every unit, step by step, of one agent in one game")
    _grid(parts[0], hidden.T, BLUE_WHITE_RED, -1)
    parts[0].set_yticks([hidden.shape[1] * 0.06, hidden.shape[1] * 0.94], ["short\nmemory", "long\nmemory"])
    if sight is not None:
        _grid(parts[1], sight[None, -SHOWN_ROWS:], ListedColormap([GREEN, SHADE]), 0)
        parts[1].set_yticks([])
        parts[1].annotate("green: the enemy hero is in sight", (0, 0), (0, -28), xycoords="axes fraction",
                          textcoords="offset points", color=GREEN)  # fmt: skip
    for t in np.flatnonzero(report.first[-SHOWN_ROWS:]):
        for part in parts:
            part.axvline(t, color=INK, linewidth=1.2)
    parts[-1].set_xlabel("step; blue −1, white 0, red +1", loc="right")


def _grid(axes: Axes, values: Array, colors: Colormap, lowest: float) -> None:
    """Numbers from `lowest` to 1 as colours, a column a step, the first line at the top."""
    lines, steps = values.shape
    axes.imshow(values, colors, aspect="auto", interpolation="none", vmin=lowest, vmax=1, extent=(0, steps, lines, 0))
    axes.grid(visible=False)
    axes.spines.bottom.set_visible(False)
    axes.tick_params(bottom=False)


def _half_lives(axes: Axes, report: LstmReport) -> None:
    """How many units remember how long."""
    lives = report.half_life_steps
    edges = 2.0 ** np.arange(-2, 11)
    counts, _ = np.histogram(np.clip(lives, edges[0], edges[-1] * 0.999), edges)
    axes.bar(np.arange(len(counts)) + 0.5, counts, 0.84, color=BLUE)
    axes.set_xticks(range(0, len(edges), 2), [f"{edge:g}" for edge in edges[::2]])
    said = f"median {np.median(lives):.1f} steps, longest {lives.max():.0f}"
    step_s = report.subject.spec.step_s
    if step_s != 1.0:
        said += f" ({lives.max() * step_s:.0f} s of the game)"
    axes.set(xlim=(0, len(counts)), ylabel="units")
    axes.set_xlabel(said, loc="right")
    caption(axes, "How long units remember", "steps until half of a cell is forgotten")


def _gates(figure: SubFigure, report: LstmReport) -> None:
    """Gates and cell of three units over the last rows."""
    rows = slice(-GATE_ROWS, None)
    words = ("A unit of short memory", "A unit of longer memory", "The unit of the longest memory")
    upper, lower = figure.subplots(2, 3, sharex=True, height_ratios=(4, 3))
    for title, unit, above, below in zip(words, report.shown_units, upper, lower, strict=True):
        cell = report.gates["cell"][rows, unit]
        caption(above, title, f"unit {unit}: half-life {report.half_life_steps[unit]:.1f} steps")
        for name, color in (("input", ORANGE), ("forget", BLUE), ("output", GREEN)):
            above.plot(report.gates[name][rows, unit], color=color, linewidth=1.2, label=f"{name} gate")
        above.set(ylim=(0, 1.02), yticks=(0, 0.5, 1))
        above.tick_params(bottom=False)
        below.plot(cell, color=INK, linewidth=1.4)
        below.axhline(0, color=GRAY, linewidth=0.8)
        below.set(xlabel="last steps of the game above", xlim=(0, max(1, len(cell) - 1)))
    upper[0].set_ylabel("gates")
    lower[0].set_ylabel("cell")
    figure.legend(*upper[0].get_legend_handles_labels(), loc="outside lower left", ncols=3)


def _knowledge(figure: SubFigure, report: LstmReport) -> None:
    """Cells around the moment when the enemy leaves sight, or a read-out step by step; and what can be read out."""
    left, right = figure.subplots(1, 2, width_ratios=(3, 2))
    if report.departures is not None:
        _departures(left, report.departures)
    else:
        _read_out(left, max(report.read_outs, key=lambda found: found.from_memory))
    figure.legend(loc="outside lower left", ncols=3)
    if not report.read_outs:
        right.remove()
        return
    caption(right, "What of it can be read out, linearly", "share of variance, in games not fitted on")
    shares = [
        (f"{one.name}: {words}", max(0.0, share), f"{max(0.0, share):.0%}", color)
        for one in report.read_outs
        for words, share, color in (("memory", one.from_memory, RED), ("step alone", one.from_row, PINK))
    ]
    bars(right, shares, full=1.15, room=7)


def _departures(axes: Axes, found: Departures) -> None:
    """Cells around the moment when the enemy leaves sight."""
    xs = np.arange(-BEFORE, len(found.mean) - BEFORE)
    scale = np.abs(found.mean).max(axis=0) + 1e-6
    ys, errors = found.mean / scale, found.error / scale
    axes.axvspan(-BEFORE, 0, color="#e3f4ec", zorder=0)
    for k, unit in enumerate(found.units):
        color, y, error = SERIES[k], ys[:, k], errors[:, k]
        axes.fill_between(xs, y - error, y + error, color=color, alpha=0.2, linewidth=0)
        axes.plot(xs, y, color=color, linewidth=1.8, label=f"unit {unit}")
    axes.set(xlabel="steps since it left sight (green: in sight)", ylabel="cell, share of peak", xlim=(xs[0], xs[-1]))
    caption(axes, "When the enemy hero leaves sight", f"mean of {found.count} times, the three cells that move most")


def _read_out(axes: Axes, found: ReadOut) -> None:
    """What a linear read-out of the memory says of what was hidden, in a game that it was not fitted on."""
    for name, values, color, width in (
        ("truth", found.truth, "#9aa1ab", 4.0),
        ("memory says", found.memory_says, RED, 1.6),
        ("the step alone says", found.row_says, PINK, 1.0),
    ):
        axes.plot(values[-READ_OUT_ROWS:], color=color, linewidth=width, label=name)
    axes.set_xlabel("last steps of the game above")
    caption(axes, f"Read out of the memory: {found.name}", "a game that the read-out was not fitted on")


def lstm_words(report: LstmReport) -> tuple[str, str]:
    """Two plain paragraphs."""
    lives, units, name = report.half_life_steps, report.hidden.shape[1], report.subject.name
    fresh = np.log(2) / -np.log(1 / (1 + np.exp(-1.0)))
    step_s = report.subject.spec.step_s
    longest = f"{lives.max():.0f} steps" + (
        f", {lives.max() * step_s:.0f} seconds of the game" if step_s != 1.0 else ""
    )
    first = (
        f"An LSTM of {units:,} units ({name}) is no window of {units:,} steps: it is {units:,} pairs of numbers, a "
        "cell and an output, that every agent carries from one step to the next, for as long as its game lasts. At "
        "each step three gates, numbers from 0 to 1 that the network computes from what it sees, decide for every cell "
        "how much to keep (forget gate), how much to write (input gate) and how much to show (output gate). A forget "
        "gate of f keeps f^k of a cell after k steps; before training all of them are near 0.73, which halves a cell "
        f"in {fresh:.1f} steps. In this policy half of the units lose half of their cell within {np.median(lives):.1f} "
        f"steps, and the slowest keeps half of its cell for {longest}: training has made some units notebooks and "
        "others wires."
    )
    return first, _what_it_knows(report)


def _what_it_knows(report: LstmReport) -> str:
    said = []
    if report.departures is not None:
        units = ", ".join(str(unit) for unit in report.departures.units)
        said.append(
            f"In {report.departures.count} moments in which the enemy hero left sight and stayed away, the cells of "
            f"units {units} moved away from where they had been, and did not come back: that the enemy is gone is "
            "written into the memory."
        )
    for one in report.read_outs:
        said.append(
            f"A linear read-out of the memory explains {max(0.0, one.from_memory):.0%} of the variance of "
            f"{one.name} in games that it was not fitted on; one from what the LSTM is given in the step itself "
            f"explains {max(0.0, one.from_row):.0%}."
        )
    if report.read_outs and report.out_of_sight is not None:
        said.append(
            "(Rows in which the enemy is out of sight, where it really stands. The observation itself says where it "
            "was last seen, so the memory can only add what follows from how it moved before.)"
        )
    return " ".join(said) or "Nothing that this game hides is known, so nothing was read out of the memory."
