"""`quintet explain`: the network of a game or a checkpoint, or what goes on in it, in pictures and in words."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path

from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table

from quintet.control.config import RunConfig, load_config, parse_config
from quintet.control.errors import UsageError
from quintet.control.output import stdout
from quintet.control.run_folder import checkpoint_path, shown
from quintet.explain.network import network_drawing, network_words, rows
from quintet.explain.page import page
from quintet.explain.plots.figure import png, svg
from quintet.explain.plots.network import Drawing, draw
from quintet.explain.request import ExplainRequest
from quintet.explain.subject import Subject, fresh_subject, trained_subject
from quintet.explain.topics import TOPICS, Explanation, Paragraphs, explanation
from quintet.games.registry import make_game
from quintet.optimizer.checkpoint import read_info


def carry_out(request: ExplainRequest) -> None:
    """Write the picture as SVG and, beside it, as PNG; a table, two paragraphs and the files' names go to stdout.

    Raises:
        UsageError, ConfigError, CheckpointError, GameError: what cannot be explained, and why.
    """
    if request.topic != "all" and (request.page is not None or request.memory is not None):
        raise UsageError(f"--page and --memory belong to `quintet explain all`, not to {request.topic}")
    output = _Output(console=Console(file=stdout()), here=Path.cwd())
    if request.topic == "all":
        _explain_all(request, output)
    elif request.topic == "model":
        _explain_model(request, output)
    else:
        out = output.svg_name(request.out, f"{request.topic}.svg")
        said = _explained(request.topic, _subject(request))
        output.show(said.paragraphs, said.figure, out)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Output:
    """Where words and files go."""

    console: Console
    here: Path  # what is relative is meant from here; a game may go elsewhere

    def svg_name(self, given: Path | None, default: str) -> Path:
        """The file that was asked for."""
        out = self.here / (given or default)
        if out.suffix.lower() != ".svg":
            raise UsageError(
                f"--out is {given}; the drawing is an SVG, with a PNG beside it: name a file that ends in .svg"
            )
        return out

    def show(self, paragraphs: Paragraphs, figure: Figure, out: Path) -> None:
        """Say it and write the picture twice."""
        for paragraph in paragraphs:
            self.console.print(f"{paragraph}\n", highlight=False)
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(svg(figure), encoding="utf-8")
        out.with_suffix(".png").write_bytes(png(figure))
        self.say(f"drawn in {shown(out, self.here)} and {out.with_suffix('.png').name}")

    def say(self, line: str) -> None:
        """A line that is not broken."""
        self.console.print(line, soft_wrap=True, highlight=False)


def _explain_model(request: ExplainRequest, output: _Output) -> None:
    """The network of any game and size; its weights are never made."""
    config = _config(request)
    game = make_game(config.game, 1, config.seed, config.game_options)
    game.close()
    units, drawing = config.model.lstm_units, network_drawing(game.spec, config.model)
    name = "".join(c if c.isalnum() else "-" for c in config.game.rpartition(":")[2].lower())
    out = output.svg_name(request.out, f"model-{name}-{units}.svg")
    output.console.print(_table(drawing), end="\n\n")
    output.show(network_words(drawing, units), draw(drawing), out)


def _explain_all(request: ExplainRequest, output: _Output) -> None:
    """Every topic into one folder, and the page that tells them together."""
    folder = output.here / (request.out or "explained")
    if folder.suffix:
        raise UsageError(f"--out is {request.out}; all topics go into a folder: name one, for example docs/images/how")
    memory_of = None if request.memory is None else checkpoint_path(request.memory)
    subject = _subject(request)
    said: dict[str, Explanation] = {}
    for topic in TOPICS:
        said[topic] = _explained(topic, subject)
        output.show(said[topic].paragraphs, said[topic].figure, folder / f"{topic}.svg")
    memory = None
    if memory_of is not None:
        memory = _explained("lstm", trained_subject(memory_of))
        output.show(memory.paragraphs, memory.figure, folder / "memory.svg")
    if request.page is not None:
        out = output.here / request.page
        images = Path(os.path.relpath(folder, out.parent)).as_posix()
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(page(said, images, memory), encoding="utf-8")
        output.say(f"written: {shown(out, output.here)}")


def _explained(topic: str, subject: Subject) -> Explanation:
    try:
        return explanation(topic, subject)
    except ValueError as error:
        raise UsageError(f"{topic} cannot be explained by {subject.name}: {error}") from error


def _subject(request: ExplainRequest) -> Subject:
    config = _config(request)
    if request.checkpoint is None:
        return fresh_subject(config)
    return trained_subject(checkpoint_path(request.checkpoint), request.overrides)


def _config(request: ExplainRequest) -> RunConfig:
    """A checkpoint's configuration, or that of a file or the defaults; then what was said on the command line."""
    if request.checkpoint is not None:
        if request.game is not None or request.config is not None:
            raise UsageError("a checkpoint knows its game and configuration: leave out --game and --config")
        folder = checkpoint_path(request.checkpoint)
        text = read_info(folder).config
        return parse_config(text, overrides=request.overrides, source=f"the configuration in {folder}")
    config = load_config(request.config, request.overrides)
    return config if request.game is None else replace(config, game=request.game, game_options={})


def _table(drawing: Drawing) -> Table:
    """Every piece, its shapes and what it costs, narrow enough for 80 columns."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), title=drawing.title, title_justify="left")
    for column in ("piece", "shapes"):
        table.add_column(column, overflow="fold")
    for column in ("parameters", "share"):
        table.add_column(column, justify="right", no_wrap=True)
    for name, box in rows(drawing):
        table.add_row(name, "; ".join(box.lines), f"{box.count:,}", f"{box.share:.1%}")
    return table
