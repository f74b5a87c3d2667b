"""A turn-based PettingZoo environment of three players; the second leaves at move 5, time runs out at move 9."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium import spaces
from pettingzoo import AECEnv

from quintet.games.api import Array


class Countdown(AECEnv):  # type: ignore[misc]
    """Everybody sees the number of moves made and their own number; the mover's reward is its action."""

    metadata = {"name": "countdown_v0", "render_modes": []}  # noqa: RUF012
    render_mode = None

    def __init__(self, *, cut_off: bool = False, back_at: int = 0) -> None:
        """`cut_off`: the second is truncated, not terminated. `back_at`: the move with which it is back; 0: never."""
        super().__init__()
        self.possible_agents = ["x", "y", "z"]
        self.cut_off, self.back_at = cut_off, back_at

    def observation_space(self, agent: str) -> spaces.Space[Any]:
        return spaces.Box(0.0, 100.0, (2,))

    def action_space(self, agent: str) -> spaces.Space[Any]:
        return spaces.Discrete(2, start=3)

    def reset(self, seed: int | None = None, options: Any = None) -> None:
        self.agents = list(self.possible_agents)
        self.rewards = dict.fromkeys(self.agents, 0.0)
        self._cumulative_rewards = dict.fromkeys(self.agents, 0.0)
        self.terminations = dict.fromkeys(self.agents, False)
        self.truncations = dict.fromkeys(self.agents, False)
        self.infos: dict[str, Any] = {agent: {} for agent in self.agents}
        self.agent_selection, self.moves = "x", 0

    def observe(self, agent: str) -> Array:
        assert agent in self.agents, f"{agent} is out and cannot observe"
        return np.array([self.moves, self.possible_agents.index(agent)], dtype=np.float32)

    def step(self, action: Any) -> None:
        mover = self.agent_selection
        if self.terminations[mover] or self.truncations[mover]:
            self._was_dead_step(action)
            return
        assert self.action_space(mover).contains(action)
        self.moves += 1
        self._clear_rewards()
        self.rewards[mover] = float(action)
        self.agent_selection = self.agents[(self.agents.index(mover) + 1) % len(self.agents)]
        if self.moves == 5:
            (self.truncations if self.cut_off else self.terminations)["y"] = True
        if self.moves == self.back_at:
            self.agents, self.infos["y"] = ["x", "y", "z"], {}
            self.terminations["y"] = self.truncations["y"] = False
            self.rewards["y"] = self._cumulative_rewards["y"] = 0.0
        if self.moves == 9:
            self.truncations = dict.fromkeys(self.agents, True)
        self._deads_step_first()

    def close(self) -> None:
        pass


env = Countdown
