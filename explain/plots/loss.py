"""`LossReport` as a picture and in words."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from quintet.explain.loss import LossReport, LossRow
from quintet.explain.plots.figure import BLUE, GRAY, GREEN, INK, ORANGE, RED, SHADE, caption, new_figure, styled

MOST_TABLE_ROWS = 16


def signed(number: float) -> str:
    """In reward units, whatever a game's are."""
    return f"{number:+.3f}" if abs(number) < 1000 else f"{number:+.0f}"


COLUMNS: tuple[tuple[str, str, Callable[[LossRow], str]], ...] = (
    ("reward", "r", lambda row: signed(row.reward)),
    ("value", "v", lambda row: signed(row.value)),
    ("surprise", "δ", lambda row: signed(row.delta)),
    ("advantage", "A", lambda row: signed(row.advantage)),
    ("return", "A + v", lambda row: signed(row.target)),
    ("scaled A", "Â", lambda row: f"{row.normalized:+.3f}" if row.counts else "–"),
    ("log p then", "", lambda row: f"{row.log_prob_old:.4f}" if row.counts else "–"),
    ("log p now", "", lambda row: f"{row.log_prob_new:.4f}" if row.counts else "–"),
    ("ratio", "ρ", lambda row: f"{row.ratio:.4f}" if row.counts else "–"),
    ("gain", "clipped", lambda row: f"{row.gain:+.4f}" if row.counts else "–"),
    ("value error", "squared, scaled", lambda row: f"{row.value_error:.4f}"),
    ("loss", "", lambda row: f"{row.loss:+.4f}"),
)


@styled
def draw_loss(report: LossReport) -> Figure:
    """Reward, return, advantage, ratio and loss above one another over the chunk's rows; the numbers below."""
    rows = report.rows
    shown = rows[-MOST_TABLE_ROWS:]
    charts, numbers = 500, 15 * len(shown) + 90
    figure = new_figure(
        charts + numbers,
        f"From reward to loss, one chunk: {report.subject.name}",
        f'{len(rows)} steps of one agent, played by it; "now" is after the optimizer\'s {report.gradient_steps} '
        f"gradient steps on a batch of {report.batch_steps:,} steps that holds them.",
    )
    upper, lower = figure.subfigures(2, 1, squeeze=False, height_ratios=(charts, numbers))[:, 0]
    (reward, ratio), (value, gain), (advantage, loss) = upper.subplots(3, 2)
    _bars(reward, [row.reward for row in rows], BLUE)
    caption(reward, "1. Reward", "what the game gave for the step")
    _returns(value, report)
    _bars(advantage, [row.advantage for row in rows], ORANGE)
    weight = report.discount * report.gae_lambda
    caption(advantage, "3. Advantage", f"better than expected: sums of surprises δ, each step back weighs {weight:.3f}")
    _ratios(ratio, report)
    _bars(gain, [row.gain if row.counts else 0.0 for row in rows], GREEN)
    caption(gain, "5. Gain", "min(ratio × scaled advantage, the same with the ratio clipped)")
    _bars(loss, [row.loss for row in rows], RED)
    caption(
        loss,
        "6. Loss",
        f"(−gain + {report.value_coefficient:g} × value error − {report.entropy_coefficient:.3g} × entropy) / rows;"
        f" sum {report.summed:+.4f}",
    )
    for axes in upper.axes:
        axes.set(xlim=(-0.5, len(rows) - 0.5), xticks=range(0, len(rows), max(1, len(rows) // 16)))
        axes.tick_params(bottom=False)
    _table(lower.add_axes((0.012, 0, 0.976, 1)), report, shown)
    return figure


def _bars(axes: Axes, values: Sequence[float], color: str) -> None:
    axes.bar(range(len(values)), values, 0.76, color=color)
    axes.axhline(0, color=GRAY, linewidth=0.8)


def _returns(axes: Axes, report: LossReport) -> None:
    values = [row.value for row in report.rows] + [report.bootstrap]
    xs = [*range(len(report.rows)), len(report.rows) - 0.5]
    axes.plot(xs, values, color=GRAY, linewidth=1.8, label="value: what was expected")
    axes.plot([row.target for row in report.rows], color=GREEN, linewidth=1.8, label="return: what came, as estimated")
    axes.legend(loc="lower right", bbox_to_anchor=(1, 1), borderaxespad=0)
    caption(axes, "2. Value and return", "in reward units")


def _ratios(axes: Axes, report: LossReport) -> None:
    clip = report.clip
    acted = [(t, row.ratio) for t, row in enumerate(report.rows) if row.counts]
    axes.axhspan(1 - clip, 1 + clip, color=SHADE, zorder=0)
    axes.plot([t for t, _ in acted], [ratio for _, ratio in acted], "o", color=INK, markersize=6.4)
    low, high = axes.get_ylim()
    axes.set_ylim(min(low, 1 - 1.3 * clip), max(high, 1 + 1.3 * clip))
    caption(axes, "4. Ratio", f"probability now / then; beyond the shade (1 ± {clip:g}) it earns nothing")


def _table(axes: Axes, report: LossReport, shown: Sequence[LossRow]) -> None:
    """The numbers themselves."""
    start, rights = len(report.rows) - len(shown), np.linspace(0.19, 1, len(COLUMNS) + 1)[1:]
    axes.set(xlim=(0, 1.005), ylim=(len(shown) + 1.6, -2.5))
    axes.axis("off")
    axes.text(0.025, -1, "step", ha="right", color=GRAY)
    axes.text(0.035, -1, "what it did", color=GRAY)
    for x, (name, formula, _) in zip(rights, COLUMNS, strict=True):
        axes.text(x, -1.9, name, ha="right", weight="bold", size=9)
        axes.text(x, -1, formula, ha="right", color=GRAY, size=8.5)
    for k, row in enumerate(shown):
        if k % 2 == 0:
            axes.axhspan(k - 0.7, k + 0.3, color=SHADE)
        axes.text(0.025, k, str(start + k), ha="right", color=GRAY)
        axes.text(0.035, k, row.action if len(row.action) < 32 else row.action[:30] + "…")
        for x, (_, _, text) in zip(rights, COLUMNS, strict=True):
            axes.text(x, k, text(row).replace("-", "−"), ha="right")
    constants = (
        f"γ = {report.discount:.4f}, λ = {report.gae_lambda:g}; scaled A = (A − {report.advantage_mean:.4f}) / "
        f"{report.advantage_std:.4f} over the batch; values are learned as (return − {report.return_mean:.4f}) / "
        f"{report.return_scale:.4f}"
    ).replace("− -", "+ ")
    axes.text(0.035, len(shown) + 0.4, constants, color=GRAY)
    total = f"all {len(report.rows)} rows: {report.summed:+.6f}; the optimizer's own loss of them: {report.total:+.6f}"
    axes.text(1, len(shown) + 1.4, total.replace("-", "−"), ha="right", weight="bold", size=11)


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
