"""`quintet eval --save-replay N`: the first games of an evaluation, written down while they are played."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path

from quintet.control.errors import UsageError
from quintet.games.api import Actions, Observation, Transition, VectorGame
from quintet.games.skirmish.game import SkirmishGame
from quintet.games.skirmish.replay.file import GameRecorder, Replay
from quintet.games.skirmish.state import LAST_SEEN

Keep = Callable[[int, Replay], None]


class ReplayRecorder:
    """A skirmish of S slots whose first `wanted` games are kept: the k-th game of slot s is number k S + s.

    Those are the games that a match counts, as every slot plays the same number, or the first ones play one more.
    """

    def __init__(
        self,
        game: VectorGame,
        players: tuple[str, str],
        wanted: int,
        keep: Keep,
        on_step: Callable[[int], None] = lambda _: None,
    ) -> None:
        """`keep` gets the number of each game and its replay; `on_step` how many steps of a game are written down."""
        if not isinstance(game, SkirmishGame):
            raise UsageError(f"only games of skirmish can be kept as replays, and this is {game.spec.name}")
        self.game, self.players, self.wanted, self.keep, self.on_step = game, players, wanted, keep, on_step
        self.spec, self.n_games = game.spec, game.n_games
        self.bots: Mapping[str, str] = game.bots
        self._nth = [0] * game.n_games
        self._recorders: list[GameRecorder | None] = [None] * game.n_games

    def reset(self, seed: int) -> Observation:
        """Start anew, and write the first games down."""
        observation = self.game.reset(seed)
        self._nth = [0] * self.n_games
        self._recorders = [self._recorder(slot) for slot in range(self.n_games)]
        return observation

    def step(self, actions: Actions) -> Transition:
        """Play, write down, and keep what has ended."""
        begins = [self.game.state.game["phase"][slot] == LAST_SEEN for slot in range(self.n_games)]
        transition = self.game.step(actions)
        for slot, recorder in enumerate(self._recorders):
            if begins[slot]:
                self._nth[slot] += 1
                self._recorders[slot] = self._recorder(slot)
            elif recorder is not None:
                recorder.add(self.game.played[slot], self.game.state, slot)
                self.on_step(len(recorder.actions))
                if self.game.state.game["phase"][slot] == LAST_SEEN:
                    self._recorders[slot] = None
                    self.keep(self._number(slot), recorder.replay(self.game.state, slot))
        return transition

    def bot_actions(self, name: str) -> Actions:
        """As the game's own."""
        return self.game.bot_actions(name)

    def close(self) -> None:
        """As the game's own."""
        self.game.close()

    def _number(self, slot: int) -> int:
        """Of the game that is played in a slot, from 0."""
        return self._nth[slot] * self.n_games + slot

    def _recorder(self, slot: int) -> GameRecorder | None:
        """For the game that begins in a slot, if it is to be kept."""
        if self._number(slot) >= self.wanted:
            return None
        game, (player, rival) = self.game, self.players
        names = (player, rival) if slot % 2 == 0 else (rival, player)  # seats take turns, see `match.own_streams`
        start, seed = game.starts[slot], int(game.seeds[slot])
        return GameRecorder(game.preset.name, seed, start, game.state, slot, names)


def replay_folder(checkpoint: Path | None) -> Path:
    """Where an evaluation's replays go: `replays/` of the run that the checkpoint belongs to, or of this folder."""
    inside = checkpoint is not None and checkpoint.parent.name == "checkpoints"
    return (checkpoint.parent.parent if checkpoint is not None and inside else Path()) / "replays"


def replay_name(player: str, rival: str, seed: int, number: int) -> str:
    """A file's name: whoever plays, the seed, and which game it is, from 1."""
    words = re.sub(r"[^\w.-]+", "-", f"eval-{player}-vs-{rival}-seed{seed}-{number + 1:04d}")
    return f"{words}.replay"
