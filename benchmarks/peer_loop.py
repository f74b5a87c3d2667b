"""The peer of end_to_end.py: one process that plays and learns in turn, a vectorised PPO-LSTM of CleanRL's structure.

    python benchmarks/peer_loop.py --lstm-units 128 --slots 64 --threads 2         speed, as one JSON object
    python benchmarks/peer_loop.py --learn --slots 16 --learn-steps 200000         proof that it learns

Written for the benchmark after cleanrl/ppo_atari_lstm.py: an encoder, `nn.LSTM` called row by row with the state
zeroed where a game begins, one code path for acting and training, minibatches made of whole environments, Adam and a
global-norm clip. It plays gymnasium's own vectorised CartPole with both velocities hidden. A slow peer would make our
ratio worth nothing, so nothing here is left slow on purpose: acting builds no graph, no Python loop runs over
environments, arrays are shared between numpy and torch, Adam is fused, and one gradient step per rollout is the fewest
that one pass allows.
"""

from __future__ import annotations

import json
import time
from collections import deque
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import torch
from common.arguments import from_command_line
from gymnasium.envs.classic_control.cartpole import CartPoleVectorEnv
from torch import Tensor, nn

Array = np.ndarray[Any, np.dtype[Any]]
LstmState = tuple[Tensor, Tensor]

VISIBLE = slice(0, 4, 2)  # position and angle; columns 1 and 3 are the velocities
ACTIONS = 2


