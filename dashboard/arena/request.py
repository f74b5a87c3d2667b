"""What the Arena was asked to show: a game played now, or a replay; read strictly from what a browser sent."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

NEWEST = "newest"
ITSELF = "itself"
RANDOM = "random"
BOT = "bot:"
REPLAY_SUFFIX = ".replay"
MOST_SEED = 2**31 - 1
_CHECKPOINT = re.compile(r"\d{1,12}")
_BOT_NAME = re.compile(rf"{BOT}[\w.-]{{1,64}}")
_REPLAY = re.compile(rf"[\w][\w .+=@-]{{0,200}}{re.escape(REPLAY_SUFFIX)}")


class ArenaError(Exception):
    """Something that the Arena cannot show; the message is one line for the person who asked."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StreamRequest:
    """A game to show. All who ask for the same share one session."""

    folder: str  # the run's
    redis_url: str = ""  # of a live run; holds a password, so it never goes to a browser or a command line
    replay: str = ""  # a file's name in the run's replays/; empty: a game that is played now
    player: str = NEWEST  # or a checkpoint's name: whose weights play, and for a replay whose thoughts are shown
    opponent: str = ITSELF  # or RANDOM, bot:NAME, or a checkpoint's name
    greedy: bool = False
    seed: int = 1

    def __post_init__(self) -> None:
        if self.player != NEWEST and not _CHECKPOINT.fullmatch(self.player):
            raise ArenaError(f"the player is {self.player!r}; expected {NEWEST!r} or a checkpoint's number")
        if self.opponent not in (ITSELF, RANDOM) and not (
            _CHECKPOINT.fullmatch(self.opponent) or _BOT_NAME.fullmatch(self.opponent)
        ):
            raise ArenaError(
                f"the opponent is {self.opponent!r}; expected {ITSELF!r}, {RANDOM!r}, {BOT}NAME or a checkpoint"
            )
        if self.replay and not _REPLAY.fullmatch(self.replay):
            raise ArenaError(f"{self.replay!r} is not the name of a file *{REPLAY_SUFFIX} in the run's replays folder")
        if not 0 <= self.seed <= MOST_SEED:
            raise ArenaError(f"the seed is {self.seed}; it must be from 0 to {MOST_SEED}")

    @property
    def key(self) -> str:
        """Equal for equal requests."""
        return json.dumps(asdict(self), sort_keys=True)

    @property
    def path(self) -> Path:
        """The run's folder."""
        return Path(self.folder)


def read_request(told: Mapping[str, str], *, folder: Path, redis_url: str) -> StreamRequest:
    """What a browser's query asks for, of a run that the server chose.

    Raises:
        ArenaError: a value that cannot be.
    """
    try:
        seed = int(told.get("seed", "1"))
    except ValueError as error:
        raise ArenaError(f"the seed is {told['seed']!r}; expected a whole number") from error
    return StreamRequest(
        folder=str(folder.resolve()),
        redis_url=redis_url,
        replay=told.get("replay", ""),
        player=told.get("player", NEWEST),
        opponent=told.get("opponent", ITSELF),
        greedy=told.get("greedy", "") == "1",
        seed=seed,
    )


def request_from(told: Mapping[str, Any]) -> StreamRequest:
    """Undo `dataclasses.asdict`.

    Raises:
        ArenaError: unknown or missing fields.
    """
    try:
        return StreamRequest(**told)
    except TypeError as error:
        raise ArenaError(f"that is no show: {error}") from error


def list_checkpoints(folder: Path) -> list[str]:
    """Names of the checkpoints of a run's folder, the newest first."""
    names = [path.parent.name for path in (folder / "checkpoints").glob("*/checkpoint.json")]
    return sorted((name for name in names if _CHECKPOINT.fullmatch(name)), key=int, reverse=True)


def list_replays(folder: Path) -> list[str]:
    """Names of the replays of a run's folder, the newest first."""
    paths = [path for path in (folder / "replays").glob(f"*{REPLAY_SUFFIX}") if _REPLAY.fullmatch(path.name)]
    return [path.name for path in sorted(paths, key=lambda path: path.stat().st_mtime, reverse=True)]
