"""What one version's batch shows of whether anything can be learned from it: a few numbers, for the doctor to judge."""

from __future__ import annotations

import copy
import math
from dataclasses import replace

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor

from quintet.games.api import ACTION_MASK_PREFIX
from quintet.model.heads import FIRST_LOG_STD
from quintet.optimizer.batch import Batch, Freshness
from quintet.optimizer.config import PPOConfig, discount, ramp
from quintet.optimizer.learner import Learner, Update
from quintet.optimizer.signs.action_effect import ActionEffect, has_plain_odds
from quintet.optimizer.signs.numbers_seen import sampled_numbers, which_vary

SHARE_VERSIONS = 20
"""Versions between two looks at the gradients, which cost two gradient steps each."""
SHARE_WINDOWS = 64
NORMAL_ENTROPY = 0.5 * math.log(2 * math.pi * math.e)  # nats per dimension, of standard deviation 1


class LearningSigns:
    """Looks at every batch after its update; keeps nothing but the sums of `ActionEffect`."""

    def __init__(self, learner: Learner) -> None:
        self.learner, self.spec = learner, learner.spec
        self.effect = ActionEffect(learner.policy, learner.bptt_steps)
        self._looks = 0

    def __call__(self, batch: Batch, update: Update, agent_steps: int, trained_s: float = 0.0) -> dict[str, float]:
        """`learning/...` of this version; empty where nothing was trained on."""
        if not update.gradient_steps:
            return {}
        reward = batch.reward[batch.valid]
        vary = which_vary(sampled_numbers(self.spec, batch))
        ended = (batch.terminated | batch.truncated) & batch.valid
        signs = {
            "learning/gradient_steps": float(update.gradient_steps),
            "learning/inputs_that_vary": float(vary.float().mean()) if len(vary) else 0.0,
            "learning/reward_mean": float(reward.mean()),
            "learning/reward_std": float(reward.double().std(unbiased=False))
            if bool((reward != reward[0]).any())
            else 0.0,
            "learning/episodes_ended": float(ended.sum()),
            **self._entropy_share(batch, update.stats),
        }
        if self.effect.sees_all:
            self.effect.add(batch, discount(self.learner.ppo, agent_steps, trained_s, self.spec.step_s))
            signs |= {"learning/action_effect": self.effect.largest, "learning/action_rows": float(self.effect.rows)}
        if self._looks % SHARE_VERSIONS == 0:
            signs |= value_gradient_share(self.learner, batch, update.freshness, agent_steps, trained_s)
        self._looks += 1
        return signs

    def _entropy_share(self, batch: Batch, stats: dict[str, float]) -> dict[str, float]:
        """Entropy over that of a policy that has learned nothing, of the heads for which that is known."""
        found = fresh = 0.0
        for name, space in self.spec.action_space.spaces.items():
            if (most := self._fresh_entropy(batch, name, space)) is not None:
                found, fresh = found + stats.get(f"heads/{name}/entropy", 0.0), fresh + most
        return {"learning/entropy_share": found / fresh} if fresh > 0 else {}

    def _fresh_entropy(self, batch: Batch, name: str, space: spaces.Space[object]) -> float | None:
        if isinstance(space, spaces.Box):
            return float((space.low < space.high).sum()) * (NORMAL_ENTROPY + FIRST_LOG_STD)
        if not isinstance(space, spaces.Discrete) or not has_plain_odds(self.spec, name):
            return None
        mask = batch.observation.get(f"{ACTION_MASK_PREFIX}{name}")
        if mask is None:
            return math.log(int(space.n))
        rows = mask[batch.acting & batch.valid & (batch.action[name][1:] >= 0)]
        return float(rows.sum(dim=-1).clamp(min=1).log().mean()) if len(rows) else 0.0


def value_gradient_share(
    learner: Learner, batch: Batch, freshness: Freshness, agent_steps: int, trained_s: float = 0.0
) -> dict[str, float]:
    """The value loss's share of the gradient in the layers that policy and value share; by norms, in some windows."""
    columns = torch.from_numpy(np.flatnonzero(freshness.fresh.reshape(-1))[:SHARE_WINDOWS])
    counts = learner.rows_that_count(batch, freshness)
    targets = learner.targets(batch, agent_steps, trained_s)
    windows = learner.windows(batch, counts, *targets).pick(columns.to(batch.first.device))
    policy = learner.policy
    trunk = [p for part in (policy.encoders, policy.layer, policy.lstm) for p in part.parameters() if p.requires_grad]

    def gradient(ppo: PPOConfig) -> list[Tensor]:
        alike = copy.copy(learner)  # of the same policy
        alike.ppo = ppo
        total = alike.loss(windows, ramp(ppo.entropy_coefficient, agent_steps, trained_s)).total
        found = torch.autograd.grad(total, trunk, allow_unused=True)
        return [torch.zeros_like(p) if g is None else g for p, g in zip(trunk, found, strict=True)]

    both = gradient(replace(learner.ppo, auxiliary_coefficient=0.0))
    alone = gradient(replace(learner.ppo, auxiliary_coefficient=0.0, value_coefficient=0.0))
    of_value = _norm([x - y for x, y in zip(both, alone, strict=True)])
    total = of_value + _norm(alone)
    return {"learning/value_gradient_share": of_value / total} if math.isfinite(total) and total > 0 else {}


def _norm(gradient: list[Tensor]) -> float:
    return float(torch.stack(torch._foreach_norm(gradient)).square().sum().sqrt())
