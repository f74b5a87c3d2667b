"""What a user implements to bring a game: `GameSpec`, `VectorGame` and `Transition`.

A `VectorGame` steps `n_games` games at once on numpy arrays. Every array starts with `[n_games, teams, agents]`
unless said otherwise. A plain single-player environment is one team of one agent.

An observation is a flat `dict[str, np.ndarray]`:

* one array per entry of `spec.observation_space` (those in `spec.team_shared` have no agents axis);
* `acting`: bool `[n_games, teams, agents]`, true where this agent's action will be used; false on last observations;
* `present`: bool `[n_games, teams, agents]`, true where this agent is in its game; only of a game whose agents join
  late, are cut off alone or come back: without it everybody is there from a game's first row until its own end;
* `action_mask/<head>`: bool `[n_games, teams, agents, n]`, for every head named by `spec.masked_heads`; at least one
  entry is true wherever `acting` is. For heads in `spec.masked_by_primary` it is `[..., n_primary, n]`: the row of the
  chosen primary action applies, and a legal primary action has a legal choice in every such head that it reads.

Actions are a `dict[str, np.ndarray]`, one array per head of `spec.action_space`: int64 `[n_games, teams, agents]` for
`Discrete` heads, float32 `[n_games, teams, agents, dims]` for `Box` heads (already clipped to the box). A head that the
chosen primary action does not read holds any number in range; the game ignores it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, Protocol, runtime_checkable

import numpy as np
from gymnasium import spaces

Array = np.ndarray[Any, np.dtype[Any]]
Observation = dict[str, Array]
Actions = dict[str, Array]
EntryUse = Literal["policy", "critic", "label"]
EntryKind = Literal["vector", "entity_set", "categorical", "image"]

ACTING = "acting"
PRESENT = "present"
ACTION_MASK_PREFIX = "action_mask/"
LARGEST_OF_IMAGES = 1e5  # floats with wider bounds are measurements, which are normalised one by one


class GameError(Exception):
    """Base of the errors that games raise; the message is one line that a user can act on.

    GameError
    ├── UnknownGameError        the name or module does not exist
    ├── MissingExtraError       an optional package is needed
    ├── UnsupportedSpaceError   a space that no encoder or head can serve
    ├── GameContractError       a game broke the rules of this file
    ├── GameDataError           an environment returned what its spaces do not promise, or what cannot be trained on
    └── GameCodeError           the game's own code raised an error; it is the `__cause__`

    Messages of the last two begin with the file and the line of the user's code. What a run does about an error stands
    at its class: see `quintet.control.errors`.
    """

    ends_run_with: ClassVar[int] = 2
    run_bears: ClassVar[int] = 0


class UnknownGameError(GameError):
    """The game's name, module or factory could not be found."""


class MissingExtraError(GameError):
    """The game needs an optional package that is not installed."""


class UnsupportedSpaceError(GameError):
    """An observation or action space that is not supported."""


class GameContractError(GameError):
    """A game returned something that this contract forbids."""


class GameDataError(GameError):
    """An environment returned what its spaces do not promise, or numbers that nothing can be trained on."""

    ends_run_with = 1


class GameCodeError(GameError):
    """The game's own code raised an error, which is the `__cause__`."""

    ends_run_with = 1
    run_bears = 1  # it may have been one rare game: one worker is started again


class Target(spaces.Discrete):
    """A `Discrete` head whose choices are the slots of an entity set: a pointer. `Target("units", 64)`."""

    def __init__(self, group: str, slots: int) -> None:
        super().__init__(slots)
        self.group = group


@dataclass(frozen=True, kw_only=True, slots=True)
class Relation:
    """Where the slots of an entity set and the agent stand, so that the model can add offset and distance itself.

    Both positions are in the same units; `scale` is the distance that counts as 1.
    """

    set_columns: tuple[int, ...]  # position columns of the entity set
    agent_entry: str  # a vector entry with an agents axis
    agent_columns: tuple[int, ...]
    scale: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Auxiliary:
    """A prediction that the network is also asked for, from a label entry `Box(k)` of the observation (use "label").

    A row's label is known (numbers in [0, 1]) or unknown (all -1); a game's last observation always knows it. The
    target of a row is its own label if known, else `discount` x the next row's target; beyond a chunk's end it is the
    network's own prediction there (arXiv 1912.06680, appendix on auxiliary heads).
    """

    label: str
    kind: Literal["binary", "categorical"]  # k independent yes/no questions, or one question with k answers
    discount: float = 1.0
    trunk_gradient: float = 0.0  # how much of its gradient reaches the LSTM; 0 is a stop-gradient


