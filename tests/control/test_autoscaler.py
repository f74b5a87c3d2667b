"""What the autoscaler takes note of, and the wish to autoscale on both links."""

from __future__ import annotations

from quintet.control.autoscale import SETTLE_S, WINDOW_S, Autoscaler, Bounds
from quintet.wire.link import Counters
from tests.conftest import AnyLink

HUNGRY = {"worker": {"play": 1.0}, "optimizer": {"learn": 0.5, "wait": 0.5}}


class Scene:
    """A run that makes 100 steps a second, seen by an autoscaler whose clock the test moves."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.steps = 0
        self.autoscaler = Autoscaler(clock=lambda: self.now_s)

    def go_on(self, seconds: float, *, wanted: int = 1, playing: int | None = None) -> None:
        for _ in range(int(seconds)):
            self.now_s += 1.0
            self.steps += 100
            self.autoscaler.look(
                wanted=wanted,
                playing=wanted if playing is None else playing,
                phases=HUNGRY,
                counters=Counters(produced=self.steps, trained=self.steps),
            )

    def decided(self, wanted: int = 1) -> int:
        return self.autoscaler.decide(Bounds(1, 4), wanted).workers


def test_a_hungry_optimizer_gets_workers_once_the_run_has_been_steady_for_long_enough() -> None:
    scene = Scene()
    scene.go_on(SETTLE_S + WINDOW_S)
    assert scene.decided() == 1
    scene.go_on(3)
    assert scene.decided() == 2


def test_what_happens_while_workers_come_and_go_does_not_count() -> None:
    scene = Scene()
    scene.go_on(100, wanted=2, playing=1)
    assert scene.decided(2) == 2
    scene.go_on(SETTLE_S, wanted=2)
    assert scene.decided(2) == 2


def test_nothing_counts_before_the_first_step_is_trained() -> None:
    scene = Scene()
    for _ in range(60):
        scene.now_s += 1.0
        scene.autoscaler.look(wanted=1, playing=1, phases=HUNGRY, counters=Counters(produced=500))
    assert scene.decided() == 1


def test_the_wish_to_autoscale_is_kept_until_it_is_taken_back(link: AnyLink) -> None:
    assert link.autoscale() == ""
    link.set_autoscale("1:4")
    assert link.autoscale() == "1:4"
    link.set_wanted_workers(2)
    assert link.autoscale() == "1:4"
    link.set_autoscale("")
    assert link.autoscale() == ""
