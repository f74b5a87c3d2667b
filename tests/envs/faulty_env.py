"""Small environments whose own code is at fault in row 7 of every game: late enough for a run to have begun.

quintet train --game gymnasium:tests.envs.faulty_env:NanReward-v0
"""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

from quintet.games.api import Array

FAULTY_ROW = 7
LENGTH = 20


class Healthy(gymnasium.Env[Array, Any]):
    """Twenty rows of four numbers; the others change one thing."""

    observation_space = spaces.Box(-1, 1, (4,), np.float32)
    action_space = spaces.Discrete(2)

    def __init__(self, faulty_row: int = FAULTY_ROW) -> None:
        self.faulty_row = faulty_row

    def see(self) -> Array:
        return self.np_random.uniform(-1, 1, 4).astype(np.float32)

    def reward(self) -> Any:
        return 1.0

    @property
    def faulty(self) -> bool:
        return self.row == self.faulty_row

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Array, dict[str, Any]]:
        super().reset(seed=seed)
        self.row = 0
        return self.see(), {}

    def step(self, action: Any) -> tuple[Array, Any, bool, bool, dict[str, Any]]:
        self.row += 1
        return self.see(), self.reward(), self.row >= max(LENGTH, self.faulty_row + 1), False, {}


class NanReward(Healthy):
    def reward(self) -> Any:
        return float("nan") if self.faulty else 1.0


class NoneReward(Healthy):
    def reward(self) -> Any:
        return None if self.faulty else 1.0


class NanSeen(Healthy):
    def see(self) -> Array:
        return np.where(np.arange(4) == 2, np.nan, 0).astype(np.float32) if self.faulty else super().see()


class InfiniteSeen(Healthy):
    def see(self) -> Array:
        return super().see() - (np.inf if self.faulty else 0)


class HugeSeen(Healthy):
    observation_space = spaces.Box(-np.inf, np.inf, (4,), np.float32)

    def see(self) -> Array:
        return super().see() * (1e13 if self.faulty else 1.0)


class Raises(Healthy):
    def reward(self) -> Any:
        if self.faulty:
            raise ValueError("the simulator of this environment broke\nwith a second line")
        return 1.0


class Exits(Healthy):
    def reward(self) -> Any:
        if self.faulty:
            raise SystemExit("licence expired")
        return 1.0


class Interrupted(Healthy):
    def reward(self) -> Any:
        if self.faulty:
            raise KeyboardInterrupt
        return 1.0


class Unreachable(Healthy):
    def reward(self) -> Any:
        if self.faulty:
            raise ConnectionRefusedError("the simulator at port 2000 is away")
        return 1.0


for _name in ("Healthy", "NanReward", "NoneReward", "NanSeen", "InfiniteSeen", "HugeSeen", "Raises", "Exits",
              "Interrupted", "Unreachable"):  # fmt: skip
    gymnasium.register(f"{_name}-v0", entry_point=f"tests.envs.faulty_env:{_name}")
