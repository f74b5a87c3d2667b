"""A replay as pictures in time: which moment every picture shows, and animated GIF and MP4 files of them."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from math import ceil
from pathlib import Path
from typing import IO, Protocol

from PIL import Image

from quintet.games.api import GameError
from quintet.games.skirmish.replay.draw import (
    BOSS_MARK,
    HARM_COLOR,
    HEALTH,
    HELP_COLOR,
    MANA,
    MODIFIER_COLORS,
    RUNE_COLORS,
    Artist,
    snapshot,
)
from quintet.games.skirmish.replay.draw_scoreboard import ITEM_COLORS, TEAM_COLORS
from quintet.games.skirmish.replay.draw_shapes import WHITE
from quintet.games.skirmish.replay.file import Replay, play
from quintet.games.skirmish.rules import STEP_S
from quintet.games.skirmish.state import Array, State
from quintet.games.skirmish.tables import Tables

GIF_COLORS = 192


class FilmError(GameError):
    """A film that cannot be written here."""


class Writer(Protocol):
    """`write_gif`, `write_mp4`."""

    def __call__(self, path: Path, drawn: Iterator[Array], *, fps: float, progress: Callable[[int], None]) -> None:
        """Write all pictures to a file."""
        ...


@dataclass(frozen=True, slots=True)
class Moment:
    """What one picture shows: `share` of the way from `before` to `now`."""

    tables: Tables
    now: State
    before: State | None
    share: float
    step: int  # of `now`


def moments(replay: Replay, *, speed: float, fps: float) -> Iterator[Moment]:
    """The moments of a replay at `speed` times the game's own time, `fps` of them a second; the end is the last.

    Raises:
        ReplayError: the game goes another way than it went.
    """
    before: State | None = None
    now: State | None = None
    wanted = 0  # the next picture
    for step, (tables, state) in enumerate(play(replay)):
        before, now = now, snapshot(state)
        while wanted < pictures(replay, speed=speed, fps=fps) - 1 and wanted * speed / fps <= step * STEP_S:
            share = 1 - (step - wanted * speed / fps / STEP_S)
            yield Moment(tables, now, before, min(1.0, max(0.0, share)), step)
            wanted += 1
    if now is not None:
        yield Moment(tables, now, before, 1.0, replay.steps)


def pictures(replay: Replay, *, speed: float, fps: float) -> int:
    """How many moments there are."""
    return ceil(replay.duration_s * fps / speed) + 1


def draw_all(artist: Artist, shown: Iterable[Moment], team: int | None) -> Iterator[Array]:
    """uint8 [height, width, 3] each."""
    for moment in shown:
        yield artist.draw(moment.now, moment.before, team=team, share=moment.share)


def write_gif(path: Path, drawn: Iterator[Array], *, fps: float, progress: Callable[[int], None]) -> None:
    """An animated GIF, whole or not at all; all of its pictures share one palette.

    Raises:
        FilmError: there is nothing to show.
    """
    first = next(drawn, None)
    if first is None:
        raise FilmError("there is no picture to put into the GIF")
    palette = _palette(first)
    step_ms = max(20, round(100 / fps) * 10)  # GIF counts in hundredths of a second; browsers slow down below two

    def pages() -> Iterator[Image.Image]:
        for picture in chain([first], drawn):
            progress(1)
            yield Image.fromarray(picture).quantize(palette=palette, dither=Image.Dither.NONE)

    frames = pages()
    start = next(frames)
    with _whole(path) as unfinished:
        start.save(unfinished, format="GIF", save_all=True, append_images=frames, duration=step_ms, loop=0, disposal=1)


def _palette(picture: Array) -> Image.Image:
    """Colours of a picture, and all that may come to stand on it later."""
    image = Image.fromarray(picture)
    swatches = [
        color[:3]
        for color in (
            *TEAM_COLORS, *RUNE_COLORS, *MODIFIER_COLORS, *ITEM_COLORS, HEALTH, MANA, HARM_COLOR, HELP_COLOR, BOSS_MARK,
            WHITE,
        )
    ]  # fmt: skip
    side = max(8, image.width // 16)  # large enough to count beside the ground
    per_row = max(1, image.width // side)
    sheet = Image.new("RGB", (image.width, image.height + side * ceil(len(swatches) / per_row)))
    sheet.paste(image)
    for k, color in enumerate(swatches):
        x, y = k % per_row * side, image.height + k // per_row * side
        sheet.paste(color, (x, y, x + side, y + side))
    return sheet.quantize(GIF_COLORS, method=Image.Quantize.MEDIANCUT)


def ffmpeg() -> str:
    """The program that makes MP4 files.

    Raises:
        FilmError: it is not installed.
    """
    found = shutil.which("ffmpeg")
    if found is None:
        raise FilmError("--mp4 needs ffmpeg, which is not on PATH: install it (apt install ffmpeg), or use --gif FILE")
    return found


def write_mp4(path: Path, drawn: Iterator[Array], *, fps: float, progress: Callable[[int], None]) -> None:
    """An MP4, whole or not at all.

    Raises:
        FilmError: ffmpeg is not installed or failed, or there is nothing to show.
    """
    program = ffmpeg()
    first = next(drawn, None)
    if first is None:
        raise FilmError("there is no picture to put into the MP4")
    height, width = first.shape[:2]
    with _whole(path) as unfinished:
        command = [
            program, "-y", "-loglevel", "error", "-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}",
            "-r", f"{fps:g}", "-i", "-", "-an", "-pix_fmt", "yuv420p", "-movflags", "+faststart", "-f", "mp4",
            str(unfinished),
        ]  # fmt: skip
        with subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            assert process.stdin is not None
            assert process.stderr is not None
            sent = _send(process.stdin, chain([first], drawn), progress)
            said = process.stderr.read().decode(errors="replace").strip()
        if process.returncode or not sent:
            last = said.splitlines()[-1] if said else f"exit code {process.returncode}"
            raise FilmError(f"ffmpeg could not write {path}: {last}; --gif FILE works without it")


def _send(pipe: IO[bytes], drawn: Iterable[Array], progress: Callable[[int], None]) -> bool:
    """Whether all pictures could be handed over; if not, the program that reads them has died and says why."""
    try:
        for picture in drawn:
            pipe.write(picture.tobytes())
            progress(1)
        pipe.close()
    except BrokenPipeError:
        return False
    return True


@contextmanager
def _whole(path: Path) -> Iterator[Path]:
    """Where to write, so that the file appears under its own name only when it is finished."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        yield unfinished
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)
