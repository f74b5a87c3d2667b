"""A skirmish that writes down the games of one slot while it is played like any other."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from games.api import Actions, Observation, Transition
from games.skirmish.game import SkirmishGame
from games.skirmish.replay import Recorder, Replay
from games.skirmish.state import LAST_SEEN


class RecordedGame:
    """`SkirmishGame` with a log: `replay` is the first game of the slot that ended, or what there is of it so far."""

    def __init__(
        self,
        game: SkirmishGame,
        players: tuple[str, str],
        slot: int = 0,
        on_step: Callable[[int], None] | None = None,
    ) -> None:
        self.game, self.players, self.slot, self.on_step = game, players, slot, on_step
        self.spec, self.n_games = game.spec, game.n_games
        self.bots: Mapping[str, str] = game.bots
        self._recorder: Recorder | None = None
        self._finished: Replay | None = None

    @property
    def replay(self) -> Replay | None:
        """None before anything was played."""
        if self._finished is not None or self._recorder is None:
            return self._finished
        return self._recorder.replay(self.game.state, self.slot)

    def reset(self, seed: int) -> Observation:
        """Forget what was written, and start anew."""
        observation = self.game.reset(seed)
        game, slot = self.game, self.slot
        start, first = game.starts[slot], int(game.seeds[slot])
        self._recorder = Recorder(game.preset.name, first, start, game.state, slot, self.players)
        self._finished = None
        return observation

    def step(self, actions: Actions) -> Transition:
        """Play, and write the slot's actions down."""
        transition = self.game.step(actions)
        if self._recorder is not None and self._finished is None:
            self._recorder.add(self.game.played[self.slot], self.game.state, self.slot)
            if self.on_step is not None:
                self.on_step(len(self._recorder.actions))
            if self.game.state.game["phase"][self.slot] == LAST_SEEN:
                self._finished = self._recorder.replay(self.game.state, self.slot)
        return transition

    def bot_actions(self, name: str) -> Actions:
        """As the game's own."""
        return self.game.bot_actions(name)

    def close(self) -> None:
        """As the game's own."""
        self.game.close()
