"""`ObservationReport` as a picture and in words."""

from __future__ import annotations

from quintet.explain.observation import Choices, ObservationReport, PooledSet
from quintet.explain.plots.axes import Axes, bars
from quintet.explain.plots.picture import BLUE, GRAY, GREEN, INK, ORANGE, PALE, RED, SHADE, Picture

MOST_WINNERS = 12
SIDE_COLORS = {1: BLUE, -1: RED, 0: GRAY}


def draw_observation(report: ObservationReport) -> str:
    """The map where there is one, the winners of every set, what the heads make of it, the plain numbers."""
    picture = Picture(1080, 100)
    picture.words(20, 28, f"One observation: {report.subject.name}", 17, bold=True)
    said = f"Step {report.row} of a game, {report.total_numbers:,} numbers for one agent; value {report.value:+.2f}."
    picture.words(20, 47, said, 12, GRAY)
    bottoms = []
    if report.sets:
        bottoms.append(_sets(picture, report, 30, 92))
    left = 560.0 if report.sets else 30.0
    y = 92.0
    if any(winner.place for pooled in report.sets for winner in pooled.winners):
        y = _map(picture, report, left, y)
    for choices in report.choices:
        y = _choices(picture, choices, left, y)
    bottoms += [y, _numbers(picture, report, left, y)]
    picture.height = max(bottoms) + 16
    return picture.svg()


def _sets(picture: Picture, report: ObservationReport, left: float, top: float) -> float:
    """Bars: how many pooled features each slot gave."""
    y = top
    for pooled in sorted(report.sets, key=lambda pooled: -_variety(pooled)):
        picture.words(
            left,
            y,
            f"{pooled.name}: one network on {pooled.slots} slot{'s' * (pooled.slots > 1)}, then the maximum",
            12.5,
            bold=True,
        )
        note = f"{len(pooled.winners)} filled; of {pooled.width} pooled features, which slot each comes from"
        picture.words(left, y + 14, note, 10.5, GRAY)
        rows = [
            (
                f"{winner.name} (slot {winner.slot})",
                float(winner.features),
                str(winner.features),
                SIDE_COLORS[winner.side],
            )
            for winner in pooled.winners[:MOST_WINNERS]
        ]
        rest = pooled.winners[MOST_WINNERS:]
        if rest:
            more = sum(winner.features for winner in rest)
            rows.append((f"{len(rest)} more slots", float(more), str(more), GRAY))
        rows.append(("no slot: the maximum is 0", float(pooled.silent), str(pooled.silent), PALE))
        y = bars(picture, (left, y + 20), 190, rows, label_width=230, row_height=15, full=float(pooled.width)) + 26
    return y - 10


def _map(picture: Picture, report: ObservationReport, left: float, top: float) -> float:
    """Units where they stand, larger the more features they gave; lines to what the pointer points at."""
    size = 300.0
    picture.words(left, top, "The map as this agent's team sees it", 12.5, bold=True)
    picture.words(
        left,
        top + 14,
        "blue own, red enemy; the larger, the more features it gave; ring: what it points at",
        10.5,
        GRAY,
    )
    axes = Axes(picture, (left, top + 22), (size, size), x_range=(-1.05, 1.05), y_range=(-1.05, 1.05))
    picture.box(axes.left, axes.top, size, size, SHADE, line=PALE)
    pointed = {k: p for choices in report.choices if choices.given for _, p, k in choices.options}
    for pooled in report.sets:
        for winner in reversed(pooled.winners):
            if winner.place is None:
                continue
            x, y = axes.x(winner.place[0]), axes.y(winner.place[1])
            picture.dot(x, y, 3 + 1.3 * winner.features**0.75, SIDE_COLORS[winner.side], line="white")
            if pointed.get(winner.slot, 0.0) >= 0.05:
                picture.dot(x, y, 9 + 8 * pointed[winner.slot], "none", line=ORANGE)
    own = [w for pooled in report.sets for w in pooled.winners if w.place and w.slot == 0 and pooled.name == "units"]
    for winner in own:
        assert winner.place is not None
        picture.words(axes.x(winner.place[0]) - 12, axes.y(winner.place[1]) + 4, "this agent", 10.5, INK, anchor="end")
    return top + size + 50


def _choices(picture: Picture, choices: Choices, left: float, top: float) -> float:
    title = f"What the {choices.head} head makes of it"
    if choices.given:
        title = f"What the {choices.head} head points at, if the action is “{choices.given}”"
    picture.words(left, top, title, 12.5, bold=True)
    rows = [(words, p, f"{p:.1%}", ORANGE) for words, p, _ in choices.options]
    return bars(picture, (left, top + 6), 250, rows, label_width=150, row_height=15, full=1.0) + 26


def _numbers(picture: Picture, report: ObservationReport, left: float, top: float) -> float:
    """The plain numbers that stand out, as they come and as the network gets them."""
    if not report.numbers:
        return top
    picture.words(left, top, "Plain numbers, as they come and normalised", 12.5, bold=True)
    picture.words(left, top + 14, "(number − mean) / deviation, cut to ±5; those that stand out most", 10.5, GRAY)
    y = top + 32
    for number in report.numbers[:8]:
        picture.words(left, y, number.name, 10.5)
        said = f"({number.raw:.3g} − {number.mean:.3g}) / {number.std:.3g}".replace("− -", "+ ").replace("-", "−")
        picture.words(left + 130, y, said, 10.5, GRAY)
        middle, scale = left + 390, 14.0
        x = middle + min(0.0, number.normalized) * scale
        picture.box(x, y - 9, abs(number.normalized) * scale, 9, GREEN)
        picture.line([(middle, y - 11), (middle, y + 2)], GRAY, 0.8)
        picture.words(left + 470, y, f"{number.normalized:+.2f}".replace("-", "−"), 10.5, anchor="end")
        y += 15
    return y


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
