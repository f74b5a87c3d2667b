"""The number of workers that keeps the optimizer fed, on traces made up by a small model of a run."""

from __future__ import annotations

import pytest

from quintet.control.autoscale import MEMORY_S, WINDOW_S, Bounds, Load, decide, parse_bounds, remembered


class ModelRun:
    """A run in which one optimizer takes `optimizer` steps a second and a worker makes `worker(n)` of n workers."""

    def __init__(self, *, optimizer: float, cores: float = 1e9, worker: float = 100.0, reuse: float = 1.0) -> None:
        self.optimizer, self.cores, self.worker, self.reuse = optimizer, cores, worker, reuse
        self.history: list[Load] = []
        self.now_s = 0.0

    def play(self, workers: int, seconds: float) -> None:
        """Go on for a while with so many workers; `cores` of them at most run at full speed."""
        could = self.worker * min(workers, self.cores)
        done = min(could, self.optimizer)
        for _ in range(int(seconds)):
            self.now_s += 1.0
            self.history.append(
                Load(
                    time_s=self.now_s,
                    workers=workers,
                    optimizer_wait=1 - done / self.optimizer,
                    workers_wait=1 - done / could,
                    produced=int(done),
                    trained=int(self.reuse * done),
                    settled=int(done),
                )
            )
            self.history = remembered(self.history, self.now_s)

    def steer(self, workers: int, bounds: Bounds, seconds: float) -> list[int]:
        """Follow the decisions for a while; returns every number of workers that was wanted."""
        seen = [workers]
        for _ in range(int(seconds)):
            self.play(workers, 1)
            workers = decide(self.history, bounds, workers).workers
            seen += [workers] if workers != seen[-1] else []
        return seen


@pytest.mark.parametrize(
    ("optimizer_speed", "start", "path"),
    [
        (100.0, 1, [1]),
        (390.0, 1, [1, 2, 4]),
        (390.0, 4, [4]),
        (390.0, 8, [8, 5]),
        (110.0, 8, [8, 2]),
        (5000.0, 1, [1, 2, 4, 8]),
        (10.0, 8, [8, 1]),
    ],
)
def test_the_optimizer_is_fed_and_no_more_and_then_nothing_moves(
    optimizer_speed: float, start: int, path: list[int]
) -> None:
    run = ModelRun(optimizer=optimizer_speed)
    assert run.steer(start, Bounds(1, 8), 200) == path
    assert run.steer(path[-1], Bounds(1, 8), 200) == path[-1:]


def test_workers_that_share_cores_are_given_back_and_not_tried_again_for_a_while() -> None:
    run = ModelRun(optimizer=1000.0, cores=2)
    path = run.steer(1, Bounds(1, 8), MEMORY_S)
    assert path == [1, 2, 4, 2]
    later = run.steer(2, Bounds(1, 8), MEMORY_S)
    assert set(later) == {2, 4}
    assert len(later) <= 5


def test_more_workers_stay_while_they_bring_steps_even_if_the_optimizer_is_still_hungry() -> None:
    assert ModelRun(optimizer=1000.0, cores=4).steer(1, Bounds(1, 4), 120) == [1, 2, 4]


def test_steps_too_old_to_train_on_mean_fewer_workers_however_hungry_the_optimizer_is() -> None:
    run = ModelRun(optimizer=1000.0, reuse=0.5)
    assert run.steer(3, Bounds(1, 8), 60) == [3, 2, 1]


def test_nothing_is_decided_before_a_window_has_passed_with_this_number_of_workers() -> None:
    run = ModelRun(optimizer=1000.0)
    assert decide([], Bounds(1, 4), 2).workers == 2
    run.play(1, 60)
    assert decide(run.history, Bounds(1, 4), 2).workers == 2
    run.play(2, WINDOW_S)
    assert decide(run.history, Bounds(1, 4), 2).workers == 2
    run.play(2, 1)
    assert decide(run.history, Bounds(1, 4), 2).workers == 4


def test_a_number_outside_the_bounds_is_brought_inside_at_once() -> None:
    assert decide([], Bounds(2, 4), 1).workers == 2
    assert decide([], Bounds(2, 4), 9).workers == 4
    assert decide([], Bounds(2, 4), 0).workers == 2


@pytest.mark.parametrize("text", ["4", "1-4", "1:", "a:b", "-1:4", "1.5:4"])
def test_what_is_no_range_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match="for example 1:4"):
        parse_bounds(text)


def test_a_range_is_read_and_checked() -> None:
    assert parse_bounds(" 1:16 ") == Bounds(1, 16)
    assert str(Bounds(1, 16)) == "1:16"
    with pytest.raises(ValueError, match="0:4 workers"):
        parse_bounds("0:4")
    with pytest.raises(ValueError, match="5:4 workers"):
        parse_bounds("5:4")
