"""A game that is played while somebody watches: the newest weights against themselves, a bot or an older checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from quintet.control.config import RunConfig
from quintet.dashboard.arena.frame import agent_frames, heads_setting, picture_url
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
from quintet.evaluation.match import SeatedGame
from quintet.evaluation.players import BotPlayer, Player, RandomPlayer
from quintet.games.api import ACTING, Actions, Array, GameError, GameWithBots, GameWithPictures, VectorGame
from quintet.games.registry import make_game
from quintet.games.skirmish.game import SkirmishGame
from quintet.games.skirmish.replay.draw import snapshot
from quintet.games.skirmish.rules import REWARD_NAMES
from quintet.games.skirmish.state import State

DRAWN_FAMILIES = ("gymnasium:", "pettingzoo:")


class Game:
    """A session of games that follow one another. `next` plays a step and says what everybody saw and did, and why."""

    def __init__(self, request: StreamRequest) -> None:
        self.request = request
        self.config = run_config(request.path)
        self.game = make_drawn_game(self.config)
        spec = self.game.spec
        if request.opponent != ITSELF and spec.teams == 1:
            raise ArenaError(f"{spec.name} has one team and nobody to play against: the opponent must be {ITSELF!r}")
        self.skirmish = self.game if isinstance(self.game, SkirmishGame) else None
        self.eyes = Eyes(self.skirmish.preset, full_state=False) if self.skirmish else None
        wire = self.config.chunk_spec(spec)
        policy = new_policy(spec, self.config)
        self.weights = Weights(policy, request, wire)
        alone = request.opponent == ITSELF
        self.policy_view = PolicyView(
            policy, wire, spec.teams if alone else 1, seed=request.seed, greedy=request.greedy
        )
        self.rows, self.number, self.step = 0, 0, 0
        self.rival = self._rival(spec.teams - 1)
        self.parts = REWARD_NAMES if self.skirmish else ()
        self.setting = self._setting()
        self.table = SeatedGame(self.game, seed=request.seed)
        self.table.sitting = self._sitting()
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
        actions = self.table.choose()
        frame = {
            "game": self.number,
            "step": self.step,
            "first": self._begins,
            "last": self._is_over,
            "version": self.weights.version,
            "origin": self.weights.origin,
            "players": self._players(),
            "agents": agent_frames(
                acting=self.table.observation[ACTING][0] & ~np.bool_(self._is_over),
                actions={name: array[0] for name, array in actions.items()},
                traces=self._traces(),
                reward=self.reward,
                total=self.total,
                parts=self.gained,
                sums=self.sums,
            ),
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
            "checkpoints": list_checkpoints(self.request.path),
            "replays": list_replays(self.request.path),
        }

    def _rival(self, streams: int) -> Player | None:
        """The opponent, if it is not the policy itself.

        Raises:
            ArenaError, CheckpointError: there is no such bot or checkpoint.
        """
        opponent, spec = self.request.opponent, self.game.spec
        if opponent == ITSELF:
            return None
        if opponent == RANDOM:
            return RandomPlayer(spec, seed=self.request.seed)
        if opponent.startswith(BOT):
            bots: Mapping[str, str] = self.game.bots if isinstance(self.game, GameWithBots) else {}
            if opponent.removeprefix(BOT) not in bots:
                raise ArenaError(f"{spec.name} has no {opponent}; its bots: {', '.join(bots) or 'none'}")
            assert isinstance(self.game, GameWithBots)
            return BotPlayer(self.game, opponent.removeprefix(BOT), ~self._seats)
        policy = new_policy(spec, self.config)
        wire = self.config.chunk_spec(spec)
        load_checkpoint(policy, wire, self.request.path, opponent)
        return PolicyView(policy, wire, streams, seed=self.request.seed + 1, greedy=self.request.greedy)

    @property
    def _seats(self) -> Array:
        """[teams] bool: where the run's policy sits; against others it changes seats from game to game."""
        teams = np.arange(self.game.spec.teams)
        return np.ones(len(teams), np.bool_) if self.request.opponent == ITSELF else teams == self.number % len(teams)

    def _players(self) -> list[str]:
        other = f"version {int(self.request.opponent)}" if isinstance(self.rival, PolicyView) else self.request.opponent
        own = f"version {self.weights.version}" if self.weights.version else "untrained"
        return [own if mine else other for mine in self._seats]

    @property
    def _begins(self) -> bool:
        """Whether the row about to be played is a game's first."""
        return bool(self.table.attendance.first[0])

    @property
    def _is_over(self) -> bool:
        """Whether it is a finished game's last observation."""
        return bool(self.table.attendance.last[0])

    def _sitting(self) -> list[tuple[Player, Array]]:
        """Who sits where in this game."""
        seats = np.flatnonzero(self._seats), np.flatnonzero(~self._seats)
        if isinstance(self.rival, BotPlayer):
            self.rival.streams = seats[1]
        players: tuple[Player | None, ...] = self.policy_view, self.rival
        return [(player, at) for player, at in zip(players, seats, strict=True) if player is not None]

    def _traces(self) -> list[list[PolicyTrace] | None]:
        """Of each team at the row that was chosen for; None of whoever is no policy."""
        traces: list[list[PolicyTrace] | None] = [None] * self.game.spec.teams
        for player, at in self.table.sitting:
            if isinstance(player, PolicyView):
                for team, trace in zip(at, player.traces, strict=True):
                    traces[team] = trace
        return traces

    def _play(self, actions: Actions) -> None:
        """One step of the game, or the beginning of the next one."""
        old = self.skirmish.state.hero[0]["episode"].copy() if self.skirmish else None
        self.before = snapshot(self.skirmish.state) if self.skirmish else None
        transition = self.game.step(actions)
        self.table.go_on(transition)
        if self._begins:
            self.number, self.step, self.before = self.number + 1, 0, None
            self.total[...] = 0
            self.table.sitting = self._sitting()
        else:
            self.step += 1
        self.reward = transition.reward[0].astype(np.float64)
        self.total += self.reward
        if self.skirmish is not None and old is not None:
            new = self.skirmish.state.hero[0]["episode"]
            self.gained = (np.zeros_like(new) if self._begins else new - old).reshape(self.gained.shape)
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
