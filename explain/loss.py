"""One real chunk from reward to loss, number by number, by the functions that the optimizer uses.

A batch is played; the optimizer makes one update from it, so that the policy has moved and the ratio is not 1; then
one chunk of that batch is taken apart: what each of its rows adds to the loss.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from quintet.explain.labels import action_words, agents_row
from quintet.explain.subject import Subject, part_of, play_record
from quintet.model.policy import joint
from quintet.optimizer.batch import Batch, Windows
from quintet.optimizer.config import discount, ramp
from quintet.optimizer.learner import Learner
from quintet.optimizer.ppo import Loss, surrogate

GAMES = 32
SKIP_ROWS = 240


@dataclass(frozen=True, kw_only=True, slots=True)
class LossRow:
    """One row of one agent; `loss` is what it adds to the chunk's loss."""

    action: str
    counts: bool  # valid and acted: it reaches the loss of the policy
    ended: bool  # the rules ended the game here: no value follows
    reward: float
    value: float  # by the policy that played, in reward units
    delta: float  # reward + discount x next value - value
    advantage: float
    target: float  # advantage + value: the estimate of the return
    normalized: float  # the advantage that enters the loss
    log_prob_old: float
    log_prob_new: float
    ratio: float
    gain: float  # min(ratio A, clip(ratio) A)
    value_new: float  # in reward units
    value_error: float  # half the squared error of the normalised value
    entropy: float
    loss: float


@dataclass(frozen=True, kw_only=True, slots=True)
class LossReport:
    """The rows of one agent in one chunk, and the constants that they were computed with."""

    subject: Subject
    rows: tuple[LossRow, ...]
    bootstrap: float  # value of what follows the last row
    discount: float
    gae_lambda: float
    clip: float
    value_coefficient: float
    entropy_coefficient: float
    advantage_mean: float  # over the batch, subtracted
    advantage_std: float  # over the batch, divided by
    return_mean: float
    return_scale: float
    gradient_steps: int  # that the policy made between playing and this look
    batch_steps: int
    total: float  # of the chunk's agent, by `ppo_loss`
    auxiliary: float  # what predictions add to it

    @property
    def summed(self) -> float:
        """The rows' contributions added up; equal to `total`."""
        return sum(row.loss for row in self.rows)


def explain_loss(subject: Subject, *, games: int = GAMES, skip_rows: int = SKIP_ROWS, seed: int = 7) -> LossReport:
    """Play a batch, update a copy of the policy on it, and take the chunk that surprised it most apart."""
    rows = subject.config.rollout.chunk_steps
    batch = play_record(subject, games=games, rows=rows, skip_rows=skip_rows, seed=seed).batch
    learner = _learner(subject)
    advantage, returns = learner.targets(batch, subject.agent_steps, subject.trained_s)
    update = learner.update(
        batch, version=subject.version, agent_steps=subject.agent_steps, trained_s=subject.trained_s
    )
    windows = learner.windows(batch, batch.valid, advantage, returns)
    column = _eventful(batch, advantage)
    chosen = _chunk(learner, windows, batch, column)
    entropy_coefficient = ramp(subject.config.ppo.entropy_coefficient, subject.agent_steps, subject.trained_s)
    loss = learner.loss(chosen, entropy_coefficient)
    return _report(subject, learner, batch, column, (advantage, returns), chosen, loss, update.gradient_steps)


def _learner(subject: Subject) -> Learner:
    """The optimizer of a copy, with the moments of the checkpoint; its input statistics stay what they are."""
    config = subject.config
    learner = Learner(
        copy.deepcopy(subject.policy),
        spec=subject.spec,
        ppo=config.ppo,
        config=replace(config.optimizer, normalize_observations=False),
        bptt_steps=config.rollout.bptt_steps,
        seed=config.seed,
    )
    if any(name.startswith("adam.") for name in subject.snapshot):
        learner.restore(dict(subject.snapshot))
    return learner


def _eventful(batch: Batch, advantage: Tensor) -> int:
    """The chunk that went least as expected, of those in which the first agent acts in most rows."""
    counts = (batch.valid & batch.acting)[:, :, 0]
    surprise = (advantage[:, :, 0].abs() * counts).sum(dim=0)
    return int((surprise + 1e6 * (counts.float().mean(dim=0) >= 0.75)).argmax())


def _chunk(learner: Learner, windows: Windows, batch: Batch, column: int) -> Windows:
    """The windows of one chunk, in order, with all agents but the first masked out."""
    chunks, count = batch.first.shape[1], len(batch.first) // learner.bptt_steps
    picked = windows.pick(torch.arange(count) * chunks + column)
    rows = dict(picked.rows)
    for name in ("policy_mask", "value_mask"):
        rows[name] = rows[name].clone()
        rows[name][..., 1:] = 0
    return replace(picked, rows=rows)


