"""`LstmReport` as a picture and in words."""

from __future__ import annotations

import numpy as np

from quintet.explain.lstm import BEFORE, LstmReport, ReadOut
from quintet.explain.plots.axes import Axes, bars
from quintet.explain.plots.picture import (
    BLUE,
    GRAY,
    GREEN,
    INK,
    ORANGE,
    PALE,
    RED,
    SERIES,
    SHADE,
    Array,
    Picture,
    diverging,
)

SHOWN_ROWS = 240
WIDTH = 1080
LEFT = 62


def draw_lstm(report: LstmReport) -> str:
    """The units over a game, their half-lives, the gates of three of them, and what the memory knows."""
    has_last_row = report.departures is not None or report.read_outs
    picture = Picture(WIDTH, 820 if has_last_row else 590)
    picture.words(20, 28, f"Inside the LSTM: {report.subject.name}", 17, bold=True)
    units = report.hidden.shape[1]
    picture.words(
        20, 47, f"{units:,} units: {units:,} numbers that every agent carries from step to step, not {units:,} steps.",
        12, GRAY,
    )  # fmt: skip
    _units(picture, report)
    _half_lives(picture, report)
    _gates(picture, report)
    if report.departures is not None:
        _departures(picture, report)
    if report.read_outs:
        _read_outs(picture, report)
    return picture.svg()


def _shown(report: LstmReport) -> slice:
    """The rows drawn: the end of the game shown."""
    return slice(max(0, len(report.first) - SHOWN_ROWS), None)


def _units(picture: Picture, report: LstmReport) -> None:
    """Every unit's output over the rows, those with the longest memory at the bottom."""
    rows = _shown(report)
    hidden = report.hidden[rows][:, report.order]
    axes = Axes(picture, (LEFT, 92), (640, 190), x_range=(0, len(hidden)), y_range=(0, hidden.shape[1]))
    picture.words(LEFT, 78, "Output of every unit, step by step, of one agent in one game", 12.5, bold=True)
    picture.pixels(axes.left, axes.top, axes.width, axes.height, diverging(hidden.T, 1.0))
    picture.words(LEFT - 8, 98, "short", 10, GRAY, anchor="end")
    picture.words(LEFT - 8, 109, "memory", 10, GRAY, anchor="end")
    picture.words(LEFT - 8, 271, "long", 10, GRAY, anchor="end")
    picture.words(LEFT - 8, 282, "memory", 10, GRAY, anchor="end")
    for number in axes.x.ticks(8):
        picture.words(axes.x(number), axes.bottom + 28, f"{number:g}", 10, GRAY, anchor="middle")
    picture.words(axes.right, axes.bottom + 42, "step; blue −1, white 0, red +1", 10.5, GRAY, anchor="end")
    _strip(picture, report, axes)


def _strip(picture: Picture, report: LstmReport, axes: Axes) -> None:
    """Under the units: when the enemy was in sight (where that is known), and where games begin."""
    rows = _shown(report)
    top = axes.bottom + 4
    if report.out_of_sight is not None:
        seen = ~report.out_of_sight[rows]
        picture.box(axes.left, top, axes.width, 8, SHADE)
        for begin, end in runs(seen):
            picture.box(axes.x(begin), top, axes.x(end) - axes.x(begin), 8, GREEN)
        picture.words(axes.left, axes.bottom + 42, "green: the enemy hero is in sight", 10.5, GREEN)
    for t in np.flatnonzero(report.first[rows]):
        picture.line([(axes.x(float(t)), axes.top), (axes.x(float(t)), top + 8)], INK, 1.2)


