"""Return, length and outcome of the episodes of many games at once."""

from __future__ import annotations

from typing import Any

import numpy as np

from quintet.games.api import GameSpec, Transition
from quintet.games.attendance import Attendance

Episode = dict[str, Any]  # "return", "length", "outcome", "version", "components": see `EpisodeBooks.add`


class EpisodeBooks:
    """Return, length and outcome of the episodes under way, and the finished ones that wait to be reported."""

    def __init__(self, spec: GameSpec, n_games: int) -> None:
        self.returns = np.zeros((n_games, spec.teams), np.float64)
        self.lengths = np.zeros(n_games, np.int64)
        self.finished: list[Episode] = []

    def add(self, transition: Transition, attendance: Attendance, version: int) -> None:
        """Count the row that `attendance` tells of; one with a last observation belongs to no episode."""
        valid = attendance.valid
        self.returns += (transition.reward * valid).sum(axis=2) / np.maximum(valid.sum(axis=2), 1)
        self.lengths += ~attendance.last
        for k in np.flatnonzero(transition.ended & ~attendance.last):
            outcome = transition.outcome[k]
            self.finished.append(
                {
                    "return": self.returns[k].tolist(),  # per team, every row's mean over the agents that are there
                    "length": int(self.lengths[k]),
                    "outcome": [None if np.isnan(x) else float(x) for x in outcome],
                    "version": version,
                    "components": {name: array[k].tolist() for name, array in transition.episode.items()},
                }
            )
            self.returns[k] = 0.0
            self.lengths[k] = 0

    def drain(self) -> list[Episode]:
        """The episodes finished since the last call."""
        finished, self.finished = self.finished, []
        return finished