@dataclass(frozen=True, kw_only=True, slots=True)
class Args:
    """What the peer runs with; only the first five change its speed much."""

    lstm_units: int = 128
    """Units of the LSTM; the encoder has half as many, at least 32."""
    slots: int = 64
    """Environments stepped together."""
    threads: int = 1
    """Threads of torch's operators; set OMP_NUM_THREADS to the same number."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """bfloat16 runs acting and training under autocast."""
    onednn: bool = True
    """Let torch take oneDNN's kernel; which is faster depends on size, slots and threads."""
    seconds: float = 5.0
    """How long the speed is measured, in whole rollouts."""
    warmup_s: float = 2.0
    """How long it runs before that."""
    rollout_steps: int = 16
    """Rows of a rollout, which are also the rows that back-propagation runs through."""
    minibatches: int = 1
    """Parts of a rollout, split by environments."""
    learning_rate: float = 1e-3
    """Adam's step size."""
    discount: float = 0.99
    """Gamma."""
    gae_lambda: float = 0.95
    """Lambda of generalised advantage estimation."""
    clip: float = 0.2
    """Epsilon of the clipped surrogate."""
    entropy_coefficient: float = 0.01
    """Weight of the entropy bonus."""
    value_coefficient: float = 0.5
    """Weight of the value loss."""
    max_gradient_norm: float = 0.5
    """Bound of the global gradient norm."""
    seed: int = 1
    """Seeds weights, games and actions."""
    learn: bool = False
    """Train for learn_steps and print the return instead of measuring speed."""
    learn_steps: int = 200_000
    """Agent steps of --learn."""

    @property
    def encoder_units(self) -> int:
        """Width of the layer before the LSTM."""
        return max(32, self.lstm_units // 2)


class Agent(nn.Module):
    """Encoder, LSTM, policy and value; inputs are normalised by running statistics."""

    mean: Tensor
    inverse_std: Tensor

    def __init__(self, args: Args, features: int) -> None:
        super().__init__()
        self.encoder = nn.Sequential(_orthogonal(nn.Linear(features, args.encoder_units), 2**0.5), nn.ReLU())
        self.lstm = nn.LSTM(args.encoder_units, args.lstm_units)
        for name, parameter in self.lstm.named_parameters():
            if "bias" in name:
                nn.init.zeros_(parameter)
            else:
                nn.init.orthogonal_(parameter)
        self.actor = _orthogonal(nn.Linear(args.lstm_units, ACTIONS), 0.01)
        self.critic = _orthogonal(nn.Linear(args.lstm_units, 1), 1.0)
        self.register_buffer("mean", torch.zeros(features))
        self.register_buffer("inverse_std", torch.ones(features))

    def forward(self, obs: Tensor, state: LstmState, first: Tensor) -> tuple[Tensor, Tensor, LstmState]:
        """Log-probs [T, N, 2], values [T, N] and the state after them, from obs [T, N, F] and first [T, N] as 0 or 1.

        As in CleanRL, acting is T = 1 of the same path, and the state is zeroed before each row that begins a game.
        """
        embedded = self.encoder(((obs - self.mean) * self.inverse_std).clamp(-5, 5))
        keep = (1.0 - first).unsqueeze(-1)
        rows = []
        for t in range(obs.shape[0]):
            row, state = self.lstm(embedded[t : t + 1], (keep[t : t + 1] * state[0], keep[t : t + 1] * state[1]))
            rows.append(row)
        hidden = torch.cat(rows) if len(rows) > 1 else rows[0]
        log_probs = torch.log_softmax(self.actor(hidden).float(), dim=-1)
        return log_probs, self.critic(hidden).float().squeeze(-1), state


def _orthogonal(layer: nn.Linear, gain: float) -> nn.Linear:
    nn.init.orthogonal_(layer.weight, gain)
    nn.init.zeros_(layer.bias)
    return layer


class RunningMoments:
    """Mean and variance of everything seen (Chan's parallel update), taken once per rollout."""

    def __init__(self, features: int) -> None:
        self.count = 1e-4
        self.mean = np.zeros(features)
        self.variance = np.ones(features)

    def update(self, rows: Array) -> None:
        """Add rows [n, F]."""
        n, mean = rows.shape[0], rows.mean(axis=0, dtype=np.float64)
        total, delta = self.count + n, mean - self.mean
        squares = self.variance * self.count + rows.var(axis=0, dtype=np.float64) * n
        self.variance = (squares + delta**2 * self.count * n / total) / total
        self.mean = self.mean + delta * n / total
        self.count = total


class Rollout:
    """Storage of T rows of N environments: numpy arrays that torch reads in place.

    gymnasium resets on the step after an end, so the row after an end holds the true last observation (it bootstraps a
    truncated game), its action is ignored and it is not valid; the row after that begins the new game.
    """

    def __init__(self, rows: int, slots: int, features: int) -> None:
        self.obs = np.zeros((rows + 1, slots, features), np.float32)
        self.first = np.zeros((rows + 1, slots), np.float32)
        self.valid = np.ones((rows + 1, slots), np.float32)
        self.value = np.zeros((rows + 1, slots), np.float32)
        self.action = np.zeros((rows, slots), np.int64)
        self.log_prob = np.zeros((rows, slots), np.float32)
        self.reward = np.zeros((rows, slots), np.float32)
        self.terminated = np.zeros((rows, slots), np.float32)
        self.ended = np.zeros((rows, slots), np.float32)

    def roll_over(self) -> None:
        """The row after the last becomes row 0 of the next rollout."""
        for array in (self.obs, self.first, self.valid):
            array[0] = array[-1]

    def advantages(self, args: Args) -> Array:
        """GAE [T, N], from rewards scaled by 1 - discount, so that values lie within 0 and 1 at no cost."""
        rows = self.reward.shape[0]
        advantage = np.zeros_like(self.reward)
        running = np.zeros_like(self.reward[0])
        for t in reversed(range(rows)):
            bootstrap = args.discount * (1 - self.terminated[t]) * self.value[t + 1]
            delta = (1 - args.discount) * self.reward[t] + bootstrap - self.value[t]
            running = delta + args.discount * args.gae_lambda * (1 - self.ended[t]) * running
            advantage[t] = running
        return advantage


class PeerLoop:
    """Plays a rollout, learns from it once, and again."""

    def __init__(self, args: Args) -> None:
        torch.manual_seed(args.seed)
        self.args = args
        self.env = CartPoleVectorEnv(num_envs=args.slots, max_episode_steps=500)
        obs, _ = self.env.reset(seed=args.seed)
        features = obs[:, VISIBLE].shape[1]
        self.agent = Agent(args, features)
        self.adam = torch.optim.Adam(self.agent.parameters(), lr=args.learning_rate, eps=1e-5, fused=True)
        self.moments = RunningMoments(features)
        self.rollout = Rollout(args.rollout_steps, args.slots, features)
        self.rollout.obs[-1] = obs[:, VISIBLE]
        self.rollout.first[-1] = 1
        zeros = torch.zeros(1, args.slots, args.lstm_units)
        self.state: LstmState = (zeros, zeros.clone())
        self.running_return = np.zeros(args.slots)
        self.returns: deque[float] = deque(maxlen=100)

    def iterate(self) -> int:
        """One rollout and one pass over it; returns the valid steps that were trained."""
        self.rollout.roll_over()
        initial_state = (self.state[0].clone(), self.state[1].clone())
        self._play()
        self._learn(initial_state)
        return int(self.rollout.valid[:-1].sum())

    def _autocast(self) -> torch.autocast:
        return torch.autocast("cpu", dtype=torch.bfloat16, enabled=self.args.precision == "bfloat16")

    def _play(self) -> None:
        rollout, rows = self.rollout, self.args.rollout_steps
        state = self.state
        with torch.inference_mode(), self._autocast():
            for t in range(rows):
                log_probs, value, state = self._act(t, state)
                action = torch.multinomial(log_probs.exp(), 1)
                rollout.action[t] = action.squeeze(-1).numpy()
                rollout.log_prob[t] = log_probs.gather(-1, action).squeeze(-1).numpy()
                rollout.value[t] = value.numpy()
                self._step_env(t)
            _, bootstrap, _ = self._act(rows, state)
        rollout.value[rows] = bootstrap.numpy()
        # Copied, because autograd may not save tensors that inference mode made.
        self.state = (state[0].float().clone(), state[1].float().clone())

    def _act(self, t: int, state: LstmState) -> tuple[Tensor, Tensor, LstmState]:
        obs = torch.from_numpy(self.rollout.obs[t : t + 1])
        first = torch.from_numpy(self.rollout.first[t : t + 1])
        log_probs, value, state = self.agent(obs, state, first)
        return log_probs[0], value[0], state

    def _step_env(self, t: int) -> None:
        rollout = self.rollout
        obs, reward, terminated, truncated, _ = self.env.step(rollout.action[t])
        ended = terminated | truncated
        rollout.reward[t], rollout.terminated[t], rollout.ended[t] = reward, terminated, ended
        rollout.obs[t + 1] = obs[:, VISIBLE]
        rollout.valid[t + 1] = ~ended
        rollout.first[t + 1] = 1 - rollout.valid[t]  # the row after the one that showed the true last observation
        self.running_return += reward
        if ended.any():
            self.returns.extend(self.running_return[ended].tolist())
            self.running_return[ended] = 0

    def _learn(self, initial_state: LstmState) -> None:
        rollout, args = self.rollout, self.args
        advantage = rollout.advantages(args)
        target = torch.from_numpy(advantage + rollout.value[:-1])
        seen = rollout.valid[:-1] > 0
        used = advantage[seen]
        normalised = torch.from_numpy((advantage - used.mean()) / (used.std() + 1e-8))
        order = torch.randperm(args.slots) if args.minibatches > 1 else None
        for part in range(args.minibatches):
            columns = slice(None) if order is None else order[part :: args.minibatches]
            state = (initial_state[0][:, columns], initial_state[1][:, columns])
            self._update(columns, state, normalised[:, columns], target[:, columns])
        self._update_normalizer(seen)

    def _update(self, columns: slice | Tensor, state: LstmState, advantage: Tensor, target: Tensor) -> None:
        rollout, args = self.rollout, self.args
        obs, first, valid, action, old = (
            torch.from_numpy(array)[:, columns]
            for array in (rollout.obs[:-1], rollout.first[:-1], rollout.valid[:-1], rollout.action, rollout.log_prob)
        )
        with self._autocast():  # its own: autocast must not reuse the casts made while acting, which have no gradient
            log_probs, value, _ = self.agent(obs, state, first)
        log_prob = log_probs.gather(-1, action.unsqueeze(-1)).squeeze(-1)
        ratio = (log_prob - old).exp()
        surrogate = torch.min(ratio * advantage, ratio.clamp(1 - args.clip, 1 + args.clip) * advantage)
        entropy = -(log_probs.exp() * log_probs).sum(-1)
        value_loss = 0.5 * (value - target).square()
        per_row = args.value_coefficient * value_loss - surrogate - args.entropy_coefficient * entropy
        loss = (per_row * valid).sum() / valid.sum()
        self.adam.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.agent.parameters(), args.max_gradient_norm)
        self.adam.step()

    def _update_normalizer(self, seen: Array) -> None:
        self.moments.update(self.rollout.obs[:-1][seen])
        self.agent.mean.copy_(torch.from_numpy(self.moments.mean))
        self.agent.inverse_std.copy_(torch.from_numpy(1 / np.sqrt(self.moments.variance + 1e-8)))


