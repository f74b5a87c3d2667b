"""`ObservationReport` as a picture and in words."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure

from quintet.explain.observation import Choices, ObservationReport, PooledSet
from quintet.explain.plots.figure import (
    BLUE,
    GRAY,
    GREEN,
    HEAD,
    INK,
    ORANGE,
    PALE,
    RED,
    SHADE,
    bars,
    caption,
    new_figure,
    styled,
)

MOST_WINNERS = 12
SHOWN_NUMBERS = 8
MAP_ROWS = 20
ROW, CAPTION = 15, 54  # points: a bar, and what stands above each chart and between charts
SIDE_COLORS = {1: BLUE, -1: RED, 0: GRAY}
Chart = tuple[int, Callable[[Axes], None]]  # how many rows high, and what draws it


@styled
def draw_observation(report: ObservationReport) -> Figure:
    """The map where there is one, the winners of every set, what the heads make of it, the plain numbers."""
    sets = [_pooled(pooled) for pooled in sorted(report.sets, key=lambda pooled: -_variety(pooled))]
    rest: list[Chart] = [_choices(choices) for choices in report.choices]
    if any(winner.place for pooled in report.sets for winner in pooled.winners):
        rest.insert(0, (MAP_ROWS, partial(_map, report=report)))
    if report.numbers:
        rest.append((min(SHOWN_NUMBERS, len(report.numbers)), partial(_numbers, report=report)))
    columns = [column for column in (sets, rest) if column]
    height = max(sum(ROW * rows + CAPTION for rows, _ in column) for column in columns)
    figure = new_figure(
        HEAD + height,
        f"One observation: {report.subject.name}",
        f"Step {report.row} of a game, {report.total_numbers:,} numbers for one agent; value {report.value:+.2f}.",
    )
    for part, column in zip(figure.subfigures(1, 2, squeeze=False)[0], columns, strict=False):
        _stack(part, column, height)
    return figure


def _stack(figure: SubFigure, charts: Sequence[Chart], height: float) -> None:
    """Charts below one another, their rows of the same height; what is left of `height` stays empty below them."""
    empty = height / ROW - sum(rows + CAPTION / ROW for rows, _ in charts)
    *parts, below = figure.subplots(len(charts) + 1, 1, height_ratios=[*(rows for rows, _ in charts), max(0.1, empty)])
    below.axis("off")
    for axes, (_, draw) in zip(parts, charts, strict=True):
        draw(axes)


def _pooled(pooled: PooledSet) -> Chart:
    """Bars: how many pooled features each slot gave."""
    rows = [
        (f"{winner.name} (slot {winner.slot})", float(winner.features), str(winner.features), SIDE_COLORS[winner.side])
        for winner in pooled.winners[:MOST_WINNERS]
    ]
    rest = pooled.winners[MOST_WINNERS:]
    if rest:
        more = sum(winner.features for winner in rest)
        rows.append((f"{len(rest)} more slots", float(more), str(more), GRAY))
    rows.append(("no slot: the maximum is 0", float(pooled.silent), str(pooled.silent), PALE))
    title = f"{pooled.name}: one network on {pooled.slots} slot{'s' * (pooled.slots > 1)}, then the maximum"
    note = f"{len(pooled.winners)} filled; of {pooled.width} pooled features, which slot each comes from"

    def draw(axes: Axes) -> None:
        bars(axes, rows, full=1.15 * pooled.width)
        caption(axes, title, note)

    return len(rows), draw


def _map(axes: Axes, report: ObservationReport) -> None:
    """Units where they stand, larger the more features they gave; rings around what the pointer points at."""
    axes.set(xlim=(-1.05, 1.05), ylim=(-1.05, 1.05), xticks=(), yticks=(), facecolor=SHADE, anchor="W")
    axes.set_box_aspect(1)
    axes.spines.bottom.set_visible(False)
    pointed = {k: p for choices in report.choices if choices.given for _, p, k in choices.options}
    for pooled in report.sets:
        for winner in reversed(pooled.winners):
            if winner.place is None:
                continue
            size = 2 * (3 + 1.3 * winner.features**0.75)
            axes.plot(*winner.place, "o", color=SIDE_COLORS[winner.side], markersize=size, markeredgecolor="white")
            if pointed.get(winner.slot, 0.0) >= 0.05:
                ring = 2 * (9 + 8 * pointed[winner.slot])
                axes.plot(*winner.place, "o", color="none", markersize=ring, markeredgecolor=ORANGE)
            if winner.slot == 0 and pooled.name == "units":
                axes.annotate("this agent", winner.place, (-12, -4), textcoords="offset points", ha="right", color=INK)
    caption(
        axes,
        "The map as this agent's team sees it",
        "blue own, red enemy; the larger, the more features it gave;\nring: what it points at",
    )


def _choices(choices: Choices) -> Chart:
    title = f"What the {choices.head} head makes of it"
    if choices.given:
        title = f"What the {choices.head} head points at, if the action is “{choices.given}”"

    def draw(axes: Axes) -> None:
        bars(axes, [(words, p, f"{p:.1%}", ORANGE) for words, p, _ in choices.options], full=1.15)
        caption(axes, title)

    return len(choices.options), draw


def _numbers(axes: Axes, report: ObservationReport) -> None:
    """The plain numbers that stand out, as they come and as the network gets them."""
    shown = report.numbers[:SHOWN_NUMBERS]
    axes.barh(range(len(shown)), [number.normalized for number in shown], 0.6, color=GREEN)
    axes.axvline(0, color=GRAY, linewidth=0.8)
    for k, number in enumerate(shown):
        said = f"({number.raw:.3g} − {number.mean:.3g}) / {number.std:.3g}".replace("− -", "+ ").replace("-", "−")
        axes.text(-13, k, said, color=GRAY, va="center")
        axes.text(8, k, f"{number.normalized:+.2f}".replace("-", "−"), ha="right", va="center")
    axes.set_yticks(range(len(shown)), [number.name for number in shown], color=INK)
    axes.set(xlim=(-13, 8), ylim=(len(shown) - 0.5, -0.5), xticks=())
    axes.spines.bottom.set_visible(False)
    axes.grid(visible=False)
    caption(
        axes,
        "Plain numbers, as they come and normalised",
        "(number − mean) / deviation, cut to ±5; those that stand out most",
    )


def observation_words(report: ObservationReport) -> tuple[str, str]:
    """Two plain paragraphs."""
    return _of_sets(report), _of_heads(report)


def _of_sets(report: ObservationReport) -> str:
    if not report.sets:
        numbers = report.total_numbers
        return (
            f"This game's observation is {numbers} plain number{'s' * (numbers > 1)}: no entity sets, and so nothing "
            "to pool. Each is shifted by its running mean, divided by its running deviation and cut to ±5 before the "
            "network sees it: a network without normalised inputs would have to learn the scales first."
        )
    pooled = max(report.sets, key=_variety)
    winners = [winner for winner in pooled.winners if winner.features]
    lead = ", ".join(f"{winner.name} {winner.features}" for winner in winners[:4])
    return (
        "The boxes that are drawn once per unit are one small network, the same weights for every slot: the number of "
        f"units may change from step to step, the number of weights does not. Of {pooled.name}, {len(pooled.winners)} "
        f"of {pooled.slots} slots are filled here; each becomes {pooled.width} numbers, and of every number the "
        f"largest over the slots goes on (masked max-pool). {len(winners)} slots won at least one of the "
        f"{pooled.width}: {lead} ... ; {pooled.silent} stayed at 0 for everybody. So what goes on is not a list of "
        "units but a list of answers, each to a "
        'question such as "is there somebody who ...?", and the order of the slots does not matter. The same goes for '
        + _listed([other.name for other in report.sets if other is not pooled])
        + ", each with a network of its own."
    )


def _variety(pooled: PooledSet) -> int:
    return sum(winner.features > 0 for winner in pooled.winners)


def _of_heads(report: ObservationReport) -> str:
    said = []
    for choices in report.choices:
        best = ", ".join(f"{words} {p:.0%}" for words, p, _ in choices.options[:3])
        if choices.given:
            said.append(
                f"Beside the maximum every slot's own {report.sets[0].width} numbers are kept as keys: if the action "
                "is "
                f'"{choices.given}", the {choices.head} head compares its query, from the LSTM\'s output, with every '
                f"key by a dot product: {best}."
            )
        else:
            said.append(f"From the LSTM's output the {choices.head} head gives: {best}.")
    if report.numbers:
        top = report.numbers[0]
        sign = "above" if top.normalized > 0 else "below"
        said.append(
            f"Plain numbers are normalised by running statistics; the one that stands out most here is {top.name} "
            f"= {top.raw:.3g}, {abs(top.normalized):.1f} deviations {sign} its mean of {top.mean:.3g}."
        )
    said.append(f"The value head expects {report.value:+.2f} of reward from here on.")
    return " ".join(said)


def _listed(names: list[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
