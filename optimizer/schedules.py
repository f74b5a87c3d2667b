"""Linear ramps over agent steps, and half-lives in seconds turned into discounts per step."""

from __future__ import annotations

from optimizer.config import PPOConfig, Ramp


def ramp(schedule: Ramp, agent_steps: int) -> float:
    """The schedule's value at `agent_steps`."""
    if schedule.end is None or agent_steps <= schedule.from_steps:
        return schedule.value
    if agent_steps >= schedule.until_steps:
        return schedule.end
    share = (agent_steps - schedule.from_steps) / (schedule.until_steps - schedule.from_steps)
    return schedule.value + share * (schedule.end - schedule.value)


def discount(config: PPOConfig, agent_steps: int, step_s: float) -> float:
    """Gamma per step: 0.5 ** (step_s / half_life_s), or `config.discount` where no half-life is set."""
    half_life_s = ramp(config.half_life_s, agent_steps)
    return 0.5 ** (step_s / half_life_s) if half_life_s > 0 else config.discount
