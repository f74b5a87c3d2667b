"""The optimizer's numbers: PPO, schedules, batches, normalisers, checkpoints."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Ge, Gt, Le


@dataclass(frozen=True, kw_only=True, slots=True)
class Ramp:
    """A number that goes linearly from `value` to `end` between the agent steps `from_steps` and `until_steps`.

    It is `value` before them, and `end` after them. A plain number is a constant ramp. With `until_minutes` in place of
    the steps it takes so many minutes of training: those from the first gradient step on, counted on where a run is
    resumed. A deterministic run has no such ramp, for it depends on how fast the machine is.

    In TOML: `learning_rate = 3e-4` or `learning_rate = { value = 3e-4, end = 3e-5, until_steps = 200_000 }` or
    `learning_rate = { value = 3e-4, end = 3e-5, until_minutes = 10 }`.
    """

    value: float
    end: float | None = None
    from_steps: int = 0
    until_steps: int = 0
    until_minutes: float = 0.0

    def __post_init__(self) -> None:
        if self.until_minutes < 0:
            raise ValueError(f"a ramp's until_minutes is {self.until_minutes:g}; it must be at least 0")
        if self.until_minutes and (self.from_steps or self.until_steps):
            raise ValueError(
                f"a ramp has until_minutes ({self.until_minutes:g}) beside from_steps ({self.from_steps}) and "
                f"until_steps ({self.until_steps}); it ends by minutes or by steps: set the others to 0"
            )
        if self.until_minutes and self.end is None:
            raise ValueError(
                f"a ramp from {self.value} has until_minutes ({self.until_minutes:g}), but no end: give both"
            )
        if self.end is not None and not self.until_minutes and self.until_steps <= self.from_steps:
            raise ValueError(
                f"a ramp from {self.value} to {self.end} needs until_steps ({self.until_steps}) "
                f"greater than from_steps ({self.from_steps}), or until_minutes"
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class PPOConfig:
    """Recurrent PPO (arXiv 1707.06347) with the choices of OpenAI Five (arXiv 1912.06680)."""

    learning_rate: Annotated[Ramp, Ge(0)] = Ramp(value=1e-3)
    """Adam's step size."""
    entropy_coefficient: Annotated[Ramp, Ge(0)] = Ramp(value=0.01)
    """Weight of the entropy bonus."""
    half_life_s: Annotated[Ramp, Ge(0)] = Ramp(value=0.0)
    """Seconds of game time after which a reward counts half; 0 takes `discount` instead."""
    discount: Annotated[float, Ge(0), Le(1)] = 0.99
    """Gamma per step, where half_life_s is 0."""
    gae_lambda: Annotated[float, Ge(0), Le(1)] = 0.95
    """Lambda of generalised advantage estimation (arXiv 1506.02438)."""
    clip: Annotated[float, Gt(0)] = 0.2
    """Epsilon of the clipped surrogate."""
    ratio: Literal["joint", "per_head"] = "joint"
    """What is clipped: one ratio of the whole action's probability, or one for each head that the action reads."""
    dual_clip: Annotated[float, Ge(0)] = 0.0
    """Bound on the surrogate where the advantage is negative, in advantages: at least 1, usually 3; 0 turns it off."""
    value_coefficient: Annotated[float, Ge(0)] = 0.5
    """Weight of the value loss, which is taken on normalised returns."""
    value_clip: Annotated[float, Ge(0)] = 0.0
    """Clip of the value's move, in normalised units; 0 turns it off."""
    normalize_advantages: bool = True
    """Advantages of a batch get mean 0 and standard deviation 1, or less: see `advantage_floor`."""
    advantage_floor: Annotated[float, Ge(0)] = 0.1
    """Share of the return's scale below which advantages are the value's own errors, and are not blown up to 1."""
    advantage_unit: Annotated[float, Gt(0)] = 1.0
    """What advantages are divided by where they are not normalised, in rewards: what a win pays, as a rule."""
    epochs: Annotated[int, Ge(1)] = 1
    """Passes over a batch."""
    minibatches: Annotated[int, Ge(1)] = 1
    """Parts of a batch, split by windows; one gradient step each."""
    gradient_clip: Literal["elementwise", "global_norm", "none"] = "global_norm"
    """elementwise: +-5 sqrt(v) per parameter element, v the second moment of the unclipped gradient."""
    max_gradient_norm: Annotated[float, Gt(0)] = 0.5
    """The bound of `global_norm`."""
    adam_epsilon: Annotated[float, Gt(0)] = 1e-5
    """Adam's epsilon."""
    adam_beta2: Annotated[float, Ge(0), Le(1 - 1e-9)] = 0.999
    """Adam's second-moment decay, also used for the element-wise clip."""
    target_kl: Annotated[float, Ge(0)] = 0.0
    """Stops the epochs of a batch after one whose mean approximate KL over its minibatches passes it; 0: never."""
    team_spirit: Annotated[Ramp, Ge(0), Le(1)] = Ramp(value=0.0)
    """tau of r_i = (1 - tau) rho_i + tau mean(rho)."""
    auxiliary_coefficient: Annotated[float, Ge(0)] = 0.1
    """Weight of the mean losses of the game's auxiliary predictions; 0 leaves them untrained."""

    def __post_init__(self) -> None:
        if 0 < self.dual_clip < 1:
            raise ValueError(f"ppo.dual_clip is {self.dual_clip}; it must be at least 1, or 0 to turn it off")


