"""A game that is played while somebody watches: the newest weights against themselves, a bot or an older checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from quintet.control.config import RunConfig
from quintet.dashboard.arena.frame import agent_frame, heads_setting, picture_url
from quintet.dashboard.arena.policy_view import PolicyTrace, PolicyView
from quintet.dashboard.arena.request import (
    BOT,
    ITSELF,
    RANDOM,
    ArenaError,
    StreamRequest,
    list_checkpoints,
    list_replays,
)
from quintet.dashboard.arena.scene import Eyes, choice_labels, choice_names, scene
from quintet.dashboard.arena.scene import setting as scene_setting
from quintet.dashboard.arena.weights import Weights, load_checkpoint, new_policy, run_config
from quintet.games.actions import in_range
from quintet.games.api import ACTING, Actions, Array, GameError, GameWithBots, GameWithPictures, Observation, VectorGame
from quintet.games.contract import random_actions
from quintet.games.registry import make_game
from quintet.games.skirmish.game import SkirmishGame
from quintet.games.skirmish.replay.draw import snapshot
from quintet.games.skirmish.rules import REWARD_NAMES
from quintet.games.skirmish.state import State

DRAWN_FAMILIES = ("gymnasium:", "pettingzoo:")


class Game:
    """One show of games that follow one another. `next` plays a step and says what everybody saw, thought and did."""

    def __init__(self, show: StreamRequest) -> None:
        self.show = show
        self.config = run_config(show.path)
        self.game = make_drawn_game(self.config)
        spec = self.game.spec
        if show.opponent != ITSELF and spec.teams == 1:
            raise ArenaError(f"{spec.name} has one team and nobody to play against: the opponent must be {ITSELF!r}")
        self.skirmish = self.game if isinstance(self.game, SkirmishGame) else None
        self.eyes = Eyes(self.skirmish.preset, full_state=False) if self.skirmish else None
        wire = self.config.chunk_spec(spec)
        policy = new_policy(spec, self.config)
        self.weights = Weights(policy, show, wire)
        alone = show.opponent == ITSELF
        self.mind = PolicyView(policy, wire, spec.teams if alone else 1, seed=show.seed, greedy=show.greedy)
        self.rival = self._rival(spec.teams - 1)
        self.random = np.random.default_rng(show.seed)
        self.parts = REWARD_NAMES if self.skirmish else ()
        self.setting = self._setting()
        self.rows, self.number, self.step = 0, 0, 0
        self.first, self.last = True, False
        self.observation = self.game.reset(show.seed)
        self.before: State | None = None
        self.actions: Actions | None = None
        lead = (spec.teams, spec.agents_per_team)
        self.reward, self.total = np.zeros(lead), np.zeros(lead)
        self.gained, self.sums = np.zeros((2, *lead, len(self.parts)))

    def next(self) -> dict[str, Any]:
        """Play on by one step and look at it."""
        if self.actions is not None:
            self._play(self.actions)
        if self.rows % self.config.rollout.bptt_steps == 0:
            self.weights.refresh()  # at a window border, as workers do
        self.rows += 1
        actions, thoughts = self._choose()
        frame = {
            "game": self.number,
            "step": self.step,
            "first": self.first,
            "last": self.last,
            "version": self.weights.version,
            "origin": self.weights.origin,
            "players": self._players(),
            "agents": self._agents(actions, thoughts),
            **self._look(),
        }
        self.actions = actions
        return frame

    def close(self) -> None:
        """Leave Redis, and free the game."""
        self.weights.close()
        self.game.close()

    def _setting(self) -> dict[str, Any]:
        spec = self.game.spec
        return {
            "kind": "live",
            "game": spec.name,
            "teams": spec.teams,
            "agents": spec.agents_per_team,
            "team_names": list(spec.team_names) or [f"team {team}" for team in range(spec.teams)],
            "step_s": spec.step_s,
            "steps": None,
            "units": self.config.model.lstm_units,
            "heads": heads_setting(spec, choice_names, choice_labels) if self.skirmish else heads_setting(spec),
            "parts": list(self.parts),
            "scene": scene_setting(self.skirmish.preset) if self.skirmish else None,
            "pictures": isinstance(self.game, GameWithPictures),
            "bots": list(self.game.bots) if isinstance(self.game, GameWithBots) else [],
            "checkpoints": list_checkpoints(self.show.path),
            "replays": list_replays(self.show.path),
        }

    def _rival(self, streams: int) -> PolicyView | None:
        """The mind of an older checkpoint, if that is the opponent.

        Raises:
            ArenaError, CheckpointError: there is no such bot or checkpoint.
        """
        opponent, spec = self.show.opponent, self.game.spec
        if opponent in (ITSELF, RANDOM):
            return None
        if opponent.startswith(BOT):
            bots: Mapping[str, str] = self.game.bots if isinstance(self.game, GameWithBots) else {}
            if opponent.removeprefix(BOT) not in bots:
                raise ArenaError(f"{spec.name} has no {opponent}; its bots: {', '.join(bots) or 'none'}")
            return None
        policy = new_policy(spec, self.config)
        wire = self.config.chunk_spec(spec)
        load_checkpoint(policy, wire, self.show.path, opponent)
        return PolicyView(policy, wire, streams, seed=self.show.seed + 1, greedy=self.show.greedy)

    @property
    def _seats(self) -> Array:
        """[teams] bool: where the run's policy sits; against others it changes seats from game to game."""
        teams = np.arange(self.game.spec.teams)
        return np.ones(len(teams), np.bool_) if self.show.opponent == ITSELF else teams == self.number % len(teams)

    def _players(self) -> list[str]:
        other = self.show.opponent if self.rival is None else f"version {int(self.show.opponent)}"
        own = f"version {self.weights.version}" if self.weights.version else "untrained"
        return [own if mine else other for mine in self._seats]

    def _choose(self) -> tuple[Actions, list[list[PolicyTrace] | None]]:
        """Everybody's actions, per head [1, teams, A, ...], and the thoughts of the teams that think."""
        spec, seats = self.game.spec, self._seats
        rows = {name: array[0] for name, array in self.observation.items()}
        chosen: dict[str, Array] = {}
        thoughts: list[list[PolicyTrace] | None] = [None] * spec.teams
        for mind, at in ((self.mind, np.flatnonzero(seats)), (self.rival, np.flatnonzero(~seats))):
            if mind is None or not len(at):
                continue
            actions, thought = mind.think(
                {name: array[at] for name, array in rows.items()},
                np.full(len(at), self.first), np.full(len(at), self.last),
            )  # fmt: skip
            _put(chosen, actions, at, spec.teams)
            for k, team in enumerate(at):
                thoughts[team] = thought[k]
        others = np.flatnonzero(~seats)
        if self.rival is None and len(others):
            _put(chosen, self._unthinking(rows, others), others, spec.teams)
        return {name: in_range(array[None], spec.action_space[name]) for name, array in chosen.items()}, thoughts

    def _unthinking(self, rows: Observation, at: Array) -> Actions:
        """What a bot, or chance, does on these seats."""
        if self.show.opponent == RANDOM:
            return random_actions(self.game.spec, {name: array[at] for name, array in rows.items()}, self.random)
        assert isinstance(self.game, GameWithBots)
        actions = self.game.bot_actions(self.show.opponent.removeprefix(BOT))
        return {name: array[0][at] for name, array in actions.items()}

    def _play(self, actions: Actions) -> None:
        """One step of the game, or the beginning of the next one."""
        old = self.skirmish.state.hero[0]["episode"].copy() if self.skirmish else None
        self.before = snapshot(self.skirmish.state) if self.skirmish else None
        transition = self.game.step(actions)
        self.first, self.last = self.last, bool(transition.ended[0]) and not self.last
        if self.first:
            self.number, self.step, self.before = self.number + 1, 0, None
            self.total[...] = 0
        else:
            self.step += 1
        self.observation = transition.observation
        self.reward = transition.reward[0].astype(np.float64)
        self.total += self.reward
        if self.skirmish is not None and old is not None:
            new = self.skirmish.state.hero[0]["episode"]
            self.gained = (np.zeros_like(new) if self.first else new - old).reshape(self.gained.shape)
            self.sums = new.reshape(self.gained.shape)

    def _look(self) -> dict[str, Any]:
        """The scene or the picture."""
        if self.skirmish is not None and self.eyes is not None:
            state, tables = self.skirmish.state, self.skirmish.tables
            _, slots = self.eyes.look(state, tables)
            names = self._players()
            return {"scene": scene(snapshot(state), self.before, tables, (names[0], names[1])), "slots": slots.tolist()}
        if isinstance(self.game, GameWithPictures):
            picture = self.game.picture()
            return {} if picture is None else {"picture": picture_url(picture)}
        return {}

    def _agents(self, actions: Actions, thoughts: list[list[PolicyTrace] | None]) -> list[dict[str, Any]]:
        spec = self.game.spec
        acting = self.observation[ACTING][0]
        found = []
        for team in range(spec.teams):
            for agent in range(spec.agents_per_team):
                thought = thoughts[team]
                found.append(
                    agent_frame(
                        acting=bool(acting[team, agent]) and not self.last,
                        action={name: array[0, team, agent].tolist() for name, array in actions.items()},
                        thought=None if thought is None else thought[agent],
                        reward=float(self.reward[team, agent]),
                        total=float(self.total[team, agent]),
                        parts=self.gained[team, agent].tolist(),
                        sums=self.sums[team, agent].tolist(),
                    )
                )
        return found


def _put(whole: dict[str, Array], part: Actions, at: Array, teams: int) -> None:
    """Write the actions of some teams, per head [len(at), A, ...], where they belong in [teams, A, ...]."""
    for name, array in part.items():
        where = whole.setdefault(name, np.zeros((teams, *array.shape[1:]), array.dtype))
        where[at] = array


def make_drawn_game(config: RunConfig) -> VectorGame:
    """The run's game in one slot, able to draw itself if it can."""
    options = dict(config.game_options)
    if config.game.startswith(DRAWN_FAMILIES):
        drawn = {**options, "kwargs": {**options.get("kwargs", {}), "render_mode": "rgb_array"}}
        try:
            return make_game(config.game, 1, config.seed, drawn)
        except GameError:
            pass  # it takes no render mode; the game below then says whether it can be played at all
    return make_game(config.game, 1, config.seed, options)
