"""Explanations for the web page: asked once per checkpoint, computed in a child that never outlives its pipe."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from quintet.dashboard.pages.model import TOPICS, answer_html, head_metrics
from quintet.explain import process as explain_process
from quintet.explain.process import ask, known_answer
from tests.layout.print_tree import ROOT
from tests.support.untrained import save_untrained

CONFIG = 'game = "counting"\n[model]\nlstm_units = 8\n'


@pytest.fixture(autouse=True)
def _nothing_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(explain_process, "_kept", {})
    monkeypatch.setattr(explain_process, "NICENESS", 0)  # these tests are not about being patient


@pytest.mark.slow
def test_a_runs_newest_checkpoint_is_explained_by_a_child_and_only_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path.parent)  # run folders are named from where the dashboard was started
    folder = Path(tmp_path.name)
    save_untrained(folder / "checkpoints", CONFIG)
    assert known_answer("observation", folder) is None
    found = ask("observation", folder, CONFIG)
    assert found["subject"] == "counting, version 3 (10 agent steps)"
    assert found["svg"].startswith("<svg")
    assert len(found["paragraphs"]) == 2
    assert known_answer("observation", folder) is found
    monkeypatch.setattr(explain_process, "_in_child", lambda question: pytest.fail("asked twice"))
    assert ask("observation", folder, CONFIG) is found


def test_a_newer_checkpoint_is_asked_anew_but_a_networks_drawing_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def said(question: dict[str, str]) -> explain_process.Answer:
        asked.append(f"{question['topic']} {Path(question['checkpoint']).name}")
        return {"svg": "", "paragraphs": [], "subject": ""}

    monkeypatch.setattr(explain_process, "_in_child", said)
    (tmp_path / "checkpoints").mkdir()
    for name in ("000001", "000002"):
        (tmp_path / "checkpoints" / "latest").write_text(name)
        for topic in ("loss", "model"):
            ask(topic, tmp_path, CONFIG)
        assert known_answer("loss", tmp_path) is not None
    assert asked == ["loss 000001", "model ", "loss 000002"]


@pytest.mark.slow
def test_a_child_that_breaks_says_why_and_is_asked_again(tmp_path: Path) -> None:
    found = ask("no such topic", tmp_path, CONFIG)
    assert "ended with code 1: KeyError: 'no such topic'" in found["error"]
    assert known_answer("no such topic", tmp_path) is None


@pytest.mark.slow
def test_a_run_without_a_checkpoint_is_explained_by_its_configuration(tmp_path: Path) -> None:
    found = explain_process.answer({"topic": "model", "checkpoint": "", "config": CONFIG})
    assert found["subject"] == "counting, untrained"


def test_what_cannot_be_explained_is_one_line(tmp_path: Path) -> None:
    found = explain_process.answer({"topic": "model", "checkpoint": str(tmp_path), "config": ""})
    assert "checkpoint.json is missing" in found["error"]


def test_a_checkpoint_that_was_deleted_meanwhile_gives_way_to_the_newest(tmp_path: Path) -> None:
    save_untrained(tmp_path / "checkpoints", CONFIG)
    gone = tmp_path / "checkpoints" / "000001"
    found = explain_process.answer({"topic": "model", "checkpoint": str(gone), "config": ""})
    assert "svg" in found, found
    assert "It cannot be explained" in answer_html("x", {"error": "a < b"})
    assert "a &lt; b" in answer_html("x", {"error": "a < b"})


def test_the_child_leaves_when_its_pipe_is_closed() -> None:
    child = subprocess.Popen(
        [sys.executable, "-m", "quintet.explain.process"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT,
    )  # fmt: skip
    assert child.stdin is not None
    assert child.stdout is not None
    question = {"topic": "lstm", "checkpoint": "", "config": 'game = "gymnasium:CartPole-v1"', "niceness": "0"}
    child.stdin.write(json.dumps(question).encode() + b"\n")
    child.stdin.close()
    assert child.wait(timeout=60) == 1
    assert child.stdout.read() == b""
    child.stdout.close()


def test_what_the_page_shows_is_an_image_and_escaped_words() -> None:
    html = answer_html("T", {"svg": "<svg/>", "paragraphs": ["a < b", "c"], "subject": "g"})
    assert "data:image/svg+xml;base64," in html
    assert "a &lt; b" in html
    assert "<svg" not in html


def test_the_page_has_every_topic_and_every_heads_entropy() -> None:
    from quintet.explain.topics import TOPICS as COMPUTED

    assert [topic for topic, _, _ in TOPICS] == list(COMPUTED)
    assert head_metrics(["heads/b/entropy", "heads/a/entropy", "heads/a/kl", "losses/entropy"]) == [
        "heads/a/entropy",
        "heads/b/entropy",
    ]
