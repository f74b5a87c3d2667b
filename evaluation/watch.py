"""`quintet watch`: a recorded or a fresh game of skirmish in the terminal, or as a GIF or an MP4."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator
from functools import lru_cache
from itertools import groupby
from pathlib import Path

from PIL import Image
from rich.align import Align
from rich.color import Color
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.live import Live
from rich.measure import Measurement
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.segment import Segment
from rich.style import Style
from rich.table import Table
from rich.text import Text

from quintet.control.errors import UsageError
from quintet.control.output import stdout
from quintet.evaluation.request import WatchRequest
from quintet.games.api import Array
from quintet.games.skirmish.replay.draw import Artist
from quintet.games.skirmish.replay.draw_scoreboard import TEAM_COLORS, clock, verdict
from quintet.games.skirmish.replay.file import Replay, read_replay, write_replay
from quintet.games.skirmish.replay.video import (
    Moment,
    Writer,
    draw_all,
    ffmpeg,
    moments,
    pictures,
    write_gif,
    write_mp4,
)
from quintet.games.skirmish.rules import HEROES, PRESETS, TOWER
from quintet.games.skirmish.state import State
from quintet.games.skirmish.tables import Tables, build_tables

UPPER_HALF = "▀"
SHADES = 24  # apart: colours that are nearly alike become one, so that a terminal has less to be told


class TerminalPicture:
    """An RGB picture of `columns` characters a line, in its own proportions."""

    def __init__(self, image: Image.Image, columns: int) -> None:
        rows = max(1, round(columns * image.height / image.width / 2))
        small = image.resize((columns, 2 * rows), Image.Resampling.BOX)
        self.columns, self.rows = columns, rows
        self.data = [value // SHADES * SHADES + SHADES // 2 for value in small.tobytes()]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Lines of half blocks: the upper pixel in front, the lower one behind."""
        for row in range(self.rows):
            for style, same in groupby(self._styles(row)):
                yield Segment(UPPER_HALF * len(list(same)), style)
            yield Segment.line()

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        """As wide as it is."""
        return Measurement(self.columns, self.columns)

    def _styles(self, row: int) -> Iterator[Style]:
        upper, lower = 2 * row * self.columns * 3, (2 * row + 1) * self.columns * 3
        for at in range(0, self.columns * 3, 3):
            yield _style(*self.data[upper + at : upper + at + 3], *self.data[lower + at : lower + at + 3])


@lru_cache(maxsize=2**14)
def _style(r: int, g: int, b: int, lower_r: int, lower_g: int, lower_b: int) -> Style:
    front, back = Color.from_rgb(min(255, r), min(255, g), min(255, b)), (lower_r, lower_g, lower_b)
    return Style(color=front, bgcolor=Color.from_rgb(*(min(255, part) for part in back)))


SEATS = ("blue", "red")
LEAST_COLUMNS = 40
TERMINAL_FIGURES = 1.6  # larger than in a film, or a hero would be two pixels
NAME_LENGTH = 22
REPLAY_SUFFIX = ".replay"


def watch(request: WatchRequest) -> None:
    """Show a game; what is shown goes to the terminal or to files, how it went to stdout.

    Raises:
        UsageError, ReplayError, FilmError, CheckpointError, GameError: what cannot be shown, and why.
    """
    console, errors = Console(file=stdout()), Console(stderr=True)
    to_file = request.gif or request.mp4
    if not to_file and not request.save and not console.is_terminal:
        raise UsageError("stdout is no terminal: write a film with --gif FILE or --mp4 FILE, or --save a replay")
    if request.mp4:
        ffmpeg()  # before a game is played for nothing
    replay = _replay(request, errors)
    if request.save:
        size = write_replay(request.save, replay)
        console.print(
            f"{request.save}: {replay.steps:,} steps in {size / 1000:.1f} kB", soft_wrap=True, highlight=False
        )
    team = None if request.eyes == "both" else SEATS.index(request.eyes)
    for path, write in ((request.gif, write_gif), (request.mp4, write_mp4)):
        if path is not None:
            _film(path, write, replay, request, team, errors)
            console.print(f"{path}: {path.stat().st_size / 1e6:.1f} MB", soft_wrap=True, highlight=False)
    if not to_file and console.is_terminal:
        _show(replay, request, team, console)
    console.print(_ending(replay), soft_wrap=True, highlight=False)


def _replay(request: WatchRequest, errors: Console) -> Replay:
    """Read, or played now."""
    path = Path(request.what)
    if path.is_file() or path.suffix == REPLAY_SUFFIX:
        if request.opponent or request.game or request.save:
            raise UsageError(f"{path} is a replay, a game that was played: leave out --opponent, --game and --save")
        return read_replay(path)
    from quintet.evaluation.evaluate import play

    with Progress(console=errors, transient=True, disable=not errors.is_terminal) as progress:
        task = progress.add_task("playing", total=None)
        played = play(
            request.what,
            request.opponent,
            game=request.game,
            seed=request.seed,
            greedy=request.greedy,
            to_watch=True,
            progress=lambda step, most: progress.update(task, completed=step, total=most),
        )
    assert played.replay is not None
    return played.replay


def _artist(replay: Replay, width: int, figures: float = 1.0) -> Artist:
    names = [shortened(name) for name in replay.players]
    return Artist(build_tables(PRESETS[replay.preset]), width=width, teams=(names[0], names[1]), figures=figures)