def measure(loop: PeerLoop) -> dict[str, Any]:
    """Agent-steps per second over whole rollouts, after a warm-up of at least two."""
    args = loop.args
    start = time.perf_counter()
    rollouts = 0
    while rollouts < 2 or time.perf_counter() - start < args.warmup_s:
        loop.iterate()
        rollouts += 1
    steps, rollouts, start = 0, 0, time.perf_counter()
    while (elapsed := time.perf_counter() - start) < args.seconds or rollouts < 1:
        steps += loop.iterate()
        rollouts += 1
    return {"steps_per_s": steps / elapsed, "steps": steps, "seconds": elapsed, "rollouts": rollouts}


def learn(loop: PeerLoop) -> dict[str, Any]:
    """Mean return of the last 100 episodes, ten times on the way."""
    steps, curve = 0, []
    for tenth in range(1, 11):
        while steps < loop.args.learn_steps * tenth / 10:
            steps += loop.iterate()
        curve.append([steps, round(float(np.mean(loop.returns)), 1) if loop.returns else None])
    return {"episodic_return": curve}


def main(args: Args) -> None:
    torch.set_num_threads(args.threads)
    torch.backends.mkldnn.set_flags(_enabled=args.onednn)  # type: ignore[no-untyped-call]
    loop = PeerLoop(args)
    result = learn(loop) if args.learn else measure(loop)
    parameters = sum(p.numel() for p in loop.agent.parameters())
    print(json.dumps({**result, "parameters": parameters, "config": asdict(args)}))


if __name__ == "__main__":
    main(from_command_line(Args, __doc__))
