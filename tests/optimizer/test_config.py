"""Ramps over agent steps or minutes, and half-lives of rewards."""

from __future__ import annotations

import pytest

from quintet.optimizer.config import PPOConfig, Ramp, discount, ramp


@pytest.mark.parametrize(
    ("steps", "expected"), [(0, 1.0), (1000, 1.0), (1500, 0.75), (2000, 0.5), (3000, 0.0), (10**9, 0.0)]
)
def test_a_ramp_is_linear_between_its_ends_and_flat_beyond(steps: int, expected: float) -> None:
    assert ramp(Ramp(value=1.0, end=0.0, from_steps=1000, until_steps=3000), steps, 0.0) == pytest.approx(expected)


def test_a_plain_number_never_changes() -> None:
    assert {ramp(Ramp(value=0.3), steps, steps) for steps in (0, 10, 10**12)} == {0.3}


def test_a_ramp_may_rise() -> None:
    assert ramp(Ramp(value=0.0, end=1.0, until_steps=10), 5, 0.0) == pytest.approx(0.5)


def test_a_ramp_that_ends_before_it_begins_is_refused_with_both_numbers() -> None:
    with pytest.raises(ValueError, match=r"until_steps \(5\) greater than from_steps \(9\)"):
        Ramp(value=1.0, end=0.0, from_steps=9, until_steps=5)


@pytest.mark.parametrize(("seconds", "expected"), [(0, 1.0), (60, 0.75), (120, 0.5), (240, 0.0), (10**6, 0.0)])
def test_a_ramp_by_minutes_goes_by_the_time_of_training_alone(seconds: float, expected: float) -> None:
    by_minutes = Ramp(value=1.0, end=0.0, until_minutes=4)
    assert [ramp(by_minutes, steps, seconds) for steps in (0, 10**9)] == pytest.approx([expected] * 2)


@pytest.mark.parametrize("steps", [{"until_steps": 5}, {"from_steps": 5}, {"until_steps": 9, "from_steps": 5}])
def test_a_ramp_ends_by_minutes_or_by_steps(steps: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=r"until_minutes \(2\) beside .*\(5\).*by minutes or by steps: set the others"):
        Ramp(value=1.0, end=0.0, until_minutes=2, **steps)


def test_minutes_below_0_are_refused() -> None:
    with pytest.raises(ValueError, match="until_minutes is -1; it must be at least 0"):
        Ramp(value=1.0, end=0.0, until_minutes=-1)


@pytest.mark.parametrize(("half_life_s", "step_s"), [(10.0, 1.0), (0.5, 0.25), (120.0, 1 / 7.5)])
def test_a_reward_one_half_life_away_counts_half(half_life_s: float, step_s: float) -> None:
    gamma = discount(PPOConfig(half_life_s=Ramp(value=half_life_s)), 0, 0.0, step_s)
    assert gamma ** (half_life_s / step_s) == pytest.approx(0.5)


def test_without_a_half_life_the_discount_is_what_it_is_set_to_and_a_half_life_may_ramp() -> None:
    assert discount(PPOConfig(discount=0.97), 123, 0.0, 0.1) == 0.97
    growing = PPOConfig(half_life_s=Ramp(value=1.0, end=3.0, until_steps=100))
    assert discount(growing, 50, 0.0, 1.0) == pytest.approx(0.5**0.5)
