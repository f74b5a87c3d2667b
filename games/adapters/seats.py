"""Who sits where: the agents of an environment as teams and seats in them."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import filter as fitting
from typing import Any

from quintet.games.api import GameError

Agent = Any  # an agent's name: text as a rule, but any key will do
Seat = tuple[int, int]  # team, agent in the team


def seats_of(name: str, agents: list[Agent], teams: Sequence[Sequence[Agent]] | None) -> dict[Agent, Seat]:
    """Who sits where: every agent in a team of its own, or in the teams that the user names by the agents' text.

    A pattern (`red_*`) stands for all agents that it fits, in the environment's order.

    Raises:
        GameError: not every agent is in exactly one team, or the teams are not of the same size.
    """
    by_name = {str(agent): agent for agent in agents}
    named = [[agent] for agent in by_name] if teams is None else [_members(team, list(by_name)) for team in teams]
    if sorted(agent for team in named for agent in team) != sorted(by_name):
        raise GameError(
            f"game {name!r}: teams are {named}; each of the agents {list(by_name)} must be in exactly one team"
        )
    if len({len(team) for team in named}) != 1:
        sizes = [len(team) for team in named]
        raise GameError(f"game {name!r}: the teams have {sizes} agents; all teams must be of the same size")
    return {by_name[agent]: (t, a) for t, team in enumerate(named) for a, agent in enumerate(team)}


def _members(team: Sequence[Agent], agents: list[str]) -> list[str]:
    """A team's names, with every pattern replaced by the agents that it fits; what fits nobody stays as it is."""
    names = [str(name) for name in team]
    return [agent for name in names for agent in ([name] if name in agents else fitting(agents, name) or [name])]
