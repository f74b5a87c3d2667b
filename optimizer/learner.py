"""One batch -> one new version of the policy: advantages, PPO over windows from their stored states, Adam."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from quintet.games.api import GameSpec
from quintet.model.policy import Policy
from quintet.optimizer.advantages import gae, team_spirit
from quintet.optimizer.auxiliary import auxiliary_loss, label_targets
from quintet.optimizer.batch import Batch, Freshness, Windows, cut_windows, judge_freshness
from quintet.optimizer.config import OptimizerConfig, PPOConfig, discount, ramp
from quintet.optimizer.gradient_clip import ElementwiseClip
from quintet.optimizer.ppo import Loss, explained_variance, masked_mean, ppo_loss


class NonFiniteUpdateError(Exception):
    """Loss or gradient of a batch is NaN or infinite; nothing of the batch was applied."""


@dataclass(frozen=True, slots=True)
class Update:
    """What one batch did."""

    freshness: Freshness
    stats: dict[str, float]
    gradient_steps: int
    epochs: int = 0  # passes over the fresh windows: fewer than asked for where `target_kl` stopped them


class Learner:
    """The policy being optimised with Adam's and the clip's moments."""

    def __init__(
        self, policy: Policy, *, spec: GameSpec, ppo: PPOConfig, config: OptimizerConfig, bptt_steps: int, seed: int
    ) -> None:
        self.policy, self.spec, self.ppo, self.config, self.bptt_steps = policy, spec, ppo, config, bptt_steps
        self.parameters = [p for p in policy.parameters() if p.requires_grad]
        self.adam = torch.optim.Adam(
            self.parameters,
            lr=ppo.learning_rate.value,
            betas=(0.9, ppo.adam_beta2),
            eps=ppo.adam_epsilon,
            fused=True,
        )
        self.clip = ElementwiseClip(list(self.parameters), beta2=ppo.adam_beta2)
        self.generator = torch.Generator().manual_seed(seed)

    def adjust(self, ppo: PPOConfig, config: OptimizerConfig) -> None:
        """Go on with other numbers from the next update on; Adam's beta2 stays what it was."""
        self.ppo, self.config = ppo, config
        for group in self.adam.param_groups:
            group["eps"] = ppo.adam_epsilon

    @torch.no_grad()
    def warm_up(self, batch: Batch) -> None:
        """Feed the normalisers and take no gradient step."""
        self._update_statistics(batch, self.targets(batch, agent_steps=0)[1], batch.valid)

    def update(self, batch: Batch, *, version: int, agent_steps: int, trained_s: float = 0.0) -> Update:
        """Optimise on one batch; normalisers move once, after the last gradient step.

        Ramps stand where they are after `agent_steps` and `trained_s` seconds of training.

        Raises:
            NonFiniteUpdateError: the policy and the moments are as they were before.
        """
        freshness = judge_freshness(batch, version, self.config.max_staleness)
        columns = torch.from_numpy(np.flatnonzero(freshness.fresh.reshape(-1)))
        if len(columns) == 0:
            return Update(freshness, {}, 0)
        advantage, returns = self.targets(batch, agent_steps, trained_s)
        counts = self.rows_that_count(batch, freshness)
        backup = None
        if not self.policy.returns.knows_units() and bool(torch.isfinite(returns[counts]).all()):
            backup = self.snapshot()
            self._update_returns(returns[counts])  # or these returns, the first that vary, would enter unscaled
        windows = self.windows(batch, counts, advantage, returns)
        for group in self.adam.param_groups:
            group["lr"] = ramp(self.ppo.learning_rate, agent_steps, trained_s)
        entropy_coefficient = ramp(self.ppo.entropy_coefficient, agent_steps, trained_s)
        history, epochs = self._optimise(windows, columns, entropy_coefficient, backup)
        self._update_statistics(batch, returns, counts)
        stats = {name: _mean(history, name) for name in history[0]}
        mask = windows.rows["value_mask"]
        variance = explained_variance(windows.rows["old_value"], windows.rows["target"], mask)
        stats["losses/explained_variance"] = float(variance)
        stats["losses/learning_rate"] = ramp(self.ppo.learning_rate, agent_steps, trained_s)
        stats["losses/entropy_coefficient"] = entropy_coefficient
        stats["losses/team_spirit"] = ramp(self.ppo.team_spirit, agent_steps, trained_s)
        stats["losses/discount"] = discount(self.ppo, agent_steps, trained_s, self.spec.step_s)
        return Update(freshness, stats, len(history), epochs)

    def targets(self, batch: Batch, agent_steps: int, trained_s: float = 0.0) -> tuple[Tensor, Tensor]:
        """Advantages and returns [T, B, A], in reward units; GAE runs over whole chunks."""
        advantage = gae(
            reward=team_spirit(batch.reward, batch.valid, ramp(self.ppo.team_spirit, agent_steps, trained_s)),
            value=batch.value,
            terminated=batch.terminated,
            truncated=batch.truncated,
            valid=batch.valid,
            discount=discount(self.ppo, agent_steps, trained_s, self.spec.step_s),
            gae_lambda=self.ppo.gae_lambda,
        )
        return advantage, advantage + batch.value[:-1]

    def rows_that_count(self, batch: Batch, freshness: Freshness) -> Tensor:
        """[T, B, A] bool: valid, and of a fresh window. No other row reaches the loss or the statistics."""
        fresh_rows = torch.from_numpy(np.repeat(freshness.fresh, self.bptt_steps, axis=0))
        return batch.valid & fresh_rows.to(batch.valid.device).unsqueeze(-1)

    def windows(self, batch: Batch, counts: Tensor, advantage: Tensor, returns: Tensor) -> Windows:
        """Windows with their masks; advantages are normalised over the policy loss's rows, or in `advantage_unit`."""
        value_mask = counts.to(torch.float32)
        policy_mask = value_mask * batch.acting
        mean, divisor = self.advantage_units(advantage, policy_mask)
        advantage = (advantage - mean) * policy_mask / divisor
        normalize = self.policy.returns.normalize
        rows = {
            "advantage": advantage,
            "target": normalize(returns),
            "old_value": normalize(batch.value[:-1]),
            "policy_mask": policy_mask,
            "value_mask": value_mask,
        }
        return cut_windows(batch, rows, self.bptt_steps, labels=self._label_targets(batch))

    def advantage_units(self, advantage: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """What is taken from advantages, and what they are then divided by, in reward units.

        Where nothing that was done has been paid otherwise for long, advantages are errors of the value alone: blown up
        to a standard deviation of 1 they drive the policy anywhere before it meets its first reward. So the variance
        has that of a share of the return's scale (`advantage_floor`) added.
        """
        if not self.ppo.normalize_advantages:
            return advantage.new_zeros(()), advantage.new_tensor(self.ppo.advantage_unit)
        mean = masked_mean(advantage, mask)
        variance = masked_mean((advantage - mean).square() * mask, mask)
        least = max(self.ppo.advantage_floor, 1e-8) * self.policy.returns.scale
        return mean, (variance + least.square()).sqrt()

    def _label_targets(self, batch: Batch) -> dict[str, Tensor]:
        """Per auxiliary prediction [T, B, A, k]; a label that the team shares is everybody's."""
        if self.ppo.auxiliary_coefficient == 0:
            return {}
        rows = torch.from_numpy(batch.windows * self.bptt_steps).to(batch.first.device)
        targets = {}
        for name, auxiliary in self.spec.auxiliary.items():
            label = batch.observation[auxiliary.label].to(torch.float32)
            if auxiliary.label in self.spec.team_shared:
                label = label.unsqueeze(2).expand(-1, -1, self.spec.agents_per_team, -1)
            targets[name] = label_targets(
                label=label, bootstrap=batch.auxiliary[name], first=batch.first, rows=rows, discount=auxiliary.discount
            )
        return targets

    def _optimise(
        self, windows: Windows, columns: Tensor, entropy_coefficient: float, backup: dict[str, Tensor] | None
    ) -> tuple[list[dict[str, float]], int]:
        """Epochs of minibatches over the fresh windows; all of them, or (not finite) none: back to `backup`.

        Returns what each gradient step did, and how many epochs there were. `target_kl` is compared with the mean over
        an epoch's minibatches: a single one, the last, is a noisy sample and has moved furthest.
        """
        steps = self.ppo.epochs * self.ppo.minibatches
        if steps > 1 and backup is None:
            backup = self.snapshot()
        history: list[dict[str, float]] = []
        epochs = 0
        while epochs < self.ppo.epochs:
            epochs += 1
            begin = len(history)
            order = columns[torch.randperm(len(columns), generator=self.generator)] if steps > 1 else columns
            for part in order.tensor_split(self.ppo.minibatches):
                if len(part) == 0:
                    continue
                everything = len(part) == windows.first.shape[1]  # a loss does not ask for the order of its windows
                picked = windows if everything else windows.pick(part.to(windows.first.device))
                try:
                    history.append(self._gradient_step(picked, entropy_coefficient))
                except NonFiniteUpdateError:
                    if backup is not None:
                        self.restore(backup)
                    raise
            if self.ppo.target_kl and _mean(history[begin:], "losses/approx_kl") > self.ppo.target_kl:
                break
        return history, epochs

    def _gradient_step(self, windows: Windows, entropy_coefficient: float) -> dict[str, float]:
        loss = self.loss(windows, entropy_coefficient)
        self.adam.zero_grad(set_to_none=True)
        loss.total.backward()  # type: ignore[no-untyped-call]
        gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in self.parameters]
        norm = torch.stack(torch._foreach_norm(gradients)).square().sum().sqrt()
        values = torch.stack([*loss.stats.values(), loss.total.detach(), norm]).tolist()
        if not all(np.isfinite(values)):
            raise NonFiniteUpdateError(f"loss is {values[-2]}, gradient norm is {values[-1]}")
        self._clip(gradients, norm)
        for parameter, gradient in zip(self.parameters, gradients, strict=True):
            parameter.grad = gradient
        self.adam.step()
        return dict(zip([*loss.stats, "losses/total", "losses/gradient_norm"], values, strict=True))

    def loss(self, windows: Windows, entropy_coefficient: float) -> Loss:
        """The PPO loss of these windows under the current weights, unrolled from the stored states."""
        unrolled = self.policy.unroll(windows.observation, windows.first, windows.previous_action, windows.state)
        evaluated = self.policy.evaluate(unrolled, windows.observation, windows.action)
        loss = ppo_loss(
            log_prob=evaluated.log_prob,
            old_log_prob=windows.log_prob,
            entropy=evaluated.entropy,
            read=evaluated.read,
            value=unrolled.value,
            **windows.rows,
            clip=self.ppo.clip,
            value_clip=self.ppo.value_clip,
            value_coefficient=self.ppo.value_coefficient,
            entropy_coefficient=entropy_coefficient,
            ratio=self.ppo.ratio,
            dual_clip=self.ppo.dual_clip,
        )
        total, stats = loss.total, loss.stats
        for name, target in windows.labels.items():
            kind, mask = self.spec.auxiliary[name].kind, windows.rows["value_mask"]
            part, stats[f"auxiliary/{name}/error"] = auxiliary_loss(unrolled.auxiliary[name], target, mask, kind)
            total = total + self.ppo.auxiliary_coefficient * part
            stats[f"auxiliary/{name}/loss"] = part.detach()
        return Loss(total, stats)

    def _clip(self, gradients: list[Tensor], norm: Tensor) -> None:
        if self.ppo.gradient_clip == "elementwise":
            self.clip(gradients)
        elif self.ppo.gradient_clip == "global_norm":
            torch._foreach_mul_(gradients, (self.ppo.max_gradient_norm / (norm + 1e-6)).clamp(max=1.0))

    def _update_statistics(self, batch: Batch, returns: Tensor, counts: Tensor) -> None:
        if self.config.normalize_observations:
            previous = {name: action[:-1] for name, action in batch.action.items()}
            self.policy.update_input_statistics(batch.observation, previous, counts)
        self._update_returns(returns[counts])

    def _update_returns(self, returns: Tensor) -> None:
        self.policy.returns.update(returns, decay=self.config.value_decay, value_head=self.policy.value)

    def snapshot(self) -> dict[str, Tensor]:
        """Copies of Adam's and the clip's moments, the RNG's state, and (as "policy.*") every weight and buffer."""
        moments = {f"clip.{k}": m.clone() for k, m in enumerate(self.clip.moments)}
        adam = {
            f"adam.{k}.{name}": tensor.clone()
            for k, p in enumerate(self.parameters)
            for name, tensor in self.adam.state[p].items()
        }
        weights = {f"policy.{name}": tensor.clone() for name, tensor in self.policy.state_dict().items()}
        counts = {"clip.updates": torch.tensor(self.clip.updates), "rng": self.generator.get_state()}
        return {**moments, **adam, **weights, **counts}

    @torch.no_grad()
    def restore(self, snapshot: dict[str, Tensor]) -> None:
        """Go back to a snapshot."""
        own = self.policy.state_dict()
        for name, tensor in own.items():
            tensor.copy_(snapshot[f"policy.{name}"])
        for k, moment in enumerate(self.clip.moments):
            moment.copy_(snapshot[f"clip.{k}"])
        self.clip.updates = int(snapshot["clip.updates"])
        self.generator.set_state(snapshot["rng"].to("cpu", torch.uint8))
        self.adam.state.clear()
        for k, parameter in enumerate(self.parameters):
            prefix = f"adam.{k}."
            state = {n.removeprefix(prefix): t.clone() for n, t in snapshot.items() if n.startswith(prefix)}
            if state:
                self.adam.state[parameter] = {n: t.to(parameter.device) for n, t in state.items()}


def _mean(history: Sequence[dict[str, float]], name: str) -> float:
    return sum(stats[name] for stats in history) / len(history)


class DeviceError(ValueError):
    """The device that was asked for is not there."""

    ends_run_with = 2  # see `quintet.control.errors`


def pick_device(device: str) -> torch.device:
    """`auto` is the GPU where there is one.

    Raises:
        DeviceError: a GPU is asked for, and there is none.
    """
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise DeviceError(f"device is {device!r}, but this machine shows no CUDA GPU; use --device auto or cpu")
    return torch.device(device)
