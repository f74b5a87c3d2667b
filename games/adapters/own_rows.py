"""An environment's own observations as rows for a policy, and its own actions back: to play without a `VectorGame`.

A row has n_games x teams streams, team fastest: entries [B, A, ...], `acting` [B, A], `action_mask/<head>` [B, A, n].
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Hashable, Iterable, Mapping, Sequence
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
Index = tuple[int, int, int]  # slot, team, agent


class OwnRows(ABC):
    """Rows of one kind of environment, one game after the other."""

    def __init__(self, spec: GameSpec, layouts: Layouts) -> None:
        self.spec, self._layouts = spec, layouts
        self.begin(None)

    def begin(self, n_games: int | None) -> None:
        """New games begin: in `n_games` environments side by side, or in one, whose observations have no axis for it.

        Raises:
            GameError: there cannot be so many.
        """
        if n_games is not None and n_games < 1:
            raise GameError(f"n_games is {n_games}; it must be at least 1, or be left out for one environment alone")
        self.n_games = n_games
        lead = (self.games, self.spec.teams, self.spec.agents_per_team)
        self._entries = self._layouts.observations.empty(lead)  # who is shown nothing goes on seeing what it saw last
        for slot in range(self.games):
            self._layouts.observations.clear(self._entries, slot)
        self._mask = np.ones((*lead, self._layouts.actions.mask_size), np.int8)

    @property
    def games(self) -> int:
        """How many games a row is of."""
        return self.n_games or 1

    @abstractmethod
    def read(self, observation: Any, first: Array, info: Any, acting: Any) -> Observation:
        """One row.

        Args:
            observation: as the environment shows it.
            first: [n_games] bool, where it is the first of a game.
            info: what `reset` or `step` returned beside it, or None.
            acting: PettingZoo's agents whose turn it is, one or several; None: all that are shown something.

        Raises:
            GameDataError: it is not what the environment's space says.
            GameError: something is missing.
        """

    @abstractmethod
    def actions(self, chosen: Actions) -> Any:
        """What the environment's `step` takes, from what B streams chose: [B, A, ...] per head."""

    def _row(self, parts: Iterable[tuple[Index, Any, Mapping[str, Any]]], acting: Array, info: Any) -> Observation:
        """The row of what is shown to each (slot, team, agent), where `acting` [B, A] says who acts."""
        layouts, name = self._layouts, self.spec.name
        in_info = layouts.masked and not layouts.observations.has_mask
        if in_info and info is None:
            raise GameError(f"{name} shows its action masks in `info`: hand it on with act(..., info=info)")
        try:
            for at, shown, about in parts:
                layouts.observations.write(self._entries, at, shown)
                if layouts.masked:
                    if not in_info and ACTION_MASK not in shown:
                        raise Mismatch(
                            f"the observation has no {ACTION_MASK!r}, which its space has; hand on all of it"
                        )
                    mask = about.get(ACTION_MASK) if in_info else shown[ACTION_MASK]
                    self._mask[at] = 1 if mask is None else layouts.actions.flat_mask(mask, name)
            row = layouts.observations.finish({key: x.copy() for key, x in self._entries.items()}, acting.shape)
            if layouts.masked:
                row.update(layouts.actions.split_bits(self._mask.reshape(*acting.shape, -1).copy(), acting))
        except Mismatch as error:
            raise GameDataError(f"{name}: {error}") from error
        return {**row, ACTING: acting}


class GymnasiumRows(OwnRows):
    """A Gymnasium environment, or a vector environment of several; the run's wrappers lie around what it shows."""

    def __init__(self, spec: GameSpec, layouts: Layouts, env: Any, layers: Sequence[NamedWrapper]) -> None:
        """`env` has the environment's own spaces, which `layers` change to those that `layouts` read."""
        several = isinstance(env, VectorEnv)
        self._space = env.single_observation_space if several else env.observation_space
        self._choices = env.single_action_space if several else env.action_space
        self._layers = layers
        super().__init__(spec, layouts)

    def begin(self, n_games: int | None) -> None:
        """See `OwnRows.begin`."""
        super().begin(n_games)
        self._wrapped = [_Wrapped(self._space, self._choices, self._layers) for _ in range(self.games)]

    def read(self, observation: Any, first: Array, info: Any, acting: Any) -> Observation:
        """See `OwnRows.read`."""
        parts = zip(self._wrapped, self._each(observation), self._infos(info or {}), first.tolist(), strict=True)
        shown = (((i, 0, 0), *env.look(part, about, begins)) for i, (env, part, about, begins) in enumerate(parts))
        return self._row(shown, np.ones((self.games, 1), bool), info)

    def actions(self, chosen: Actions) -> Any:
        """See `OwnRows.actions`: one action of the action space, or a vector environment's array of them."""
        rows = self._layouts.actions.rows(for_game(chosen, self.spec), self.games)
        own = [env.act(action) for env, action in zip(self._wrapped, rows, strict=True)]
        if self.n_games is None:
            return own[0]
        return concatenate(self._choices, own, create_empty_array(self._choices, self.n_games))  # type: ignore[arg-type]

    def _each(self, observation: Any) -> list[Any]:
        """Each environment's own observation."""
        if self.n_games is None:
            return [observation]
        try:
            parts = list(iterate(batch_space(self._space, self.n_games), observation))
        except (TypeError, KeyError):
            parts = []
        if len(parts) != self.n_games:
            raise GameError(
                f"{self.spec.name}: the observation is {described(observation)}; expected those of {self.n_games} "
                "environments side by side, as reset said"
            )
        return parts

    def _infos(self, info: Mapping[str, Any]) -> list[Mapping[str, Any]]:
        """Each environment's own info; of a vector environment's only the masks are read."""
        if self.n_games is None:
            return [info]
        masks = info.get(ACTION_MASK, [None] * self.n_games)
        return [{} if mask is None else {ACTION_MASK: mask} for mask in masks]


