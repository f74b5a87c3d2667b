"""Which ends of a worker are made good by another start, which are waited for, and which end the run."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from quintet.cluster.processes.restart_policy import MOST_QUICK_EXITS, QUICK_EXIT_S
from quintet.cluster.worker_supervisor import ADOPTED_AND_GONE, MOST_USELESS_STARTS
from quintet.control.errors import FAULTS_WITHIN_S, RunFailedError, UsageError, error_report
from quintet.control.run_folder import RunFolder
from quintet.games.api import GameCodeError, GameDataError, MissingExtraError
from quintet.wire.link import PendingChunk
from tests.support.scripted_run import SPEC, Scene


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    folder = RunFolder(tmp_path / "runs" / "scene")
    folder.logs.mkdir(parents=True)
    scene = Scene(folder)
    yield scene
    scene.close()


def test_a_worker_that_played_for_a_while_is_replaced_at_once_and_its_counters_are_closed(scene: Scene) -> None:
    scene.round()
    registration = scene.link.register(1, SPEC)
    who = {"worker": 1, "incarnation": registration.incarnation}
    scene.link.push([PendingChunk(**who, sequence=1, cumulative_steps=8, steps=8, payload=b"x")])
    scene.link.heartbeat(registration, 24, {})
    scene.workers.ends[1] = {"error": "killed", "traceback": "Traceback: boom"}
    scene.round(QUICK_EXIT_S + 1)
    counters = scene.link.counters()
    assert (counters.produced, counters.lost, counters.in_flight, counters.unaccounted) == (24, 16, 8, 0)
    assert scene.workers.starts == [0, 1, 1]
    assert scene.tracebacks == [(1, "Traceback: boom")]
    assert scene.journal("worker died") == ["worker/1"]


def test_a_worker_that_fails_quickly_again_and_again_is_waited_for_longer_and_then_given_up(scene: Scene) -> None:
    scene.link.set_wanted_workers(1)
    scene.round()
    pauses = []
    for _ in range(MOST_USELESS_STARTS - 1):
        scene.workers.ends[0] = {"error": "boom"}
        died_s = scene.clock.now + 1.0
        scene.round()
        while not scene.workers.playing:
            scene.round()
        pauses.append(scene.clock.now - died_s)
    assert pauses == sorted(pauses)
    assert pauses[-1] > pauses[0]
    scene.workers.ends[0] = {"error": "boom"}
    with pytest.raises(RunFailedError, match=r"worker 0 died 4 times in a row.*boom"):
        scene.round()


def test_a_worker_that_played_in_between_may_fail_more_often_and_is_replaced_at_once(scene: Scene) -> None:
    scene.link.set_wanted_workers(1)
    scene.round()
    for _ in range(MOST_QUICK_EXITS - 1):
        registration = scene.link.register(0, SPEC)
        scene.link.heartbeat(registration, 0, {"version": 3})
        scene.workers.ends[0] = {"error": "killed"}
        scene.round()
        assert scene.workers.playing == {0}
    registration = scene.link.register(0, SPEC)
    scene.link.heartbeat(registration, 0, {"version": 3})
    scene.workers.ends[0] = {"error": "killed"}
    with pytest.raises(RunFailedError, match=f"worker 0 died {MOST_QUICK_EXITS} times in a row"):
        scene.round()


def test_a_worker_that_cannot_play_this_run_at_all_ends_it(scene: Scene) -> None:
    scene.round()
    scene.workers.ends[0] = error_report(MissingExtraError("the game needs pygame"))
    with pytest.raises(UsageError, match=r"worker 0: the game needs pygame; the whole traceback is in .*worker-0.log"):
        scene.round()
    assert scene.workers.starts == [0, 1]


def test_a_value_that_nothing_can_be_learned_from_ends_the_run_at_the_first_worker_that_meets_it(scene: Scene) -> None:
    scene.round()
    scene.workers.ends[1] = error_report(GameDataError("game x: the reward of slot 3, row 7 is nan"))
    with pytest.raises(RunFailedError, match=r"worker 1: game x: the reward .* is nan; .*worker-1.log"):
        scene.round()
    assert scene.workers.starts == [0, 1]
    assert "GameDataError" in scene.tracebacks[0][1]


def test_an_exception_of_the_games_own_code_is_borne_once_whichever_workers_meet_it(scene: Scene) -> None:
    scene.round()
    scene.workers.ends[0] = error_report(GameCodeError("game x: its step raised ValueError"))
    scene.round()
    scene.round()
    assert scene.workers.starts == [0, 1, 0]
    scene.round(FAULTS_WITHIN_S + 1)  # a rare game now and then is no reason to end a run
    scene.workers.ends[0] = error_report(GameCodeError("game x: its step raised ValueError"))
    scene.round()
    scene.round()
    assert scene.workers.starts == [0, 1, 0, 0]
    scene.workers.ends[1] = error_report(GameCodeError("game x: its step raised ValueError again"))
    with pytest.raises(RunFailedError, match="worker 1: game x: its step raised ValueError again"):
        scene.round(10.0)


def test_a_simulator_that_does_not_answer_is_waited_for_as_after_any_other_failure(scene: Scene) -> None:
    scene.round()
    error = GameCodeError("game x: its step raised ConnectionRefusedError")
    error.__cause__ = ConnectionRefusedError()
    for _ in range(3):
        scene.workers.ends[0] = error_report(error)
        scene.round()
        scene.round(10.0)
    assert scene.workers.starts == [0, 1, 0, 0, 0]


def test_what_an_adopted_worker_said_last_is_heard_though_its_process_answers_to_nobody(scene: Scene) -> None:
    scene.workers.adoptable = [0]
    scene.supervisor.adopt(2)
    scene.round()
    registration = scene.link.register(0, SPEC)
    scene.link.heartbeat(registration, 16, {"version": 3})
    scene.link.beat("worker/0", {**error_report(GameDataError("game x: the reward is nan")), "version": 3})
    scene.workers.ends[0] = {"reason": ADOPTED_AND_GONE}
    with pytest.raises(RunFailedError, match="worker 0: game x: the reward is nan"):
        scene.round()
    assert scene.link.counters().lost == 16


def test_all_workers_are_started_again_when_what_they_run_on_exited(scene: Scene) -> None:
    scene.round()
    scene.workers.node_exited = True
    scene.round(QUICK_EXIT_S + 1)
    assert scene.workers.playing == {0, 1}
    assert scene.workers.starts == [0, 1, 0, 1]
    assert scene.journal("restarted") == ["ray"]


def test_workers_that_play_already_are_adopted_and_not_started(scene: Scene) -> None:
    scene.workers.adoptable = [0]
    scene.supervisor.adopt(2)
    scene.round()
    assert scene.workers.starts == [1]
    assert scene.supervisor.live == 2
