"""Environments whose numbers come in any unit: `--game gymnasium:tests.envs.unit_envs:Aim-v0`; see docs/results.md."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

from quintet.games.api import Array

ROWS = 20


class Aim(gymnasium.Env[Array, Array]):
    """Aim at the number shown, in units of `width`."""

    def __init__(self, width: float = 1.0) -> None:
        self.width = width
        self.observation_space = spaces.Box(-1, 1, (1,), np.float32)
        self.action_space = spaces.Box(-width, width, (1,), np.float32)

    def _see(self) -> Array:
        self.shown = self.np_random.uniform(-1, 1)
        return np.array([self.shown], np.float32)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Array, dict[str, Any]]:
        super().reset(seed=seed)
        self.row = 0
        return self._see(), {}

    def step(self, action: Array) -> tuple[Array, float, bool, bool, dict[str, Any]]:
        reward = 1.0 - abs(float(action[0]) / self.width - self.shown)
        self.row += 1
        return self._see(), reward, self.row >= ROWS, False, {}


class BitPlanes(gymnasium.Env[Array, np.int64]):
    """Name the one bit of the second plane that may be set; the first is noise. The same numbers in either dtype."""

    def __init__(self, as_uint8: bool = True) -> None:
        self.dtype = np.uint8 if as_uint8 else np.float32
        self.observation_space = spaces.Box(0, 1, (5, 5, 3), self.dtype)
        self.action_space = spaces.Discrete(2)

    def _see(self) -> Array:
        self.bit = int(self.np_random.integers(2))
        planes = np.zeros((5, 5, 3), self.dtype)
        planes[:, :, 0] = self.np_random.integers(0, 2, (5, 5))
        planes[2, 2, 1] = self.bit
        return planes

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Array, dict[str, Any]]:
        super().reset(seed=seed)
        self.row = 0
        return self._see(), {}

    def step(self, action: np.int64) -> tuple[Array, float, bool, bool, dict[str, Any]]:
        reward = float(int(action) == self.bit)
        self.row += 1
        return self._see(), reward, self.row >= ROWS, False, {}


for _name in ("Aim", "BitPlanes"):
    gymnasium.register(f"{_name}-v0", entry_point=f"tests.envs.unit_envs:{_name}")
