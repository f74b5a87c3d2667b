"""The controller and its supervisor over a memory link, with workers and an optimizer that do what the test says."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from quintet.cluster.controller import LINK_PATIENCE_S
from quintet.control.errors import CRASHED, DONE, FAILED, USAGE, RunFailedError, UsageError
from quintet.control.run_folder import RunFolder
from quintet.wire.errors import LinkDownError
from quintet.wire.memory_link import MemoryLink
from tests.support.scripted_run import Scene


@pytest.fixture
def make_scene(tmp_path: Path) -> Iterator[Callable[..., Scene]]:
    scenes: list[Scene] = []

    def make(config_text: str = "") -> Scene:
        folder = RunFolder(tmp_path / "runs" / "scene")
        folder.logs.mkdir(parents=True)
        scenes.append(Scene(folder, config_text))
        return scenes[-1]

    yield make
    for scene in scenes:
        scene.close()


@pytest.fixture
def scene(make_scene: Callable[..., Scene]) -> Scene:
    return make_scene()


def test_as_many_workers_play_as_are_wanted_while_the_wish_changes(scene: Scene) -> None:
    scene.round()
    assert scene.workers.playing == {0, 1}
    scene.link.set_wanted_workers(3)
    scene.round()
    assert scene.workers.playing == {0, 1, 2}
    scene.link.set_wanted_workers(1)
    scene.round()
    assert scene.workers.playing == {0}
    assert scene.supervisor.live == 1
    scene.link.set_wanted_workers(2)
    scene.round()
    assert scene.workers.playing == {0, 1}
    assert scene.workers.starts == [0, 1, 2, 1]
    scene.link.set_wanted_workers(0)
    scene.round()
    scene.link.set_wanted_workers(1)
    scene.round()
    assert scene.workers.playing == {0}
    changes = ["2 -> 3", "3 -> 1", "1 -> 2", "2 -> 0", "0 -> 1"]
    assert scene.journal("scaled") == [f"{change} workers" for change in changes]


def test_the_lease_is_held_and_the_heartbeat_says_what_the_controller_is(scene: Scene) -> None:
    assert not scene.link.control_message().controller_alive
    scene.round()
    assert scene.link.control_message().controller_alive
    assert {beat.process: beat.data for beat in scene.link.heartbeats()}["controller"]["capacity"] == 2


@pytest.mark.parametrize("status", [-9, CRASHED])
def test_an_optimizer_that_failed_is_started_again_and_given_up_after_three_quick_exits(
    status: int, scene: Scene
) -> None:
    scene.round()
    for _ in range(2):
        scene.optimizer.status = status
        starts = scene.optimizer.starts
        for _ in range(5):
            assert scene.round() is None
        assert scene.optimizer.starts == starts + 1
    scene.optimizer.status = status
    with pytest.raises(RunFailedError, match="died 3 times in a row"):
        scene.round()


@pytest.mark.parametrize(("status", "error"), [(USAGE, UsageError), (FAILED, RunFailedError)])
def test_an_optimizer_that_says_that_it_cannot_go_on_is_not_started_again(
    status: int, error: type[Exception], scene: Scene
) -> None:
    scene.optimizer.status = status
    with pytest.raises(error, match="it broke"):
        scene.round()
    assert scene.optimizer.starts == 0


def test_the_run_ends_when_the_optimizer_has_used_up_its_budget(scene: Scene) -> None:
    scene.round()
    scene.train_a_chunk()
    scene.optimizer.status = DONE
    assert scene.round() == "budget"
    scene.controller.wind_down("budget")
    assert scene.workers.playing == set()
    assert scene.link.stopping()
    assert scene.journal("stopped") == ["budget"]


def test_a_run_in_which_nothing_was_trained_is_not_done_unless_somebody_interrupted_it(scene: Scene) -> None:
    scene.round()
    with pytest.raises(RunFailedError, match="nothing was learned: no step arrived"):
        scene.controller.wind_down("budget")
    assert scene.journal("stopped") == []
    scene.controller.wind_down("interrupted")
    assert scene.journal("stopped") == ["interrupted"]


def test_the_run_ends_after_its_minutes(make_scene: Callable[..., Scene]) -> None:
    scene = make_scene("minutes = 0.001")
    assert scene.round() == "0.001 minutes are over"


def test_the_run_ends_when_its_metric_is_reached(make_scene: Callable[..., Scene]) -> None:
    scene = make_scene('until = "losses/entropy<0.5"')
    assert scene.round() is None
    scene.link.report("optimizer", "metrics", {"version": 1, "agent_steps": 10, "losses/entropy": 0.6})
    assert scene.round() is None
    scene.link.report("optimizer", "metrics", {"version": 2, "agent_steps": 20, "losses/entropy": 0.4})
    scene.link.report("optimizer", "metrics", {"version": 3, "agent_steps": 30, "losses/entropy": 0.6})
    assert scene.round() == "reached losses/entropy<0.5"


def test_winding_down_lets_workers_leave_before_the_optimizer_and_kills_those_that_stay(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene.round()
    live_at_stop: list[int] = []

    def stop(grace_s: float) -> int:
        live_at_stop.append(scene.supervisor.live)
        return DONE

    def sleep(seconds: float) -> None:
        scene.clock.now += 1.0

    monkeypatch.setattr(scene.optimizer, "stop", stop)
    monkeypatch.setattr("quintet.cluster.controller.time.sleep", sleep)
    scene.workers.stubborn = True
    scene.controller.wind_down("interrupted")
    assert scene.workers.killed == [0, 1]
    assert live_at_stop == [0]


@pytest.mark.parametrize("status", [-9, CRASHED])
def test_an_optimizer_whose_failure_nobody_had_seen_when_the_run_was_ended_makes_no_failure_of_it(
    status: int, scene: Scene
) -> None:
    scene.round()
    scene.optimizer.status = status
    scene.controller.wind_down("interrupted")
    assert scene.journal("stopped") == ["interrupted"]


@pytest.mark.parametrize("status", [FAILED, CRASHED])
def test_an_optimizer_that_breaks_while_it_ends_fails_the_run(
    status: int, scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene.round()
    monkeypatch.setattr(scene.optimizer, "stop", lambda grace_s: status)
    with pytest.raises(RunFailedError, match="it broke"):
        scene.controller.wind_down("interrupted")


def test_a_ctrl_c_ends_the_loop(scene: Scene) -> None:
    scene.interrupted.set()
    assert scene.controller.run() == "interrupted"


def test_a_link_that_is_down_is_waited_for_and_given_up_after_a_minute(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene.round()

    def down(*_: object, **__: object) -> None:
        raise LinkDownError("nobody answers")

    monkeypatch.setattr(scene.link, "hold_lease", down)
    for _ in range(int(LINK_PATIENCE_S) - 1):
        assert scene.round() is None
    with pytest.raises(RunFailedError, match="nobody answers"):
        scene.round(3.0)


@pytest.mark.parametrize("seen_first", ["by the controller", "by the optimizer"])
def test_a_redis_that_forgot_the_run_is_named_whoever_notices_first(scene: Scene, seen_first: str) -> None:
    scene.controller.round()
    forgetful = MemoryLink("scene")  # as a Redis without persistence is after a restart
    scene.controller.link = forgetful
    if seen_first == "by the optimizer":
        scene.optimizer.status = FAILED
    else:
        scene.clock.now += 2.0
    with pytest.raises(RunFailedError, match=r"Redis has lost this run's data.*--resume"):
        scene.controller.round()