def runs(flags: Array) -> list[tuple[int, int]]:
    """[T] bool -> (first, one past the last) of every stretch that is true."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], flags, [False]]).astype(np.int8)))
    return [(int(a), int(b)) for a, b in zip(edges[::2], edges[1::2], strict=True)]


def _half_lives(picture: Picture, report: LstmReport) -> None:
    """How many units remember how long."""
    lives = report.half_life_steps
    edges = 2.0 ** np.arange(-2, 11)
    counts, _ = np.histogram(np.clip(lives, edges[0], edges[-1] * 0.999), edges)
    axes = Axes(picture, (775, 106), (285, 176), x_range=(0, len(counts)), y_range=(0, float(counts.max()) * 1.1))
    axes.frame(
        title="How long units remember", x_ticks=False, y_label="units", note="steps until half of a cell is forgotten",
        x_label="",
    )  # fmt: skip
    for k, count in enumerate(counts):
        left, right, top = axes.x(k + 0.08), axes.x(k + 0.92), axes.y(float(count))
        if count:
            picture.box(left, top, right - left, axes.bottom - top, BLUE)
    for k in range(0, len(edges), 2):
        picture.words(axes.x(k), axes.bottom + 14, f"{edges[k]:g}", 10, GRAY, anchor="middle")
    step_s = report.subject.spec.step_s
    said = f"median {np.median(lives):.1f} steps, longest {lives.max():.0f}"
    if step_s != 1.0:
        said += f" ({lives.max() * step_s:.0f} s of the game)"
    picture.words(axes.right, axes.bottom + 30, said, 10.5, GRAY, anchor="end")


def _gates(picture: Picture, report: LstmReport) -> None:
    """Gates and cell of three units over the last rows."""
    rows = slice(max(0, len(report.first) - 120), None)
    words = ("a unit of short memory", "a unit of longer memory", "the unit of the longest memory")
    for k, unit in enumerate(report.shown_units):
        left = LEFT + k * 345
        life = report.half_life_steps[unit]
        cell = report.gates["cell"][rows, unit]
        xs = np.arange(len(cell))
        axes = Axes(picture, (left, 372), (285, 80), x_range=(0, len(cell)), y_range=(0, 1))
        note = f"unit {unit}: half-life {life:.1f} steps"
        axes.frame(
            title=words[k][0].upper() + words[k][1:], x_ticks=False, y_label="gates" if k == 0 else "", note=note
        )
        for name, color in (("input", ORANGE), ("forget", BLUE), ("output", GREEN)):
            axes.plot(xs, report.gates[name][rows, unit], color, width=1.2)
        low, high = float(cell.min()), float(cell.max())
        below = Axes(picture, (left, 464), (285, 58), x_range=(0, len(cell)), y_range=(min(0.0, low), max(0.0, high)))
        below.frame(y_label="cell" if k == 0 else "", x_label="last steps of the game above")
        below.plot(xs, cell, INK, width=1.4)
    for k, (name, color) in enumerate((("input gate", ORANGE), ("forget gate", BLUE), ("output gate", GREEN))):
        axes.legend([(name, color, "")], (LEFT + 110 * k, 574))


def _departures(picture: Picture, report: LstmReport) -> None:
    """Cells around the moment when the enemy leaves sight."""
    found = report.departures
    assert found is not None
    xs = np.arange(-BEFORE, len(found.mean) - BEFORE)
    scale = np.abs(found.mean).max(axis=0) + 1e-6
    ys, errors = found.mean / scale, found.error / scale
    low, high = float((ys - errors).min()), float((ys + errors).max())
    axes = Axes(picture, (LEFT, 636), (400, 130), x_range=(float(xs[0]), float(xs[-1])), y_range=(low, high))
    axes.band(float(xs[0]), 0, "#e3f4ec")
    axes.frame(
        title="When the enemy hero leaves sight", x_label="steps since it left sight (green: in sight)",
        y_label="cell, share of peak", note=f"mean of {found.count} times, the three cells that move most",
    )  # fmt: skip
    for k in range(len(found.units)):
        edge = [(axes.x(float(x)), axes.y(float(y))) for x, y in zip(xs, ys[:, k] + errors[:, k], strict=True)]
        edge += [(axes.x(float(x)), axes.y(float(y))) for x, y in zip(xs, ys[:, k] - errors[:, k], strict=True)][::-1]
        picture.area(edge, {BLUE: "#cfe3f0", RED: "#f5dccb", GREEN: "#cbeadf"}[SERIES[k]])
    for k, unit in enumerate(found.units):
        axes.plot(xs, ys[:, k], SERIES[k], width=1.8)
        picture.words(axes.right + 6, axes.y(float(ys[-1, k])) + 4, f"unit {unit}", 10.5, SERIES[k])


def _read_outs(picture: Picture, report: LstmReport) -> None:
    """What a linear read-out of the memory says of what was hidden, in a game that it was not fitted on."""
    beside = report.departures is not None
    left = 560 if beside else LEFT
    best = max(report.read_outs, key=lambda found: found.from_memory)
    if not beside:
        rows = slice(-160, None)
        ys = [best.truth[rows], best.memory_says[rows], best.row_says[rows]]
        finite = best.truth[rows][np.isfinite(best.truth[rows])]
        span = (float(finite.min()), float(finite.max())) if len(finite) else (0.0, 1.0)
        axes = Axes(picture, (LEFT, 636), (560, 130), x_range=(0, len(ys[0])), y_range=(span[0] * 1.1, span[1] * 1.1))
        axes.frame(title=f"Read out of the memory: {best.name}", x_label="last steps of the game above",
                   note="a game that the read-out was not fitted on")  # fmt: skip
        for values, color, width in zip(
            ys, (PALE.replace("d9dce1", "9aa1ab"), RED, SERIES[4]), (4, 1.6, 1), strict=True
        ):
            axes.plot(np.arange(len(values)), values, color, width=width)
        axes.legend(
            [("truth", "#9aa1ab", ""), ("memory says", RED, ""), ("the step alone says", SERIES[4], "")], (690, 630)
        )
        left = 690
    _read_out_bars(picture, report.read_outs, left, 720 if not beside else 636)


def _read_out_bars(picture: Picture, found: tuple[ReadOut, ...], left: float, top: float) -> None:
    picture.words(left, top - 23, "What of it can be read out, linearly", 12.5, bold=True)
    picture.words(left, top - 9, "share of variance, in games not fitted on", 10.5, GRAY)
    rows = []
    for one in found:
        for words, share, color in (("memory", one.from_memory, RED), ("step alone", one.from_row, SERIES[4])):
            rows.append((f"{one.name}: {words}", max(0.0, share), f"{max(0.0, share):.0%}", color))
    bars(picture, (left, top), 130, rows, label_width=210, full=1.0)


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
