"""`quintet explain`: the network of a game or a checkpoint, or what goes on in it, in pictures and in words."""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace
from pathlib import Path

from rich.console import Console
from rich.table import Table

from quintet.control.config import RunConfig, load_config, parse_config
from quintet.control.errors import UsageError
from quintet.control.output import stdout
from quintet.control.run_folder import checkpoint_path, shown
from quintet.explain.network import explain as sketch
from quintet.explain.network import rows
from quintet.explain.page import page
from quintet.explain.plots.network import Drawing, draw
from quintet.explain.plots.rasterize import png
from quintet.explain.subject import Subject, fresh_subject, trained_subject
from quintet.explain.topics import TOPICS, Explanation, model_words
from quintet.explain.topics import explain as topic_explained
from quintet.games.registry import make_game
from quintet.optimizer.checkpoint import read_info


@dataclass(frozen=True, kw_only=True, slots=True)
class ExplainRequest:
    """What `quintet explain` was told."""

    topic: str = "model"
    checkpoint: Path | None = None
    game: str | None = None
    config: Path | None = None
    overrides: tuple[str, ...] = ()
    out: Path | None = None  # an SVG; of all topics, a folder
    memory: Path | None = None  # with all topics: a second run, whose memory is explained too
    page: Path | None = None  # with all topics: the Markdown page to write
    here: Path = field(default_factory=Path.cwd)  # what is relative is meant from here; a game may go elsewhere


def explain(request: ExplainRequest) -> None:
    """Write the picture as SVG and, beside it, as PNG; a table, two paragraphs and the files' names go to stdout.

    Raises:
        UsageError, ConfigError, CheckpointError, GameError: what cannot be explained, and why.
    """
    if request.topic != "all" and (request.page is not None or request.memory is not None):
        raise UsageError(f"--page and --memory belong to `quintet explain all`, not to {request.topic}")
    console = Console(file=stdout())
    if request.topic == "model":
        explain_model(request, console)
    elif request.topic == "all":
        _explain_all(request, console, list(TOPICS))
    else:
        out = _svg_name(request, f"{request.topic}.svg")
        _show(console, _explained(request.topic, _subject(request)), out, request.here)


def explain_model(request: ExplainRequest, console: Console) -> None:
    """The network of any game and size; its weights are never made."""
    config = _config(request)
    game = make_game(config.game, 1, config.seed, config.game_options)
    game.close()
    drawing = sketch(game.spec, config.model)
    name = "".join(c if c.isalnum() else "-" for c in config.game.rpartition(":")[2].lower())
    out = _svg_name(request, f"model-{name}-{config.model.lstm_units}.svg")
    console.print(model_table(drawing))
    for paragraph in model_words(drawing, config.model.lstm_units):
        console.print(f"\n{paragraph}", highlight=False)
    _write(console, draw(drawing), out, request.here)


def _explain_all(request: ExplainRequest, console: Console, topics: list[str]) -> None:
    """Every topic into one folder, and the page that tells them together."""
    folder = request.here / (request.out or "explained")
    if folder.suffix:
        raise UsageError(f"--out is {request.out}; all topics go into a folder: name one, for example docs/images/how")
    memory_of = None if request.memory is None else checkpoint_path(request.memory)
    subject = _subject(request)
    said: dict[str, Explanation] = {}
    for topic in topics:
        said[topic] = _explained(topic, subject)
        _show(console, said[topic], folder / f"{topic}.svg", request.here)
    memory = None
    if memory_of is not None:
        memory = _explained("lstm", trained_subject(memory_of))
        _show(console, memory, folder / "memory.svg", request.here)
    if request.page is not None:
        out = request.here / request.page
        images = Path(os.path.relpath(folder, out.parent)).as_posix()
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(page(said, images, memory), encoding="utf-8")
        console.print(f"written: {shown(out, request.here)}", soft_wrap=True, highlight=False)


def _explained(topic: str, subject: Subject) -> Explanation:
    try:
        return topic_explained(topic, subject)
    except ValueError as error:
        raise UsageError(f"{topic} cannot be explained by {subject.name}: {error}") from error


def _subject(request: ExplainRequest) -> Subject:
    config = _config(request)
    if request.checkpoint is None:
        return fresh_subject(config)
    return trained_subject(checkpoint_path(request.checkpoint), request.overrides)


def _svg_name(request: ExplainRequest, default: str) -> Path:
    out = request.here / (request.out or default)
    if out.suffix.lower() != ".svg":
        raise UsageError(
            f"--out is {request.out}; the drawing is an SVG, with a PNG beside it: name a file that ends in .svg"
        )
    return out


def _show(console: Console, explanation: Explanation, out: Path, here: Path) -> None:
    for paragraph in explanation.paragraphs:
        console.print(f"{paragraph}\n", highlight=False)
    _write(console, explanation.svg, out, here)


def _write(console: Console, svg: str, out: Path, here: Path) -> None:
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(svg, encoding="utf-8")
    out.with_suffix(".png").write_bytes(png(svg))
    console.print(f"drawn in {shown(out, here)} and {out.with_suffix('.png').name}", soft_wrap=True, highlight=False)


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


def model_table(drawing: Drawing) -> Table:
    """Every piece, its shapes and what it costs, narrow enough for 80 columns."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), title=drawing.title, title_justify="left")
    for column in ("piece", "shapes"):
        table.add_column(column, overflow="fold")
    for column in ("parameters", "share"):
        table.add_column(column, justify="right", no_wrap=True)
    for piece in rows(drawing):
        table.add_row(piece.name, piece.shapes, f"{piece.parameters:,}", f"{piece.share:.1%}")
    return table
