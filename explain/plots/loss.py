"""`LossReport` as a picture and in words."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from quintet.explain.loss import LossReport, LossRow
from quintet.explain.plots.axes import Axes
from quintet.explain.plots.picture import BLUE, GRAY, GREEN, INK, ORANGE, PALE, RED, SHADE, Picture

MOST_TABLE_ROWS = 16
COLUMNS: tuple[tuple[str, str, Callable[[LossRow], str]], ...] = (
    ("reward", "r", lambda row: f"{row.reward:+.3f}"),
    ("value", "v", lambda row: f"{row.value:+.3f}"),
    ("surprise", "δ", lambda row: f"{row.delta:+.3f}"),
    ("advantage", "A", lambda row: f"{row.advantage:+.3f}"),
    ("return", "A + v", lambda row: f"{row.target:+.3f}"),
    ("scaled A", "Â", lambda row: f"{row.normalized:+.3f}" if row.counts else "–"),
    ("log p then", "", lambda row: f"{row.log_prob_old:.4f}" if row.counts else "–"),
    ("log p now", "", lambda row: f"{row.log_prob_new:.4f}" if row.counts else "–"),
    ("ratio", "ρ", lambda row: f"{row.ratio:.4f}" if row.counts else "–"),
    ("gain", "clipped", lambda row: f"{row.gain:+.4f}" if row.counts else "–"),
    ("value error", "squared, scaled", lambda row: f"{row.value_error:.4f}"),
    ("loss", "", lambda row: f"{row.loss:+.4f}"),
)


def draw_loss(report: LossReport) -> str:
    """Reward, return, advantage, ratio and loss above one another over the chunk's rows; the numbers below."""
    rows = report.rows
    shown = rows[-MOST_TABLE_ROWS:]
    picture = Picture(1080, 560 + 15 * len(shown) + 60)
    picture.words(20, 28, f"From reward to loss, one chunk: {report.subject.name}", 17, bold=True)
    said = (
        f'{len(rows)} steps of one agent, played by it; "now" is after the optimizer\'s {report.gradient_steps} '
        f"gradient steps on a batch of {report.batch_steps:,} steps that holds them."
    )
    picture.words(20, 47, said, 12, GRAY)
    size = (455, 92)
    _bars(picture, (62, 104), size, [row.reward for row in rows], BLUE, "1. Reward", "what the game gave for the step")
    axes = _returns(picture, report, (62, 258), size)
    axes.legend([("value: what was expected", GRAY, ""), ("return: what came, as estimated", GREEN, "")], (330, 232))
    _bars(
        picture, (62, 412), size, [row.advantage for row in rows], ORANGE, "3. Advantage",
        f"better than expected: sums of surprises δ, each step back weighs {report.discount * report.gae_lambda:.3f}",
    )  # fmt: skip
    _ratios(picture, report, (600, 104), size)
    gains = [row.gain if row.counts else 0.0 for row in rows]
    _bars(
        picture,
        (600, 258),
        size,
        gains,
        GREEN,
        "5. Gain",
        "min(ratio × scaled advantage, the same with the ratio clipped)",
    )
    _bars(picture, (600, 412), size, [row.loss for row in rows], RED, "6. Loss", _loss_note(report))
    _table(picture, report, shown, 560)
    return picture.svg()


def _loss_note(report: LossReport) -> str:
    return (
        f"(−gain + {report.value_coefficient:g} × value error − {report.entropy_coefficient:.3g} × entropy) / rows;"
        f" sum {report.summed:+.4f}"
    )


def _bars(
    picture: Picture,
    at: tuple[float, float],
    size: tuple[float, float],
    values: Sequence[float],
    color: str,
    title: str,
    note: str,
) -> None:
    low, high = min(0.0, *values), max(0.0, *values)
    room = 0.08 * (high - low)
    axes = Axes(picture, at, size, x_range=(0, len(values)), y_range=(low - room, high + room))
    axes.frame(title=title, note=note, x_ticks=False)
    zero = axes.y(0)
    for t, value in enumerate(values):
        top, bottom = sorted((axes.y(value), zero))
        picture.box(axes.x(t + 0.12), top, axes.x(t + 0.88) - axes.x(t + 0.12), bottom - top, color)
    picture.line([(axes.left, zero), (axes.right, zero)], GRAY, 0.8)
    _steps(picture, axes, len(values))


