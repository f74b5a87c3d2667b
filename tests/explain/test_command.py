"""`quintet explain model`: a table on stdout, an SVG, and clear errors."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import pytest

from quintet.cluster.__main__ import run
from tests.support.short_games import play_little
from tests.support.untrained import save_untrained


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_without_options_the_default_network_is_drawn(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["explain", "model"]) == 0
    said = capsys.readouterr().out
    assert "LSTM of 128 units" in said
    assert "drawn in model-cartpole-v1-128.svg" in said
    assert ElementTree.parse("model-cartpole-v1-128.svg").getroot().tag.endswith("svg")


@pytest.mark.slow
def test_game_and_size_are_those_that_were_asked_for(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    out = tmp_path / "new" / "picture.svg"
    game = "tests.envs.full_spec_game:make_outpost"
    assert run(["explain", "model", "--game", game, "--set", "model.lstm_units=1024", "--out", str(out)]) == 0
    said = capsys.readouterr().out
    assert "outpost: " in said
    assert "LSTM of 1,024 units" in said
    for piece in ("units", "critic's layer", "predict win", "share"):
        assert piece in said
    assert "outpost" in out.read_text()


def test_a_checkpoint_is_drawn_with_its_own_game_and_size(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    folder = save_untrained(tmp_path / "checkpoints", 'game = "counting"\n[model]\nlstm_units = 24\n')
    assert run(["explain", "model", str(folder), "--out", "a.svg"]) == 0
    assert "counting: " in capsys.readouterr().out
    assert run(["explain", "model", str(folder), "--set", "model.lstm_units=48", "--out", "b.svg"]) == 0
    assert "LSTM of 48 units" in Path("b.svg").read_text()
    assert "LSTM of 24 units" in Path("a.svg").read_text()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "there is no checkpoint at nowhere"),
        (["--out", "model.png"], "--out is model.png; the drawing is an SVG"),
        (["--game", "cuonting"], "unknown game 'cuonting'"),
        (["x", "--game", "counting"], "leave out --game and --config"),
        (["--set", "model.lstm_unit=3"], "model.lstm_unit"),
    ],
)
def test_what_cannot_be_drawn_is_one_line_on_stderr(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert run(["explain", "model", *arguments]) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    assert message in lines[0]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@pytest.mark.parametrize("topic", ["lstm", "gradients", "loss", "observation"])
def test_a_topic_writes_a_picture_twice_and_two_paragraphs(
    topic: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    play_little(monkeypatch)
    folder = save_untrained(tmp_path / "checkpoints", SMALL)
    assert run(["explain", topic, str(folder), "--out", "new/a.svg"]) == 0
    said = capsys.readouterr().out
    assert len([part for part in said.split("\n\n") if len(part) > 60]) == 2
    assert "drawn in new/a.svg and a.png" in said
    assert "version 3" in Path("new/a.svg").read_text()
    assert Path("new/a.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_all_topics_fill_a_folder_and_make_a_page(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    play_little(monkeypatch)
    folder = save_untrained(tmp_path / "checkpoints", SMALL)
    arguments = ["--out", "docs/images", "--page", "docs/page.md", "--memory", str(folder)]
    assert run(["explain", "all", str(folder), *arguments]) == 0
    page = Path("docs/page.md").read_text()
    pictures = [line.split("(")[1].rstrip(")") for line in page.splitlines() if line.startswith("![")]
    assert len(pictures) == 6
    assert all((Path("docs") / picture).is_file() for picture in pictures)
    assert max(len(line) for line in page.splitlines()) <= 120
    assert page.count("\n## ") == 5
    assert "written: docs/page.md" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["loss", "--page", "a.md"], "--page and --memory belong to `quintet explain all`"),
        (["all", "--out", "a.svg"], "all topics go into a folder"),
        (["lstm", "--out", "a.png"], "name a file that ends in .svg"),
    ],
)
def test_options_that_do_not_go_together_are_refused(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["explain", *arguments]) == 2
    assert message in capsys.readouterr().err


SMALL = """
game = "gymnasium:CartPole-v1"
[model]
lstm_units = 8
[rollout]
bptt_steps = 4
chunk_steps = 8
"""
