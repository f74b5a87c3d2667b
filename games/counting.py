"""The test game: it counts, so that every row of a trajectory says where it belongs. Also the example of a game.

Nothing can be won by skill. Its `counter` names the slot, the game in the slot, the row in the game and the agent; its
reward is `1000 x game + row` (with two teams: for the one, and its negative for the other, changing sides every game);
and `last_action` shows what each agent was seen to do one row earlier. A chunk that loses, repeats or swaps a row gives
itself away.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Literal

import numpy as np
from gymnasium import spaces

from quintet.games.api import (
    ACTING,
    ACTION_MASK_PREFIX,
    PRESENT,
    Actions,
    Array,
    GameError,
    GameSpec,
    Observation,
    Transition,
)

SLOT, GAME, ROW, AGENT = range(4)  # the columns of `counter`
REWARD_PER_GAME = 1000.0


@dataclass(frozen=True, kw_only=True, slots=True)
class CountingOptions:
    """What the counting game shall have. Each option adds one thing that real games do."""

    teams: int = 1
    agents_per_team: int = 1
    episode_steps: int = 8
    """Rows of the shortest game."""
    extra_steps: int = 0
    """A game lasts up to this many rows more; how many is drawn from the seed."""
    ends: Literal["terminated", "truncated", "alternate"] = "terminated"
    """How games end; alternate: even games are terminated, odd ones truncated."""
    choices: int = 4
    """Choices of the Discrete head `action`."""
    box_dims: int = 0
    """Numbers of the Box head `push`; 0 leaves it out."""
    units: int = 0
    """Slots of the entity set `units`; 0 leaves it out."""
    kinds: int = 0
    """Values of the categorical `kind`; 0 leaves it out."""
    shared: int = 0
    """Numbers of the team-shared vector `board`; 0 leaves it out."""
    masks: bool = False
    """At row r the choice r mod `choices` is illegal."""
    turns: bool = False
    """Teams act in turn; with one team, its agents do."""
    leaver_row: int = -1
    """The row at which the last agent of the last team leaves for good; -1: nobody does."""
    visits: bool = False
    """Every agent but the first joins late, leaves, is cut off alone and returns, as chance has it."""

    def __post_init__(self) -> None:
        for name in ("teams", "agents_per_team", "episode_steps"):
            if getattr(self, name) < 1:
                raise GameError(f"counting: {name} is {getattr(self, name)}; it must be at least 1")
        if self.choices < 2:
            raise GameError(f"counting: choices is {self.choices}; it must be at least 2")
        if self.ends not in ("terminated", "truncated", "alternate"):
            raise GameError(f"counting: ends is {self.ends!r}; it must be terminated, truncated or alternate")
        if self.leaver_row >= 0 and self.teams * self.agents_per_team == 1:
            raise GameError("counting: leaver_row needs a second agent that goes on playing")
        if self.visits and self.leaver_row >= 0:
            raise GameError("counting: visits and leaver_row do not go together")


class CountingGame:
    """`n_games` counting games, stepped together without a loop over them."""

    def __init__(self, n_games: int, options: CountingOptions | None = None) -> None:
        self.options = options or CountingOptions()
        self.n_games = n_games
        self.spec = _spec(self.options)
        self._agents = (n_games, self.options.teams, self.options.agents_per_team)
        self.reset(seed=0)

    def reset(self, seed: int) -> Observation:
        """Start game 0 in every slot; the seed decides how long the games last."""
        self._random = np.random.default_rng(seed)
        self._game = np.full(self.n_games, -1)
        self._row = np.zeros(self.n_games, dtype=np.int64)
        self._length = np.zeros(self.n_games, dtype=np.int64)
        self._over = np.ones(self.n_games, dtype=bool)
        self._present = np.zeros(self._agents, dtype=bool)
        self._last_action = np.zeros(self._agents, dtype=np.int64)
        self._begin_games(self._over)
        return self._observation()

    def step(self, actions: Actions) -> Transition:
        """Play one row in every slot, or begin the next game where the last row ended one.

        Raises:
            GameError: an agent took an action that its mask forbids.
        """
        played = ~self._over
        used = self._acting()
        self._check_legal(actions["action"], used)
        reward = self._reward(played)
        self._last_action = np.where(used, actions["action"] + 1, 0)
        self._row[played] += 1
        left, cut_off = self._come_and_go(played)
        self._begin_games(~played)
        self._over = played & (self._row >= self._length)
        by_rules = self._ends_by_rules()
        return Transition(
            observation=self._observation(),
            reward=reward,
            terminated=left | (self._over & by_rules)[:, None, None],
            truncated=cut_off | (self._over & ~by_rules)[:, None, None],
            outcome=self._outcome(),
            episode={"rows": self._per_team(self._row)},
        )

    def close(self) -> None:
        """Nothing to free."""

    def _begin_games(self, where: Array) -> None:
        """Where the last row ended a game, the next one begins at row 0."""
        self._game[where] += 1
        self._row[where] = 0
        longest = self.options.episode_steps + self.options.extra_steps
        self._length[where] = self._random.integers(self.options.episode_steps, longest + 1, size=int(where.sum()))
        self._present[where] = True
        if self.options.visits:
            self._present[where] = self._chance(0.5)[where]
            self._present[where, 0, 0] = True
        self._last_action[where] = 0
        self._over[where] = False

    def _come_and_go(self, played: Array) -> tuple[Array, Array]:
        """Who leaves by the rules in this row, and who is cut off alone in it, `[n_games, teams, agents]`."""
        left, cut_off = np.zeros(self._agents, dtype=bool), np.zeros(self._agents, dtype=bool)
        if self.options.leaver_row >= 0:
            left[:, -1, -1] = played & (self._row > self.options.leaver_row) & self._present[:, -1, -1]
            self._present &= ~left
        if self.options.visits:
            there = self._present & played[:, None, None]
            there[:, 0, 0] = False
            left = there & self._chance(0.2)
            cut_off = there & ~left & self._chance(0.2)
            self._present = (self._present & ~left & ~cut_off) | (~cut_off & self._chance(0.3))
            self._present[:, 0, 0] = True
        return left, cut_off

    def _chance(self, share: float) -> Array:
        drawn: Array = self._random.random(self._agents) < share
        return drawn

    def _ends_by_rules(self) -> Array:
        if self.options.ends == "alternate":
            even: Array = self._game % 2 == 0
            return even
        return np.full(self.n_games, self.options.ends == "terminated")

    def _acting(self) -> Array:
        """Bool `[n_games, teams, agents]`: whose action will be used."""
        _, teams, agents = self._agents
        acting: Array = self._present & ~self._over[:, None, None]
        if self.options.turns and teams > 1:
            acting &= (self._row[:, None] % teams == np.arange(teams))[:, :, None]
        elif self.options.turns:
            acting &= (self._row[:, None] % agents == np.arange(agents))[:, None, :]
        return acting

    def _illegal_choice(self) -> Array:
        return self._row % self.options.choices

    def _check_legal(self, chosen: Array, used: Array) -> None:
        if not self.options.masks:
            return
        illegal = used & (chosen == self._illegal_choice()[:, None, None])
        if illegal.any():
            slot, team, agent = np.argwhere(illegal)[0]
            raise GameError(f"counting: slot {slot}, team {team}, agent {agent} took an action that its mask forbids")

    def _reward(self, played: Array) -> Array:
        worth = np.where(played, REWARD_PER_GAME * self._game + self._row, 0.0)
        per_agent = worth[:, None, None] * self._signs()[:, :, None]
        paid = self._present if self.options.visits else True  # a game that sums to zero pays who has left as well
        return np.broadcast_to(per_agent * paid, self._agents).astype(np.float32)

    def _signs(self) -> Array:
        """`[n_games, teams]`: +1, and for two teams +1 for the one that wins this game, -1 for the other."""
        if self.options.teams != 2:
            return np.ones(self._agents[:2])
        first = np.where(self._game % 2 == 0, 1.0, -1.0)
        return np.stack([first, -first], axis=1)

    def _outcome(self) -> Array:
        """Two teams win by turns; more than two draw; one has nobody to win against."""
        if self.options.teams == 1:
            return np.full(self._agents[:2], np.nan, dtype=np.float32)
        result = self._signs() if self.options.teams == 2 else np.zeros(self._agents[:2])
        return np.where(self._over[:, None], result, np.nan).astype(np.float32)

    def _observation(self) -> Observation:
        options = self.options
        observation: Observation = {
            "counter": self._counter(),
            "last_action": self._last_action.copy(),
            ACTING: self._acting(),
        }
        if options.visits:
            observation[PRESENT] = self._present.copy()
        if options.units:
            observation["units"], observation["units_mask"] = self._units()
        if options.kinds:
            observation["kind"] = self._per_agent(self._row % options.kinds).astype(np.int64)
        if options.shared:
            board = self._row[:, None, None] + np.arange(options.shared)
            observation["board"] = np.broadcast_to(board, (*self._agents[:2], options.shared)).astype(np.float32)
        if options.masks:
            legal = np.arange(options.choices) != self._illegal_choice()[:, None]
            observation[f"{ACTION_MASK_PREFIX}action"] = self._per_agent(legal)
        return observation

    def _counter(self) -> Array:
        counter = np.empty((*self._agents, 4), dtype=np.float32)
        counter[..., SLOT] = np.arange(self.n_games)[:, None, None]
        counter[..., GAME] = self._game[:, None, None]
        counter[..., ROW] = self._row[:, None, None]
        counter[..., AGENT] = np.arange(self._agents[1] * self._agents[2]).reshape(self._agents[1:])
        return counter

    def _units(self) -> tuple[Array, Array]:
        """Slot s is present while s <= row mod units, and its features are (s, row); absent slots are all zero."""
        slots = np.arange(self.options.units)
        present = slots <= (self._row % self.options.units)[:, None]
        features = np.stack(np.broadcast_arrays(slots, self._row[:, None]), axis=-1) * present[..., None]
        return self._per_agent(features).astype(np.float32), self._per_agent(present)

    def _per_agent(self, values: Array) -> Array:
        """`[n_games, ...]` to `[n_games, teams, agents, ...]`, freshly owned."""
        return np.broadcast_to(values[:, None, None], self._agents + values.shape[1:]).copy()

    def _per_team(self, values: Array) -> Array:
        return np.broadcast_to(values[:, None], self._agents[:2]).astype(np.float32)


def _spec(options: CountingOptions) -> GameSpec:
    entries: dict[str, spaces.Space[object]] = {
        "counter": spaces.Box(0.0, np.inf, (4,)),
        "last_action": spaces.Discrete(options.choices + 1),
    }
    heads: dict[str, spaces.Space[object]] = {"action": spaces.Discrete(options.choices)}
    if options.box_dims:
        heads["push"] = spaces.Box(-1.0, 1.0, (options.box_dims,))
    if options.units:
        entries["units"] = spaces.Box(0.0, np.inf, (options.units, 2))
        entries["units_mask"] = spaces.MultiBinary(options.units)
    if options.kinds:
        entries["kind"] = spaces.Discrete(options.kinds)
    if options.shared:
        entries["board"] = spaces.Box(0.0, np.inf, (options.shared,))
    return GameSpec(
        name="counting",
        teams=options.teams,
        agents_per_team=options.agents_per_team,
        observation_space=spaces.Dict(entries),
        action_space=spaces.Dict(heads),
        max_steps=options.episode_steps + options.extra_steps,
        zero_sum=options.teams == 2 and not options.visits,
        masked_heads=frozenset({"action"} if options.masks else ()),
        team_shared=frozenset({"board"} if options.shared else ()),
    )


def make_counting(n_games: int, seed: int, **options: object) -> CountingGame:
    """Build the game from an options table; `seed` is not needed before `reset`.

    Raises:
        GameError: an option that does not exist or whose value is out of range.
    """
    known = [option.name for option in fields(CountingOptions)]
    for option in options:
        if option not in known:
            raise GameError(f"game 'counting' has no option {option!r}; it has {', '.join(known)}")
    return CountingGame(n_games, CountingOptions(**options))  # type: ignore[arg-type]
