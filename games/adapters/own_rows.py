"""An environment's own observations as rows for a policy, and its own actions back: to play without a `VectorGame`.

A row has n_games x teams streams, team fastest: entries [B, A, ...], `acting` [B, A], `action_mask/<head>` [B, A, n].
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import gymnasium
import numpy as np
from gymnasium.vector import VectorEnv
from gymnasium.vector.utils import batch_space, concatenate, create_empty_array, iterate

from quintet.games.actions import for_game
from quintet.games.adapters.gymnasium import GymnasiumLoopGame, GymnasiumVectorGame
from quintet.games.adapters.gymnasium_team import EnvironmentOfSeveral
from quintet.games.adapters.pettingzoo import PettingZooGame
from quintet.games.adapters.spaces import ACTION_MASK, Layouts
from quintet.games.adapters.wrappers import NamedWrapper, named_wrappers
from quintet.games.api import ACTING, Actions, Array, GameDataError, GameError, GameSpec, Observation
from quintet.games.checks.blame import described_error
from quintet.games.checks.data import Mismatch, described
from quintet.games.copies import closing
from quintet.games.registry import make_game

WRAPPERS = "wrappers"


class OwnRows(ABC):
    """Rows of one kind of environment, one game after the other."""

    def __init__(self, spec: GameSpec) -> None:
        self.spec = spec
        self.n_games: int | None = None

    def begin(self, n_games: int | None) -> None:
        """New games begin: of `n_games` environments side by side, or of one alone, whose observations have no axis
        more.

        Raises:
            GameError: there cannot be so many.
        """
        if n_games is not None and n_games < 1:
            raise GameError(f"n_games is {n_games}; it must be at least 1, or be left out for one environment alone")
        self.n_games = n_games

    def games(self, observation: Any) -> int:
        """How many it is of."""
        return self.n_games or 1

    @abstractmethod
    def read(self, observation: Any, first: Array, info: Any, acting: Any) -> Observation:
        """One row.

        Args:
            observation: as the environment shows it.
            first: [n_games] bool, where it is the first of a game.
            info: what `reset` or `step` returned beside it, or None.
            acting: the agents whose turn it is; None: all that are shown something.

        Raises:
            GameDataError: it is not what the environment's space says.
            GameError: something is missing.
        """

    @abstractmethod
    def actions(self, chosen: Actions) -> Any:
        """What the environment's `step` takes, from what B streams chose: [B, A, ...] per head."""


class VectorGameRows(OwnRows):
    """A `VectorGame`'s observations [n_games, teams, A, ...], and the actions that it takes."""

    def games(self, observation: Any) -> int:
        """See `OwnRows.games`."""
        return len(observation[ACTING])

    def read(self, observation: Any, first: Array, info: Any, acting: Any) -> Observation:
        """See `OwnRows.read`; the observation itself says who acts."""
        return {name: array.reshape(-1, *array.shape[2:]) for name, array in observation.items()}

    def actions(self, chosen: Actions) -> Actions:
        """See `OwnRows.actions`."""
        return for_game(chosen, self.spec)


