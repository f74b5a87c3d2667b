"""The topics of `quintet explain` that look into a policy at work: a picture, a title and two plain paragraphs each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from matplotlib.figure import Figure

from quintet.explain.gradients import explain_gradients
from quintet.explain.loss import explain_loss
from quintet.explain.lstm import explain_lstm
from quintet.explain.network import network_drawing, network_words
from quintet.explain.observation import explain_observation
from quintet.explain.plots.gradients import draw_gradients, gradient_words
from quintet.explain.plots.loss import draw_loss, loss_words
from quintet.explain.plots.lstm import draw_lstm, lstm_words
from quintet.explain.plots.network import draw
from quintet.explain.plots.observation import draw_observation, observation_words
from quintet.explain.subject import Subject

Paragraphs = tuple[str, str]

QUICK: dict[str, dict[str, int]] = {
    "lstm": {"games": 8, "rows": 208},
    "gradients": {"games": 4, "rows": 80},
    "loss": {"games": 16, "skip_rows": 96},
    "observation": {"games": 2, "rows": 160},
}
"""How much less is played for whoever waits for it, on a machine that is busy with training."""


LOOKS: dict[str, tuple[Callable[..., Any], Callable[..., Figure], Callable[..., Paragraphs]]] = {
    "lstm": (explain_lstm, draw_lstm, lstm_words),
    "gradients": (explain_gradients, draw_gradients, gradient_words),
    "loss": (explain_loss, draw_loss, loss_words),
    "observation": (explain_observation, draw_observation, observation_words),
}
"""Topic -> what makes its report of a subject, and what draws and says a report."""
TOPICS = ("model", *LOOKS)


@dataclass(frozen=True, kw_only=True, slots=True)
class Explanation:
    """What a topic has to say."""

    subject: str  # its name
    figure: Figure
    paragraphs: Paragraphs


def explanation(topic: str, subject: Subject, *, quick: bool = False) -> Explanation:
    """Play what the topic needs, compute, draw and say it; with `quick`, from fewer and shorter games.

    Raises:
        KeyError: there is no such topic; `TOPICS` has them all.
        ValueError: this game does not have what the topic needs; the message says what.
    """
    if topic == "model":
        model = subject.config.model
        drawing = network_drawing(subject.spec, model)
        paragraphs = network_words(drawing, model.lstm_units)
        return Explanation(subject=subject.name, figure=draw(drawing), paragraphs=paragraphs)
    look, draw_report, words = LOOKS[topic]
    report = look(subject, **(QUICK[topic] if quick else {}))
    return Explanation(subject=subject.name, figure=draw_report(report), paragraphs=words(report))