class _Told(gymnasium.Env[Any, Any]):
    """An environment that shows what it was told, and so is one around which the run's wrappers can be laid."""

    def __init__(self, observation_space: Any, action_space: Any) -> None:
        self.observation_space, self.action_space = observation_space, action_space
        self.told: tuple[Any, dict[str, Any]] | None = None
        self.steps = 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """A game's first observation."""
        assert self.told is not None, "look tells first"
        return self.told

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """The next one; no wrapper that changes what is observed needs the reward."""
        self.steps += 1
        assert self.told is not None, "look tells first"
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

    def look(self, observation: Any, info: Mapping[str, Any], begins: bool) -> tuple[Any, Mapping[str, Any]]:
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
            told, space = self._told.told, self._told.observation_space
            if told is not None and not _looks_like(space, told[0]):
                raise GameDataError(
                    f"the observation is {described(told[0])}; expected one of {space}, as the environment shows it"
                ) from error
            raise self._needed(described_error(error)) from error

    def _needed(self, why: str) -> GameError:
        names = ", ".join(layer.name for layer in self._layers)
        return GameError(
            f"the run's wrappers ({names}) need the environment itself: {why}; lay them around it, and hand over what "
            "they show: load_policy(..., wrapped=True)"
        )


def _looks_like(space: Any, observation: Any) -> bool:
    """Whether this may be one of the space's, of whatever dtype."""
    if isinstance(space, gymnasium.spaces.Box):
        return isinstance(observation, np.ndarray) and observation.shape == space.shape
    return bool(space.contains(observation))


class PettingZooRows(OwnRows):
    """One PettingZoo environment: observations, infos and actions by agent.

    In a turn-based one `acting` says whose turn it is. Every agent is shown something at every move, as in training.
    """

    def __init__(self, game: PettingZooGame) -> None:
        self._seats = game.seats
        # Of a team behind Gymnasium's API the agents have no names: all that it takes and gives are tuples.
        self._tuples = isinstance(game.origin, EnvironmentOfSeveral)
        self._acting: list[Any] = []
        super().__init__(game.spec, game.layouts)

    def begin(self, n_games: int | None) -> None:
        """See `OwnRows.begin`."""
        if n_games is not None:
            raise GameError(f"{self.spec.name} is played in one environment at a time: leave n_games out")
        super().begin(None)

    def read(self, observation: Any, first: Array, info: Any, acting: Any) -> Observation:
        """See `OwnRows.read`."""
        if self._tuples:
            observation = dict(zip(self._seats, observation, strict=False))
        if not isinstance(observation, Mapping):
            raise GameError(f"{self.spec.name}: the observation is {described(observation)}; expected a dict by agent")
        one = isinstance(acting, str) or (isinstance(acting, Hashable) and acting in self._seats)
        self._acting = list(observation) if acting is None else [acting] if one else list(acting)
        for agent in [*observation, *self._acting]:
            if agent not in self._seats:
                raise GameError(
                    f"{self.spec.name} has no agent {agent!r}; its agents: {', '.join(map(str, self._seats))}"
                )
        acts = np.zeros((self.spec.teams, self.spec.agents_per_team), bool)
        for agent in self._acting:
            acts[self._seats[agent]] = True
        infos = info or {}
        parts = (((0, *self._seats[agent]), shown, infos.get(agent, {})) for agent, shown in observation.items())
        return self._row(parts, acts, info)

    def actions(self, chosen: Actions) -> Any:
        """See `OwnRows.actions`: one for each agent that acts, by agent."""
        agents = self.spec.agents_per_team
        rows = self._layouts.actions.rows(for_game(chosen, self.spec), self.spec.teams * agents)
        own = {agent: rows[team * agents + seat] for agent, (team, seat) in self._seats.items()}
        return tuple(own.values()) if self._tuples else {agent: own[agent] for agent in self._acting}


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
