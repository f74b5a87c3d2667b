"""The topics of `quintet explain` that look into a policy at work: a picture, a title and two plain paragraphs each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from quintet.explain.gradients import explain_gradients
from quintet.explain.loss import explain_loss
from quintet.explain.lstm import explain_lstm
from quintet.explain.network import explain as sketch
from quintet.explain.observation import explain_observation
from quintet.explain.plots.gradients import draw_gradients, gradient_words
from quintet.explain.plots.loss import draw_loss, loss_words
from quintet.explain.plots.lstm import draw_lstm, lstm_words
from quintet.explain.plots.network import Drawing, draw
from quintet.explain.plots.observation import draw_observation, observation_words
from quintet.explain.subject import Subject

Paragraphs = tuple[str, str]
Amount = dict[str, int]

QUICK: dict[str, Amount] = {
    "lstm": {"games": 8, "rows": 208},
    "gradients": {"games": 4, "rows": 80},
    "loss": {"games": 16, "skip_rows": 96},
    "observation": {"games": 2, "rows": 160},
}
"""How much less is played for whoever waits for it, on a machine that is busy with training."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Explanation:
    """What a topic has to say."""

    topic: str
    subject: str  # its name
    svg: str
    paragraphs: Paragraphs


def _lstm(subject: Subject, amount: Amount) -> tuple[str, Paragraphs]:
    report = explain_lstm(subject, **amount)
    return draw_lstm(report), lstm_words(report)


def _gradients(subject: Subject, amount: Amount) -> tuple[str, Paragraphs]:
    report = explain_gradients(subject, **amount)
    return draw_gradients(report), gradient_words(report)


def _loss(subject: Subject, amount: Amount) -> tuple[str, Paragraphs]:
    report = explain_loss(subject, **amount)
    return draw_loss(report), loss_words(report)


def _observation(subject: Subject, amount: Amount) -> tuple[str, Paragraphs]:
    report = explain_observation(subject, **amount)
    return draw_observation(report), observation_words(report)


def _model(subject: Subject, amount: Amount) -> tuple[str, Paragraphs]:
    drawing = sketch(subject.spec, subject.config.model)
    return draw(drawing), model_words(drawing, subject.config.model.lstm_units)


TOPICS: dict[str, Callable[[Subject, Amount], tuple[str, Paragraphs]]] = {
    "model": _model,
    "lstm": _lstm,
    "gradients": _gradients,
    "loss": _loss,
    "observation": _observation,
}


def explain(topic: str, subject: Subject, *, quick: bool = False) -> Explanation:
    """Play what the topic needs, compute, draw and say it; with `quick`, from fewer and shorter games.

    Raises:
        KeyError: there is no such topic; `TOPICS` has them all.
        ValueError: this game does not have what the topic needs; the message says what.
    """
    svg, paragraphs = TOPICS[topic](subject, QUICK.get(topic, {}) if quick else {})
    return Explanation(topic=topic, subject=subject.name, svg=svg, paragraphs=paragraphs)


def model_words(drawing: Drawing, units: int) -> Paragraphs:
    """What the network's drawing shows."""
    boxes = {
        box.key: box for box in [*(b for lane in drawing.lanes for b in lane), *(b for s in drawing.stacks for b in s)]
    }
    memory = boxes["lstm"]
    sets = [lane for lane in drawing.lanes if any(box.title.startswith("one network") for box in lane)]
    repeated = (
        f"{len(sets)} entries are sets: a box drawn as a stack of cards is one small network, the same weights for "
        "every slot, and the maximum over the slots goes on. "
        if sets
        else ""
    )
    first = (
        f"{drawing.title}. What is seen enters on the left, entry by entry. {repeated}Everything is put side by side, "
        "goes through one layer and into the LSTM; all heads read the LSTM's output."
    )
    second = (
        f"The LSTM has {units:,} units: {units:,} cells and {units:,} outputs for every agent, the same number at "
        f"every step, however long the game is. It holds {memory.count:,} of the parameters ({memory.share:.0%}), "
        f"because each of its four gates is a matrix from the {units:,} outputs of the step before and from what is "
        "seen now. Arrows that are dotted in green carry no gradient back, or a small share of it."
    )
    return first, second
