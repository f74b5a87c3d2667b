"""Interquartile means over runs and tasks with stratified bootstrap intervals, after arXiv 2108.13264.

The interquartile mean is the mean of the middle half of all normalised scores, runs of all tasks together. Its interval
comes from drawing the runs of each task anew, with replacement, task by task: the tasks are fixed, the seeds are not.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats

Array = np.ndarray[Any, np.dtype[Any]]
CUT = 0.25  # from each end
RESAMPLES = 5_000


@dataclass(frozen=True, kw_only=True, slots=True)
class Estimate:
    """A number of all runs, and the interval of 95 % where runs could be drawn anew."""

    value: float
    low: float | None = None
    high: float | None = None


def interquartile_mean(tasks: Sequence[Sequence[float]], *, resamples: int = RESAMPLES, seed: int = 0) -> Estimate:
    """The interquartile mean of scores by task; no interval where a task has fewer than two runs.

    Raises:
        ValueError: there is no score.
    """
    return _estimate(tasks, lambda *drawn, axis: _middle(drawn, axis), resamples, seed)


def ratio(
    ours: Sequence[Sequence[float]],
    theirs: Sequence[Sequence[float]],
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Estimate:
    """One interquartile mean over another, the runs of both drawn anew; nan where the divisor is not positive.

    A drawing whose divisor is not positive counts as infinite.

    Raises:
        ValueError: there is no score on one side.
    """
    if not any(map(len, ours)) or not any(map(len, theirs)):
        raise ValueError("a ratio needs scores on both sides")

    def statistic(*drawn: Array, axis: int) -> Array:
        above, below = _middle(drawn[: len(ours)], axis), _middle(drawn[len(ours) :], axis)
        return np.where(below > 0, above / np.where(below > 0, below, 1.0), np.inf)

    return _estimate([*ours, *theirs], statistic, resamples, seed)


def _middle(drawn: Sequence[Array], axis: int) -> Array:
    flat: Array = np.concatenate([np.moveaxis(np.asarray(x), axis, -1) for x in drawn], axis=-1)
    return np.asarray(stats.trim_mean(flat, CUT, axis=-1))


def _estimate(tasks: Sequence[Sequence[float]], statistic: Callable[..., Array], resamples: int, seed: int) -> Estimate:
    samples = [np.asarray(task, np.float64) for task in tasks]
    if not sum(map(len, samples)):
        raise ValueError("there is no score")
    value = float(statistic(*samples, axis=-1))
    if not np.isfinite(value):
        return Estimate(value=np.nan)
    if min(map(len, samples)) < 2:  # one run says nothing of how much runs differ
        return Estimate(value=value)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", stats.DegenerateDataWarning)  # infinite drawings; its interval is not used
        drawn = stats.bootstrap(
            samples,
            statistic,
            n_resamples=resamples,
            vectorized=True,
            method="percentile",
            rng=np.random.default_rng(seed),
        ).bootstrap_distribution
    low, high = np.percentile(drawn, (2.5, 97.5), method="inverted_cdf")  # no mean of two, one of which is infinite
    return Estimate(value=value, low=float(low), high=float(high))