@dataclass(frozen=True, kw_only=True, slots=True)
class OptimizerConfig:
    """Batches, versions, normalisers and checkpoints."""

    batch_steps: Annotated[int, Ge(1)] = 4096
    """Steps (rows x agents) of a batch; every batch makes one version."""
    max_staleness: Annotated[int, Ge(0)] = 4
    """Windows played more than this many versions ago are not trained on."""
    normalizer_warmup_steps: Annotated[int, Ge(0)] = 2048
    """Steps that only feed the normalisers before the first gradient step."""
    normalize_observations: bool = True
    """Subtract the running mean and divide by the running standard deviation of every float input, and of every
    channel of an image."""
    value_decay: Annotated[float, Ge(0), Le(1 - 1e-9)] = 0.95
    """Per-version decay of the return's running mean and scale."""
    checkpoint_s: Annotated[float, Ge(0)] = 60.0
    """Seconds between checkpoints; 0 leaves only the one at the end."""
    checkpoint_versions: Annotated[int, Ge(0)] = 0
    """Versions between checkpoints; 0 leaves only those by time."""
    keep_checkpoints: Annotated[int, Ge(1)] = 5
    """Checkpoints that stay on disk."""
    replay_error_versions: Annotated[int, Ge(0)] = 50
    """Versions between two checks of recurrent/replay_error; 0 turns them off."""
    threads: Annotated[int, Ge(0)] = 0
    """Threads of the optimizer's matrix products on a CPU; 0 means every core."""


def ramp(schedule: Ramp, agent_steps: int, trained_s: float) -> float:
    """The schedule's value after so many agent steps and seconds of training."""
    if schedule.end is None:
        return schedule.value
    if schedule.until_minutes:
        share = trained_s / (60 * schedule.until_minutes)
    else:
        share = (agent_steps - schedule.from_steps) / (schedule.until_steps - schedule.from_steps)
    if share <= 0:
        return schedule.value
    return schedule.end if share >= 1 else schedule.value + share * (schedule.end - schedule.value)


def discount(config: PPOConfig, agent_steps: int, trained_s: float, step_s: float) -> float:
    """Gamma per step: 0.5 ** (step_s / half_life_s), or `config.discount` where no half-life is set."""
    half_life_s = ramp(config.half_life_s, agent_steps, trained_s)
    return 0.5 ** (step_s / half_life_s) if half_life_s > 0 else config.discount
