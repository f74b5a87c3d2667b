"""Which agents are in their game at a row, and which rows begin a game or hold its last observation."""

from __future__ import annotations

import numpy as np

from quintet.games.api import ACTING, PRESENT, Array, GameContractError, GameSpec, Observation, Transition


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
        self._refuse_strangers(observation[ACTING] & ~self.present)

    @property
    def valid(self) -> Array:
        """Bool [n_games, teams, agents]: what follows this row is real for that agent, and counts."""
        valid: Array = self.present & ~self.last[:, None, None]
        return valid

    def ends(self, transition: Transition) -> tuple[Array, Array]:
        """Who is terminated and who is cut off in this row, as it counts: bool [n_games, teams, agents] each.

        Raises:
            GameContractError: one of them is not told for every agent.
        """
        for name in ("terminated", "truncated"):
            if (found := getattr(transition, name).shape) != self.present.shape:
                raise GameContractError(
                    f"{self.name}: {name} is {found}; expected one for each agent, {self.present.shape}"
                )
        valid = self.valid
        return transition.terminated & valid, transition.truncated & valid

    def advance(self, transition: Transition, ends: tuple[Array, Array] | None = None) -> None:
        """Move to the row that the transition shows; `ends` is what `ends` says of it, where that was asked already.

        Raises:
            GameContractError: the ends of this row would be trained wrongly.
        """
        terminated, truncated = ends or self.ends(transition)
        first, last = self.last, transition.ended & ~self.last
        shown = transition.observation.get(PRESENT)
        if shown is None:  # who has left stays away until the next game
            present = (self.present & ~(terminated | truncated)) | first[:, None, None]
        else:
            present = shown
            going_on = self.valid & ~last[:, None, None]
            vanished = going_on & ~(terminated | truncated | present)
            self._refuse(vanished, f"is not {PRESENT} any more, but was neither terminated nor truncated")
            kept = going_on & truncated & ~terminated & present
            self._refuse(kept, f"was cut off, but is {PRESENT} in the row after, which holds its last observation")
        self._refuse_strangers(transition.observation[ACTING] & ~present)
        self.first, self.last, self.present = first, last, present

    def _refuse_strangers(self, where: Array) -> None:
        self._refuse(where, f"is acting, but it has left or is yet to come: whoever is there is {PRESENT}")

    def _refuse(self, where: Array, what: str) -> None:
        if where.any():
            raise GameContractError(f"{self.name}: {first_seat(where)}, {what} (see Transition in games/api.py)")


def first_seat(where: Array) -> str:
    """The first place that is true in [n_games, teams, agents, ...], for people."""
    slot, team, agent = np.argwhere(where)[0][:3]
    return f"slot {slot}, team {team}, agent {agent}"
