"""The statistics of benchmarks/defaults.py against a slow form in the paper's shape: sorted lists, every resample."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np
import pytest
from learning.scores import interquartile_mean, ratio

Scores = Sequence[Sequence[float]]


def slow_middle(tasks: Scores) -> float:
    """The mean of all runs of all tasks without the lowest and the highest quarter."""
    ordered = sorted(score for task in tasks for score in task)
    cut = len(ordered) // 4
    middle = ordered[cut : len(ordered) - cut]
    return math.fsum(middle) / len(middle)


def every_resample(tasks: Scores) -> list[list[list[float]]]:
    """All equally likely drawings of each task's runs, with replacement, task by task."""
    by_task = [[list(drawn) for drawn in itertools.product(task, repeat=len(task))] for task in tasks]
    return [list(resample) for resample in itertools.product(*by_task)]


def share_below(values: Sequence[float], bound: float) -> float:
    return sum(value <= bound + 1e-12 for value in values) / len(values)


def assert_interval(values: Sequence[float], low: float | None, high: float | None) -> None:
    """The bounds cut 2.5 % off either end of the exact distribution, up to what 20,000 drawings leave open."""
    assert low is not None
    assert high is not None
    assert share_below(values, low) >= 0.025 - 0.005
    assert share_below(values, low - 1e-9) <= 0.025 + 0.005
    assert share_below(values, high) >= 0.975 - 0.005
    assert share_below(values, high - 1e-6) <= 0.975 + 0.005


TASKS = [[0.1, 0.5, 0.9], [0.2, 0.3, 1.0], [-0.2, 0.4]]


def test_the_middle_half_is_that_of_all_runs_together() -> None:
    assert interquartile_mean(TASKS).value == pytest.approx(slow_middle(TASKS))
    generator = np.random.default_rng(0)
    for runs in (1, 2, 3, 5, 8):
        tasks = [generator.normal(size=runs).tolist() for _ in range(4)]
        assert interquartile_mean(tasks).value == pytest.approx(slow_middle(tasks))


def test_an_outlier_moves_nothing() -> None:
    calm, wild = [[0.4, 0.5], [0.6, 0.7]], [[-1e6, 0.5], [0.6, 1e6]]
    assert interquartile_mean(wild).value == interquartile_mean(calm).value == pytest.approx(0.55)


@pytest.mark.slow
def test_the_interval_is_that_of_all_resamples_within_tasks() -> None:
    exact = [slow_middle(resample) for resample in every_resample(TASKS)]
    estimate = interquartile_mean(TASKS, resamples=20_000)
    assert_interval(exact, estimate.low, estimate.high)


def test_tasks_are_not_drawn_only_seeds() -> None:
    estimate = interquartile_mean([[0.0, 0.0], [1.0, 1.0]])  # drawn over tasks it would be 0 to 1
    assert (estimate.low, estimate.value, estimate.high) == (0.5, 0.5, 0.5)


@pytest.mark.slow
def test_the_ratio_draws_both_sides() -> None:
    ours, theirs = [[0.5, 0.8], [0.9, 1.0]], [[0.4, 0.6], [0.3, 0.8]]
    exact = [slow_middle(a) / slow_middle(b) for a in every_resample(ours) for b in every_resample(theirs)]
    estimate = ratio(ours, theirs, resamples=20_000)
    assert estimate.value == pytest.approx(slow_middle(ours) / slow_middle(theirs))
    assert_interval(exact, estimate.low, estimate.high)


def test_a_task_with_one_run_leaves_the_value_and_no_interval() -> None:
    estimate = interquartile_mean([[0.1], [0.2, 0.4]])
    assert (estimate.low, estimate.high) == (None, None)
    assert estimate.value == pytest.approx(slow_middle([[0.1], [0.2, 0.4]]))


def test_a_divisor_that_is_not_positive_gives_no_ratio() -> None:
    assert math.isnan(ratio([[0.5, 0.6]], [[-0.1, 0.0]]).value)


def test_the_same_scores_give_the_same_interval() -> None:
    assert interquartile_mean(TASKS) == interquartile_mean(TASKS)


def test_no_score_is_said_to_be_none() -> None:
    with pytest.raises(ValueError, match="no score"):
        interquartile_mean([])
    with pytest.raises(ValueError, match="both sides"):
        ratio([[1.0]], [])
