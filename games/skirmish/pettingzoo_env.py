"""Skirmish as a PettingZoo environment, for those who bring their own training: `parallel_env()` and `env()`."""

from __future__ import annotations

import secrets
from typing import Any

import numpy as np
from gymnasium import spaces
from pettingzoo import AECEnv, ParallelEnv
from pettingzoo.utils.conversions import parallel_to_aec

from quintet.games.api import ACTING, ACTION_MASK_PREFIX, Actions, Array, GameError, Observation
from quintet.games.masks import choices
from quintet.games.registry import make_game
from quintet.games.skirmish.game import HEADS, SkirmishGame
from quintet.games.skirmish.replay.draw import Artist, snapshot
from quintet.games.skirmish.rules import STEP_S
from quintet.games.skirmish.start import SplitMix
from quintet.games.skirmish.state import State

TEAMS = ("blue", "red")


class SkirmishEnv(ParallelEnv):  # type: ignore[misc]
    """One game. Agents are `blue_0` ... `red_0` ...; each hero sees what its team sees, as if it were blue.

    Observations are flat dicts: the entries of the game's spec, and its masks as `action_mask/<head>` ([25, n] for the
    heads that depend on the primary action). An action that is not legal does nothing.
    """

    metadata = {"name": "skirmish_v0", "render_modes": ["rgb_array"], "render_fps": 1 / STEP_S}  # noqa: RUF012

    def __init__(
        self,
        preset: str = "skirmish-5v5",
        *,
        max_cycles: int | None = None,
        render_mode: str | None = None,
        **options: Any,
    ) -> None:
        """Build the environment.

        Args:
            preset: `skirmish-1v1`, `skirmish-3v3` or `skirmish-5v5`.
            max_cycles: steps after which a game is cut off: truncated, since no hero knows of it. None leaves it to the
                game's own limit, which terminates.
            render_mode: `rgb_array`, or None.
            options: of the game, such as `line_up` (see `quintet.games.skirmish.start.StartOptions`).

        Raises:
            GameError: an option or the render mode does not exist, or its value is out of range.
        """
        if render_mode not in (None, "rgb_array"):
            raise GameError(f"{preset}: render_mode is {render_mode!r}; expected rgb_array or None")
        game = make_game(preset, 1, 0, options)
        if not isinstance(game, SkirmishGame):
            raise GameError(f"{preset!r} is no preset of skirmish")
        self.game, self.max_cycles, self.render_mode = game, max_cycles, render_mode
        self.heroes = game.spec.agents_per_team
        self.possible_agents = [f"{team}_{agent}" for team in TEAMS for agent in range(self.heroes)]
        self.agents: list[str] = []
        self._seeds = SplitMix(secrets.randbits(64))
        self._observation_spaces = {agent: self._observation_space() for agent in self.possible_agents}
        self._action_spaces = {agent: self._action_space() for agent in self.possible_agents}
        self._artist: Artist | None = None
        self._before: State | None = None
        self._cycles = 0

    def observation_space(self, agent: str) -> spaces.Dict:
        """The same for everybody."""
        return self._observation_spaces[agent]

    def action_space(self, agent: str) -> spaces.Dict:
        """The same for everybody: `primary`, `target`, `x`, `y`, `item`."""
        return self._action_spaces[agent]

    def reset(
        self, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Observation], dict[str, dict[str, Any]]]:
        """Begin a game; without a seed, the next one after the last. `options` are given when it is built."""
        if seed is not None:
            self._seeds = SplitMix(seed)
        observation = self.game.reset(self._seeds.next())
        self.agents, self._cycles, self._before = self.possible_agents[:], 0, None
        return self._shared_out(observation), self._infos(observation)

    def step(
        self, actions: dict[str, dict[str, int]]
    ) -> tuple[dict[str, Observation], dict[str, float], dict[str, bool], dict[str, bool], dict[str, dict[str, Any]]]:
        """Play one step; once the game has ended there are no agents, and nothing happens."""
        if not self.agents:
            return {}, {}, {}, {}, {}
        if self.render_mode is not None:
            self._before = snapshot(self.game.state)
        result = self.game.step(self._gathered(actions))
        self._cycles += 1
        late = self.max_cycles is not None and self._cycles >= self.max_cycles
        cut = late and not result.ended[0]
        returned = (
            self._shared_out(result.observation),
            self._by_agent(result.reward[0].ravel().tolist()),
            self._by_agent(result.terminated[0].ravel().tolist()),
            dict.fromkeys(self.agents, cut),
            self._infos(result.observation),
        )
        if result.ended[0] or cut:
            self.agents = []
        return returned

    def render(self) -> Array | None:
        """A picture of the whole map, uint8 [height, width, 3]; None without a render mode."""
        if self.render_mode is None:
            return None
        if self._artist is None:
            self._artist = Artist(self.game.tables, teams=TEAMS)
        return self._artist.draw(snapshot(self.game.state), self._before)

    def close(self) -> None:
        """Nothing to free."""
        self.game.close()

    def _seat(self, agent: str) -> tuple[int, int]:
        return divmod(self.possible_agents.index(agent), self.heroes)

    def _by_agent(self, values: list[Any]) -> dict[str, Any]:
        return dict(zip(self.agents, values, strict=True))

    def _gathered(self, actions: dict[str, dict[str, int]]) -> Actions:
        """Who says nothing goes on with what it does."""
        gathered = {head: np.zeros((1, 2, self.heroes), np.int64) for head in HEADS}
        for agent, action in actions.items():
            team, hero = self._seat(agent)
            for head in HEADS:
                gathered[head][0, team, hero] = action[head]
        return gathered

    def _shared_out(self, observation: Observation) -> dict[str, Observation]:
        return {agent: self._seen_by(agent, observation) for agent in self.agents}

    def _seen_by(self, agent: str, observation: Observation) -> Observation:
        team, hero = self._seat(agent)
        shared = self.game.spec.team_shared
        return {
            name: (observation[name][0, team] if name in shared else observation[name][0, team, hero]).copy()
            for name in self._observation_spaces[agent]
        }

    def _infos(self, observation: Observation) -> dict[str, dict[str, Any]]:
        """Whether an action of that hero would count now."""
        return {agent: {ACTING: bool(observation[ACTING][0][self._seat(agent)])} for agent in self.agents}

    def _observation_space(self) -> spaces.Dict:
        spec = self.game.spec
        entries = {name: space for name, space in spec.observation_space.items() if name not in spec.uses}
        for head in sorted(spec.masked_heads):
            rows = (choices(spec, "primary"),) if head in spec.masked_by_primary else ()
            entries[f"{ACTION_MASK_PREFIX}{head}"] = spaces.MultiBinary((*rows, choices(spec, head)))
        return spaces.Dict(entries)

    def _action_space(self) -> spaces.Dict:
        return spaces.Dict({head: spaces.Discrete(choices(self.game.spec, head)) for head in HEADS})


def parallel_env(**options: Any) -> SkirmishEnv:
    """The environment in which all heroes move at once; see `SkirmishEnv`."""
    return SkirmishEnv(**options)


def env(**options: Any) -> AECEnv:
    """The same, one hero after another."""
    return parallel_to_aec(SkirmishEnv(**options))
