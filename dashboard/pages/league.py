"""League: how the policy fares against each opponent so far, with intervals, and over its versions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

import numpy as np

from quintet.control import metrics as names
from quintet.dashboard.charts import Chart, Line
from quintet.dashboard.context import PageContext
from quintet.dashboard.series import ThinCurve
from quintet.dashboard.widgets import Markup, empty, grid, panel, table_html

TITLE = "League"
PATH = "/league"

UPDATE_S = 2.0
MOST_LINES = 8

Evaluation = Mapping[str, object]


def build(context: PageContext) -> None:
    """The whole page."""
    page = _League(context)
    context.every(UPDATE_S, page.update)


class _League:
    def __init__(self, context: PageContext) -> None:
        self.context = context
        self._shown = -1
        with grid():
            with panel(
                "Against each opponent", "the newest evaluation of each, with Wilson's 95 % interval", wide=True
            ):
                self.table = Markup(classes="scroll")
            with panel("Win rate over the versions", "every evaluation so far; the band is the interval", wide=True):
                self.chart = Chart(
                    "Win rate over the versions", [], unit="%", low=0.0, high=1.0, tall=True, from_zero=True
                )
        with grid(two=True):
            with panel("Against itself", "self-play, the last 100 games"):
                self.itself = Markup()
            with panel("Ladder"):
                Markup(
                    empty("No ratings yet: this run plays against itself alone, and keeps no pool of older versions.")
                )

    def update(self) -> None:
        """Show what was evaluated since."""
        context = self.context
        self.itself.set(itself_html(context.watch.latest))
        evaluations = context.watch.evaluations
        if len(evaluations) == self._shown:
            return
        self._shown = len(evaluations)
        self.table.set(opponents_html(evaluations, context.run))
        curves, lines = win_rate_curves(evaluations)
        self.chart.feed(curves, lines=lines)


def newest_of_each(evaluations: Sequence[Evaluation]) -> list[Evaluation]:
    """The newest evaluation against each opponent and manner of play, in order of the opponents' first games."""
    newest: dict[tuple[object, object], Evaluation] = {}
    for evaluation in evaluations:
        newest[evaluation.get("opponent"), evaluation.get("greedy")] = evaluation
    return list(newest.values())


def opponents_html(evaluations: Sequence[Evaluation], run: str) -> str:
    """The newest evaluation against each opponent, as a table with whiskers."""
    if not evaluations:
        return empty(
            f"Nobody has been played against yet. quintet eval {run} plays 1,000 games against random; --opponent "
            "bot:NAME or another checkpoint takes somebody else. What it finds appears here."
        )
    head = "<th>opponent</th><th>result, 0 to 100 %</th>" + "".join(
        f'<th class="n">{text}</th>'
        for text in ("win rate or return", "95 %", "games", "draws", "version", "agent steps")
    )
    return table_html(head, map(_line_html, newest_of_each(evaluations)))


def _line_html(evaluation: Evaluation) -> str:
    opponent = str(evaluation.get("opponent") or "nobody: it plays alone")
    manner = ' <span class="faint">greedy</span>' if evaluation.get("greedy") else ""
    rated = evaluation.get("win_rate") is not None
    kind, form = ("win_rate", ".1%") if rated else ("return", ",.2f")
    mean, low, high = (
        _number(evaluation, name) for name in (kind if rated else "return_mean", f"{kind}_low", f"{kind}_high")
    )
    cells = (
        f"<b>{mean:{form}}</b>", f"{low:{form}} to {high:{form}}", _count(evaluation, "games"),
        _count(evaluation, "draws"), _count(evaluation, "version"), _count(evaluation, "agent_steps"),
    )  # fmt: skip
    numbers = "".join(f'<td class="n">{cell}</td>' for cell in cells)
    whisker = whisker_html(mean, low, high) if rated else ""
    return f'<tr><td class="k">{escape(opponent)}{manner}</td><td>{whisker}</td>{numbers}</tr>'


def whisker_html(mean: float, low: float, high: float) -> str:
    """A win rate on the way from 0 to 100 %, with its interval; the line in the middle is even play."""
    return (
        f'<div class="whisker" role="img" aria-label="{mean:.1%}, {low:.1%} to {high:.1%}">'
        f'<i style="left:{low:.2%};width:{high - low:.2%}"></i><b style="left:{mean:.2%}"></b></div>'
    )


def win_rate_curves(evaluations: Sequence[Evaluation]) -> tuple[dict[str, ThinCurve], list[Line]]:
    """For each opponent, its evaluations in order of agent steps, the interval as the band."""
    opponents: dict[str, list[Evaluation]] = {}
    for evaluation in evaluations:
        if evaluation.get("win_rate") is not None and evaluation.get("agent_steps") is not None:
            manner = " (greedy)" if evaluation.get("greedy") else ""
            opponents.setdefault(f"{evaluation.get('opponent')}{manner}", []).append(evaluation)
    curves, lines = {}, []
    for slot, (opponent, games) in enumerate(list(opponents.items())[:MOST_LINES], 1):
        games.sort(key=lambda evaluation: _number(evaluation, "agent_steps"))
        x, mean, low, high = (
            np.array([_number(g, name) for g in games])
            for name in ("agent_steps", "win_rate", "win_rate_low", "win_rate_high")
        )
        curves[opponent] = ThinCurve(x, mean, low, high, 2)
        lines.append(Line(name=opponent, label=opponent, slot=slot))
    return curves, lines


def itself_html(row: Mapping[str, float]) -> str:
    """Shares of the last games of self-play by who won; what a fair game between equals looks like."""
    rates = sorted(name for name in row if name.startswith(names.WIN_RATE))
    if not rates:
        return empty("This game has no winners, or none has ended yet.")
    parts = [(f"team {name.rpartition('_')[2]} wins", row[name], slot) for slot, name in enumerate(rates, 1)]
    if names.DRAW_RATE in row:
        parts.append(("draws", row[names.DRAW_RATE], 8))
    bar = "".join(
        f'<i style="flex:{share:.4f} 0 0;background:var(--s{slot})"></i>' for _, share, slot in parts if share
    )
    keys = "".join(
        f'<span><i style="background:var(--s{slot})"></i>{escape(name)} <b>{share:.0%}</b></span>'
        for name, share, slot in parts
    )
    return (
        f'<div class="stack big" aria-hidden="true">{bar}</div><div class="keys-of-stack">{keys}</div>'
        '<p class="empty">Both sides are the same policy: this says how fair the seats are, not how strong it is.</p>'
    )


def _number(evaluation: Evaluation, name: str) -> float:
    value = evaluation.get(name)
    return float(value) if isinstance(value, int | float) else float("nan")


def _count(evaluation: Evaluation, name: str) -> str:
    value = evaluation.get(name)
    return f"{value:,}" if isinstance(value, int) else "–"