def shortened(name: str) -> str:
    """A player's name with its end kept, which is what tells checkpoints apart."""
    return name if len(name) <= NAME_LENGTH else f"…{name[1 - NAME_LENGTH :]}"


def _film(
    path: Path,
    write: Writer,
    replay: Replay,
    request: WatchRequest,
    team: int | None,
    errors: Console,
) -> None:
    bar = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed} of {task.total}"),
        TimeRemainingColumn(),
    )
    with Progress(*bar, console=errors, transient=True, disable=not errors.is_terminal) as progress:
        task = progress.add_task(f"drawing {path.name}", total=pictures(replay, speed=request.speed, fps=request.fps))
        shown = moments(replay, speed=request.speed, fps=request.fps)
        drawn: Iterator[Array] = draw_all(_artist(replay, request.width), shown, team)
        write(path, drawn, fps=request.fps, progress=lambda n: progress.advance(task, n))


def _show(replay: Replay, request: WatchRequest, team: int | None, console: Console) -> None:
    """Play it in the terminal, in time: pictures that come too late are left out."""
    if console.width < LEAST_COLUMNS or console.height < LEAST_COLUMNS / 2:
        raise UsageError(
            f"the terminal is {console.width} x {console.height}; at least {LEAST_COLUMNS} x 20 are needed"
        )
    artist = _artist(replay, 480, TERMINAL_FIGURES)
    start = time.monotonic()
    last = pictures(replay, speed=request.speed, fps=request.fps) - 1
    with Live(console=console, auto_refresh=False, screen=True) as live:
        for k, moment in enumerate(moments(replay, speed=request.speed, fps=request.fps)):
            ahead = start + k / request.fps - time.monotonic()
            if ahead < -1 / request.fps and k < last:
                continue
            time.sleep(max(0.0, ahead))
            live.update(screen_of(artist, moment, team, console.width, console.height, replay.steps), refresh=True)
        time.sleep(1.0)


def screen_of(artist: Artist, moment: Moment, team: int | None, columns: int, rows: int, steps: int) -> RenderableType:
    """A terminal's worth of a moment: score, map, heroes, and how far the game is."""
    heroes = artist.tables.layout.heroes
    for_map = rows - heroes - 3
    side = max(8, min(columns, 2 * for_map))
    image = artist.draw_map(moment.now, moment.before, team=team, share=moment.share)
    done = round(columns * moment.step / max(1, steps))
    return Group(
        _score_line(artist, moment.now, columns),
        Align.center(TerminalPicture(image, side)),
        _hero_lines(artist, moment.now, columns, team),
        Text("━" * done, style="green", end="") + Text("━" * (columns - done), style="bright_black"),
    )


def _color(team: int) -> str:
    return "rgb({},{},{})".format(*TEAM_COLORS[team])


def _score_line(artist: Artist, now: State, columns: int) -> Table:
    table = Table.grid(expand=True)
    for justify in ("left", "center", "right"):
        table.add_column(justify=justify, no_wrap=True, ratio=1)
    texts = [
        Text(f"{artist.teams[team]}  {kills} kills  {towers} towers", style=_color(team))
        for team, (kills, towers) in enumerate(_scores(artist.tables, now))
    ]
    end = verdict(now, artist.teams)
    table.add_row(texts[0], Text(f"{clock(int(now.game['tick'][0]))}  {end}".strip(), style="bold"), texts[1])
    return table


def _scores(tables: Tables, now: State) -> list[tuple[int, int]]:
    """(kills, standing towers) of both teams."""
    where = tables.layout
    heroes, units = now.hero[0], now.unit[0]
    return [
        (
            int(heroes["kills"][team * where.heroes : (team + 1) * where.heroes].sum()),
            int((units["alive"] & (units["kind"] == TOWER) & (units["team"] == team)).sum()),
        )
        for team in range(2)
    ]


def _hero_lines(artist: Artist, now: State, columns: int, team: int | None) -> Table:
    """A line for every pair of heroes: archetype, level, kills/deaths/assists, and worth where it may be known."""
    where = artist.tables.layout
    name_width = max(1, min(13, columns // 2 - 19))
    table = Table.grid(expand=True)
    table.add_column(no_wrap=True, ratio=1)
    table.add_column(no_wrap=True, ratio=1)
    for k in range(where.heroes):
        cells = []
        for side in range(2):
            hero, unit = now.hero[0][side * where.heroes + k], now.unit[0][side * where.block + k]
            worth = f"{int(hero['worth']):>6,}" if team in (None, side) else "     ?"
            name = HEROES[int(hero["archetype"])].name[:name_width].ljust(name_width)
            score = f"{hero['kills']}/{hero['deaths']}/{hero['assists']}"
            line = f"{name} {hero['level']:>2} {score:<7} {worth}"
            cells.append(Text(line, style=_color(side) if unit["alive"] else "bright_black"))
        table.add_row(*cells)
    return table


def _ending(replay: Replay) -> str:
    """How a game went, in a line."""
    artist_names = (shortened(replay.players[0]), shortened(replay.players[1]))
    shown = deque(moments(replay, speed=1e6, fps=1), maxlen=1)[0]
    end = verdict(shown.now, artist_names) or "not over yet"
    scores = _scores(shown.tables, shown.now)
    sides = ", ".join(
        f"{name}: {kills} kills, {towers} towers" for name, (kills, towers) in zip(artist_names, scores, strict=True)
    )
    return f"{replay.preset}, {clock(int(shown.now.game['tick'][0]))}: {end} ({sides})"
