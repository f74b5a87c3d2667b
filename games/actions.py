"""What a game is handed: actions inside their spaces."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium import spaces

from quintet.games.api import Array


def in_range(action: Array, space: spaces.Space[Any]) -> Array:
    """What a game gets: Box actions clipped to the box, and 0 for a Discrete head that was not read (-1)."""
    return np.clip(action, space.low, space.high) if isinstance(space, spaces.Box) else np.maximum(action, 0)
