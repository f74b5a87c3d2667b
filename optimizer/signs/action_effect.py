"""Whether what follows an action depends on it: a test over all rows so far, which a game that ignores actions passes.

Given what the policy knew, an action is a throw of dice of known odds. So w_k = 1[a = k] / p(a) - 1 has mean 0 in every
row, whatever the policy, and so has w_k x (anything that does not depend on a). Each product

    w_k  x  what the row shows, or has shown since the game began  x  reward, return to go or next observation

is summed over all rows, and with the square of its last factor; a sum far from 0, in standard errors, is an effect.
Products with what is shown are needed where the right action depends on it: over all rows, each action of a guessing
game is as good as every other. Of a Box head the odds say how far an action lies from the policy's mean; on which side,
a fit of the actions by what is shown says, and where that is wrong the distance is small; the error of a policy that is
far from linear looks like an effect.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import islice

import torch
from gymnasium import spaces
from torch import Tensor

from quintet.games.api import ACTION_MASK_PREFIX, GameSpec, Target
from quintet.model.heads import GaussianHead
from quintet.model.policy import Policy
from quintet.optimizer.advantages import gae
from quintet.optimizer.batch import Batch
from quintet.optimizer.signs.numbers_seen import ChosenNumbers, few_stand_for_all

CHOICES = 8
"""Choices of one head that are tested, evenly spaced; or dimensions."""
TESTED = 24
"""Choices and dimensions that are tested in all."""
LEAST_LOG_PROB = -12.0
"""A choice less likely than that counts as if it were as likely: the odds are to stay finite."""
RIDGE = 1e-3
"""Share of the variance that keeps the fit solvable where two numbers are the same."""


class ActionEffect:
    """Running sums of the products and of their squares; `rows` have been added."""

    def __init__(self, policy: Policy, bptt_steps: int) -> None:
        self.spec, self.heads, self.bptt_steps = policy.spec, policy.heads, bptt_steps
        self.rows = 0
        self._numbers: ChosenNumbers | None = None
        self._sums: Tensor | None = None  # [K, contexts, outcomes] f64
        self._squares: Tensor | None = None

    @property
    def sees_all(self) -> bool:
        """Whether it tests every head, and enough of the observation: else no effect found means nothing."""
        heads = self.spec.action_space.spaces.items()
        tested = (
            self.spec.primary_head is None if isinstance(space, spaces.Box) else has_plain_odds(self.spec, name)
            for name, space in heads
        )
        return few_stand_for_all(self.spec) and all(tested)

    @property
    def largest(self) -> float:
        """The largest of all sums, in its standard errors: of a game that ignores actions 3 to 4, hardly ever 5."""
        if self._sums is None or self._squares is None:
            return 0.0
        return float((self._sums.abs() / self._squares.sqrt().clamp(min=1e-12)).max())

    @torch.no_grad()
    def add(self, batch: Batch, discount: float) -> None:
        """Add a batch, once one number of the observation has varied."""
        self._numbers = self._numbers or ChosenNumbers.of(self.spec, batch)
        if self._numbers is None:
            return
        follows = self._followed(batch)
        seen = self._numbers.of_batch(self.spec, batch)
        context = torch.cat((torch.ones_like(seen[..., :1]), seen, since_first(seen, batch.first)), dim=-1)[:-1]
        outcome = torch.cat((self._paid(batch, discount), seen[1:]), dim=-1)[follows]
        context = context[follows]
        tested = list(islice(self._surprises(batch, follows, context), TESTED))
        if not tested or len(context) <= 2 * context.shape[-1]:
            return
        left = residual(outcome, context)
        outcome = torch.cat((left, left.square() - left.square().mean(dim=0)), dim=-1)
        w = torch.stack(tested).unsqueeze(-1)  # [K, n, 1]
        sums = ((w * context).mT @ outcome).double()
        squares = ((w * context).square().mT @ outcome.square()).double()
        self._sums = sums if self._sums is None else self._sums + sums
        self._squares = squares if self._squares is None else self._squares + squares
        self.rows += len(context)

    def _followed(self, batch: Batch) -> Tensor:
        """[T - 1, B, A] bool: an agent acted, and the row after is there."""
        t = batch.first.shape[0]
        real = torch.from_numpy(batch.windows * self.bptt_steps).to(batch.first.device)
        there = torch.arange(1, t, device=batch.first.device)[:, None] < real
        return (batch.acting & batch.valid)[:-1] & there.unsqueeze(-1)

    def _paid(self, batch: Batch, discount: float) -> Tensor:
        """[T - 1, B, A, 2]: the reward, and those to come within the chunk. No value: it has seen the action."""
        to_go = gae(
            reward=batch.reward, value=torch.zeros_like(batch.value), terminated=batch.terminated,
            truncated=batch.truncated, valid=batch.valid, discount=discount, gae_lambda=1.0,
        )  # fmt: skip
        return torch.stack((batch.reward, to_go), dim=-1)[:-1]

    def _surprises(self, batch: Batch, follows: Tensor, context: Tensor) -> Iterator[Tensor]:
        """w [n] of each choice that is tested, of each dimension of a Box head, and of its whole distance."""
        for (name, space), head in zip(self.spec.action_space.spaces.items(), self.heads.modules_by_head, strict=True):
            action, log_prob = batch.action[name][1:-1][follows], batch.log_prob[name][:-1][follows]
            if isinstance(head, GaussianHead):
                if self.spec.primary_head is None:  # else it may not be read
                    yield from distances(head, action, log_prob, context)
            elif isinstance(space, spaces.Discrete) and has_plain_odds(self.spec, name):
                odds = torch.exp(-log_prob.clamp(min=LEAST_LOG_PROB))
                mask = batch.observation.get(f"{ACTION_MASK_PREFIX}{name}")
                n = int(space.n)
                for k in torch.linspace(0, n - 1, min(n, CHOICES)).round().long().tolist():
                    legal = 1.0 if mask is None else mask[:-1][follows][:, k].to(torch.float32)
                    yield torch.where(action >= 0, torch.where(action == k, odds, 0.0) - legal, 0.0)


def distances(head: GaussianHead, action: Tensor, log_prob: Tensor, context: Tensor) -> Iterator[Tensor]:
    """[n] per dimension: how far the action [n, dims] lies from the policy's mean, in standard deviations; then their
    squared sum, less its mean.
    """
    varies = head.scale.varies
    constant = torch.where(varies, head.log_std + 0.5 * math.log(2 * math.pi), 0.0).sum()
    squared = (-2 * (log_prob + constant)).clamp(min=0)
    off = residual(head.scale.inwards(action), context)[:, varies]
    yield from (off / off.norm(dim=-1, keepdim=True).clamp(min=1e-9) * squared.sqrt()[:, None]).unbind(-1)[:CHOICES]
    yield squared - squared.mean()


def has_plain_odds(spec: GameSpec, head: str) -> bool:
    """Whether what is legal for a Discrete head stands in its mask alone, and depends on no slot or other head."""
    return head not in spec.masked_by_primary and not isinstance(spec.action_space[head], Target)


def since_first(x: Tensor, first: Tensor) -> Tensor:
    """[T, B, A, n]: the sum of the rows since the game began or the chunk did, over the root of how many there are.

    Args:
        x: [T, B, A, n].
        first: [T, B] bool.
    """
    rows = torch.arange(len(x), device=x.device).unsqueeze(-1)
    began = torch.where(first, rows, 0).cummax(dim=0).values[..., None, None].expand(x.shape)
    total = x.cumsum(dim=0)
    count = (rows[..., None, None] - began + 1).to(x.dtype)
    return (total - total.gather(0, began) + x.gather(0, began)) / count.sqrt()


def residual(y: Tensor, context: Tensor) -> Tensor:
    """[n, m] less its least-squares fit by the context [n, c]: what is left varies less, and shows an effect sooner."""
    square = context.mT @ context
    ridge = RIDGE * square.diagonal().mean() * torch.eye(len(square), device=y.device)
    fit: Tensor = context @ torch.linalg.solve(square + ridge, context.mT @ y)
    return y - fit
