"""`quintet check`, and the same look at a game before a run: faults in one line, warnings, and no false alarm."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

from quintet.cluster import assembly, embedded
from quintet.cluster.__main__ import run
from quintet.cluster.cli.check import GameFinding, check
from quintet.control.config import parse_config
from quintet.games.registry import make_game
from tests.envs.mistaken_envs import Plain
from tests.support.live_run import ROOT, quintet
from tests.support.needs import extra

SMALL = ("--set", "model.lstm_units=16", "--set", "rollout.games_per_worker=2")


def found(game: str, *overrides: str) -> list[str]:
    """What the check of a game finds, as lines."""
    settings = parse_config("", overrides=[f'game="{game}"', "model.lstm_units=16", *overrides])
    return [str(finding) for finding in check(settings, rows=40).findings]


@pytest.mark.slow
@pytest.mark.parametrize(
    "game",
    [
        "gymnasium:Pendulum-v1",
        "gymnasium:popgym:popgym-RepeatFirstEasy-v0",
        "pettingzoo:pettingzoo.classic.connect_four_v3",
        "pettingzoo:tests.envs.mistaken_parallel:Pair",
        "openspiel:leduc_poker",
        "counting",
        "tests.envs.mistaken_envs:Sound",
        "tests.envs.mistaken_games:Sound",
    ],
)
def test_a_sound_game_is_found_sound(game: str, capfd: pytest.CaptureFixture[str]) -> None:
    for package, mark in (("popgym", ":popgym"), ("pettingzoo", "pettingzoo:"), ("pyspiel", "openspiel:")):
        if mark in game:
            extra(package, {"pyspiel": "openspiel"}.get(package, ""))
    assert found(game) == []
    assert capfd.readouterr().out == ""  # what environments and checkers print goes to stderr


@pytest.mark.parametrize(
    ("game", "says"),
    [
        ("tests.envs.mistaken_envs:NanGain", "error: NanGain.step: the reward is nan"),
        ("tests.envs.mistaken_games:NobodyActs", "error: NobodyActs.reset: the observation has the entries"),
        ("gymnasium:tests.envs.mistaken_envs:mistaken/OldApi-v0", "error: OldApi.reset cannot be called"),
        ("pettingzoo:tests.envs.mistaken_parallel:MaskEmpty", "error: MaskEmpty.step: the action mask allows nothing"),
    ],
)
def test_a_fault_is_the_last_finding_and_begins_with_the_place(game: str, says: str) -> None:
    extra("pettingzoo")
    *_, last = found(game)
    assert last.startswith("tests/envs/mistaken_")
    assert says in last


def test_an_error_of_the_users_code_names_the_file_with_its_traceback() -> None:
    (line,) = found("tests.envs.mistaken_envs:Raises")
    log = Path(line.rpartition("; the whole traceback is in ")[2])
    assert "the engine stalled\nwith a second line" in log.read_text()
    log.unlink()


def test_what_gymnasiums_own_checker_says_is_a_warning_with_the_place() -> None:
    ours, theirs = found("tests.envs.mistaken_envs:OnePartMore")
    assert "warning: OnePartMore.step: the observation has 'hint'" in ours
    assert theirs.startswith("tests/envs/mistaken_envs.py:")
    assert "warning: OnePartMore: gymnasium's checker: AssertionError: " in theirs


class Unseeded(Plain):
    """Chance of its own."""

    chance = np.random.default_rng(1)

    def look(self) -> Any:
        return self.chance.uniform(-1, 1, 3).astype(np.float32)


def test_games_that_cannot_be_repeated_are_warned_of() -> None:
    lines = found("tests.cluster.cli.test_check:Unseeded")
    assert any("gave different games" in line and "warning: Unseeded" in line for line in lines)
    assert not any("error" in line for line in lines if "checker" not in line)


class OneAtATime(Plain):
    """Holds something that only one copy can have."""

    held = False

    def __init__(self) -> None:
        if OneAtATime.held:
            raise OSError("the port is taken")
        OneAtATime.held = True

    def close(self) -> None:
        OneAtATime.held = False


def test_no_two_copies_are_open_at_once_but_to_compare_them() -> None:
    (line,) = found("tests.cluster.cli.test_check:OneAtATime")
    assert "warning: making the environment raised OSError: the port is taken" in line
    assert "copies cannot stand side by side; a run opens rollout.workers x rollout.games_per_worker" in line
    assert not OneAtATime.held


class WantsHalf(Plain):
    """Takes no action beyond 0.5 of either sign, which random actions within its box never are."""

    action_space = spaces.Box(-0.5, 0.5, (1,), np.float32)

    def step(self, action: Any) -> Any:
        if not np.isfinite(action).all() or np.abs(action).max() > 0.5:
            raise ValueError(f"was handed {action}")
        return super().step(action)


def test_a_game_that_fails_to_close_can_be_trained(recwarn: pytest.WarningsRecorder) -> None:
    assert not any(" error: " in line for line in found("tests.envs.mistaken_envs:FailsToClose"))
    assert not any(" error: " in line for line in found("tests.envs.mistaken_games:FailsToClose"))
    said = {str(warning.message).partition(": ")[2] for warning in recwarn if warning.category is RuntimeWarning}
    raised = ("RuntimeError: the window is gone", "OSError: the board is gone")
    assert said == {f"closing it raised {error}" for error in raised}


def test_the_policy_plays_too_and_its_actions_stay_in_the_box(monkeypatch: pytest.MonkeyPatch) -> None:
    assert found("tests.cluster.cli.test_check:WantsHalf") == []
    monkeypatch.setattr("quintet.games.actions.in_range", lambda action, space: action * 0 + 0.75)
    (line,) = found("tests.cluster.cli.test_check:WantsHalf")
    assert "error: WantsHalf.step raised ValueError: was handed [0.75]" in line


def test_a_finding_without_a_place_begins_with_what_it_is() -> None:
    assert str(GameFinding("error", "unknown game 'x'")) == "error: unknown game 'x'"
    assert str(GameFinding("warning", "a/b.py:3: C: odd")) == "a/b.py:3: warning: C: odd"


def test_the_command_prints_findings_and_a_verdict(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["check", "tests.envs.mistaken_envs:OutsideBox", *SMALL]) == 0
    first, *_, verdict = capsys.readouterr().out.splitlines()
    assert "warning: OutsideBox.step: 'place' holds" in first
    assert verdict == "tests.envs.mistaken_envs:OutsideBox can be trained: 0 errors, 1 warning"
    assert run(["check", "--game", "tests.envs.mistaken_envs:NanGain", *SMALL, "--json"]) == 2
    said = json.loads(capsys.readouterr().out)
    assert not said["passed"]
    assert said["findings"][0]["severity"] == "error"
    assert run(["check", "counting", "--game", "counting"]) == 2
    assert "name it once" in capsys.readouterr().err


def test_the_command_says_the_fault_from_any_folder(tmp_path: Path) -> None:
    done = quintet("check", "tests.envs.mistaken_envs:NanGain", *SMALL, cwd=tmp_path)
    assert done.returncode == 2
    fault, verdict = done.stdout.splitlines()
    assert fault.startswith(f"{ROOT}/tests/envs/mistaken_envs.py:")
    assert "error: NanGain.step: the reward is nan" in fault
    assert verdict == "tests.envs.mistaken_envs:NanGain cannot be trained: 1 error, 0 warnings"
    assert done.stderr == ""


def test_environment_arguments_reach_the_environment() -> None:
    assert found("tests.cluster.cli.test_check:Long", "game_options.kwargs.length=4") == []
    (line,) = found("tests.cluster.cli.test_check:Long", "game_options.kwargs.width=4")
    assert "does not take these kwargs" in line


class Long(Plain):
    """Takes an argument."""

    def __init__(self, length: int) -> None:
        assert length == 4


def test_a_game_by_others_is_looked_at_before_anything_is_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(embedded, "_redis", lambda *_: pytest.fail("Redis was started"))
    game = ("--game", "gymnasium:tests.envs.mistaken_envs:mistaken/Raises-v0")
    for where in ((), ("--in-process",)):
        assert run(["train", "--run", "one", *game, "--agent-steps", "100", *SMALL, *where]) == 1
        said = capsys.readouterr()
        (line,) = said.err.splitlines()
        assert said.out == ""  # nothing of files that a refused run does not keep
        assert "mistaken_envs.py:" in line
        assert "Raises.step raised ValueError: the engine stalled with a second line" in line
        log = Path(line.rpartition("; the whole traceback is in ")[2])
        assert "the engine stalled\nwith a second line" in log.read_text()
        assert not (tmp_path / "runs" / "one").exists()  # the name is free again


def test_an_interrupt_says_where_a_game_was(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["check", "tests.envs.mistaken_envs:Hangs", *SMALL]) == 130
    line = (ROOT / "tests" / "envs" / "mistaken_envs.py").read_text().partition("<- hangs")[0].count("\n") + 1
    assert capsys.readouterr().err == f"quintet: interrupted at tests/envs/mistaken_envs.py:{line}\n"


def test_what_is_hardly_meant_is_said_at_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Any] = []

    def make(*arguments: Any) -> Any:
        made.append(make_game(*arguments))
        return made[-1]

    monkeypatch.setattr("quintet.games.registry.make_game", make)
    look = assembly.check_game(parse_config("", overrides=['game="tests.envs.mistaken_envs:OutsideBox"']))
    assert any("warning: OutsideBox.step: 'place' holds" in line for line in look.lines)
    assert len(made) == 1
    assert isinstance(made[0].origin, gymnasium.Env)
