"""A quick game of one choice per row, go where the sign points, and what can be wrong with it so that nobody learns."""

from __future__ import annotations

from typing import Literal

import numpy as np
from gymnasium import spaces

from quintet.games.api import ACTING, Actions, Array, GameSpec, Observation, Transition

ROWS = 8
Fault = Literal["none", "forgotten", "blind", "deaf", "unpaid", "endless"]


class Signpost:
    """The sign of the second number points to the action that is paid; the other two numbers are noise.

    forgotten: the sign is shown in a game's first row and holds for all of it. blind: the same is shown in every row.
    deaf: what is shown decides, whatever is done. unpaid: every step is paid the same. endless: one wrong step leads
    into a pit where nothing is shown or paid any more, and no game ends. With two teams, the one that was right more
    often has won.
    """

    def __init__(self, n_games: int, fault: Fault = "none", *, teams: int = 1, box: bool = False) -> None:
        self.n_games, self.fault, self.teams, self.box = n_games, fault, teams, box
        go: spaces.Space[object] = spaces.Box(-1.0, 1.0, (1,), np.float32) if box else spaces.Discrete(2)
        self.spec = GameSpec(
            name="signpost",
            teams=teams,
            agents_per_team=1,
            zero_sum=teams == 2,
            observation_space=spaces.Dict({"sign": spaces.Box(-np.inf, np.inf, (3,), np.float32)}),
            action_space=spaces.Dict({"go": go}),
        )

    def reset(self, seed: int) -> Observation:
        self.random = np.random.default_rng(seed)
        self.row, self.points = self.random.integers(0, ROWS, self.n_games), np.zeros((self.n_games, self.teams))
        self.shown = np.ones((self.n_games, self.teams, 1, 3), np.float32)
        self.in_pit = np.zeros((self.n_games, self.teams, 1), bool)
        return self._observe()

    def step(self, actions: Actions) -> Transition:
        begins = self.row == ROWS
        self.row = np.where(begins, 0, self.row + 1)
        ends = (self.row == ROWS) & (self.fault != "endless")
        self.row[self.fault == "endless"] = 0
        paid = self._paid(actions["go"]) * ~begins[:, None, None]
        self.points = np.where(begins[:, None], 0, self.points) + paid[..., 0]
        outcome = np.full((self.n_games, self.teams), np.nan, np.float32)
        if self.teams == 2:
            ahead = np.sign(self.points - self.points[:, ::-1])
            outcome = np.where(ends[:, None], ahead, np.nan).astype(np.float32)
            paid = np.where(ends[:, None], ahead, 0.0)[..., None]
        return Transition(
            observation=self._observe(),
            reward=paid.astype(np.float32),
            terminated=np.broadcast_to(ends[:, None, None], paid.shape).copy(),
            truncated=np.zeros(paid.shape, bool),
            outcome=outcome,
        )

    def close(self) -> None:
        pass

    def _paid(self, go: Array) -> Array:
        right: Array = (go[..., 0] > 0 if self.box else go == 1) == (self.shown[..., 1] > 0)
        if self.fault == "deaf":
            right = self.shown[..., 0] > 0
        if self.fault == "unpaid":
            right = np.ones_like(right)
        if self.fault == "endless":
            self.in_pit |= ~right
            right = ~self.in_pit
        return right

    def _observe(self) -> Observation:
        lead = (self.n_games, self.teams, 1)
        before = self.shown
        self.shown = self.random.standard_normal((*lead, 3)).astype(np.float32)
        if self.fault == "forgotten":
            self.shown[..., 1] = np.where(self.row[:, None, None] == 0, self.shown[..., 1], before[..., 1])
        seen = np.zeros_like(self.shown) if self.fault == "blind" else self.shown.copy()
        if self.fault == "forgotten":
            seen[self.row > 0, ..., 1] = 0.0
        if self.fault == "endless":
            seen = np.where(self.in_pit[..., None], 0.0, seen)
        return {"sign": seen, ACTING: np.broadcast_to((self.row < ROWS)[:, None, None], lead).copy()}


def make(n_games: int, seed: int, fault: Fault = "none", teams: int = 1, box: bool = False) -> Signpost:
    """For `quintet train --game tests.envs.signpost:make`."""
    return Signpost(n_games, fault, teams=teams, box=box)