class GymnasiumRows(OwnRows):
    """A Gymnasium environment, or a vector environment of several; the run's wrappers lie around what it shows."""

    def __init__(self, spec: GameSpec, layouts: Layouts, env: Any, layers: Sequence[NamedWrapper]) -> None:
        """`env` has the environment's own spaces, which `layers` change to those that `layouts` read."""
        super().__init__(spec)
        several = isinstance(env, VectorEnv)
        self._layouts, self._layers = layouts, layers
        self._space = env.single_observation_space if several else env.observation_space
        self._choices = env.single_action_space if several else env.action_space
        self._wrapped: list[_Wrapped] = []

    def begin(self, n_games: int | None) -> None:
        """See `OwnRows.begin`."""
        super().begin(n_games)
        self._wrapped = [_Wrapped(self._space, self._choices, self._layers) for _ in range(n_games or 1)]

    def read(self, observation: Any, first: Array, info: Any, acting: Any) -> Observation:
        """See `OwnRows.read`."""
        n, (layout, actions) = self.n_games or 1, (self._layouts.observations, self._layouts.actions)
        in_info = self._layouts.masked and not layout.has_mask
        if in_info and info is None:
            raise GameError(f"{self.spec.name} shows its action masks in `info`: hand it on with act(..., info=info)")
        arrays, masks = layout.empty((n,)), np.ones((n, actions.mask_size), np.int8)
        acts = np.ones((n, 1), bool)
        try:
            for i, (part, about) in enumerate(self._parts(observation, info or {})):
                shown, told = self._wrapped[i].look(part, about, begins=bool(first[i]))
                layout.write(arrays, (i,), shown)
                mask = told.get(ACTION_MASK) if in_info else shown[ACTION_MASK] if layout.has_mask else None
                if mask is not None:
                    masks[i] = actions.flat_mask(mask, self.spec.name)
            row = layout.finish(arrays, (n, 1))
            if self._layouts.masked:
                row.update(actions.split_bits(masks[:, None], acts))
        except Mismatch as error:
            raise GameDataError(f"{self.spec.name}: {error}") from error
        return {**row, ACTING: acts}

    def actions(self, chosen: Actions) -> Any:
        """See `OwnRows.actions`: one action of the action space, or a vector environment's array of them."""
        rows = self._layouts.actions.rows(for_game(chosen, self.spec), self.n_games or 1)
        own = [env.act(action) for env, action in zip(self._wrapped, rows, strict=True)]
        if self.n_games is None:
            return own[0]
        return concatenate(self._choices, own, create_empty_array(self._choices, self.n_games))  # type: ignore[arg-type]

    def _parts(self, observation: Any, info: Mapping[str, Any]) -> list[tuple[Any, Mapping[str, Any]]]:
        """Each environment's own observation and info."""
        if self.n_games is None:
            return [(observation, info)]
        parts = list(iterate(batch_space(self._space, self.n_games), observation))
        if len(parts) != self.n_games:
            raise Mismatch(f"the observation is of {len(parts)} environments; expected {self.n_games}, as reset said")
        masks = info.get(ACTION_MASK, [None] * self.n_games)
        return [(part, {} if mask is None else {ACTION_MASK: mask}) for part, mask in zip(parts, masks, strict=True)]


class _Told(gymnasium.Env[Any, Any]):
    """An environment that shows what it was told, and so is one around which the run's wrappers can be laid."""

    def __init__(self, observation_space: Any, action_space: Any) -> None:
        self.observation_space, self.action_space = observation_space, action_space
        self.told: tuple[Any, dict[str, Any]] = (None, {})
        self.steps = 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """A game's first observation."""
        return self.told

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """The next one; no wrapper that changes what is observed needs the reward."""
        self.steps += 1
        observation, info = self.told
        return observation, 0.0, False, False, info


class _Wrapped:
    """One environment's observations and actions, through the run's wrappers."""

    def __init__(self, observation_space: Any, action_space: Any, layers: Sequence[NamedWrapper]) -> None:
        self._told = _Told(observation_space, action_space)
        self._layers = layers
        self._env: Any = self._told
        for layer in layers:
            self._env = self._tried(layer.apply, self._env)
        self._taken: Any = None

    def look(self, observation: Any, info: Mapping[str, Any], *, begins: bool) -> tuple[Any, Mapping[str, Any]]:
        """What the policy was trained on in its place."""
        if not self._layers:
            return observation, info
        self._told.told, self._told.steps = (observation, dict(info)), 0
        if begins or self._taken is None:
            shown, about = self._tried(self._env.reset)
        else:
            shown, _, _, _, about = self._tried(self._env.step, self._taken)
            if self._told.steps != 1:
                raise self._needed(f"one of them makes {self._told.steps} steps in one")
        return shown, about

    def act(self, action: Any) -> Any:
        """The environment's own action for one of the policy's."""
        self._taken, env = action, self._env
        while isinstance(env, gymnasium.Wrapper):
            if isinstance(env, gymnasium.ActionWrapper):
                action = env.action(action)
            env = env.env
        return action

    def _tried(self, function: Any, *arguments: Any) -> Any:
        try:
            return function(*arguments)
        except Exception as error:
            raise self._needed(described_error(error)) from error

    def _needed(self, why: str) -> GameError:
        names = ", ".join(layer.name for layer in self._layers)
        return GameError(
            f"the run's wrappers ({names}) need the environment itself: {why}; lay them around it, and hand over what "
            "they show: load_policy(..., wrapped=True)"
        )