@torch.no_grad()
def _report(
    subject: Subject,
    learner: Learner,
    batch: Batch,
    column: int,
    estimates: tuple[Tensor, Tensor],
    windows: Windows,
    loss: Loss,
    gradient_steps: int,
) -> LossReport:
    ppo, policy = subject.config.ppo, learner.policy
    entropy_coefficient = ramp(ppo.entropy_coefficient, subject.agent_steps, subject.trained_s)
    gamma = discount(ppo, subject.agent_steps, subject.trained_s, subject.spec.step_s)
    parts = row_losses(learner, windows, entropy_coefficient)
    one = part_of(batch, slice(None), [column], batch.lstm_state[0].to(torch.float32))
    reward, value, goes_on = one.reward[:, 0, 0], one.value[:, 0, 0], ~one.terminated[:, 0, 0]
    delta = (reward + gamma * goes_on * value[1:] - value[:-1]) * one.valid[:, 0, 0]
    advantage, returns = (estimate[:, column, 0] for estimate in estimates)
    mask = batch.valid & batch.acting
    mean, divisor = learner.advantage_units(estimates[0], mask.to(torch.float32))
    words = [_words(subject, one, t) for t in range(len(reward))]
    rows = tuple(
        LossRow(
            action=words[t],
            counts=bool(one.valid[t, 0, 0] & one.acting[t, 0, 0]),
            ended=bool(one.terminated[t, 0, 0]),
            reward=float(reward[t]),
            value=float(value[t]),
            delta=float(delta[t]),
            advantage=float(advantage[t]),
            target=float(returns[t]),
            **{name: float(part[t]) for name, part in parts.items()},
        )
        for t in range(len(reward))
    )
    total = ppo.value_coefficient * loss.stats["losses/value_loss"] + loss.stats["losses/policy_loss"]
    total = total - entropy_coefficient * loss.stats["losses/entropy"]
    return LossReport(
        subject=subject,
        rows=rows,
        bootstrap=float(value[-1]),
        discount=gamma,
        gae_lambda=ppo.gae_lambda,
        clip=ppo.clip,
        value_coefficient=ppo.value_coefficient,
        entropy_coefficient=entropy_coefficient,
        advantage_mean=float(mean),
        advantage_std=float(divisor),
        return_mean=float(policy.returns.mean),
        return_scale=float(policy.returns.scale),
        gradient_steps=gradient_steps,
        batch_steps=int(batch.valid.numel()),
        total=float(total),
        auxiliary=float(loss.total - total),
    )


@torch.no_grad()
def row_losses(learner: Learner, windows: Windows, entropy_coefficient: float) -> dict[str, Tensor]:
    """What each row of the first agent adds to the loss of these windows, with everything on the way; each [rows].

    With a ratio per head a row's gain is the sum of its heads' gains, each weighed so that the rows' mean is the loss;
    `ratio` is the joint one all the same.
    """
    policy, ppo, rows = learner.policy, learner.ppo, windows.rows
    unrolled = policy.unroll(windows.observation, windows.first, windows.previous_action, windows.state)
    evaluated = policy.evaluate(unrolled, windows.observation, windows.action)
    counts, acts = rows["value_mask"], rows["policy_mask"]
    zeros = torch.zeros_like(counts)
    reads = {name: evaluated.read[name] & (acts > 0) for name in evaluated.log_prob}
    new_heads = {name: torch.where(reads[name], x, zeros) for name, x in evaluated.log_prob.items()}
    old_heads = {name: torch.where(reads[name], windows.log_prob[name], zeros) for name in evaluated.log_prob}
    new, old = joint(new_heads), joint(old_heads)
    entropy = joint({name: torch.where(reads[name], x, zeros) for name, x in evaluated.entropy.items()})
    ratio, advantage = (new - old).exp(), rows["advantage"] * acts
    acted, counted = acts.sum().clamp(min=1.0), counts.sum().clamp(min=1.0)
    if ppo.ratio == "joint":
        gain = surrogate(ratio, advantage, clip=ppo.clip, dual_clip=ppo.dual_clip) * acts
    else:
        gain = zeros
        for name, read in reads.items():
            own = (new_heads[name] - old_heads[name]).exp()
            part = surrogate(own, advantage, clip=ppo.clip, dual_clip=ppo.dual_clip) * read
            gain = gain + part * acted / read.sum().clamp(min=1.0)
    error = 0.5 * (unrolled.value - rows["target"]).square() * counts
    if ppo.value_clip > 0:
        moved = (unrolled.value - rows["old_value"]).clamp(-ppo.value_clip, ppo.value_clip)
        error = torch.maximum(error, 0.5 * (rows["old_value"] + moved - rows["target"]).square() * counts)
    loss = (-gain - entropy_coefficient * entropy * acts) / acted + ppo.value_coefficient * error / counted
    found = {
        "normalized": advantage,
        "log_prob_old": old,
        "log_prob_new": new,
        "ratio": ratio,
        "gain": gain,
        "value_new": policy.returns.denormalize(unrolled.value),
        "value_error": error,
        "entropy": entropy,
        "loss": loss,
    }
    # [bptt, windows, A] -> rows of the chunk in order, of its first agent
    return {name: x[..., 0].transpose(0, 1).flatten() for name, x in found.items()}


def _words(subject: Subject, one: Batch, row: int) -> str:
    """What the first agent of a batch of one team did in a row."""
    taken = {name: action[row + 1, 0, 0] for name, action in one.action.items()}
    return action_words(subject, taken, agents_row(subject, one.observation, row, 0, 0))
