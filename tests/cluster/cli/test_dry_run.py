"""`quintet train --dry-run`: it prints the whole configuration and what to expect, and leaves nothing behind."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest

from quintet.cluster import calibration, embedded
from quintet.cluster.__main__ import run
from quintet.cluster.assembly import look_at_game
from quintet.cluster.calibration import Measured, expect
from quintet.control.config import RunConfig, config_keys, parse_config, value_of
from quintet.control.config_reader import plain
from quintet.control.derivation import RULES
from tests.support.needs import extra

SMALL = ("--set", "model.lstm_units=16", "--set", "optimizer.threads=1", "--set", "rollout.games_per_worker=4")
CARTPOLE = "gymnasium:CartPole-v1"


@pytest.fixture(autouse=True)
def nothing_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to be in, and no Redis, optimizer or Ray to be had."""

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("a dry run starts nothing")

    monkeypatch.chdir(tmp_path)
    for name in ("_redis", "OptimizerProcess", "_ray"):
        monkeypatch.setattr(embedded, name, refuse)
    monkeypatch.setattr("quintet.cluster.processes.spawn.subprocess.Popen", refuse)
    return tmp_path


def dry(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """What it prints."""
    assert run(["train", "--dry-run", *SMALL, *arguments]) == 0
    return capsys.readouterr().out


def test_it_prints_the_whole_configuration_with_reasons_and_what_to_expect(
    capsys: pytest.CaptureFixture[str], nothing_starts: Path
) -> None:
    said = dry(capsys, "--game", CARTPOLE, "--agent-steps", "100000")
    config = parse_config(said)
    overrides = ["agent_steps=100_000", "model.lstm_units=16", "optimizer.threads=1", "rollout.games_per_worker=4"]
    assert config == look_at_game(parse_config("", overrides=[f'game="{CARTPOLE}"', *overrides]), None).config
    assert plain(config).keys() - {"agent_steps"} <= tomllib.loads(said).keys()
    missing = [
        key for key in config_keys() if value_of(config, key) is not None and f"{key.split('.')[-1]}" not in said
    ]
    assert missing == []
    lines = said.splitlines()
    assert lines[lines.index("batch_steps = 1024") - 1] == "# derived: so that the budget makes about 98 versions"
    assert lines[lines.index("[ppo.learning_rate]") - 1] == "# derived: falls until the budget ends"
    assert said.count("# derived: ") == 8  # games_per_worker was given
    assert "agent steps/s, side by side: 1 x " in said
    assert "  100,000 agent steps in 0:" in said
    assert "gradient steps\n" in said
    assert "#   staleness about " in said
    assert "MiB at most, a worker and the optimizer up to " in said
    assert list(nothing_starts.iterdir()) == []


def test_json_is_one_line_with_the_same(capsys: pytest.CaptureFixture[str], nothing_starts: Path) -> None:
    said = dry(capsys, "--game", "gymnasium:Pendulum-v1", "--minutes", "2", "--json")
    assert said.count("\n") == 1
    data = json.loads(said)
    assert data["config"]["optimizer"]["batch_steps"] == 2048
    derived = {line["key"]: line["value"] for line in data["derived"]}
    assert derived["ppo.learning_rate"]["until_minutes"] == 2.0
    assert derived["ppo.epochs"] == data["config"]["ppo"]["epochs"] == 8
    assert set(derived) < set(RULES)
    expected = data["expected"]
    assert expected["duration_s"] == 120.0
    assert expected["agent_steps"] == pytest.approx(120 * expected["agent_steps_per_s"], abs=1)
    assert expected["measured"]["gradient_steps"] > 0
    assert list(nothing_starts.iterdir()) == []


@pytest.mark.slow
@pytest.mark.parametrize(
    "game", ["skirmish-1v1", "pettingzoo:pettingzoo.classic.tictactoe_v3", "tests.envs.mistaken_envs:Sound", "counting"]
)
def test_any_game_can_be_asked_about(game: str, capsys: pytest.CaptureFixture[str], nothing_starts: Path) -> None:
    if "pettingzoo" in game:
        extra("pettingzoo")
    said = dry(capsys, "--game", game, "--in-process")
    assert parse_config(said).game == game
    assert "no budget to count by" in said
    assert "in turns" in said
    assert "Redis" not in said.rpartition("What to expect")[2]
    assert list(nothing_starts.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--resume",), "leave out --resume"),
        (("--restart-behavior", "restart"), "leave out --resume and --restart-behavior"),
        (("--set", "ppo.epoks=3"), "did you mean ppo.epochs"),
        (("--game", "gymnasium:CartPole-v2"), "CartPole"),
        (("--device", "gpu"), "did you mean cuda"),
        (("--set", "optimizer.batch_steps=15"), "holds only 0 windows"),
        (("--workers", "1000"), "do not fit on"),
    ],
)
def test_what_no_run_can_have_is_refused_in_a_line(
    arguments: tuple[str, ...], says: str, capsys: pytest.CaptureFixture[str], nothing_starts: Path
) -> None:
    assert run(["train", "--dry-run", *arguments]) == 2
    said = capsys.readouterr()
    assert says in said.err
    assert (said.out, said.err.count("\n")) == ("", 1)
    assert list(nothing_starts.iterdir()) == []


