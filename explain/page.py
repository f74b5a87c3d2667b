"""docs/how-it-works.md: the five questions that people ask, answered with the pictures and numbers of real runs."""

from __future__ import annotations

from collections.abc import Mapping
from textwrap import fill

from quintet.explain.topics import Explanation

WIDTH = 120
HEAD = """# How it works

{opening}

    quintet explain all RUN --memory RUN_2 --out docs/images/how --page docs/how-it-works.md

where `RUN` is a run of `configs/laptop.toml`{memory}.
Each picture also stands alone (`quintet explain loss RUN`) and on the dashboard's page Model.
"""
OPENING = (
    "Five questions that people ask of a system like this one, answered by running it. Everything below was computed "
    "from {subject}: the policy played its own game through the rollout workers' code, and what it played went through "
    "the optimizer's. The page is built by"
)
MEMORY_RUN = " and `RUN_2` one of `configs/cartpole_memory.toml`"
SECTIONS: tuple[tuple[str, str, str], ...] = (  # topic, question, what comes before the picture
    (
        "model",
        "What is an LSTM layer of N units: N steps, or N cells?",
        "Cells. The picture is the whole network; the box LSTM is the layer, drawn once because there is one. Unrolled "
        "through time it is the same box again and again, each handing its cells and outputs to the next. How many "
        "steps there will be is not known in advance and is nowhere in the weights: training looks at windows of 16 "
        "steps, the state runs on from window to window until the game ends.",
    ),
    (
        "lstm",
        "And what is in these cells?",
        "One agent's units while it plays: every line of the upper picture is one unit, every column one step.",
    ),
    (
        "loss",
        "How does one learn from rewards with it, and is the loss the reward?",
        "Not with a table. The LSTM's output feeds small heads: one gives a probability for every action, one the "
        "value, an estimate of all reward to come. From the reward to the loss there are four steps (return, "
        "advantage, ratio, clipped gain), and here they are for one chunk that was really played, with the numbers "
        "below.",
    ),
    (
        "gradients",
        "Why does the gradient not vanish, without any normalisation in sight?",
        "It does get smaller; what matters is how fast. The same loss of the same steps is differentiated through the "
        "LSTM and through plain RNNs of the same width that are put in its place.",
    ),
    (
        "observation",
        "What are the boxes that are drawn once per unit?",
        "One small network that is applied to every unit in turn, and a maximum. Here is one moment of one game: who "
        "is on the map, and which unit each of the pooled features came from.",
    ),
)


def page(explanations: Mapping[str, Explanation], images: str, memory: Explanation | None = None) -> str:
    """The page as Markdown.

    Args:
        explanations: of every topic in SECTIONS.
        images: the folder of the pictures, as seen from the page.
        memory: the topic "lstm" of a run whose game hides what it needs.
    """
    opening = fill(OPENING.format(subject=explanations["lstm"].subject), WIDTH)
    parts = [HEAD.format(opening=opening, memory=MEMORY_RUN if memory else "")]
    for topic, question, before in SECTIONS:
        one = explanations[topic]
        parts.append(f"## {question}\n\n{fill(before, WIDTH)}\n\n![{topic}]({images}/{topic}.svg)\n")
        parts += [fill(paragraph, WIDTH) + "\n" for paragraph in one.paragraphs]
        if topic == "lstm" and memory is not None:
            parts.append(_memory(memory, images))
    return "\n".join(parts)


def _memory(one: Explanation, images: str) -> str:
    """A game that cannot be played without memory."""
    before = (
        "How much of this is needed depends on the game. The next picture is a policy for CartPole with both "
        "velocities removed from the observation: from one step alone nobody can tell whether the pole is falling or "
        "rising, so the network has to subtract what it saw before from what it sees now, and keep the sum."
    )
    return f"{fill(before, WIDTH)}\n\n![memory]({images}/memory.svg)\n\n{fill(one.paragraphs[1], WIDTH)}\n"