def _steps(picture: Picture, axes: Axes, rows: int) -> None:
    """The numbers of the steps below a chart whose steps are one unit wide."""
    every = max(1, rows // 16)
    for t in range(0, rows, every):
        picture.words(axes.x(t + 0.5), axes.bottom + 13, str(t), 9, GRAY, anchor="middle")


def _returns(picture: Picture, report: LossReport, at: tuple[float, float], size: tuple[float, float]) -> Axes:
    values = [row.value for row in report.rows] + [report.bootstrap]
    targets = [row.target for row in report.rows]
    every = values + targets
    room = 0.08 * (max(every) - min(every)) + 1e-9
    axes = Axes(picture, at, size, x_range=(0, len(targets)), y_range=(min(every) - room, max(every) + room))
    axes.frame(title="2. Value and return", note="in reward units", x_ticks=False)
    xs = np.append(np.arange(len(targets)) + 0.5, len(targets))
    axes.plot(xs, values, GRAY, width=1.8)
    axes.plot(xs[:-1], targets, GREEN, width=1.8)
    _steps(picture, axes, len(targets))
    return axes


def _ratios(picture: Picture, report: LossReport, at: tuple[float, float], size: tuple[float, float]) -> None:
    ratios = [row.ratio if row.counts else float("nan") for row in report.rows]
    clip = report.clip
    low, high = min(1 - 1.3 * clip, float(np.nanmin(ratios))), max(1 + 1.3 * clip, float(np.nanmax(ratios)))
    axes = Axes(picture, at, size, x_range=(0, len(ratios)), y_range=(low, high))
    top, bottom = axes.y(1 + clip), axes.y(1 - clip)
    picture.box(axes.left, top, axes.width, bottom - top, SHADE)
    axes.frame(
        title="4. Ratio",
        note=f"probability now / then; beyond the shade (1 ± {clip:g}) it earns nothing",
        x_ticks=False,
    )
    picture.line([(axes.left, axes.y(1)), (axes.right, axes.y(1))], PALE, 1)
    for t, ratio in enumerate(ratios):
        if np.isfinite(ratio):
            picture.dot(axes.x(t + 0.5), axes.y(ratio), 3.2, INK)
    _steps(picture, axes, len(ratios))


def _table(picture: Picture, report: LossReport, shown: Sequence[LossRow], top: float) -> None:
    """The numbers themselves."""
    start = len(report.rows) - len(shown)
    left, width = 250.0, 68.5
    picture.words(30, top, "step", 10, GRAY)
    picture.words(62, top, "what it did", 10, GRAY)
    for k, (name, formula, _) in enumerate(COLUMNS):
        x = left + (k + 1) * width - 4
        picture.words(x, top - 13, name, 10, INK, anchor="end", bold=True)
        picture.words(x, top, formula, 9.5, GRAY, anchor="end")
    for k, row in enumerate(shown):
        y = top + 16 + 15 * k
        if k % 2 == 0:
            picture.box(24, y - 11, 1040, 15, SHADE)
        picture.words(48, y, str(start + k), 10, GRAY, anchor="end")
        action = row.action if len(row.action) < 36 else row.action[:34] + "…"
        picture.words(62, y, action, 10)
        for column, (_, _, text) in enumerate(COLUMNS):
            picture.words(left + (column + 1) * width - 4, y, text(row).replace("-", "−"), 10, anchor="end")
    y = top + 16 + 15 * len(shown) + 6
    constants = (
        f"γ = {report.discount:.4f}, λ = {report.gae_lambda:g}; scaled A = (A − {report.advantage_mean:.4f}) / "
        f"{report.advantage_std:.4f} over the batch; values are learned as (return − {report.return_mean:.4f}) / "
        f"{report.return_scale:.4f}"
    ).replace("− -", "+ ")
    picture.words(62, y, constants, 10.5, GRAY)
    total = f"all {len(report.rows)} rows: {report.summed:+.6f}; the optimizer's own loss of them: {report.total:+.6f}"
    picture.words(1064, y + 18, total.replace("-", "−"), 11, INK, anchor="end", bold=True)


def loss_words(report: LossReport) -> tuple[str, str]:
    """Two plain paragraphs."""
    rows = report.rows
    best = max(range(len(rows)), key=lambda t: abs(rows[t].advantage))
    row = rows[best]
    following = rows[best + 1].value if best + 1 < len(rows) else report.bootstrap
    after = "nothing, since the game ended there" if row.ended else f"{following:+.3f}"
    first = (
        f"The loss is not the reward. The reward of step {best} ({row.action}) was {row.reward:+.3f}. Before it the "
        f"value head expected {row.value:+.3f} from there on, after it {after}: with γ = {report.discount:.4f} the "
        f"step went {row.delta:+.3f} against expectation (δ = r + γ v' − v). The advantage adds the surprises of the "
        f"steps that follow, each weighing {report.discount * report.gae_lambda:.3f} times the one before: A = "
        f"{row.advantage:+.3f}. Value plus advantage, {row.target:+.3f}, is the estimate of the return, which the "
        "value head learns by least squares; nothing else in the network ever sees a reward."
    )
    second = (
        f"For the policy the advantage, scaled over the batch to {row.normalized:+.3f}, is only a weight on the action "
        f"that was taken: its log-probability was {row.log_prob_old:.4f} when it was played and is "
        f"{row.log_prob_new:.4f} after {report.gradient_steps} gradient steps, a ratio of {row.ratio:.4f}. The gain is "
        f"the smaller of ratio × advantage and the same with the ratio cut to 1 ± {report.clip:g}, so that a step "
        f"which has moved far enough earns nothing more. Loss = −gain + {report.value_coefficient:g} × value error − "
        f"{report.entropy_coefficient:.3g} × entropy, averaged over the rows: {report.summed:+.4f} for this chunk. "
        "Where a Q-table has one number per state and action, here the heads give a probability for every action and "
        "one value, both from the LSTM's output, and the loss says in which direction to turn the weights."
    )
    return first.replace(" -", " −"), second.replace(" -", " −")
