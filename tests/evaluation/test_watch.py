"""`quintet watch`: the terminal's pictures, films and replays of fresh games, and clear errors."""

from __future__ import annotations

import io
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from quintet.cluster.__main__ import run
from quintet.control.errors import UsageError
from quintet.evaluation import watch as watch_module
from quintet.evaluation.request import WatchRequest
from quintet.evaluation.watch import UPPER_HALF, TerminalPicture, screen_of, shortened
from quintet.games.skirmish.replay.draw import Artist, snapshot
from quintet.games.skirmish.replay.file import read_replay
from quintet.games.skirmish.replay.video import Moment
from tests.support.skirmish_scene import scene
from tests.support.untrained import save_untrained


def terminal(columns: int, rows: int) -> Console:
    file = io.StringIO()
    return Console(file=file, force_terminal=True, color_system="truecolor", width=columns, height=rows)


def printed(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_two_pixels_share_a_character_the_upper_one_in_front() -> None:
    image = Image.new("RGB", (2, 2))
    for x, y, color in ((0, 0, (255, 0, 0)), (1, 0, (0, 255, 0)), (0, 1, (0, 0, 255)), (1, 1, (255, 255, 255))):
        image.putpixel((x, y), color)
    console = terminal(10, 5)
    console.print(TerminalPicture(image, 2), end="")
    cells = re.findall(rf"38;2;(\d+);(\d+);(\d+);48;2;(\d+);(\d+);(\d+)m{UPPER_HALF}", printed(console))
    assert len(cells) == 2
    found = np.array(cells, int).reshape(2, 2, 3)
    expected = [[[255, 0, 0], [0, 0, 255]], [[0, 255, 0], [255, 255, 255]]]
    assert np.abs(found - expected).max() <= 24


@pytest.mark.parametrize(("columns", "rows"), [(60, 24), (80, 40), (200, 60)])
@pytest.mark.parametrize("name", ["skirmish-1v1", "skirmish-5v5"])
def test_a_moment_fills_the_terminal_and_no_more(name: str, columns: int, rows: int) -> None:
    tables, state = scene(name)
    console = terminal(columns, rows)
    artist = Artist(tables, width=160, teams=("run 000123", "bot:strong"))
    console.print(screen_of(artist, Moment(tables, snapshot(state), None, 1.0, 30), None, columns, rows, 60))
    plain = re.sub(r"\x1b\[[0-9;]*m", "", printed(console)).rstrip("\n").split("\n")
    assert rows - 4 <= len(plain) <= rows
    assert all(len(line) <= columns for line in plain)
    assert "run 000123" in plain[0]
    assert "bot:strong" in plain[0]
    assert plain[-1] == "━" * columns
    assert any("tank" in line and "1,234" in line for line in plain)


def test_the_terminal_does_not_tell_what_a_team_cannot_know() -> None:
    tables, state = scene("skirmish-1v1")
    state.hero["worth"][0, 1] = 7_777
    for team, known in ((None, True), (0, False), (1, True)):
        console = terminal(80, 30)
        moment = Moment(tables, snapshot(state), None, 1.0, 0)
        console.print(screen_of(Artist(tables, width=160), moment, team, 80, 30, 1))
        assert ("7,777" in printed(console)) == known


def test_a_long_name_keeps_its_end() -> None:
    assert shortened("bot:strong") == "bot:strong"
    assert shortened("skirmish-5v5-20261121-003512 000123").endswith("003512 000123")
    assert len(shortened("x" * 99)) == 22


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"speed": 0}, "--speed is 0"),
        ({"fps": 99}, "--fps is 99"),
        ({"width": 7}, "--width is 7"),
        ({"width": 641}, "even"),
    ],
)
def test_numbers_out_of_range_are_refused(options: dict[str, int], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        WatchRequest(what="random", **options)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["bot:weak", "--game", "skirmish-1v1"], "stdout is no terminal: write a film with --gif FILE"),
        (["none.replay", "--gif", "a.gif"], "cannot read the replay none.replay"),
        (["none.replay", "--gif", "a.gif", "--opponent", "random"], "leave out --opponent, --game and --save"),
        (["nowhere", "--gif", "a.gif"], "there is no checkpoint at nowhere"),
        (["bot:weak", "--gif", "a.gif"], "say which, for example --game skirmish-5v5"),
        (["random", "--game", "counting", "--gif", "a.gif"], "only games of skirmish can be watched"),
        (["bot:stong", "--game", "skirmish-1v1", "--gif", "a.gif"], "no bot 'stong'"),
    ],
)
def test_what_cannot_be_watched_is_one_line_on_stderr(
    arguments: list[str],
    message: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(["watch", *arguments]) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    assert message in lines[0]
    assert list(tmp_path.iterdir()) == []


def test_a_missing_ffmpeg_is_found_before_a_game_is_played(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert run(["watch", "nowhere", "--mp4", "a.mp4"]) == 2
    assert "needs ffmpeg, which is not on PATH" in capsys.readouterr().err


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh game of an untrained policy against a bot, as `quintet watch --save` keeps it."""
    folder = tmp_path_factory.mktemp("watched")
    config = 'game = "skirmish-1v1"\n[model]\nlstm_units = 8\nencoder_units = 8\nslot_units = 8\n'
    checkpoint = save_untrained(folder / "run-a" / "checkpoints", config)
    path = folder / "game.replay"
    assert run(["watch", str(checkpoint), "--opponent", "bot:strong", "--save", str(path)]) == 0
    return path


@pytest.mark.slow
def test_a_fresh_game_is_kept_as_a_replay_with_its_players(saved: Path) -> None:
    replay = read_replay(saved)
    assert replay.preset == "skirmish-1v1"
    assert replay.players == ("run-a 000003", "bot:strong")
    assert replay.steps > 20
    assert saved.stat().st_size < 30_000


def test_a_replay_becomes_a_gif_and_its_outcome_a_line(saved: Path, capsys: pytest.CaptureFixture[str]) -> None:
    film = saved.with_name("game.gif")
    assert run(["watch", str(saved), "--gif", str(film), "--speed", "200", "--fps", "5", "--width", "160"]) == 0
    with Image.open(film) as image:
        assert image.n_frames > 1  # type: ignore[attr-defined]
        assert image.width == 160
    said = capsys.readouterr().out
    assert "game.gif: " in said
    assert re.search(r"skirmish-1v1, \d+:\d\d: .*run-a 000003: \d+ kills, \d+ towers, bot:strong: ", said)


def test_in_a_terminal_a_replay_is_played_in_time(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    console = terminal(80, 30)
    slept: list[float] = []
    monkeypatch.setattr(
        watch_module, "Console", lambda stderr=False, file=None: terminal(80, 30) if stderr else console
    )
    monkeypatch.setattr("quintet.evaluation.watch.time.sleep", slept.append)
    watch_module.watch(WatchRequest(what=str(saved), speed=400, fps=4))
    said = printed(console)
    assert said.count("\x1b[?1049h") == said.count("\x1b[?1049l") == 1, "the screen is given back"
    assert UPPER_HALF in said
    assert "skirmish-1v1, " in said.rsplit("\x1b[?1049l", 1)[1]
    assert sum(slept) > 1
