"""A recorded game of skirmish in the Arena, with the traces of the run's policy at every step of it."""

from __future__ import annotations

from typing import Any

import numpy as np

from quintet.dashboard.arena.frame import agent_frames, heads_setting
from quintet.dashboard.arena.policy_view import PolicyTrace, PolicyView
from quintet.dashboard.arena.request import NEWEST, ArenaError, StreamRequest, list_checkpoints, list_replays
from quintet.dashboard.arena.scene import Eyes, choice_labels, choice_names, scene
from quintet.dashboard.arena.scene import setting as scene_setting
from quintet.dashboard.arena.weights import load_checkpoint, new_policy, run_config
from quintet.games.api import ACTING, Actions, Array, GameSpec
from quintet.games.masks import is_read
from quintet.games.registry import make_game
from quintet.games.skirmish.game import HEADS
from quintet.games.skirmish.replay.draw import snapshot
from quintet.games.skirmish.replay.file import play, read_replay
from quintet.games.skirmish.rules import OFFSETS, PRESETS, REWARD_NAMES, STEP_S
from quintet.games.skirmish.state import State
from quintet.optimizer.checkpoint import CheckpointError
from quintet.wire.chunk import NO_ACTION


class Recording:
    """One session of a replay. Whoever played, the traces are those of the run's policy in their place."""

    def __init__(self, request: StreamRequest) -> None:
        self.request = request
        self.replay = read_replay(request.path / "replays" / request.replay)
        self.preset = PRESETS[self.replay.preset]
        self.config = run_config(request.path)
        game = make_game(self.replay.preset, 1, 0, self.config.game_options if self._own_game else {})
        self.spec: GameSpec = game.spec
        game.close()
        self.eyes = Eyes(self.preset, full_state="hidden" in self.spec.observation_space.spaces)
        self.version = 0
        self.policy_view = self._policy_view()
        self.states = play(self.replay)
        self.step = 0
        self.before: State | None = None
        self.total = np.zeros((2, self.preset.heroes))
        self.setting = self._setting()

    def next(self) -> dict[str, Any] | None:
        """The next step; None after the last.

        Raises:
            ReplayError: the game goes another way than it went.
        """
        found = next(self.states, None)
        if found is None:
            return None
        tables, state = found
        now = snapshot(state)
        observation, slots = self.eyes.look(state, tables)
        rows = {name: array[0] for name, array in observation.items()}
        last = self.step == self.replay.steps
        taken = self._taken(slots, rows[ACTING], last=last)
        traces = None
        if self.policy_view is not None:
            self.policy_view.act(rows, np.full(2, self.step == 0), np.full(2, last), taken)
            traces = self.policy_view.traces
        frame = {
            "game": 0,
            "step": self.step,
            "first": self.step == 0,
            "last": last,
            "version": self.version,
            "origin": f"thoughts of checkpoint {self.version:06d}"
            if self.policy_view
            else "no checkpoint, no thoughts",
            "players": list(self.replay.players),
            "agents": self._agents(now, rows[ACTING] & ~np.bool_(last), taken, traces),
            "scene": scene(now, self.before, tables, self.replay.players),
            "slots": slots.tolist(),
        }
        self.before, self.step = now, self.step + 1
        return frame

    def close(self) -> None:
        """Nothing is open."""

    @property
    def _own_game(self) -> bool:
        return self.config.game == self.replay.preset

    def _policy_view(self) -> PolicyView | None:
        """The policy of the checkpoint that was asked for; None where there is none that plays this game."""
        if not self._own_game:
            if self.request.player != NEWEST:
                raise ArenaError(
                    f"the replay is of {self.replay.preset}, checkpoint {self.request.player} plays {self.config.game}"
                )
            return None
        policy, wire = new_policy(self.spec, self.config), self.config.chunk_spec(self.spec)
        try:
            self.version = load_checkpoint(policy, wire, self.request.path, self.request.player)
        except CheckpointError:
            if self.request.player != NEWEST:
                raise
            return None
        return PolicyView(policy, wire, 2, seed=0, greedy=False)

    def _setting(self) -> dict[str, Any]:
        return {
            "kind": "replay",
            "game": self.replay.preset,
            "teams": 2,
            "agents": self.preset.heroes,
            "team_names": list(self.spec.team_names),
            "step_s": STEP_S,
            "steps": self.replay.steps,
            "units": self.config.model.lstm_units,
            "heads": heads_setting(self.spec, choice_names, choice_labels),
            "parts": list(REWARD_NAMES),
            "scene": scene_setting(self.preset),
            "pictures": False,
            "bots": [],
            "checkpoints": list_checkpoints(self.request.path) if self._own_game else [],
            "replays": list_replays(self.request.path),
        }

    def _taken(self, slots: Array, acting: Array, *, last: bool) -> Actions:
        """What everybody did at this step, per head [2, A]; -1 where nothing was done or the head is not read."""
        lead = (2, self.preset.heroes)
        if last:
            return {head: np.full(lead, NO_ACTION, np.int64) for head in HEADS}
        played = self.replay.actions[self.step].reshape(*lead, len(HEADS))
        return heads_of(self.spec, played, slots, acting)

    def _agents(
        self, now: State, acting: Array, taken: Actions, traces: list[list[PolicyTrace]] | None
    ) -> list[dict[str, Any]]:
        lead = (2, self.preset.heroes)
        new = now.hero[0]["episode"].reshape(*lead, -1)
        old = new if self.before is None else self.before.hero[0]["episode"].reshape(*lead, -1)
        gained = new - old
        # As `rewards.collect` does: what a hero has gained less what the enemies have, in the mean.
        reward = gained.sum(axis=-1) - gained.sum(axis=-1).mean(axis=1)[::-1, None]
        self.total += reward
        return agent_frames(
            acting=acting,
            actions=taken,
            traces=[None, None] if traces is None else traces,
            reward=reward,
            total=self.total,
            parts=gained,
            sums=new,
        )


def heads_of(spec: GameSpec, played: Array, slots: Array, acting: Array) -> Actions:
    """From rows as the engine takes them, [2, A, 5] in the map's own view, to heads [2, A] in the teams' views.

    `slots` [2, N] says which unit each team has in which slot. A target that the team no longer has in its table counts
    as slot 0, as nothing that a policy could have meant.
    """
    primary, unit, x, y, item = (played[..., k].astype(np.int64) for k in range(len(HEADS)))
    turned = np.array([False, True])[:, None]
    found = unit[..., None] == slots[:, None, :]
    actions: Actions = {
        "primary": primary,
        "target": np.where(unit >= 0, found.argmax(axis=-1), 0),
        "x": np.where(turned, OFFSETS - 1 - x, x),
        "y": np.where(turned, OFFSETS - 1 - y, y),
        "item": item,
    }
    return {
        head: np.where(acting & is_read(spec, head, actions, acting.shape), array, NO_ACTION)
        for head, array in actions.items()
    }
