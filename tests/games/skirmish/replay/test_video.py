"""Films: which moments are shown when, and GIF and MP4 files that are whole or not there."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from quintet.games.api import Array
from quintet.games.skirmish.replay import video as film
from quintet.games.skirmish.replay.file import Replay
from quintet.games.skirmish.replay.video import FilmError, moments, pictures, write_gif, write_mp4
from quintet.games.skirmish.rules import STEP_S
from quintet.games.skirmish.state import State
from quintet.games.skirmish.tables import Tables
from tests.games.skirmish.replay.test_file import made_up
from tests.support.skirmish_scene import scene

STEPS = 10  # 4 seconds of the game


@pytest.fixture
def walk(monkeypatch: pytest.MonkeyPatch) -> Replay:
    """A replay of one hero that is at x = step, without an engine."""

    def play(replay: Replay) -> Iterator[tuple[Tables, State]]:
        tables, state = scene("skirmish-1v1")
        for step in range(replay.steps + 1):
            state.unit["x"][0, 0] = step
            yield tables, state

    monkeypatch.setattr(film, "play", play)
    return made_up(STEPS)


def shown_at(walk: Replay, speed: float, fps: float) -> list[float]:
    """Where the hero is in every picture, in steps."""
    found = []
    for moment in moments(walk, speed=speed, fps=fps):
        now = float(moment.now.unit["x"][0, 0])
        before = now if moment.before is None else float(moment.before.unit["x"][0, 0])
        found.append(before + moment.share * (now - before))
    return found


@pytest.mark.parametrize(("speed", "fps"), [(1.0, 10.0), (4.0, 10.0), (8.0, 10.0), (0.5, 7.0), (100.0, 1.0)])
def test_pictures_are_equally_far_apart_in_time_and_the_last_is_the_end(walk: Replay, speed: float, fps: float) -> None:
    found = shown_at(walk, speed, fps)
    assert len(found) == pictures(walk, speed=speed, fps=fps)
    times = np.arange(len(found) - 1) * speed / fps / STEP_S
    assert np.allclose(found[:-1], times, atol=1e-6)
    assert found[-1] == STEPS


def test_a_moment_is_a_copy_that_later_steps_do_not_change(walk: Replay) -> None:
    kept = list(moments(walk, speed=4, fps=10))
    assert [float(m.now.unit["x"][0, 0]) for m in kept] == list(range(STEPS + 1))


def drawn(count: int, size: tuple[int, int] = (64, 48)) -> Iterator[Array]:
    """Pictures with a white square that wanders to the right over a grey ground."""
    for k in range(count):
        picture = np.full((*size, 3), 60, np.uint8)
        picture[10:20, 2 * k : 2 * k + 8] = 244
        yield picture


def test_a_gif_holds_every_picture_for_its_time(tmp_path: Path) -> None:
    told: list[int] = []
    path = tmp_path / "new" / "game.gif"
    write_gif(path, drawn(7), fps=12.5, progress=told.append)
    with Image.open(path) as image:
        assert (image.n_frames, image.size) == (7, (48, 64))  # type: ignore[attr-defined]
        assert image.info["duration"] == 80
        for k, picture in enumerate(drawn(7)):
            image.seek(k)
            found = np.asarray(image.convert("RGB")).astype(int)
            assert np.abs(found - picture).max() <= 16, k
    assert sum(told) == 7
    assert [p.name for p in path.parent.iterdir()] == ["game.gif"]


def test_a_film_that_breaks_off_leaves_no_file(tmp_path: Path) -> None:
    def broken() -> Iterator[Array]:
        yield from drawn(3)
        raise FilmError("the game is another")

    with pytest.raises(FilmError, match="the game is another"):
        write_gif(tmp_path / "game.gif", broken(), fps=10, progress=lambda _: None)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("write", [write_gif, write_mp4])
def test_a_film_of_nothing_is_an_error(tmp_path: Path, write: film.Writer, program: Path) -> None:
    with pytest.raises(FilmError, match="there is no picture"):
        write(tmp_path / "film", iter(()), fps=10, progress=lambda _: None)


@pytest.fixture
def program(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A stand-in for ffmpeg that keeps what it is given: its arguments, then every picture."""
    folder = tmp_path_factory.mktemp("bin")
    path = folder / "ffmpeg"
    path.write_text('#!/bin/sh\nfor last in "$@"; do :; done\n{ echo "$@"; cat; } > "$last"\n')
    path.chmod(path.stat().st_mode | stat.S_IEXEC)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    return path


def test_ffmpeg_is_given_every_picture_and_told_what_it_gets(tmp_path: Path, program: Path) -> None:
    told: list[int] = []
    write_mp4(tmp_path / "game.mp4", drawn(5), fps=12.5, progress=told.append)
    arguments, _, data = (tmp_path / "game.mp4").read_bytes().partition(b"\n")
    assert b"-pix_fmt rgb24 -s 48x64 -r 12.5 -i -" in arguments
    assert data == b"".join(picture.tobytes() for picture in drawn(5))
    assert sum(told) == 5


def test_without_ffmpeg_the_error_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(FilmError, match=r"not on PATH: install it .*, or use --gif FILE"):
        write_mp4(tmp_path / "game.mp4", drawn(2), fps=10, progress=lambda _: None)


def test_what_ffmpeg_says_when_it_fails_is_passed_on_and_no_file_is_left(tmp_path: Path, program: Path) -> None:
    program.write_text(
        '#!/bin/sh\nfor last in "$@"; do :; done\necho half > "$last"\necho "no such encoder" >&2\nexit 1\n'
    )
    with pytest.raises(FilmError, match=r"could not write .*game.mp4: no such encoder; --gif FILE works without it"):
        write_mp4(tmp_path / "game.mp4", drawn(400, (480, 640)), fps=10, progress=lambda _: None)
    assert list(tmp_path.iterdir()) == []
