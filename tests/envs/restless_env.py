"""An environment that touches its surroundings: it prints, changes the current folder, and holds its place alone."""

from __future__ import annotations

import fcntl
import os
import tempfile
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

print("restless: imported")
PLACES = Path(os.environ.get("RESTLESS_PLACES", tempfile.gettempdir()))


class Restless(gymnasium.Env[Any, Any]):
    """Only one copy may be there for each worker and slot, as if it held a port."""

    observation_space = spaces.Box(-1, 1, (4,), np.float32)
    action_space = spaces.Discrete(2)

    def __init__(self) -> None:
        print("restless: made")
        os.write(1, b"restless: as a C library does\n")
        os.chdir("/")
        place = f"{os.environ.get('QUINTET_WORKER')}-{os.environ.get('QUINTET_SLOT')}"
        self._place = (PLACES / f"restless-{place}").open("w")
        try:
            fcntl.flock(self._place, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._place.close()
            raise

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Random numbers."""
        super().reset(seed=seed)
        self._steps = 0
        return self._see(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Twenty of them."""
        self._steps += 1
        return self._see(), float(action), self._steps >= 20, False, {}

    def close(self) -> None:
        """Leave the place to the next copy."""
        self._place.close()

    def _see(self) -> Any:
        return self.np_random.uniform(-1, 1, 4).astype(np.float32)


gymnasium.register("Restless-v0", entry_point="tests.envs.restless_env:Restless")
