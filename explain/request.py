"""What `quintet explain` is told: its options, declared once."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, UseAppendAction, arg


@dataclass(frozen=True, kw_only=True, slots=True)
class ExplainRequest:
    """The options of the command; what stands below each is its help."""

    topic: Positional[Literal["model", "lstm", "gradients", "loss", "observation", "all"]]
    """The network; its LSTM over a game; how far gradients reach back; a chunk from reward to loss; one
    observation; or all of them."""
    checkpoint: Positional[Path | None] = None
    """A checkpoint folder, a run folder or a run's name; without one, --game or --config says what."""
    game: str | None = None
    """gymnasium:CartPole-v1, skirmish-5v5, my_module:make ..."""
    config: Path | None = None
    """A TOML file, or the name of one that ships with Quintet."""
    overrides: Annotated[UseAppendAction[tuple[str, ...]], arg(name="set", metavar="KEY=VALUE")] = ()
    """Any key of the configuration, for example --set model.lstm_units=1024. May be repeated."""
    out: Path | None = None
    """The SVG to write, with a PNG beside it; of all topics, the folder."""
    memory: Path | None = None
    """With all topics: a second run, whose LSTM is explained too."""
    page: Path | None = None
    """With all topics: the Markdown page that tells them together."""
