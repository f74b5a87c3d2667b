"""Stable-Baselines3 on one task with its untouched defaults, by the Python of an environment that has it.

    /tmp/sb3/bin/python benchmarks/learning/sb3_run.py '{"env": "CartPole-v1", "algorithm": "PPO", ...}'

Trains, plays fresh episodes drawn and greedy, and prints one JSON object. It imports nothing of Quintet.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import json
import sys
import time
from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium import spaces
from gymnasium.wrappers import FilterObservation, FlattenObservation, TransformObservation
from sb3_contrib import RecurrentPPO
from stable_baselines3 import PPO
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv

Env = gymnasium.Env[Any, Any]
ALGORITHMS: dict[str, Any] = {"PPO": PPO, "RecurrentPPO": RecurrentPPO}
EVAL_SEED = 1001  # no training's
WINDOW = 100  # episodes of the curve's mean
READABLE = (spaces.Box, spaces.Discrete, spaces.MultiDiscrete, spaces.MultiBinary)
VISIBLE = [0, 2]  # CartPole's position and angle


def hide_velocities(env: Env) -> Env:
    """CartPole without its two velocities."""
    space: Any = env.observation_space
    shown = spaces.Box(space.low[VISIBLE], space.high[VISIBLE], dtype=space.dtype)
    return TransformObservation(env, lambda observation: observation[VISIBLE], shown)


def without_text(env: Env) -> Env:
    """Only the entries that SB3 can read: no words."""
    space: Any = env.observation_space
    return FilterObservation(env, [name for name, entry in space.items() if isinstance(entry, READABLE)])


def minigrid_image(env: Env) -> Env:
    """MiniGrid as the agent sees it, in colours, 8 x 8 points a cell."""
    wrappers: Any = importlib.import_module("minigrid.wrappers")
    wrapped: Env = wrappers.RGBImgPartialObsWrapper(env)
    return wrapped


WRAPPERS: dict[str, Callable[[Env], Env]] = {
    "hide_velocities": hide_velocities,
    "without_text": without_text,
    "minigrid_image": minigrid_image,
    "flat": FlattenObservation,
}


def make_env(task: dict[str, Any]) -> Monitor[Any, Any]:
    """One environment as the task wants it, whose episodes are noted."""
    env = gymnasium.make(task["env"])
    for name in task["wrappers"]:
        env = WRAPPERS[name](env)
    return Monitor(env)


def curve(monitor: Monitor[Any, Any]) -> list[tuple[float, float]]:
    """Steps played, and the mean return of the last WINDOW episodes, at the end of each episode."""
    steps = np.cumsum(monitor.get_episode_lengths())
    sums = np.concatenate([[0.0], np.cumsum(monitor.get_episode_rewards())])
    ends = np.arange(1, len(steps) + 1)
    starts = np.maximum(ends - WINDOW, 0)
    means = (sums[ends] - sums[starts]) / (ends - starts)
    return [(float(step), float(mean)) for step, mean in zip(steps, means, strict=True)]


def judge(model: Any, task: dict[str, Any], *, greedy: bool) -> dict[str, Any]:
    """The policy over fresh episodes, one at a time."""
    env = DummyVecEnv([lambda: make_env(task)])
    env.seed(EVAL_SEED)
    torch.manual_seed(EVAL_SEED)
    returns: Any = evaluate_policy(model, env, task["games"], deterministic=greedy, return_episode_rewards=True)[0]
    env.close()
    error = float(np.std(returns, ddof=1) / len(returns) ** 0.5) if len(returns) > 1 else 0.0
    return {"games": len(returns), "return_mean": float(np.mean(returns)), "return_error": error}


def main(task: dict[str, Any]) -> None:
    torch.set_num_threads(1)
    monitor, start_s = make_env(task), time.monotonic()
    model = ALGORITHMS[task["algorithm"]](task["policy"], monitor, seed=task["seed"], device="cpu")
    model.learn(total_timesteps=task["steps"])
    seconds, steps = time.monotonic() - start_s, int(model.num_timesteps)
    found = {
        "curve": curve(monitor),
        "steps_played": steps,
        "seconds": seconds,
        "greedy": judge(model, task, greedy=True),
        "sampled": judge(model, task, greedy=False),
        "versions": {name: importlib.metadata.version(name) for name in ("stable_baselines3", "sb3_contrib", "torch")},
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
