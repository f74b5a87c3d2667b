"""When the doctor says that a run does not learn, in whose words, and when it had better be silent."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from quintet.control.doctor.finding import Finding
from quintet.control.doctor.health_check import HealthCheck, in_one_line
from quintet.control.doctor.health_snapshot import HealthSnapshot
from quintet.control.doctor.learning import LEAST_VERSIONS, LONG_VERSIONS, not_learning
from quintet.control.doctor.learning_course import (
    FIRST_ROWS,
    THINNED_ROWS,
    WHOLE_BYTES,
    Course,
    Sample,
    read_course,
    read_thinned,
    rise,
)
from quintet.control.journal import Event, EventKind
from quintet.control.sinks import JsonlSink
from tests.control.test_doctor import a_status

Change = Callable[[int], dict[str, float]]
STEPS = 4096


def rows(n: int = 120, change: Change = lambda k: {}) -> list[dict[str, Any]]:
    """A run of 4,096 steps and one gradient step per version, whose return and entropy do not move."""
    return [
        {
            "time_s": 1000.0 + k,
            "version": 2 + k,
            "agent_steps": STEPS * (k + 1),
            "charts/episodes": 180 * (k + 1),
            "charts/episodic_return": 22.0 + 0.5 * (k % 3),
            "charts/episodic_return_std": 11.0,
            "charts/episodic_length": 22.0,
            "losses/entropy": 0.693,
            "losses/approx_kl": 1e-7,
            "losses/explained_variance": 0.05,
            "losses/learning_rate": 3e-4,
            "learning/gradient_steps": 1.0,
            "learning/inputs_that_vary": 1.0,
            "learning/reward_mean": 1.0,
            "learning/reward_std": 0.0,
            "learning/episodes_ended": 180.0,
            "learning/entropy_share": 1.0,
            "learning/action_effect": 80.0,
            "learning/action_rows": 4000.0 * (k + 1),
            "learning/value_gradient_share": 0.95,
        }
        | change(k)
        for k in range(n)
    ]


def event(kind: EventKind, time_s: float) -> Event:
    return Event(time_s=time_s, agent_steps=0, kind=kind)


def told(found: list[dict[str, Any]], **changes: Any) -> Finding | None:
    snapshot = HealthSnapshot(run="r", status=None, course=Course(found), **changes)
    findings = list(not_learning(snapshot))
    assert len(findings) <= 1
    return findings[0] if findings else None


def test_the_words_name_what_stands_still_how_often_it_steps_and_what_to_try() -> None:
    finding = told(rows())
    assert finding is not None
    assert (
        f"{finding.seen}; {finding.advice}" == "entropy and return have not moved in 120 versions: the policy takes "
        "1 gradient step per 4,096 steps; try ppo.epochs=4"
    )
    assert (finding.severity, finding.about) == ("warning", "learning")
    assert "the command: quintet set ppo.epochs=4" in finding.details
    assert "charts/episodic_return" in finding.details


def test_a_run_that_has_ended_is_gone_on_with() -> None:
    finding = told(rows(), live=False)
    assert finding is not None
    assert "the command: quintet train --run r --resume --set ppo.epochs=4" in finding.details


@pytest.mark.parametrize(
    ("change", "seen", "advice"),
    [
        (lambda k: {"losses/learning_rate": 1e-6, "learning/gradient_steps": 64}, "of 1e-06 hardly moves", "=3e-4"),
        (lambda k: {"learning/gradient_steps": 4}, "1 gradient step per 1,024 steps", "ppo.minibatches=4"),
        (lambda k: {"losses/learning_rate": 0.05, "losses/approx_kl": 0.4, "learning/entropy_share": 1 - k / 200},
         "return has not risen in 120 versions: an update moves the policy by 0.4 nats", "try ppo.learning_rate=3e-4"),
        (lambda k: {"learning/entropy_share": max(0.01, 1 - k / 20), "losses/learning_rate": 1e-3},
         "has come down to one action", "ppo.learning_rate=1e-4, or a larger ppo.entropy_coefficient"),
        (lambda k: {"learning/inputs_that_vary": 0.0}, "the observation is the same in every row", "quintet check"),
        (lambda k: {"learning/action_effect": 3.5}, "depend on the action, in 480,000 rows", "wrapper"),
        (lambda k: {"charts/episodic_return_std": 0.0, "charts/episodic_return": 0.0, "learning/reward_mean": 0.0},
         "every one of 491,520 steps was paid 0", "reward steps towards the goal"),
        (lambda k: {"learning/value_gradient_share": 0.999, "learning/gradient_steps": 64}, "99.9% of the gradient",
         "ppo.value_coefficient"),
    ],
)  # fmt: skip
def test_every_cause_has_its_words(change: Change, seen: str, advice: str) -> None:
    finding = told(rows(change=change))
    assert finding is not None
    assert seen in finding.seen
    assert advice in finding.advice


def endless(k: int) -> dict[str, Any]:
    return {
        "charts/episodes": None, "charts/episodic_return": None, "charts/episodic_return_std": None,
        "charts/episodic_length": None, "learning/episodes_ended": 0.0, "learning/reward_std": 0.5,
        "learning/reward_mean": 0.1 + 0.001 * (k % 3), "learning/gradient_steps": 64.0,
    }  # fmt: skip


def test_where_no_game_ends_the_reward_is_looked_at() -> None:
    finding = told(rows(change=endless))
    assert finding is not None
    assert finding.seen.startswith("entropy and reward have not moved in 120 versions: no game has ended in 491,520 ")
    assert told(rows(change=lambda k: endless(k) | {"learning/reward_mean": 0.1 + 0.01 * k})) is None


def test_what_else_fits_is_told_too() -> None:
    finding = told(rows(change=lambda k: {"learning/inputs_that_vary": 0.0}))
    assert finding is not None
    assert "besides, the policy takes 1 gradient step per 4,096 steps; try ppo.epochs=4" in finding.details


SILENT: dict[str, Change] = {
    "the return has risen": lambda k: {"charts/episodic_return": 22.0 + 0.1 * k},
    "it rose once and fell again": lambda k: {"charts/episodic_return": 60.0 if 50 < k < 80 else 22.0},
    "it may have risen": lambda k: {"charts/episodic_return": 22.0 + 7.0 * (k > 80)},
    "entropy has moved": lambda k: {"learning/entropy_share": 1 - 0.001 * k},
    "it began with what had been learned": lambda k: {"learning/entropy_share": 0.3},
    "it is self-play that moves": lambda k: {"game/win_rate_1": 0.5, "learning/entropy_share": 1 - 0.001 * k},
    "it is self-play whose games change": lambda k: {"game/win_rate_1": 0.5, "charts/episodic_length": 22.0 + k},
    "an older version wrote it": lambda k: {"learning/gradient_steps": 0.0},
    "no cause shows itself yet": lambda k: {"learning/gradient_steps": 64.0},
}


@pytest.mark.parametrize("why", SILENT)
def test_nothing_is_said_where(why: str) -> None:
    kept = [row for row in rows(change=SILENT[why]) if row["learning/gradient_steps"]]
    if kept:
        assert told(kept) is None
    else:
        assert list(not_learning(HealthSnapshot(run="r", status=None))) == []


def test_nothing_is_said_before_a_fair_number_of_versions() -> None:
    assert told(rows(LEAST_VERSIONS - 1)) is None
    assert told(rows(LEAST_VERSIONS)) is not None
    assert told(rows(LEAST_VERSIONS, lambda k: {"agent_steps": 500 * k})) is None


@pytest.mark.parametrize("kind", ["set", "resumed"])
def test_a_changed_setting_gets_its_fair_number_of_versions_too(kind: EventKind) -> None:
    changed = [event(kind, 1000.0 + 120 - LEAST_VERSIONS)]
    assert told(rows(), events=changed) is None
    assert told(rows(121), events=changed) is not None
    assert told(rows(), events=[event("checkpoint", 1100.0)]) is not None


def test_without_a_cause_it_is_said_late_and_as_a_hint() -> None:
    change: Change = lambda k: {"learning/gradient_steps": 64.0}  # noqa: E731
    assert told(rows(LONG_VERSIONS - 1, change)) is None
    finding = told(rows(LONG_VERSIONS, change))
    assert finding is not None
    assert finding.severity == "hint"


def test_self_play_is_told_only_what_its_return_need_not_show() -> None:
    finding = told(rows(change=lambda k: {"game/win_rate_1": 0.5}))
    assert finding is not None
    assert finding.seen.startswith("entropy has not moved in 120 versions: the policy takes 1 gradient step per 4,096")
    assert told(rows(change=lambda k: {"game/win_rate_1": 0.5, "learning/action_effect": 1.0,
                                       "learning/gradient_steps": 64.0})) is None  # fmt: skip


@pytest.mark.parametrize(
    ("rose_by", "error", "expected"),
    [(0.0, 0.1, "flat"), (-3.0, 0.1, "flat"), (1.0, 0.1, "better"), (0.25, 0.01, "flat"), (0.35, 0.2, "unclear"),
     (1.0, 0.5, "unclear")],
)  # fmt: skip
def test_a_rise_is_believed_beyond_chance_and_denied_only_where_it_can_be_excluded(
    rose_by: float, error: float, expected: str
) -> None:
    assert rise(Sample(5.0, 0.0, 1.0), Sample(5.0 + rose_by, error, 1.0)) == expected


def write(path: Path, found: list[dict[str, Any]]) -> Path:
    sink = JsonlSink(path)
    for row in found:
        sink.write(row)
    sink.close()
    return path


def test_a_long_file_is_thinned_from_its_first_row_to_its_last(tmp_path: Path) -> None:
    padding = {f"game/padding_{k}": 1.0 for k in range(100)}
    path = write(tmp_path / "metrics.jsonl", rows(3000, lambda k: padding))
    assert path.stat().st_size > 2 * WHOLE_BYTES
    thinned = [row["version"] for row in read_thinned(path)]
    assert thinned[:FIRST_ROWS] == list(range(2, 2 + FIRST_ROWS))
    assert thinned[-1] == 3001
    assert len(thinned) <= FIRST_ROWS + THINNED_ROWS + 1
    assert thinned == sorted(thinned)
    assert max(b - a for a, b in pairwise(thinned)) < 30
    course = read_course(path)
    assert course is not None
    assert course.versions == 3000
    assert course.steps_per_gradient_step == pytest.approx(STEPS)


def test_a_small_file_is_read_whole_and_none_says_nothing(tmp_path: Path) -> None:
    path = write(tmp_path / "metrics.jsonl", rows(70))
    with path.open("a") as file:
        file.write('{"version": 9, "tor')  # as a killed writer leaves it
    assert len(read_thinned(path)) == 70
    assert read_thinned(tmp_path / "none.jsonl") == []
    assert read_course(tmp_path / "none.jsonl") is None


def test_the_board_has_it_in_two_lines(tmp_path: Path) -> None:
    write(tmp_path / "metrics.jsonl", rows())
    check = HealthCheck(tmp_path)
    check.look(a_status)
    line = in_one_line([finding for finding in check.findings if finding.about == "learning"])
    assert line.startswith("learning: entropy and return have not moved in 120 versions")
    assert len(f"warning: {line}") <= 2 * 72
