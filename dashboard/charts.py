"""Line charts that the browser draws from few numbers: what is sent, and the element that receives it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import nicegui.elements.echart
import numpy as np
from nicegui.element import Element

from quintet.control.journal import Event
from quintet.control.metrics import AGENT_STEPS, TIME_S
from quintet.dashboard.series import Column, MetricsTable, ThinCurve, kept_rows, thin

POINTS = 320
"""Points of a curve at most: about as many as its chart has pixels for."""

Axis = Literal["steps", "time"]
Unit = Literal["", "%", "s", "bytes", "/s"]

_ECHARTS = Path(nicegui.elements.echart.__file__).parent / "dist"


@dataclass(frozen=True, kw_only=True, slots=True)
class Line:
    """One curve of a chart."""

    name: str  # the metric
    label: str  # for people
    slot: int = 1  # which of the colours --s1 .. --s8
    band: bool = True  # whether the range of what a point stands for is shaded


@dataclass(frozen=True, kw_only=True, slots=True)
class Mark:
    """Something that happened, as a vertical line in every chart."""

    x: float
    text: str
    level: Literal["note", "warn", "bad"] = "note"


class ChartView:
    """Which rows a page's charts show, and against what; made once for all charts of one update."""

    def __init__(self, table: MetricsTable, *, axis: Axis = "steps", share: float = 1.0, points: int = POINTS) -> None:
        """`share`: only the last so many of the rows, 0 to 1."""
        rows = len(table)
        steps = table.column(AGENT_STEPS)[:rows]
        first = int(rows * (1 - share))
        keep = np.flatnonzero(kept_rows(steps))
        keep = keep[np.searchsorted(keep, first) :]
        whole = len(keep) == rows - first
        self._rows: slice | np.ndarray[Any, Any] = slice(first, rows) if whole else keep
        self._table, self._points, self._n_rows = table, points, rows
        self.axis = axis
        self.x: Column = table.column(TIME_S if axis == "time" else AGENT_STEPS)[:rows][self._rows]

    def curve(self, name: str) -> ThinCurve:
        """One metric over these rows."""
        column = self._table.column(name)
        if len(column) < self._n_rows:  # the file was replaced while we looked: the next update shows the new one
            return thin(self.x[:0], column[:0], self._points)
        return thin(self.x, column[self._rows], self._points)

    def marks(self, events: Sequence[Event]) -> list[Mark]:
        """What of the journal is drawn into the charts, where it falls into what they show."""
        if not len(self.x):
            return []
        low, high = float(self.x[0]), float(self.x[-1])
        marks = [mark for event in events if (mark := mark_of(event, self.axis)) is not None]
        return [mark for mark in marks if low <= mark.x <= high]


MARK_LEVELS: Mapping[str, Literal["note", "warn", "bad"]] = {
    "set": "note", "resumed": "note", "scaled": "note", "worker died": "warn", "optimizer died": "bad",
    "restarted": "warn", "failed": "bad",
}  # fmt: skip


def mark_of(event: Event, axis: Axis) -> Mark | None:
    """An event as a mark; None for those that every run has plenty of."""
    level = MARK_LEVELS.get(event.kind)
    if level is None:
        return None
    who = f"{event.process} " if event.process and event.process not in event.kind else ""
    text = f"{who}{event.kind}" + (f": {event.text}" if event.text else "")
    return Mark(x=event.time_s if axis == "time" else float(event.agent_steps), text=text, level=level)


class Chart(Element, component="static/chart.js", esm={"nicegui-echart": str(_ECHARTS)}):
    """A line chart: the server sends points, the browser gives them the page's colours, light or dark."""

    def __init__(
        self,
        label: str,
        lines: Sequence[Line],
        *,
        unit: Unit = "",
        low: float | None = None,
        high: float | None = None,
        tall: bool = False,
        from_zero: bool = False,
    ) -> None:
        """`low` and `high` fix the ends of the vertical axis, `from_zero` the horizontal one's beginning.

        `label` is what a screen reader says.
        """
        super().__init__()
        self.lines = list(lines)
        drawn = {"label": label, "lines": [asdict(line) for line in lines], "unit": unit, "tall": tall}
        self._props |= {**drawn, "low": low, "high": high, "from-zero": from_zero}

    def show(self, view: ChartView, marks: Sequence[Mark] = ()) -> None:
        """Draw this chart's metrics over what the view shows."""
        self.feed({line.name: view.curve(line.name) for line in self.lines}, marks, axis=view.axis)

    def feed(
        self,
        curves: Mapping[str, ThinCurve],
        marks: Sequence[Mark] = (),
        *,
        axis: Axis = "steps",
        lines: Sequence[Line] | None = None,
    ) -> None:
        """Draw these curves, by the names of the lines; with `lines`, other lines from now on."""
        if lines is not None:
            self.lines = list(lines)
        self.run_method(
            "feed",
            {
                "axis": axis,
                "lines": None if lines is None else [asdict(line) for line in lines],
                "curves": {name: as_sent(curve) for name, curve in curves.items()},
                "marks": [asdict(mark) for mark in marks],
            },
        )


def as_sent(curve: ThinCurve) -> dict[str, Any]:
    """A curve as it travels; points without a number are left out."""
    there = ~np.isnan(curve.mean)
    plain = {"x": curve.x[there], "mean": curve.mean[there]}
    if curve.width > 1:
        plain |= {"low": curve.low[there], "high": curve.high[there]}
    return {name: np.ascontiguousarray(column) for name, column in plain.items()}
