"""What `quintet eval` and `quintet watch` are told: their options, declared once."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tyro.conf import Positional

from quintet.control.errors import UsageError

RANDOM = "random"


@dataclass(frozen=True, kw_only=True, slots=True)
class EvalRequest:
    """The options of `quintet eval`; what stands below each is its help."""

    checkpoint: Positional[str]
    """A checkpoint folder, a run folder or a run's name: then its newest checkpoint. Or bot:NAME, random."""
    opponent: str | None = None
    """random, bot:NAME, or another checkpoint. Random if left out."""
    game: str | None = None
    """What is played where neither is a checkpoint, for example skirmish-5v5."""
    games: int = 1000
    """How many, split evenly over the seats."""
    greedy: bool = False
    """Take the likeliest action instead of a drawn one."""
    seed: int = 1
    """Seeds the games and the drawing of actions."""
    save_replay: int = 0
    """Keep so many games of skirmish, the first ones, in the run's replays folder."""
    json: bool = False
    """One JSON object instead of a table."""


@dataclass(frozen=True, kw_only=True, slots=True)
class WatchRequest:
    """The options of `quintet watch`; what stands below each is its help."""

    what: Positional[str]
    """A replay's file; or who plays blue: a checkpoint, a run, bot:NAME or random."""
    opponent: str | None = None
    """Who plays red in a fresh game: random, bot:NAME or a checkpoint. Random if left out."""
    game: str | None = None
    """What is played where neither is a checkpoint, for example skirmish-5v5."""
    eyes: Literal["both", "blue", "red"] = "both"
    """Show what both teams have, or what one of them sees through the fog."""
    speed: float = 4.0
    """Times as fast as the game's own clock."""
    fps: float = 10.0
    """Pictures a second."""
    width: int = 640
    """Of a film, in pixels."""
    gif: Path | None = None
    """Write an animated GIF."""
    mp4: Path | None = None
    """Write an MP4; needs ffmpeg."""
    save: Path | None = None
    """Keep a fresh game as a replay."""
    seed: int = 1
    """Seeds a fresh game and the drawing of actions."""
    greedy: bool = False
    """Policies take their likeliest action instead of a drawn one."""

    def __post_init__(self) -> None:
        for name, low, high in (("speed", 0.1, 1000), ("fps", 1, 60), ("width", 160, 2160)):
            value = getattr(self, name)
            if not low <= value <= high:
                raise UsageError(f"--{name} is {value}; it must be from {low} to {high}")
        if self.width % 2:
            raise UsageError(f"--width is {self.width}; it must be even")
