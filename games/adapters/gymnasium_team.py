"""Environments of several agents behind Gymnasium's API as a `VectorGame`: one team.

They have a Tuple of equal spaces, one for each agent, for what is observed and for what is done, and give a sequence of
rewards (lbforaging and rware do). Their ends and masks may be one for all or one for each.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np
from gymnasium import spaces

from quintet.games.adapters.pettingzoo import ParallelGame
from quintet.games.adapters.spaces import ACTION_MASK, ActionLayout
from quintet.games.adapters.wrappers import Env
from quintet.games.api import Array
from quintet.games.checks.blame import five, two
from quintet.games.checks.data import Mismatch, described, flag
from quintet.games.contract import random_actions

Value = TypeVar("Value")


def make_team(
    name: str, envs: Sequence[Env], seed: int, max_steps: int | None, leave_out: Sequence[str] = ()
) -> ParallelGame | None:
    """The game of one team, or None where the environments are of a single agent.

    Whether there is a reward for each agent shows only in a step, so the first environment plays one.

    Raises:
        UnsupportedSpaceError: an agent's spaces cannot be served.
    """
    n = _agents(envs[0])
    if n == 0:
        return None
    adapted = [EnvironmentOfSeveral(name, env, n) for env in envs]
    seats = {agent: (0, seat) for seat, agent in enumerate(adapted[0].possible_agents)}
    tried = ParallelGame(name, adapted[:1], seats, zero_sum=False, seed=seed, leave_out=leave_out)
    tried.step(random_actions(tried.spec, tried.reset(seed), np.random.default_rng(seed)))
    if not adapted[0].rewards_each:
        return None
    game = ParallelGame(name, adapted, seats, zero_sum=False, seed=seed, leave_out=leave_out)
    game.spec = replace(game.spec, max_steps=max_steps)
    return game


def _agents(env: Env) -> int:
    """As many as the observation and the action have equal parts, both the same number of them; 0 if they have not."""
    seen, done = env.observation_space, env.action_space
    if not isinstance(seen, spaces.Tuple) or not isinstance(done, spaces.Tuple) or len(seen) != len(done):
        return 0
    alike = all(part == whole[0] for whole in (seen, done) for part in whole.spaces)
    return len(seen) if alike else 0


class EnvironmentOfSeveral:
    """The environment as PettingZoo's parallel API has it, which is what `ParallelGame` plays."""

    def __init__(self, name: str, env: Env, n: int) -> None:
        self._name, self.env = name, env
        self._observation_space, self._action_space = env.observation_space[0], env.action_space[0]  # type: ignore[index]
        self._idle = _any_action(self._action_space, name)  # of those who are out: an action is wanted all the same
        self.possible_agents = [f"agent_{i}" for i in range(n)]
        self.agents: list[str] = []
        self.render_mode = env.render_mode
        self.rewards_each = False  # whether the last step gave a sequence of them

    def observation_space(self, agent: str) -> Any:
        """Every agent's."""
        return self._observation_space

    def action_space(self, agent: str) -> Any:
        """Every agent's."""
        return self._action_space

    def reset(self, seed: int) -> tuple[Mapping[str, Any], Mapping[str, Mapping[str, Any]]]:
        """Start a game with everybody."""
        observation, info = two(self.env.reset(seed=seed))
        self.agents = list(self.possible_agents)
        return self._by_agent("the observation", observation, self.agents), self._infos(info, self.agents)

    def step(self, actions: Mapping[str, Any]) -> tuple[Mapping[str, Any], ...]:
        """One step of those who are still in the game; what the environment says of the others is passed over."""
        chosen = tuple(actions.get(agent, self._idle) for agent in self.possible_agents)
        reward: Any  # a number, as gymnasium has it, or a sequence
        observation, reward, terminated, truncated, info = five(self.env.step(chosen))
        self.rewards_each = np.ndim(reward) == 1
        playing = self.agents
        rewards = self._one_each("the reward", reward, playing)  # which numbers they are, `ParallelGame` looks
        ends, cuts = (
            {agent: flag(end, what) for agent, end in self._one_each(what, ended, playing).items()}
            for what, ended in (("terminated", terminated), ("truncated", truncated))
        )
        self.agents = [agent for agent in playing if not (ends[agent] or cuts[agent])]
        return self._by_agent("the observation", observation, playing), rewards, ends, cuts, self._infos(info, playing)

    def render(self) -> Any:
        """The environment's own picture."""
        return self.env.render()

    def close(self) -> None:
        """Close the environment."""
        self.env.close()

    def _by_agent(self, what: str, values: Sequence[Value], agents: Sequence[str]) -> dict[str, Value]:
        """A sequence with one for each agent, as a dict of those of these agents."""
        n = len(self.possible_agents)
        if not isinstance(values, tuple | list | np.ndarray) or len(values) != n:
            found = f"{len(values)} parts" if isinstance(values, tuple | list | np.ndarray) else described(values)
            raise Mismatch(f"returned {found} as {what}; expected {n} parts, one for each agent, in their order")
        return {agent: value for agent, value in zip(self.possible_agents, values, strict=True) if agent in agents}

    def _one_each(self, what: str, value: Any, agents: Sequence[str]) -> dict[str, Any]:
        """A sequence with a value for each agent, or one value for all."""
        if np.ndim(value) == 0:
            return dict.fromkeys(agents, value)
        return self._by_agent(what, value, agents)

    def _infos(self, info: Mapping[str, Any], agents: Sequence[str]) -> dict[str, dict[str, Any]]:
        """Of the infos only the masks are read: a sequence with one for each agent."""
        if ACTION_MASK not in info:
            return {agent: {} for agent in agents}
        return {
            agent: {ACTION_MASK: mask}
            for agent, mask in self._by_agent("the action mask", info[ACTION_MASK], agents).items()
        }


def _any_action(space: spaces.Space[Any], name: str) -> Any:
    """Always the same one: the first choices, and the numbers nearest to zero."""
    layout = ActionLayout(space, name)
    return layout.rows({head: _smallest(part) for head, part in layout.space.spaces.items()}, 1)[0]


def _smallest(head: spaces.Space[Any]) -> Array:
    if isinstance(head, spaces.Box):
        return np.clip(np.zeros_like(head.low), head.low, head.high)
    return np.zeros(1, dtype=np.int64)