def test_a_quiet_one_only_finds_faults(capsys: pytest.CaptureFixture[str]) -> None:
    assert dry(capsys, "--quiet", "--game", CARTPOLE) == ""


MEASURED = Measured(
    played_steps=1000,
    valid_share=0.5,
    play_steps_per_s=1000.0,
    learn_steps_per_s=4000.0,
    gradient_steps=4,
    rss_bytes=7,
)


@pytest.mark.parametrize(
    ("overrides", "cores", "in_turns", "rate"),
    [
        (["ppo.epochs=1"], 8, False, 1000.0),  # play is slower
        (["ppo.epochs=8"], 8, False, 500.0),  # learning is
        (["ppo.epochs=8", "rollout.workers=4"], 8, False, 500.0),
        (["ppo.epochs=4"], 8, True, 500.0),
        (["ppo.epochs=4"], 1, False, 500.0),
        (["ppo.epochs=1", "rollout.workers=3"], 2, False, 1600.0),  # three workers share two cores with the optimizer
    ],
)
def test_what_is_slower_sets_the_pace_and_cores_that_are_shared(
    overrides: list[str], cores: int, in_turns: bool, rate: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = expected(monkeypatch, overrides, cores, in_turns=in_turns)
    assert found.agent_steps_per_s == pytest.approx(rate)
    assert (found.redis_bytes == 0) == in_turns


def test_what_ends_first_says_how_far_a_run_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = ["ppo.epochs=2", "ppo.minibatches=4", "optimizer.batch_steps=100", "optimizer.normalizer_warmup_steps=200"]
    found = expected(monkeypatch, [*sizes, "agent_steps=5000", "minutes=1"])
    assert (found.agent_steps, found.duration_s) == (5000, 5.0)
    # half of what travels counts: 10,000 steps, of which 200 only warm up
    assert (found.versions, found.gradient_steps, found.gradient_steps_per_version) == (98, 784, 8)
    found = expected(monkeypatch, [*sizes, "agent_steps=500000", "minutes=1"])
    assert (found.agent_steps, found.duration_s) == (60_000, 60.0)
    found = expected(monkeypatch, sizes)
    assert (found.agent_steps, found.duration_s, found.versions) == (None, None, None)


def expected(
    monkeypatch: pytest.MonkeyPatch, overrides: list[str], cores: int = 8, *, in_turns: bool = False
) -> calibration.Expected:
    """What comes of `MEASURED`."""
    config: RunConfig = parse_config("", overrides=overrides)
    monkeypatch.setattr(calibration, "calibrate", lambda _: (MEASURED, 1.0))
    monkeypatch.setattr(calibration, "usable_cores", lambda: cores)
    return expect(config, in_turns=in_turns)
