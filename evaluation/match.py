"""Players on the seats of a game, row by row; and a match: two of them over many slots, seats by turns."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from quintet.evaluation.players import Player, RandomPlayer
from quintet.games.actions import for_game
from quintet.games.api import Actions, Array, Transition, VectorGame
from quintet.games.attendance import Attendance
from quintet.games.episodes import EpisodeBooks


@dataclass(frozen=True, kw_only=True, slots=True)
class GameResult:
    """One counted game, from the seat of the player that is evaluated."""

    seat: int
    mean_return: float  # over the agents of its team
    length: int
    outcome: float | None  # +1 won, 0 drawn, -1 lost; None where the game has no winner
    components: Mapping[str, float] = field(default_factory=dict)  # `Transition.episode` of this seat


def own_streams(n_games: int, teams: int) -> Array:
    """[B] bool over slots x teams, team fastest: where the player sits; seats take turns over the slots."""
    own: Array = np.arange(n_games)[:, None] % teams == np.arange(teams)
    return own.reshape(-1)


class SeatedGame:
    """A game with somebody on every seat, played row by row by the row rules.

    Attributes:
        sitting: who sits where: players, and the numbers of their streams (slots x teams, team fastest).
        observation: of the row about to be played, as `attendance` has it.
    """

    def __init__(self, game: VectorGame, *, seed: int) -> None:
        self.game = game
        self.sitting: list[tuple[Player, Array]] = []
        self.observation = game.reset(seed)
        self.attendance = Attendance(game.spec, self.observation)

    def choose(self) -> Actions:
        """All players' choices put together, as the game takes them: per head [n_games, teams, A, ...]."""
        spec = self.game.spec
        streams = self.game.n_games * spec.teams
        rows = {name: array.reshape(streams, *array.shape[2:]) for name, array in self.observation.items()}
        first, ignored = (np.repeat(x, spec.teams) for x in (self.attendance.first, self.attendance.last))
        actions: Actions = {}
        for player, at in self.sitting:
            if not len(at):
                continue
            chosen = player.act({name: array[at] for name, array in rows.items()}, first[at], ignored[at])
            for name, array in chosen.items():
                whole = actions.setdefault(name, np.zeros((streams, *array.shape[1:]), array.dtype))
                whole[at] = array
        return for_game(actions, spec)

    def go_on(self, transition: Transition) -> None:
        """Move to the row that the game's step has shown."""
        self.attendance.advance(transition)
        self.observation = transition.observation


class Match(SeatedGame):
    """One player on one seat of every slot (`own_streams`), the other on all other seats."""

    def __init__(self, game: VectorGame, player: Player, opponent: Player | None, *, seed: int) -> None:
        n, teams = game.n_games, game.spec.teams
        self.seats = np.arange(n) % teams
        super().__init__(game, seed=seed)
        own = own_streams(n, teams)
        self.sitting = [(player, np.flatnonzero(own))]
        if opponent is not None:
            self.sitting.append((opponent, np.flatnonzero(~own)))
        # A slot that has played its share goes on, because games of a batch are stepped together, but costs no thought.
        self.sitting.append((RandomPlayer(game.spec, seed=seed), np.empty(0, np.int64)))
        self.episodes = EpisodeBooks(game.spec, n)

    def play(self, games: int, progress: Callable[[int], None]) -> list[GameResult]:
        """Play until every slot has finished its share; what it plays beyond is not counted.

        So long games count as often as short ones, which a count of the first `games` to end would not give.
        """
        n = self.game.n_games
        share = np.full(n, games // n) + (np.arange(n) < games % n)
        self._retire(np.flatnonzero(share == 0))
        results: list[GameResult] = []
        while share.any():
            ended = self._step()
            counted = [(slot, result) for slot, result in ended if share[slot] > 0]
            for slot, result in counted:
                share[slot] -= 1
                results.append(result)
                progress(1)
            self._retire(np.array([slot for slot, _ in counted if share[slot] == 0], np.int64))
        return results

    def _retire(self, slots: Array) -> None:
        """The players leave these slots to random choices."""
        if not len(slots):
            return
        teams = self.game.spec.teams
        gone = (slots[:, None] * teams + np.arange(teams)).reshape(-1)
        staying: list[tuple[Player, Array]] = []
        for player, streams in self.sitting[:-1]:
            stays = ~np.isin(streams, gone)
            player.keep(stays)
            staying.append((player, streams[stays]))
        idler, idle = self.sitting[-1]
        self.sitting = [*staying, (idler, np.concatenate([idle, gone]))]

    def _step(self) -> list[tuple[int, GameResult]]:
        """One row in every slot; the games that ended in it, by slot."""
        transition = self.game.step(self.choose())
        self.episodes.add(transition, self.attendance, 0)
        self.go_on(transition)
        ended = np.flatnonzero(self.attendance.last)
        return [(int(slot), self._result(int(slot), e)) for slot, e in zip(ended, self.episodes.drain(), strict=True)]

    def _result(self, slot: int, episode: Mapping[str, Any]) -> GameResult:
        seat = int(self.seats[slot])
        return GameResult(
            seat=seat,
            mean_return=episode["return"][seat],
            length=episode["length"],
            outcome=episode["outcome"][seat],
            components={name: values[seat] for name, values in episode["components"].items()},
        )
