"""The controller and its crew over a memory link, with workers and an optimizer that do what the test says."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from cluster.board import Board
from cluster.controller import LINK_PATIENCE_S, Controller
from cluster.crew import ADOPTED_AND_GONE, MAX_QUICK_DEATHS, Crew
from cluster.failure import (
    CRASHED,
    DONE,
    FAILED,
    FAULTS_WITHIN_S,
    USAGE,
    RunFailedError,
    UsageError,
    last_words,
)
from cluster.recorder import Recorder
from cluster.run_folder import RunFolder
from cluster.short_lives import MOST_SHORT_LIVES, QUICK_DEATH_S
from control.config import parse_config
from control.journal import read_journal
from games.api import GameCodeError, GameDataError, MissingExtraError
from wire.errors import LinkDownError
from wire.link import Parcel
from wire.memory_link import MemoryLink

SPEC = "0123456789abcdef"


class Clock:
    """Time that passes when the test says so."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


class ScriptedWorkers:
    """A launcher whose workers play until the test ends them, or until they are no longer wanted."""

    def __init__(self, link: MemoryLink) -> None:
        self.link = link
        self.playing: set[int] = set()
        self.ends: dict[int, dict[str, str]] = {}
        self.starts: list[int] = []
        self.killed: list[int] = []
        self.adoptable: list[int] = []
        self.node_died = False
        self.stubborn = False

    def ensure(self) -> bool:
        died, self.node_died = self.node_died, False
        if died:
            self.ends |= {worker: {"error": "its Ray node died"} for worker in self.playing}
        return died

    def adopt(self, workers: Sequence[int]) -> list[int]:
        self.playing |= set(self.adoptable)
        return self.adoptable

    def start(self, worker: int) -> None:
        assert worker not in self.playing
        self.starts.append(worker)
        self.playing.add(worker)
        self.link.register(worker, SPEC)

    def poll(self, worker: int) -> dict[str, str] | None:
        directive = self.link.directive()
        if worker in self.ends:
            self.playing.discard(worker)
            return self.ends.pop(worker)
        if not self.stubborn and (worker >= directive.wanted_workers or directive.stopping):
            self.playing.discard(worker)
            return {"reason": "scaled_down"}
        return None

    def kill(self, worker: int) -> None:
        self.killed.append(worker)
        self.playing.discard(worker)


class ScriptedOptimizer:
    """An optimizer host whose process ends when and how the test says."""

    def __init__(self) -> None:
        self.status: int | None = None
        self.starts = 0
        self.stopped_with: list[float] = []

    def start(self) -> None:
        self.starts += 1
        self.status = None

    def poll(self) -> int | None:
        return self.status

    def last_words(self) -> str:
        return "it broke"

    def stop(self, grace_s: float) -> int:
        self.stopped_with.append(grace_s)
        self.status = DONE if self.status is None else self.status
        return self.status


class Scene:
    """A controller with everything around it."""

    def __init__(self, folder: RunFolder, config_text: str = "") -> None:
        self.clock = Clock()
        self.link = MemoryLink("scene")
        self.link.open_run(spec_hash=SPEC, config_text="seed = 1", max_queued_steps=1000, max_queue_bytes=1000)
        self.link.set_wanted_workers(2)
        self.folder, self.workers, self.optimizer = folder, ScriptedWorkers(self.link), ScriptedOptimizer()
        self.interrupted = threading.Event()
        board = Board(Console(file=StringIO()), clock=self.clock)
        config = parse_config(config_text)
        self.recorder = Recorder(folder=folder, config=config, link=self.link, board=board, started_s=0.0)
        self.tracebacks: list[tuple[int, str]] = []
        self.crew = Crew(
            self.workers,
            self.link,
            self.recorder,
            keep_traceback=self.keep_traceback,
            clock=self.clock,
        )
        self.controller = Controller(
            link=self.link,
            crew=self.crew,
            optimizer=self.optimizer,
            recorder=self.recorder,
            redis=None,
            interrupted=self.interrupted,
            describe={"capacity": 2},
            clock=self.clock,
        )

    def keep_traceback(self, worker: int, text: str) -> Path:
        self.tracebacks.append((worker, text))
        return self.folder.logs / f"worker-{worker}.log"

    def round(self, seconds: float = 1.0) -> str | None:
        self.clock.now += seconds
        return self.controller.round()

    def journal(self, kind: str) -> list[str]:
        return [event.process or event.text for event in read_journal(self.folder.journal) if event.kind == kind]

    def close(self) -> None:
        self.recorder.close()


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
    assert scene.crew.live == 1
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
    assert not scene.link.directive().controller_alive
    scene.round()
    assert scene.link.directive().controller_alive
    assert {beat.process: beat.data for beat in scene.link.heartbeats()}["controller"]["capacity"] == 2


def test_a_worker_that_played_for_a_while_is_replaced_at_once_and_its_books_are_closed(scene: Scene) -> None:
    scene.round()
    registration = scene.link.register(1, SPEC)
    who = {"worker": 1, "incarnation": registration.incarnation}
    scene.link.push([Parcel(**who, sequence=1, cumulative_steps=8, steps=8, payload=b"x")])
    scene.link.heartbeat(registration, 24, {})
    scene.workers.ends[1] = {"error": "killed", "traceback": "Traceback: boom"}
    scene.round(QUICK_DEATH_S + 1)
    counters = scene.link.counters()
    assert (counters.produced, counters.lost, counters.in_flight, counters.unaccounted) == (24, 16, 8, 0)
    assert scene.workers.starts == [0, 1, 1]
    assert scene.tracebacks == [(1, "Traceback: boom")]
    assert scene.journal("worker died") == ["worker/1"]


