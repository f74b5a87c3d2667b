"""`quintet status --watch` draws from Redis alone what the controller's own board shows."""

from __future__ import annotations

from collections.abc import Iterator
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from quintet.cluster.__main__ import run as quintet
from quintet.cluster.board import Board, BoardState
from quintet.cluster.cli import status_watch
from quintet.cluster.cli.status_watch import watch_status
from quintet.control.config import RunConfig, dump_config
from quintet.control.errors import UsageError
from quintet.control.operations import read_status
from quintet.wire.errors import LinkDownError
from quintet.wire.redis_link.link import RedisLink
from tests.conftest import delete_run

pytestmark = pytest.mark.redis


class Watcher(Board):
    """A board that keeps what it is shown, and presses Ctrl-C after a while."""

    def __init__(self, looks: int) -> None:
        super().__init__(Console(file=StringIO()))
        self.looks, self.states = looks, list[BoardState]()

    def update(self, state: BoardState) -> None:
        self.states.append(state)
        if len(self.states) == self.looks:
            raise KeyboardInterrupt


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(status_watch, "LOOK_AGAIN_S", 0.0)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def open_run(redis_url: str, run_name: str) -> Iterator[RedisLink]:
    with RedisLink(redis_url, run_name) as link:
        text = dump_config(RunConfig(agent_steps=1000))
        link.open_run(spec_hash="0123456789abcdef", config_text=text, max_queued_steps=10, max_queue_bytes=10)
        yield link
    delete_run(redis_url, run_name)


def test_it_shows_what_the_link_says(open_run: RedisLink, redis_url: str, run_name: str) -> None:
    open_run.beat("controller", {"stage": "training"})
    open_run.keep_latest_row({"version": 3.0, "agent_steps": 500.0, "wall_s": 61.0, "phase/optimizer/learn_s": 0.5})
    watcher = Watcher(looks=2)
    watch_status(run_name, redis_url, watcher)
    state = watcher.states[-1]
    assert (state.run, state.game, state.stage) == (run_name, "gymnasium:CartPole-v1", "training")
    assert (state.wall_s, state.agent_steps_budget, state.progress[0]) == (61.0, 1000, 0.5)
    assert state.phases == {"optimizer": {"learn": 0.5}}
    assert "optimizer" in state.health
    assert state.severity in ("error", "warning")


def test_while_redis_is_silent_the_last_picture_stays_and_says_so(
    open_run: RedisLink, redis_url: str, run_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_run.keep_latest_row({"version": 3.0})
    watcher = Watcher(looks=3)

    def flaky(*arguments: object) -> object:
        if watcher.states:
            raise LinkDownError("nobody answers")
        return read_status(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(status_watch, "read_status", flaky)
    watch_status(run_name, redis_url, watcher)
    assert [state.row["version"] for state in watcher.states] == [3.0, 3.0, 3.0]
    assert watcher.states[-1].severity == "error"
    assert "nobody answers" in watcher.states[-1].health


def test_a_run_that_is_not_open_is_no_run_to_watch(redis_url: str, run_name: str) -> None:
    with pytest.raises(UsageError, match=f"no run {run_name} is open"):
        watch_status(run_name, redis_url, Watcher(looks=1))


def test_drawing_and_printing_exclude_each_other(capsys: pytest.CaptureFixture[str]) -> None:
    assert quintet(["status", "--watch", "--json"]) == 2
    assert "--watch draws and --json prints" in capsys.readouterr().err
