"""Small environments that the tests of games play: one for each kind of space and each way to leave a game."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any, ClassVar

import gymnasium
import numpy as np
from gymnasium import spaces

from quintet.games.api import Array, GameSpec, Observation, Transition


class Nested(gymnasium.Env[Any, Any]):
    """Dicts and Tuples of everything, and one observation buffer that it writes anew at every step."""

    def __init__(self) -> None:
        self.observation_space = spaces.Dict(
            {
                "pos": spaces.Box(-1.0, 1.0, (3,), dtype=np.float64),
                "inner": spaces.Dict({"kind": spaces.Discrete(3, start=5), "bits": spaces.MultiBinary([2, 2])}),
                "pair": spaces.Tuple((spaces.MultiDiscrete([2, 3], start=[0, 4]), spaces.Box(0, 9, (2, 2), np.int32))),
                "units": spaces.Box(-1.0, 1.0, (4, 2), dtype=np.float32),
                "units_mask": spaces.MultiBinary(4),
            }
        )
        self.action_space = spaces.Dict(
            {
                "move": spaces.MultiDiscrete([3, 2], start=[0, 7]),
                "aim": spaces.Box(-0.1, 0.1, (2, 1), dtype=np.float64),
                "pick": spaces.Discrete(3, start=1),
            }
        )
        self.units = np.zeros((4, 2), dtype=np.float32)
        self.actions: list[Any] = []

    def _observe(self) -> dict[str, Any]:
        self.units[:] = self.np_random.uniform(-1, 1, (4, 2))
        return {
            "pos": self.np_random.uniform(-1, 1, 3),
            "inner": {"kind": np.int64(5 + self.np_random.integers(3)), "bits": self.np_random.integers(0, 2, (2, 2))},
            "pair": (self.np_random.integers([0, 4], [2, 7]), self.np_random.integers(0, 10, (2, 2), dtype=np.int32)),
            "units": self.units,
            "units_mask": np.ones(4, dtype=np.int8),
        }

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.rows = 0
        return self._observe(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        assert self.action_space.contains(action), action
        self.actions.append(action)
        self.rows += 1
        return self._observe(), float(action["aim"].sum()), self.rows >= 7, False, {}


class Image(gymnasium.Env[Any, Any]):
    """A uint8 picture; never ends by its rules."""

    observation_space = spaces.Box(0, 255, (6, 5, 3), np.uint8)
    action_space = spaces.Discrete(2)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        return self.np_random.integers(0, 256, (6, 5, 3), dtype=np.uint8), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        return self.np_random.integers(0, 256, (6, 5, 3), dtype=np.uint8), float(action), False, False, {}


class Masked(gymnasium.Env[Any, Any]):
    """Two MultiDiscrete choices; the mask lies in the observation and leaves one choice of each."""

    observation_space = spaces.Dict(
        {
            "observation": spaces.Discrete(3),
            "action_mask": spaces.Tuple((spaces.MultiBinary(3), spaces.MultiBinary(2))),
        }
    )
    action_space = spaces.MultiDiscrete([3, 2])

    def _observe(self) -> dict[str, Any]:
        self.legal = self.np_random.integers([3, 2])
        masks = tuple((np.arange(n) == legal).astype(np.int8) for n, legal in zip((3, 2), self.legal, strict=True))
        return {"observation": int(self.legal[0]), "action_mask": masks}

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        return self._observe(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        assert (action == self.legal).all()
        return self._observe(), 1.0, bool(self.np_random.random() < 0.1), False, {}


class Unsupported(gymnasium.Env[Any, Any]):
    """An observation that no encoder serves."""

    observation_space = spaces.Dict({"words": spaces.Text(5)})
    action_space = spaces.Discrete(2)


class Talking(gymnasium.Env[Any, Any]):
    """Among numbers it shows a text, a graph, and something of no fixed length."""

    observation_space = spaces.Dict(
        {
            "place": spaces.Box(0.0, 1.0, (2,)),
            "words": spaces.Text(5),
            "more": spaces.Dict({"many": spaces.Sequence(spaces.Discrete(3)), "few": spaces.Discrete(3)}),
            "roads": spaces.Graph(spaces.Discrete(2), None),
        }
    )
    action_space = spaces.Discrete(2)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.observation_space.seed(seed)
        return self.observation_space.sample(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        return self.observation_space.sample(), 1.0, False, False, {}


class Mission(spaces.Space[str]):
    """A space of texts that is no Text."""

    def __init__(self) -> None:
        super().__init__((), str)

    def sample(self, mask: Any = None, probability: Any = None) -> str:
        """Always the same."""
        return "go"

    def contains(self, x: Any) -> bool:
        """Any text."""
        return isinstance(x, str)


class Instructed(Talking):
    """Numbers, and what to do in words."""

    observation_space = spaces.Dict(
        {
            "place": spaces.Box(0.0, 1.0, (2,)),
            "words": spaces.Text(5),
            "more": spaces.Dict({"mission": Mission(), "few": spaces.Discrete(3)}),
        }
    )


class Duel:
    """A parallel PettingZoo environment of 2 x 2 agents. Agent `d` dies at row 3; the time runs out at row 6."""

    metadata = {"name": "duel", "render_modes": []}  # noqa: RUF012
    possible_agents = ["a", "b", "c", "d"]  # noqa: RUF012
    render_mode = None

    def __init__(self, last_row: int = 6) -> None:
        self.last_row = last_row

    def observation_space(self, agent: str) -> spaces.Space[Any]:
        return spaces.Box(0.0, 1.0, (2,))

    def action_space(self, agent: str) -> spaces.Space[Any]:
        return spaces.Discrete(3)

    def _observe(self, agents: list[str]) -> dict[str, Array]:
        return {agent: self.random.random(2).astype(np.float32) for agent in agents}

    def reset(self, seed: int | None = None, options: Any = None) -> tuple[Any, Any]:
        self.random = np.random.default_rng(seed)
        self.agents, self.row = list(self.possible_agents), 0
        return self._observe(self.agents), {agent: {} for agent in self.agents}

    def step(self, actions: dict[str, Any]) -> tuple[Any, ...]:
        assert set(actions) == set(self.agents)
        playing, self.row = self.agents, self.row + 1
        rewards = {agent: float(actions[agent]) for agent in playing}
        terminated = {agent: agent == "d" and self.row == 3 for agent in playing}
        truncated = {agent: self.row >= self.last_row for agent in playing}
        self.agents = [agent for agent in playing if not (terminated[agent] or truncated[agent])]
        return self._observe(playing), rewards, terminated, truncated, {agent: {} for agent in playing}

    def close(self) -> None:
        pass


class Visitors:
    """A parallel PettingZoo environment of eight rows. Whoever is there sees the row's number and gets 1 a row.

    `plan` says of every agent in which rows it is there: (first row, row behind its last, how it goes) each.
    """

    metadata = {"name": "visitors", "render_modes": []}  # noqa: RUF012
    render_mode = None
    rows = 8
    plans: ClassVar[dict[str, dict[Any, list[tuple[int, int, str]]]]] = {
        "together": {"a": [(0, 8, "end")], "b": [(0, 8, "end")]},
        "cut off alone": {"a": [(0, 8, "end")], "b": [(0, 3, "cut off")]},
        "late": {"a": [(0, 8, "end")], "b": [(3, 8, "end")]},
        "back": {"a": [(0, 8, "end")], "b": [(0, 2, "left"), (4, 8, "end")]},
        "cut off and back": {"a": [(0, 8, "end")], "b": [(0, 3, "cut off"), (5, 8, "end")]},
        "integers": {0: [(0, 8, "end")], 1: [(0, 3, "left")]},
    }

    def __init__(self, plan: str = "together") -> None:
        self.stays = self.plans[plan]
        self.possible_agents = list(self.stays)

    def observation_space(self, agent: Any) -> spaces.Space[Any]:
        return spaces.Box(0.0, 9.0, (1,))

    def action_space(self, agent: Any) -> spaces.Space[Any]:
        return spaces.Discrete(2)

    def _present(self, row: int) -> list[Any]:
        return [a for a in self.stays if any(begin <= row < end for begin, end, _ in self.stays[a])]

    def _observe(self, agents: list[Any]) -> dict[Any, Array]:
        return {agent: np.array([self.row], np.float32) for agent in agents}

    def reset(self, seed: int | None = None, options: Any = None) -> tuple[Any, Any]:
        self.row = 0
        self.agents = self._present(0)
        return self._observe(self.agents), {agent: {} for agent in self.agents}

    def step(self, actions: dict[Any, Any]) -> tuple[Any, ...]:
        assert set(actions) == set(self.agents)
        before, self.row = self.agents, self.row + 1
        self.agents = self._present(self.row)
        told = before + [agent for agent in self.agents if agent not in before]

        def ends(*how: str) -> dict[Any, bool]:
            return {a: any(end == self.row and why in how for _, end, why in self.stays[a]) for a in told}

        rewards = {agent: float(agent in before) for agent in told}
        return self._observe(told), rewards, ends("end", "left"), ends("cut off"), {agent: {} for agent in told}

    def close(self) -> None:
        pass


def one_sided_vector(num_envs: int = 1, **_: Any) -> Any:
    """A vectorised entry point that resets in the same step, which a `VectorGame` must not."""
    from gymnasium.vector import AutoresetMode, SyncVectorEnv

    return SyncVectorEnv([Image for _ in range(num_envs)], autoreset_mode=AutoresetMode.SAME_STEP)


class Lottery:
    """A `VectorGame` by hand: guess a number; every game lasts one row."""

    def __init__(self, n_games: int, choices: int = 3) -> None:
        self.n_games, self.choices = n_games, choices
        self.spec = GameSpec(
            name="lottery",
            teams=1,
            agents_per_team=1,
            observation_space=spaces.Dict({"hint": spaces.Discrete(choices)}),
            action_space=spaces.Dict({"guess": spaces.Discrete(choices)}),
            max_steps=1,
        )

    def reset(self, seed: int) -> Observation:
        self.random = np.random.default_rng(seed)
        self.ended = np.zeros(self.n_games, dtype=bool)
        return self._observe()

    def _observe(self) -> Observation:
        self.hint = self.random.integers(self.choices, size=(self.n_games, 1, 1))
        return {"hint": self.hint, "acting": ~self.ended[:, None, None]}

    def step(self, actions: dict[str, Array]) -> Transition:
        played = ~self.ended[:, None, None]
        reward = ((actions["guess"] == self.hint) & played).astype(np.float32)
        self.ended = ~self.ended
        outcome = np.full((self.n_games, 1), np.nan, dtype=np.float32)
        return Transition(
            observation=self._observe(),
            reward=reward,
            terminated=played,
            truncated=np.zeros_like(played),
            outcome=outcome,
        )

    def close(self) -> None:
        pass


def make_lottery(n_games: int, seed: int, choices: int = 3) -> Lottery:
    """What a user writes for `my_package.my_game:make`."""
    return Lottery(n_games, choices)


def _module(name: str, **contents: Any) -> None:
    module = ModuleType(name)
    vars(module).update(contents)
    sys.modules[name] = module


def _register(name: str, **arguments: Any) -> None:
    if name not in gymnasium.registry:
        gymnasium.register(name, **arguments)


_register("zoo/Nested-v0", entry_point=Nested)
_register("zoo/Image-v0", entry_point=Image, max_episode_steps=20)
_register("zoo/Masked-v0", entry_point=Masked)
_register("zoo/Unsupported-v0", entry_point=Unsupported)
_register("zoo/Talking-v0", entry_point=Talking)
_register("zoo/Instructed-v0", entry_point=Instructed)
_register("zoo/SameStep-v0", entry_point=Image, max_episode_steps=20, vector_entry_point=one_sided_vector)
_register("zoo/VectorOnly-v0", vector_entry_point=one_sided_vector)
_module("zoo_duel_v0", parallel_env=Duel)
_module("zoo_visitors_v0", parallel_env=Visitors)
_module("zoo_empty_v0")