def test_a_worker_that_dies_quickly_again_and_again_is_waited_for_longer_and_then_given_up(scene: Scene) -> None:
    scene.link.set_wanted_workers(1)
    scene.round()
    pauses = []
    for _ in range(MAX_QUICK_DEATHS - 1):
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


def test_a_worker_that_played_in_between_may_die_more_often_and_is_replaced_at_once(scene: Scene) -> None:
    scene.link.set_wanted_workers(1)
    scene.round()
    for _ in range(MOST_SHORT_LIVES - 1):
        registration = scene.link.register(0, SPEC)
        scene.link.heartbeat(registration, 0, {"version": 3})
        scene.workers.ends[0] = {"error": "killed"}
        scene.round()
        assert scene.workers.playing == {0}
    registration = scene.link.register(0, SPEC)
    scene.link.heartbeat(registration, 0, {"version": 3})
    scene.workers.ends[0] = {"error": "killed"}
    with pytest.raises(RunFailedError, match=f"worker 0 died {MOST_SHORT_LIVES} times in a row"):
        scene.round()


def test_a_worker_that_cannot_play_this_run_at_all_ends_it(scene: Scene) -> None:
    scene.round()
    scene.workers.ends[0] = last_words(MissingExtraError("the game needs pygame"))
    with pytest.raises(UsageError, match=r"worker 0: the game needs pygame; the whole traceback is in .*worker-0.log"):
        scene.round()
    assert scene.workers.starts == [0, 1]


def test_a_value_that_nothing_can_be_learned_from_ends_the_run_at_the_first_worker_that_meets_it(scene: Scene) -> None:
    scene.round()
    scene.workers.ends[1] = last_words(GameDataError("game x: the reward of slot 3, row 7 is nan"))
    with pytest.raises(RunFailedError, match=r"worker 1: game x: the reward .* is nan; .*worker-1.log"):
        scene.round()
    assert scene.workers.starts == [0, 1]
    assert "GameDataError" in scene.tracebacks[0][1]


def test_an_exception_of_the_games_own_code_is_borne_once_whichever_workers_meet_it(scene: Scene) -> None:
    scene.round()
    scene.workers.ends[0] = last_words(GameCodeError("game x: its step raised ValueError"))
    scene.round()
    scene.round()
    assert scene.workers.starts == [0, 1, 0]
    scene.round(FAULTS_WITHIN_S + 1)  # a rare game now and then is no reason to end a run
    scene.workers.ends[0] = last_words(GameCodeError("game x: its step raised ValueError"))
    scene.round()
    scene.round()
    assert scene.workers.starts == [0, 1, 0, 0]
    scene.workers.ends[1] = last_words(GameCodeError("game x: its step raised ValueError again"))
    with pytest.raises(RunFailedError, match="worker 1: game x: its step raised ValueError again"):
        scene.round(10.0)


def test_a_simulator_that_does_not_answer_is_waited_for_as_after_any_other_death(scene: Scene) -> None:
    scene.round()
    error = GameCodeError("game x: its step raised ConnectionRefusedError")
    error.__cause__ = ConnectionRefusedError()
    for _ in range(3):
        scene.workers.ends[0] = last_words(error)
        scene.round()
        scene.round(10.0)
    assert scene.workers.starts == [0, 1, 0, 0, 0]


def test_what_an_adopted_worker_said_last_is_heard_though_its_process_answers_to_nobody(scene: Scene) -> None:
    scene.workers.adoptable = [0]
    scene.crew.adopt(2)
    scene.round()
    registration = scene.link.register(0, SPEC)
    scene.link.heartbeat(registration, 16, {"version": 3})
    scene.link.beat("worker/0", {**last_words(GameDataError("game x: the reward is nan")), "version": 3})
    scene.workers.ends[0] = {"reason": ADOPTED_AND_GONE}
    with pytest.raises(RunFailedError, match="worker 0: game x: the reward is nan"):
        scene.round()
    assert scene.link.counters().lost == 16


def test_all_workers_are_started_again_when_what_they_run_on_died(scene: Scene) -> None:
    scene.round()
    scene.workers.node_died = True
    scene.round(QUICK_DEATH_S + 1)
    assert scene.workers.playing == {0, 1}
    assert scene.workers.starts == [0, 1, 0, 1]
    assert scene.journal("restarted") == ["ray"]


def test_workers_that_play_already_are_adopted_and_not_started(scene: Scene) -> None:
    scene.workers.adoptable = [0]
    scene.crew.adopt(2)
    scene.round()
    assert scene.workers.starts == [1]
    assert scene.crew.live == 2


@pytest.mark.parametrize("status", [-9, CRASHED])
def test_an_optimizer_that_died_is_started_again_and_given_up_after_three_quick_deaths(
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
    scene.optimizer.status = DONE
    assert scene.round() == "budget"
    scene.controller.wind_down("budget")
    assert scene.workers.playing == set()
    assert scene.link.stopping()
    assert scene.journal("stopped") == ["budget"]


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
        live_at_stop.append(scene.crew.live)
        return DONE

    def sleep(seconds: float) -> None:
        scene.clock.now += 1.0

    monkeypatch.setattr(scene.optimizer, "stop", stop)
    monkeypatch.setattr("cluster.controller.time.sleep", sleep)
    scene.workers.stubborn = True
    scene.controller.wind_down("interrupted")
    assert scene.workers.killed == [0, 1]
    assert live_at_stop == [0]


@pytest.mark.parametrize("status", [-9, CRASHED])
def test_an_optimizer_whose_death_nobody_had_seen_when_the_run_was_ended_makes_no_failure_of_it(
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
