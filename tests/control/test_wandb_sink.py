"""Weights & Biases gets the same rows, and a run does without it where it is not there or does not answer."""

from __future__ import annotations

import importlib
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from io import StringIO
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from quintet.cluster.board import Board
from quintet.cluster.recorder import Recorder
from quintet.control.config import ConfigError, RunConfig, check_config, flat_config
from quintet.control.journal import read_journal
from quintet.control.run_folder import RunFolder
from quintet.games.registry import make_game
from quintet.wire.memory_link import MemoryLink


class FakeRun:
    """What `wandb.init` gives, as far as it is used."""

    def __init__(self) -> None:
        self.rows: list[dict[str, float]] = []
        self.summary: dict[str, str] = {}
        self.axis: tuple[str, str] | None = None
        self.finished = False

    def define_metric(self, name: str, *, step_metric: str) -> None:
        self.axis = (name, step_metric)

    def log(self, row: dict[str, float]) -> None:
        self.rows.append(row)

    def finish(self) -> None:
        self.finished = True


class FakeWandb(ModuleType):
    """A module in its place."""

    class Error(Exception):
        """As wandb's own."""

    Settings = SimpleNamespace

    def __init__(self, fails: bool) -> None:
        super().__init__("wandb")
        self.fails, self.run, self.told = fails, FakeRun(), dict[str, Any]()

    def init(self, **told: Any) -> FakeRun:
        if self.fails:
            raise self.Error("no answer from\nits server")
        self.told = told
        return self.run


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch) -> Callable[[bool], FakeWandb]:
    """Puts a fake wandb in place that works, or does not."""

    def put(fails: bool) -> FakeWandb:
        module = FakeWandb(fails)
        monkeypatch.setitem(sys.modules, "wandb", module)
        monkeypatch.delitem(sys.modules, "quintet.control.wandb_sink", raising=False)
        return module

    return put


def record(folder: Path) -> Recorder:
    """A recorder that was told of one version."""
    run = RunFolder(folder / "tracked")
    run.logs.mkdir(parents=True)
    link = MemoryLink("tracked")
    link.open_run(spec_hash="0123456789abcdef", config_text="", max_queued_steps=100, max_queue_bytes=100)
    board = Board(Console(file=StringIO()))
    recorder = Recorder(folder=run, config=RunConfig(track=True), link=link, board=board, started_s=time.monotonic())
    link.report("optimizer", "metrics", {"version": 1, "agent_steps": 10, "losses/policy_loss": 0.5})
    recorder.tick(wanted=1, live=1)
    recorder.note("scaled", text="1 -> 2 workers")
    recorder.close()
    return recorder


def test_rows_configuration_and_marks_reach_it(tmp_path: Path, install: Callable[[bool], FakeWandb]) -> None:
    wandb = install(False)
    record(tmp_path)
    assert wandb.told["id"] == wandb.told["name"] == "tracked"
    assert wandb.told["config"] == flat_config(RunConfig(track=True))
    assert wandb.run.axis == ("*", "agent_steps")
    assert [(row["agent_steps"], row["losses/policy_loss"]) for row in wandb.run.rows] == [(10, 0.5)]
    assert any("1 -> 2 workers" in text for text in wandb.run.summary.values())
    assert wandb.run.finished


def test_a_run_goes_on_where_it_does_not_answer(tmp_path: Path, install: Callable[[bool], FakeWandb]) -> None:
    install(True)
    recorder = record(tmp_path)
    texts = [event.text for event in read_journal(recorder.folder.journal)]
    assert "not tracked: no answer from its server" in texts
    assert recorder.folder.summary.exists()


def test_where_it_is_not_installed_the_run_is_refused_with_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("quintet.control.config.find_spec", lambda name: None)
    game = make_game("quintet.games.counting:make_counting", 1, 1, {})
    config = replace(RunConfig(), track=True)
    with pytest.raises(ConfigError, match=r"pip install 'quintet\[track\]'"):
        check_config(config, game.spec)
    check_config(RunConfig(), game.spec)


def test_nothing_loads_it_unless_it_is_asked_for() -> None:
    for name in ("quintet.control.sinks", "quintet.cluster.recorder"):
        importlib.import_module(name)
    assert "wandb" not in sys.modules
