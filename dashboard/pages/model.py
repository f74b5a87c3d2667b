"""Model: the network and what goes on in it, computed when somebody asks, by the run's newest checkpoint."""

from __future__ import annotations

import base64
import time
from html import escape

from nicegui import app

from quintet.control.config import dump_config
from quintet.dashboard.charts import Chart, ChartView, Line
from quintet.dashboard.context import PageContext
from quintet.dashboard.widgets import Markup, button, empty, grid, panel
from quintet.explain.process import Answer, answered, end_children, known_answer, newest_checkpoint

TITLE = "Model"
PATH = "/model"

UPDATE_S = 3.0
MOST_HEADS = 8
TOPICS: tuple[tuple[str, str, str], ...] = (
    ("model", "The network", "every entry, layer and head with its shapes and parameters"),
    ("lstm", "Inside the LSTM", "its units over a real game, how long they remember, what can be read out of them"),
    ("gradients", "How far the gradient reaches back", "through the window, beside plain RNNs of the same width"),
    ("loss", "From reward to loss", "one chunk, number by number, by the optimizer's own functions"),
    ("observation", "One observation", "which slots won the maximum, what the pointers point at"),
)

app.on_shutdown(end_children)


def build(context: PageContext) -> None:
    """The whole page."""
    topics = [_Topic(context, *TOPICS[0])]
    entropies = _Entropies(context)
    context.every(UPDATE_S, entropies.update)
    topics += [_Topic(context, *topic) for topic in TOPICS[1:]]

    async def update() -> None:
        for topic in topics:
            topic.show_what_is_known()
        await topics[0].explain_if_new()

    context.every(UPDATE_S, update)


class _Topic:
    """One explanation: a button, and what was found out."""

    def __init__(self, context: PageContext, topic: str, title: str, note: str) -> None:
        self.context, self.topic, self.title = context, topic, title
        self._busy = self._failed = False
        self._asked_s = 0.0
        with grid(), panel(title, note, wide=True):
            if topic != "model":
                button(f"Explain: {title[0].lower() + title[1:]}").style("align-self:flex-start").on(
                    "click", self.explain
                )
            self.content = Markup(classes="scroll")
        self.content.set(empty(self._nothing_yet()))

    def show_what_is_known(self) -> None:
        """What was computed before, for another visitor perhaps; or how long it has been computed now."""
        if self._busy and self.topic != "model":
            self._say_that_it_is_computed()
        found = known_answer(self.topic, self.context.folder)
        if found is not None and not self._busy and not self._failed:
            self.content.set(answer_html(self.title, found))

    async def explain_if_new(self) -> None:
        """The network alone is drawn unasked: it costs a second."""
        if not self._busy and not self._failed and known_answer(self.topic, self.context.folder) is None:
            await self.explain()

    async def explain(self) -> None:
        """Have it computed, elsewhere, and show it."""
        config = self.context.watch.config
        if self._busy or config is None:
            return
        self._busy = True
        self._asked_s = time.monotonic()
        if self.topic != "model":
            self._say_that_it_is_computed()
        try:
            found = await answered(self.topic, self.context.folder, dump_config(config))
        finally:
            self._busy = False
        self._failed = "error" in found
        self.content.set(answer_html(self.title, found))

    def _say_that_it_is_computed(self) -> None:
        who = "the newest checkpoint" if newest_checkpoint(self.context.folder) else "an untrained policy"
        waited_s = time.monotonic() - self._asked_s
        self.content.set(
            empty(
                f"Computing for {waited_s:.0f} s: {who} plays some games first. It has the lowest priority, so beside "
                f"a training that takes every core it needs minutes; quintet explain {self.topic} {self.context.run} "
                "does not."
            )
        )

    def _nothing_yet(self) -> str:
        if self.topic == "model":
            return "The network is being drawn."
        return "Not computed yet for the newest checkpoint. The button plays some games with it and looks inside."


class _Entropies:
    """How sure each head is, over the run."""

    def __init__(self, context: PageContext) -> None:
        self.context = context
        self._heads: list[str] = []
        with (
            grid(),
            panel(
                "Entropy of every head",
                "in the rows in which it is read; falls as the policy makes up its mind",
                wide=True,
            ),
        ):
            self.chart = Chart("Entropy of every head", [], low=0.0)
            self.none = Markup()

    def update(self) -> None:
        """Draw what has come since."""
        table = self.context.watch.table
        heads = head_metrics(list(table.names))
        self.none.set("" if heads else empty("No head has been trained yet: numbers come with the first update."))
        if not heads:
            return
        lines = [
            Line(name=name, label=name.split("/")[1], slot=k % MOST_HEADS + 1)
            for k, name in enumerate(heads[:MOST_HEADS])
        ]
        view = ChartView(table)
        self.chart.feed({line.name: view.curve(line.name) for line in lines}, lines=lines)


def head_metrics(names: list[str]) -> list[str]:
    """Of all metrics, the heads' entropies, in order."""
    return sorted(name for name in names if name.startswith("heads/") and name.endswith("/entropy"))


def answer_html(title: str, answer: Answer) -> str:
    """An explanation, or why there is none. The picture is an image: nothing in it can act on the page."""
    if "error" in answer:
        return empty(f"It cannot be explained: {answer['error']}")
    data = base64.b64encode(str(answer["svg"]).encode()).decode()
    picture = (
        f'<img src="data:image/svg+xml;base64,{data}" alt="{escape(title)}: {escape(str(answer["subject"]))}" '
        'style="max-width:100%;min-width:640px;background:#fff;border-radius:6px">'
    )
    words = "".join(
        f"<p style='max-width:90ch;margin:0.8em 0 0'>{escape(str(paragraph))}</p>" for paragraph in answer["paragraphs"]
    )
    return picture + words
