"""`import quintet`: nothing heavy before it is needed, every name typed, one's own modules beside it, the example."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

import quintet
from quintet.control.config import ConfigError
from quintet.control.journal import read_journal
from tests.layout.print_tree import ROOT

COUNTING = [
    "game=counting",
    "game_options.episode_steps=5",
    "model.lstm_units=8",
    "rollout.games_per_worker=4",
    "rollout.chunk_steps=16",
    "ppo.minibatches=1",
    "optimizer.batch_steps=64",
    "optimizer.normalizer_warmup_steps=64",
]


def python(*arguments: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a program beside the project."""
    found = {**os.environ, "PYTHONPATH": str(ROOT), **environment}
    return subprocess.run(
        [sys.executable, *arguments], cwd=folder, env=found, capture_output=True, text=True, check=False
    )


def test_importing_it_loads_nothing_heavy(tmp_path: Path) -> None:
    heavy = "print([m for m in ('torch', 'ray', 'numba', 'redis', 'gymnasium') if m in sys.modules])"
    code = f"import quintet, sys; {heavy}; quintet.load_config; {heavy}"
    assert python("-c", code, folder=tmp_path).stdout.split() == ["[]", "[]"]


def test_every_public_name_is_there_and_is_what_type_checkers_take_it_for() -> None:
    body = ast.parse((ROOT / "quintet" / "__init__.py").read_text()).body
    (typed,) = (node for node in body if isinstance(node, ast.If))
    told = {alias.name: node.module for node in typed.body if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert set(told) == set(quintet.__all__)
    assert len(told) == len(quintet.__all__)
    assert told == quintet._HOMES
    for name in quintet.__all__:
        assert getattr(quintet, name).__doc__, name
        assert name in dir(quintet)
    assert "__getattr__" not in {
        node.name for node in body if isinstance(node, ast.FunctionDef)
    }  # or any name has a type
    with pytest.raises(AttributeError, match="module 'quintet' has no attribute 'trane'; it has train, Training"):
        _ = quintet.trane  # type: ignore[attr-defined]
    assert (ROOT / "quintet" / "py.typed").is_file()


@pytest.mark.slow
def test_a_run_trains_beside_ones_own_program_and_is_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with quintet.train(quintet.load_config(None, COUNTING), run="mine") as training:
        while not ((status := training.status()) and status.counters.trained):
            assert training.running, training.wait()
            time.sleep(0.05)
        assert training.wait(0.0) is None
        with pytest.raises(quintet.UsageError, match="run mine is being trained already"):
            quintet.train(run="mine", resume=True).wait()
        summary = training.stop()
    assert summary is not None
    assert (training.reason, training.running) == ("interrupted", False)
    assert summary.agent_steps > 0
    assert training.checkpoint is not None
    assert training.checkpoint.parent == tmp_path / "runs" / "mine" / "checkpoints"
    more = summary.agent_steps + 64
    again = quintet.train(overrides=[f"agent_steps={more}"], run="mine", resume=True)
    finished = again.wait()
    assert finished is not None
    assert finished.agent_steps >= more
    assert again.reason == "budget"


CTRL_C = "\nimport os, signal, threading\nthreading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()\n"


@pytest.mark.slow
@pytest.mark.parametrize(("then", "error"), [("", ""), (f"{CTRL_C}training.wait()", "KeyboardInterrupt")])
def test_a_program_that_ends_stops_its_run_at_a_checkpoint(then: str, error: str, tmp_path: Path) -> None:
    code = (
        f"import quintet, time\ntraining = quintet.train(quintet.load_config(None, {COUNTING}), run='mine')\n"
        "while not ((status := training.status()) and status.counters.trained): time.sleep(0.05)"
    )
    ended = python("-c", code + then, folder=tmp_path)
    assert (ended.returncode == 0, ended.stderr.strip().rpartition("\n")[2]) == (not error, error)
    assert [*read_journal(tmp_path / "runs" / "mine" / "journal.jsonl")][-1].text == "interrupted"
    assert (tmp_path / "runs" / "mine" / "checkpoints" / "latest").is_file()


def test_what_cannot_be_trained_is_said_in_a_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match="there is no configuration file laptob"):
        quintet.train("laptob.toml")
    with pytest.raises(quintet.UsageError, match="leave out the others"):
        quintet.train("laptop.toml", resume=True)
    with pytest.raises(quintet.UsageError, match="hand them to load_config"):
        quintet.train(quintet.load_config(None, COUNTING), ["seed=3"])
    with pytest.raises(quintet.UsageError, match="unknown game 'contaning'; did you mean 'counting'"):
        quintet.train(None, ["game=contaning"], run="none").wait()
    assert not (tmp_path / "runs" / "none").exists()


@pytest.mark.slow
def test_whoever_is_named_plays_many_games_or_one() -> None:
    found = quintet.evaluate("bot:strong", "bot:weak", game="skirmish-1v1", games=2, seed=3)
    assert (found["games"], found["opponent"]) == (2, "bot:weak")
    assert found == quintet.evaluate("bot:strong", "bot:weak", game="skirmish-1v1", games=2, seed=3)
    played = quintet.play("bot:strong", "bot:weak", game="skirmish-1v1", seed=3)
    assert played.result.outcome in (-1.0, 0.0, 1.0)
    assert played.replay is not None
    assert played.replay.steps == played.result.length
    assert quintet.play("random", game="counting").replay is None
    with pytest.raises(quintet.UsageError, match="nobody to play against"):
        quintet.play("random", "random", game="counting")


@pytest.mark.slow
def test_the_example_trains_and_plays(tmp_path: Path) -> None:
    ended = python(str(ROOT / "examples" / "use_a_policy.py"), folder=tmp_path)
    assert ended.returncode == 0, ended.stderr
    assert "held the pole for" in ended.stdout


ENVIRONMENT = """
import gymnasium as gym
from model import helper
from games.mine import helper as other
class Mine(gym.Env):
    observation_space = gym.spaces.Box(-1, 1, (2,)); action_space = gym.spaces.Discrete(2)
    def reset(self, seed=None, options=None): super().reset(seed=seed); return self.observation_space.sample(), {}
    def step(self, action): return self.observation_space.sample(), 0.0, self.np_random.random() < 0.1, False, {}
gym.register(id="Mine-v0", entry_point=Mine)
"""


@pytest.mark.slow
@pytest.mark.parametrize("on_path", [False, True], ids=["in the folder", "on PYTHONPATH"])
def test_a_users_own_model_and_games_stand_beside_her_environment(on_path: bool, tmp_path: Path) -> None:
    own = tmp_path / "own"
    (own / "games").mkdir(parents=True)
    (own / "my_env.py").write_text(ENVIRONMENT)
    for module in ("model.py", "games/mine.py"):
        (own / module).write_text("helper = 1\n")
    (own / "games" / "__init__.py").touch()
    ended = python(
        *("-m", "quintet", "train", "--in-process", "--run", "a", "--game", "gymnasium:my_env:Mine-v0"),
        *("--agent-steps", "500"),
        folder=tmp_path if on_path else own,
        PYTHONPATH=os.pathsep.join([str(own), str(ROOT)] if on_path else [str(ROOT)]),
    )
    assert ended.returncode == 0, ended.stderr
    assert "see what it learned" in ended.stdout
