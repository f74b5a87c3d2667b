"""Which agents are in their game at a row, and which rows begin a game or hold its last observation."""

from __future__ import annotations

import numpy as np

from games.api import ACTING, PRESENT, Array, GameContractError, GameSpec, Observation, Transition


class Attendance:
    """What the row about to be played is, for whoever plays a `VectorGame`: slots x teams x agents.

    It also refuses what would be trained wrongly without a word: whoever acts without being there is never trained,
    and whoever is cut off or vanishes needs a row after it that bootstraps, or an end that says that nothing does.
    """

    def __init__(self, spec: GameSpec, observation: Observation) -> None:
        """Every slot shows the first row of a game: `observation` is what `reset` returned."""
        self.name = spec.name
        n_games = len(observation[ACTING])
        self.first = np.ones(n_games, np.bool_)  # [n_games]: the row begins a game
        self.last = np.zeros(n_games, np.bool_)  # [n_games]: it holds a finished game's last observation
        shown = observation.get(PRESENT)
        self.present: Array = np.ones(observation[ACTING].shape, np.bool_) if shown is None else shown
        self._refuse(observation[ACTING] & ~self.present, f"is acting before it is {PRESENT}")

    @property
    def valid(self) -> Array:
        """Bool [n_games, teams, agents]: what follows this row is real for that agent, and counts."""
        valid: Array = self.present & ~self.last[:, None, None]
        return valid

    def advance(self, transition: Transition) -> None:
        """Move to the row that the transition shows.

        Raises:
            GameContractError: the ends of this row would be trained wrongly.
        """
        if transition.truncated.shape != transition.terminated.shape:
            raise GameContractError(
                f"{self.name}: truncated is {transition.truncated.shape}; expected one per agent, as terminated "
                f"{transition.terminated.shape}"
            )
        out = transition.terminated | transition.truncated
        first, last = self.last, np.logical_and.reduce(out, axis=(1, 2)) & ~self.last
        shown = transition.observation.get(PRESENT)
        if shown is None:  # who has left stays away until the next game
            present = (self.present & ~out) | first[:, None, None]
        else:
            present = shown
            going_on = self.present & ~(first | last)[:, None, None]
            cut_off = transition.truncated & ~transition.terminated
            self._refuse(
                going_on & ~out & ~present, f"is not {PRESENT} any more, but was neither terminated nor truncated"
            )
            self._refuse(
                going_on & cut_off & present,
                f"was cut off alone, but is {PRESENT} in the row after, which holds its last observation",
            )
        self._refuse(
            transition.observation[ACTING] & ~present, f"is acting after it left: one that is back is {PRESENT}"
        )
        self.first, self.last, self.present = first, last, present

    def _refuse(self, where: Array, what: str) -> None:
        if where.any():
            raise GameContractError(f"{self.name}: {place(where)}, {what} (see Transition in games/api.py)")


def place(where: Array) -> str:
    """The first place that is true in [n_games, teams, agents, ...], for people."""
    slot, team, agent = np.argwhere(where)[0][:3]
    return f"slot {slot}, team {team}, agent {agent}"
