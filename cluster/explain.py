"""`quintet explain model`: the network of a game, a configuration or a checkpoint, as an SVG and as a table."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from rich.console import Console
from rich.table import Table

from cluster.failure import UsageError
from cluster.run_folder import checkpoint_path
from control.config import RunConfig, load_config, parse_config
from games.registry import make_game
from model.diagram import explain, rows
from model.drawing import Drawing, draw
from optimizer.checkpoint import read_info


@dataclass(frozen=True, kw_only=True, slots=True)
class ExplainRequest:
    """What `quintet explain` was told."""

    checkpoint: Path | None = None
    game: str | None = None
    config: Path | None = None
    overrides: tuple[str, ...] = ()
    out: Path | None = None


def explain_model(request: ExplainRequest) -> None:
    """Write the SVG; the table and the file's name go to stdout.

    Raises:
        UsageError, ConfigError, CheckpointError, GameError: what cannot be drawn, and why.
    """
    config = _config(request)
    game = make_game(config.game, 1, config.seed, config.game_options)
    game.close()
    drawing = explain(game.spec, config.model)
    name = "".join(c if c.isalnum() else "-" for c in config.game.rpartition(":")[2].lower())
    out = request.out or Path(f"model-{name}-{config.model.lstm_units}.svg")
    if out.suffix.lower() != ".svg":
        raise UsageError(f"--out is {out}; the drawing is an SVG: name a file that ends in .svg")
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(draw(drawing), encoding="utf-8")
    console = Console()
    console.print(model_table(drawing))
    console.print(f"drawn in {out}", soft_wrap=True, highlight=False)


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