class PettingZooRows(OwnRows):
    """One PettingZoo environment: observations, infos and actions by agent.

    In a turn-based one `acting` says whose turn it is. Every agent is shown something at every move, as in training.
    """

    def __init__(self, game: PettingZooGame) -> None:
        super().__init__(game.spec)
        self._layouts, self._seats = game.layouts, game.seats
        # Of a team behind Gymnasium's API the agents have no names: all that it takes and gives are tuples.
        self._tuples = isinstance(game.origin, EnvironmentOfSeveral)
        self._shape = (1, self.spec.teams, self.spec.agents_per_team)
        self.begin(None)

    def begin(self, n_games: int | None) -> None:
        """See `OwnRows.begin`."""
        if n_games is not None:
            raise GameError(f"{self.spec.name} is played in one environment at a time: leave n_games out")
        self._entries = self._layouts.observations.empty(self._shape)  # who is gone goes on seeing what it saw last
        self._layouts.observations.clear(self._entries, 0)
        self._mask = np.ones((*self._shape, self._layouts.actions.mask_size), np.int8)
        self._acting: list[Any] = []

    def read(self, observation: Any, first: Array, info: Any, acting: Any) -> Observation:
        """See `OwnRows.read`."""
        layouts, infos = self._layouts, info or {}
        if self._tuples:
            observation = dict(zip(self._seats, observation, strict=False))
        if not isinstance(observation, Mapping):
            raise GameError(f"{self.spec.name}: the observation is {described(observation)}; expected a dict by agent")
        known = acting in self._seats if acting.__hash__ is not None else False
        self._acting = list(observation) if acting is None else [acting] if known else list(acting)
        for agent in [*observation, *self._acting]:
            if agent not in self._seats:
                raise GameError(
                    f"{self.spec.name} has no agent {agent!r}; its agents: {', '.join(map(str, self._seats))}"
                )
        in_info = layouts.masked and not layouts.observations.has_mask
        try:
            for agent, shown in observation.items():
                at = (0, *self._seats[agent])
                layouts.observations.write(self._entries, at, shown)
                if layouts.masked:
                    mask = infos.get(agent, {}).get(ACTION_MASK) if in_info else shown[ACTION_MASK]
                    self._mask[at] = 1 if mask is None else layouts.actions.flat_mask(mask, self.spec.name)
            acts = np.zeros(self._shape, bool)
            for agent in self._acting:
                acts[(0, *self._seats[agent])] = True
            row = layouts.observations.finish({name: x.copy() for name, x in self._entries.items()}, self._shape[1:])
            if layouts.masked:
                row.update(layouts.actions.split_bits(self._mask[0].copy(), acts[0]))
        except Mismatch as error:
            raise GameDataError(f"{self.spec.name}: {error}") from error
        return {**row, ACTING: acts[0]}

    def actions(self, chosen: Actions) -> Any:
        """See `OwnRows.actions`: one for each agent that acts, by agent."""
        _, teams, agents = self._shape
        rows = self._layouts.actions.rows(for_game(chosen, self.spec), teams * agents)
        places = {agent: team * agents + seat for agent, (team, seat) in self._seats.items()}
        if self._tuples:
            return tuple(rows[place] for place in places.values())
        return {agent: rows[places[agent]] for agent in self._acting}


def own_rows(name: str, options: Mapping[str, Any], *, wrapped: bool) -> tuple[GameSpec, OwnRows | None]:
    """A game's spec, and rows of its environments; None of a game that is none of Gymnasium's or PettingZoo's.

    Args:
        name: of the game, as `make_game` takes it.
        options: of the game.
        wrapped: the observations will be those of an environment that is in the run's wrappers already.

    Raises:
        GameError: see `make_game`.
    """
    layers = [] if wrapped else named_wrappers(options.get(WRAPPERS, ()))
    with closing(make_game(name, 1, 0, options)) as game:
        if isinstance(game, PettingZooGame):
            return game.spec, PettingZooRows(game)
        if not isinstance(game, GymnasiumVectorGame | GymnasiumLoopGame):
            return game.spec, None
        if not layers:
            return game.spec, GymnasiumRows(game.spec, game.layouts, game.origin, ())
        return game.spec, GymnasiumRows(game.spec, game.layouts, _without_wrappers(name, options), layers)


def _without_wrappers(name: str, options: Mapping[str, Any]) -> Any:
    """An environment as it is before the run's wrappers are laid around it, closed already."""
    bare: list[Any] = []

    def look(env: Any) -> Any:
        bare.append(env)
        return env

    spied = {**options, WRAPPERS: [NamedWrapper("", look, takes_vectors=True), *options[WRAPPERS]]}
    make_game(name, 1, 0, spied).close()
    return bare[0]
