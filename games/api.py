"""What a user implements to bring a game: `GameSpec`, `VectorGame` and `Transition`.

A `VectorGame` steps `n_games` games at once on numpy arrays. Every array starts with `[n_games, teams, agents]`
unless said otherwise. A plain single-player environment is one team of one agent.

An observation is a flat `dict[str, np.ndarray]`:

* one array per entry of `spec.observation_space` (those in `spec.team_shared` have no agents axis);
* `acting`: bool `[n_games, teams, agents]`, true where this agent's action will be used; false on last observations;
* `action_mask/<head>`: bool `[n_games, teams, agents, n]`, for every head named by `spec.masked_heads`; at least one
  entry is true wherever `acting` is.

Actions are a `dict[str, np.ndarray]`, one array per head of `spec.action_space`: int64 `[n_games, teams, agents]` for
`Discrete` heads, float32 `[n_games, teams, agents, dims]` for `Box` heads (already clipped to the box).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import numpy as np
from gymnasium import spaces

Array = np.ndarray[Any, np.dtype[Any]]
Observation = dict[str, Array]
Actions = dict[str, Array]
EntryUse = Literal["policy", "critic", "label"]
EntryKind = Literal["vector", "entity_set", "categorical", "image"]

ACTING = "acting"
ACTION_MASK_PREFIX = "action_mask/"


class GameError(Exception):
    """Base of the errors that games raise; the message is one line that a user can act on.

    GameError
    ├── UnknownGameError        the name or module does not exist
    ├── MissingExtraError       an optional package is needed
    ├── UnsupportedSpaceError   a space that no encoder or head can serve
    └── GameContractError       a game broke the rules of this file
    """


class UnknownGameError(GameError):
    """The game's name, module or factory could not be found."""


class MissingExtraError(GameError):
    """The game needs an optional package that is not installed."""


class UnsupportedSpaceError(GameError):
    """An observation or action space that is not supported."""


class GameContractError(GameError):
    """A game returned something that this contract forbids."""


@dataclass(frozen=True, kw_only=True, slots=True)
class GameSpec:
    """What is fixed about a game, known before it is played.

    `observation_space` is a flat `spaces.Dict` per agent: `Box` (vector; entity set `(N, F)` if `<name>_mask:
    MultiBinary(N)` stands beside it; uint8 with three axes: image), `Discrete` and `MultiDiscrete` (categorical,
    counted from 0), `MultiBinary`. `action_mask` is not in it: see `masked_heads`. `action_space` holds `Discrete`
    (from 0) and one-dimensional bounded or unbounded float32 `Box` heads.
    """

    name: str
    teams: int
    agents_per_team: int
    observation_space: spaces.Dict
    action_space: spaces.Dict
    step_s: float = 1.0  # game seconds between two decisions; turns half-lives in seconds into discounts
    max_steps: int | None = None  # a bound on an episode's rows, None where there is none
    zero_sum: bool = False
    team_names: tuple[str, ...] = ()  # seats in order, for people; empty: "team 0", "team 1" ...
    masked_heads: frozenset[str] = frozenset()  # Discrete heads whose `action_mask/<head>` is in every observation
    team_shared: frozenset[str] = frozenset()  # entries that a whole team shares: they have no agents axis
    uses: Mapping[str, EntryUse] = field(default_factory=dict)  # entries that are not for the policy
    wire_dtypes: Mapping[str, Literal["float16", "float32"]] = field(default_factory=dict)  # float entries sent as f16


@dataclass(frozen=True, kw_only=True, slots=True)
class Transition:
    """What one `step` of `n_games` games returns.

    Autoreset is gymnasium's NEXT_STEP: the step after an end ignores its action and returns the new game's first
    observation with reward 0 and neither flag set, so the true last observation is always there to bootstrap from.
    """

    observation: Observation
    reward: Array  # f32 [n_games, teams, agents], before team spirit
    terminated: Array  # bool [n_games, teams, agents]: the rules ended it, nothing is bootstrapped
    truncated: Array  # bool [n_games]: cut off (a time limit), the value of the last observation is bootstrapped
    outcome: Array  # f32 [n_games, teams], +1 won, 0 drawn, -1 lost; NaN where no game ended or the game has no winner
    episode: dict[str, Array] = field(default_factory=dict)  # name -> f32 [n_games, teams], read where a game ended

    @property
    def ended(self) -> Array:
        """Where the game is over, `[n_games]` bool: cut off, or terminated for every agent of every team."""
        ended: Array = self.truncated | self.terminated.all(axis=(1, 2))
        return ended


class VectorGame(Protocol):
    """`n_games` copies of one game, stepped together."""

    spec: GameSpec
    n_games: int

    def reset(self, seed: int) -> Observation:
        """Start every game anew; the same seed gives the same games."""
        ...

    def step(self, actions: Actions) -> Transition:
        """Advance every game by one decision."""
        ...

    def close(self) -> None:
        """Free windows, processes and files, if there are any."""
        ...


def entry_kind(spec: GameSpec, name: str) -> EntryKind:
    """How the model reads an entry of the observation.

    Raises:
        UnsupportedSpaceError: no encoder serves this space.
    """
    space = spec.observation_space[name]
    if isinstance(space, spaces.Discrete | spaces.MultiDiscrete):
        return "categorical"
    if isinstance(space, spaces.MultiBinary):
        return "vector"
    if isinstance(space, spaces.Box):
        if space.dtype == np.uint8 and len(space.shape) == 3:
            return "image"
        if len(space.shape) == 2 and f"{name}_mask" in spec.observation_space.spaces:
            return "entity_set"
        return "vector"
    raise UnsupportedSpaceError(
        f"{spec.name}: observation entry {name!r} is a {type(space).__name__}; "
        "supported are Box, Discrete, MultiDiscrete and MultiBinary. Flatten it with a wrapper."
    )
