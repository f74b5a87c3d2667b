"""README is short and moves, its game is the example, which trains; every decision has a title and a status."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from tests.docs.pages import ROOT, pieces

README = ROOT / "README.md"
DECISIONS = sorted((ROOT / "docs" / "decisions").glob("[0-9]*.md"))
EXAMPLE = ROOT / "examples" / "own_game.py"
MAX_README_BYTES = 10_000
MAX_GIF_BYTES = 2_000_000


def test_the_readme_has_at_most_ten_thousand_bytes() -> None:
    assert README.stat().st_size <= MAX_README_BYTES


def test_the_readme_says_how_to_train_and_how_to_test() -> None:
    text = README.read_text(encoding="utf-8")
    assert "\n    make train\n" in text
    assert "`make test`" in text


def test_the_readmes_moving_picture_moves_and_is_small() -> None:
    (gif,) = [ROOT / piece.text for piece in pieces(README.read_text(encoding="utf-8")) if piece.text.endswith(".gif")]
    assert gif.stat().st_size <= MAX_GIF_BYTES
    with Image.open(gif) as film:
        assert getattr(film, "n_frames", 1) > 100


def test_every_number_of_the_readmes_table_has_its_command() -> None:
    rows = re.findall(r"^\| (.+?) \| (.*?) ?\| (.+) \|$", README.read_text(encoding="utf-8"), flags=re.MULTILINE)
    results = [row for row in rows if row[0] not in ("what", "---")]
    assert len(results) >= 8
    assert [what for what, _, command in results if not re.fullmatch(r".*`[^`]+`.*", command)] == []


def test_the_readmes_game_is_the_example() -> None:
    (block,) = re.findall(r"^```python\n(.*?)^```$", README.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    assert block == EXAMPLE.read_text(encoding="utf-8")
    assert sum(1 for line in block.splitlines() if line.strip()) <= 20


@pytest.mark.slow
def test_the_example_can_be_trained(tmp_path: Path) -> None:
    command = ["train", "--in-process", "--game", "examples.own_game:Recall"]
    command += ["--agent-steps", "4000", "--set", "model.lstm_units=16", "--run", "own", "--json", "--quiet"]
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    result = subprocess.run(
        [sys.executable, "-m", "quintet", *command], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    summary = json.loads(result.stdout.splitlines()[-1])
    assert summary["steps_trained"] > 0
    assert 0 <= summary["episode_return_mean"] <= 1


def test_no_two_decisions_have_one_number() -> None:
    numbers = [path.name[:4] for path in DECISIONS]
    assert len(set(numbers)) == len(numbers) >= 29


@pytest.mark.parametrize("path", DECISIONS, ids=lambda path: path.name)
def test_a_decision_opens_with_its_number_a_title_and_a_status(path: Path) -> None:
    title, blank, status = path.read_text(encoding="utf-8").splitlines()[:3]
    assert re.fullmatch(rf"# {int(path.name[:4])}\. \S.{{10,}}[^.:]", title)
    assert blank == ""
    assert re.fullmatch(r"Status: (accepted|superseded by \[decision \d+\]\(\S+\)).*", status)
