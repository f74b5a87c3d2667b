"""Parallel PettingZoo environments with one mistake each; `Pair` has none."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from gymnasium import spaces
from pettingzoo import ParallelEnv


class Pair(ParallelEnv):  # type: ignore[misc]
    """Agents a and b, six rows."""

    metadata: dict[str, Any] = {"name": "pair"}  # noqa: RUF012
    render_mode = None
    possible_agents = ["a", "b"]  # noqa: RUF012

    @cache  # noqa: B019
    def observation_space(self, agent: Any) -> Any:
        return spaces.Dict({"observation": spaces.Box(-9, 9, (2,), np.float32), "action_mask": spaces.MultiBinary(3)})

    @cache  # noqa: B019
    def action_space(self, agent: Any) -> Any:
        return spaces.Discrete(3)

    def look(self, agent: Any) -> Any:
        return {"observation": np.full(2, self.row, np.float32), "action_mask": np.ones(3, np.int8)}

    def gain(self, agent: Any) -> Any:
        return 1.0

    def reset(self, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        self.row, self.agents = 0, list(self.possible_agents)
        return {agent: self.look(agent) for agent in self.agents}, {agent: {} for agent in self.agents}

    def step(self, actions: Any) -> Any:
        self.row += 1
        agents, over = list(self.agents), self.row >= 6
        self.agents = [] if over else agents
        return (
            {agent: self.look(agent) for agent in agents},
            {agent: self.gain(agent) for agent in agents},
            dict.fromkeys(agents, over),
            dict.fromkeys(agents, False),
            {agent: {} for agent in agents},
        )


class GainNan(Pair):
    def gain(self, agent: Any) -> Any:
        return float("nan") if (agent, self.row) == ("b", 3) else 1


class GainNone(Pair):
    def gain(self, agent: Any) -> Any:
        return None if agent == "b" else 1


class MaskEmpty(Pair):
    def look(self, agent: Any) -> Any:
        return {**super().look(agent), "action_mask": np.full(3, (agent, self.row) != ("a", 2), np.int8)}


class MaskAdded(Pair):
    def look(self, agent: Any) -> Any:
        return {**super().look(agent), "action_mask": np.array([0, -np.inf, 0])}


class MaskLate(Pair):
    """Its masks are in the infos of step alone."""

    @cache  # noqa: B019
    def observation_space(self, agent: Any) -> Any:
        return super().observation_space(agent)["observation"]

    def look(self, agent: Any) -> Any:
        return super().look(agent)["observation"]

    def step(self, actions: Any) -> Any:
        *rest, infos = super().step(actions)
        return *rest, {agent: {"action_mask": np.ones(3, np.int8)} for agent in infos}


class SeenShorter(Pair):
    def look(self, agent: Any) -> Any:
        return {**super().look(agent), "observation": np.zeros(1, np.float32)}


class SeenInfinite(Pair):
    def look(self, agent: Any) -> Any:
        return {**super().look(agent), "observation": np.full(2, np.inf if self.row == 2 else 0, np.float32)}


class Stranger(Pair):
    def step(self, actions: Any) -> Any:
        seen, gains, *rest = super().step(actions)
        return seen, {**gains, "c": 1.0}, *rest


class OneGain(Pair):
    def step(self, actions: Any) -> Any:
        seen, _, *rest = super().step(actions)
        return seen, 1.0, *rest


class GainForOne(Pair):
    def step(self, actions: Any) -> Any:
        seen, gains, *rest = super().step(actions)
        return seen, {"a": gains["a"]}, *rest


class SeenByOne(Pair):
    """In one row of a game."""

    def step(self, actions: Any) -> Any:
        seen, *rest = super().step(actions)
        return ({"a": seen["a"]} if self.row == 3 else seen), *rest


class SeenByOneAtFirst(Pair):
    def reset(self, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        seen, infos = super().reset(seed)
        return {"b": seen["b"]}, infos


class SeenAlone(Pair):
    def reset(self, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        return super().reset(seed)[0]


class Raises(Pair):
    def gain(self, agent: Any) -> Any:
        raise KeyError("ledger")  # <- here


class SeenOutside(Pair):
    def look(self, agent: Any) -> Any:
        return {**super().look(agent), "observation": np.full(2, 50, np.float32)}
