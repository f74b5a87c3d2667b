"""Games that cannot be played, for the tests of clear errors."""

from __future__ import annotations

from typing import Any

import gymnasium
from gymnasium import spaces

from quintet.games.api import VectorGame
from quintet.games.registry import make_game


class TextEnv(gymnasium.Env[Any, Any]):
    """Its observations are text."""

    observation_space = spaces.Text(8)
    action_space = spaces.Discrete(2)


def make_text(n_games: int, seed: int) -> VectorGame:
    gymnasium.register("QuintetText-v0", entry_point="tests.envs.odd_game:TextEnv")
    return make_game("gymnasium:QuintetText-v0", n_games, seed)
