"""What a game is handed: actions inside their spaces, one row of streams as slots and teams."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium import spaces

from quintet.games.api import Actions, Array, GameSpec


def in_range(action: Array, space: spaces.Space[Any]) -> Array:
    """What a game gets: Box actions clipped to the box, and 0 for a Discrete head that was not read (-1)."""
    return np.clip(action, space.low, space.high) if isinstance(space, spaces.Box) else np.maximum(action, 0)


def for_game(actions: Actions, spec: GameSpec) -> Actions:
    """What `VectorGame.step` takes, of what B = n_games x teams streams chose, team fastest: [B, A, ...] per head."""
    return {
        name: in_range(array.reshape(-1, spec.teams, *array.shape[1:]), spec.action_space[name])
        for name, array in actions.items()
    }