@dataclass(frozen=True, kw_only=True, slots=True)
class GameSpec:
    """What is fixed about a game, known before it is played.

    `observation_space` is a flat `spaces.Dict` per agent: `Box` (vector; entity set `(N, F)` if `<name>_mask:
    MultiBinary(N)` stands beside it; three axes of uint8, or of floats between bounds: image, by its bounds and with
    the channels that `quintet.model.encoders` finds), `Discrete` and `MultiDiscrete` (categorical, counted from 0),
    `MultiBinary`. `action_mask` is not in it: see `masked_heads`. `action_space` holds `Discrete` (from 0) and
    one-dimensional bounded or unbounded float32 `Box` heads.
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
    primary_head: str | None = None  # the head that decides which others are read
    reads: tuple[frozenset[str], ...] = ()  # per primary action, the other heads it reads; empty: always all
    masked_by_primary: frozenset[str] = frozenset()  # masked heads whose mask has a leading axis of primary actions
    set_categories: Mapping[str, Mapping[int, int]] = field(default_factory=dict)  # set -> {column: values from 0}
    relations: Mapping[str, Relation] = field(default_factory=dict)  # of entity sets
    own_slots: Mapping[str, tuple[int, ...]] = field(default_factory=dict)  # set -> the slot that each agent is
    auxiliary: Mapping[str, Auxiliary] = field(default_factory=dict)  # name -> what to predict


@dataclass(frozen=True, kw_only=True, slots=True)
class Transition:
    """What one `step` of `n_games` games returns.

    Autoreset is gymnasium's NEXT_STEP: the step after an end ignores its action and returns the new game's first
    observation with reward 0 and neither flag set, so the true last observation is always there to bootstrap from.

    An agent may have an end of its own while its game goes on. Who leaves is `terminated` in that row. Who is cut off
    alone is `truncated` in it, and the row after holds its own last observation, whose value bootstraps. From then on
    neither acts, and no row of theirs counts; nor does one of an agent before it first appears. One that returns shows
    so by `present`: its rows count again, as a stretch of their own (its LSTM state has run on, like everybody's). One
    that will surely come back (a respawn) had better stay, with `acting` false: then its waiting is trained as well.
    Where a game ends, one of the two is set for every agent, whether it is there or not; in no other row for all.

    A limit is a rule where the agents observe it and it decides the outcome (a clock they see, a draw by time): the
    game is terminated, and what the last rows are worth is learnt. It is truncated where it is nothing that an agent
    can know (a `TimeLimit` around a task without end): the game would have gone on, so the value of the last
    observation stands for the rest. Truncated by a clock that is seen, the value at the limit is never trained and
    every row before it is trained towards it.
    """

    observation: Observation
    reward: Array  # f32 [n_games, teams, agents], before team spirit
    terminated: Array  # bool [n_games, teams, agents]: the rules ended it, nothing is bootstrapped
    truncated: Array  # bool [n_games, teams, agents]: cut off, the value of its last observation stands for the rest
    outcome: Array  # f32 [n_games, teams], +1 won, 0 drawn, -1 lost; NaN where no game ended or the game has no winner
    episode: dict[str, Array] = field(default_factory=dict)  # name -> f32 [n_games, teams], read where a game ended

    @property
    def ended(self) -> Array:
        """Where the game is over, `[n_games]` bool: terminated or cut off for every agent of every team."""
        out: Array = self.terminated | self.truncated
        ended: Array = np.logical_and.reduce(out, axis=(1, 2))
        return ended


class VectorGame(Protocol):
    """`n_games` copies of one game, stepped together. One that brings its own opponents is a `GameWithBots`."""

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


@runtime_checkable
class GameWithBots(Protocol):
    """What a `VectorGame` offers besides, if it has scripted players."""

    bots: Mapping[str, str]  # name -> hash of its source and of the rules it was frozen with

    def bot_actions(self, name: str) -> Actions:
        """What that bot would do now on every seat of every game; legal, and the same for the same state."""
        ...


def is_image(space: spaces.Box) -> bool:
    """Whether convolutions read it: three axes of uint8, or of floats between bounds, none of them empty."""
    if (
        len(space.shape) != 3
        or 0 in space.shape
        or (space.dtype != np.uint8 and not np.issubdtype(space.dtype, np.floating))
    ):
        return False
    return bool((np.maximum(np.abs(space.low), np.abs(space.high)) <= LARGEST_OF_IMAGES).all())


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
        if is_image(space):
            return "image"
        if len(space.shape) == 2 and f"{name}_mask" in spec.observation_space.spaces:
            return "entity_set"
        return "vector"
    raise UnsupportedSpaceError(
        f"{spec.name}: observation entry {name!r} is a {type(space).__name__}; "
        "supported are Box, Discrete, MultiDiscrete and MultiBinary. Flatten it with a wrapper."
    )


@runtime_checkable
class GameWithPictures(Protocol):
    """What a `VectorGame` offers besides, if it can draw itself."""

    def picture(self) -> Array | None:
        """Slot 0 as it stands, uint8 [H, W, 3]; None where the game was built without a way to draw."""
        ...


@runtime_checkable
class GameWithRemarks(Protocol):
    """What a `VectorGame` offers besides, if it reads environments by others."""

    @property
    def origin(self) -> Any:
        """The first environment that it reads."""
        ...

    def remarks(self) -> dict[str, str]:
        """What the last row shows that can be trained on but is hardly meant: key -> where, what, what is done."""
        ...
