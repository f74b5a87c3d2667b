"""A game whose units are free: aim at the number shown in this row, with what is shown, done and paid in any unit."""

from __future__ import annotations

import numpy as np
from gymnasium import spaces

from quintet.games.api import ACTING, Actions, Array, GameSpec, Observation, Transition

ROWS = 6


class Aiming:
    """Ten times the same game for whoever looks at numbers in units of one: `shown`, `paid` and the box's width are."""

    def __init__(
        self, n_games: int, box: spaces.Box | None = None, *, shown: float = 1.0, paid: float = 1.0, base: float = 0.0
    ) -> None:
        self.box = spaces.Box(-1.0, 1.0, (1,)) if box is None else box
        self.n_games, self.shown, self.paid, self.base = n_games, shown, paid, base
        self.actions: list[Array] = []
        self.spec = GameSpec(
            name="aiming",
            teams=1,
            agents_per_team=1,
            observation_space=spaces.Dict({"shown": spaces.Box(-np.inf, np.inf, (1,))}),
            action_space=spaces.Dict({"aim": self.box}),
        )

    def reset(self, seed: int) -> Observation:
        self.random, self.row = np.random.default_rng(seed), 0
        return self._observe()

    def step(self, actions: Actions) -> Transition:
        lead = (self.n_games, 1, 1)
        aim = actions["aim"]
        assert all(self.box.contains(one) for one in aim.reshape(-1, *self.box.shape))
        self.actions.append(aim)
        middle, half = (self.box.low[0] + self.box.high[0]) / 2, (self.box.high[0] - self.box.low[0]) / 2
        begins = self.row == ROWS
        self.row = 0 if begins else self.row + 1
        miss = np.abs((aim[..., 0].astype(np.float64) - middle) / half - self.number)
        reward = np.zeros(lead) if begins else self.paid * (self.base + 1 - miss)
        return Transition(
            observation=self._observe(),
            reward=reward.astype(np.float32),
            terminated=np.full(lead, self.row == ROWS),
            truncated=np.zeros(lead, bool),
            outcome=np.full((self.n_games, 1), np.nan, np.float32),
        )

    def close(self) -> None:
        pass

    def _observe(self) -> Observation:
        self.number = self.random.uniform(-1, 1, (self.n_games, 1, 1))
        shown = (self.shown * self.number).astype(np.float32)[..., None]
        return {"shown": shown, ACTING: np.full((self.n_games, 1, 1), self.row < ROWS)}
