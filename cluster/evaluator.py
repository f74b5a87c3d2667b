"""`quintet eval`: a checkpoint plays whole games, against a random player or another checkpoint; exact for a seed."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from rich.console import Console
from rich.progress import Progress

from cluster.failure import UsageError
from cluster.players import Player, PolicyPlayer, RandomPlayer
from cluster.run_folder import checkpoint_path
from cluster.verdict import judge, verdict_json, verdict_table
from control.config import RunConfig, parse_config
from games.api import Actions, Array, GameSpec, VectorGame
from games.registry import make_game
from model.policy import Policy
from model.weights import load_weights
from optimizer.checkpoint import CheckpointError, CheckpointInfo, read_info, read_policy
from rollout_workers.self_play import EpisodeBooks
from wire.chunk import chunk_spec

MAX_SLOTS = 128


@dataclass(frozen=True, kw_only=True, slots=True)
class GameResult:
    """One counted game, from the seat of the player that is evaluated."""

    seat: int
    mean_return: float  # over the agents of its team
    length: int
    outcome: float | None  # +1 won, 0 drawn, -1 lost; None where the game has no winner


class Match:
    """One player on one seat of every slot, the other on all other seats; seats take turns over the slots."""

    def __init__(self, game: VectorGame, player: Player, opponent: Player | None, *, seed: int) -> None:
        self.game, self.player, self.opponent = game, player, opponent
        n, teams = game.n_games, game.spec.teams
        self.seats = np.arange(n) % teams
        own = np.zeros((n, teams), np.bool_)
        own[np.arange(n), self.seats] = True
        self.own = own.reshape(-1)  # [B] over slots x teams, team fastest
        self.observation = game.reset(seed)
        self.first = np.ones(n, np.bool_)
        self.last_row = np.zeros(n, np.bool_)
        self.books = EpisodeBooks(game.spec, n)

    def play(self, games: int, progress: Callable[[int], None]) -> list[GameResult]:
        """Play until every slot has finished its share; what it plays beyond is not counted.

        So long games count as often as short ones, which a count of the first `games` to end would not give.
        """
        n = self.game.n_games
        share = np.full(n, games // n) + (np.arange(n) < games % n)
        results: list[GameResult] = []
        while share.any():
            for slot, result in self._step():
                if share[slot] > 0:
                    share[slot] -= 1
                    results.append(result)
                    progress(1)
        return results

    def _step(self) -> list[tuple[int, GameResult]]:
        """One row in every slot; the games that ended in it, by slot."""
        transition = self.game.step(self._actions())
        ended = np.flatnonzero(transition.ended & ~self.last_row)
        self.books.add(transition, self.last_row, 0)
        self.first = self.last_row
        self.last_row = transition.ended & ~self.last_row
        self.observation = transition.observation
        return [(int(slot), self._result(int(slot), e)) for slot, e in zip(ended, self.books.drain(), strict=True)]

    def _result(self, slot: int, episode: Mapping[str, Any]) -> GameResult:
        seat = int(self.seats[slot])
        return GameResult(
            seat=seat,
            mean_return=episode["return"][seat],
            length=episode["length"],
            outcome=episode["outcome"][seat],
        )

    def _actions(self) -> Actions:
        """Both players' choices put together: per head [n_games, teams, A, ...]."""
        spec = self.game.spec
        n, teams, agents = self.game.n_games, spec.teams, spec.agents_per_team
        streams = {name: array.reshape(n * teams, *array.shape[2:]) for name, array in self.observation.items()}
        first, ignored = np.repeat(self.first, teams), np.repeat(self.last_row, teams)
        parts = [(self.own, self.player)] + ([(~self.own, self.opponent)] if self.opponent is not None else [])
        actions: Actions = {}
        for where, player in parts:
            chosen = player.act({name: array[where] for name, array in streams.items()}, first[where], ignored[where])
            for name, array in chosen.items():
                whole = actions.setdefault(name, np.zeros((n * teams, *array.shape[1:]), array.dtype))
                whole[where] = array
        return {
            name: _clipped(array.reshape(n, teams, agents, *array.shape[2:]), spec.action_space[name])
            for name, array in actions.items()
        }


def _clipped(array: Array, space: spaces.Space[object]) -> Array:
    return np.clip(array, space.low, space.high) if isinstance(space, spaces.Box) else array


@dataclass(frozen=True, kw_only=True, slots=True)
class Contestant:
    """A checkpoint that was read."""

    path: Path
    info: CheckpointInfo
    config: RunConfig


def read_contestant(path: Path) -> Contestant:
    """The checkpoint that a person means by `path`.

    Raises:
        UsageError: there is none.
        CheckpointError: it is damaged.
    """
    folder = checkpoint_path(path)
    info = read_info(folder)
    return Contestant(path=folder, info=info, config=parse_config(info.config, source=f"the configuration in {folder}"))


def seat_policy(contestant: Contestant, game: GameSpec, streams: int, *, seed: int, greedy: bool) -> PolicyPlayer:
    """A player with a checkpoint's weights.

    Raises:
        CheckpointError: it was trained on another game, or is damaged.
    """
    config, info = contestant.config, contestant.info
    spec = chunk_spec(
        game,
        lstm_units=config.model.lstm_units,
        bptt_steps=config.rollout.bptt_steps,
        chunk_steps=config.rollout.chunk_steps,
    )
    if spec.hash != info.spec_hash:
        raise CheckpointError(
            f"checkpoint {contestant.path} is of {info.game!r} with spec {info.spec_hash}; {game.name!r} as it is now "
            f"gives spec {spec.hash}: it cannot play this game"
        )
    policy = Policy(game, config.model).use_device(torch.device("cpu"))
    load_weights(policy, read_policy(contestant.path, info))
    return PolicyPlayer(policy, spec, streams, seed=seed, greedy=greedy)


@dataclass(frozen=True, kw_only=True, slots=True)
class EvalRequest:
    """What `quintet eval` was told."""

    checkpoint: Path
    opponent: str | None = None  # "random" or a checkpoint; None is "random" where there is somebody to play against
    games: int = 1000
    greedy: bool = False
    seed: int = 1
    json: bool = False


def evaluate(request: EvalRequest) -> None:
    """Carry out `quintet eval`; a progress bar on stderr, the verdict on stdout.

    Raises:
        UsageError, CheckpointError, GameError: what cannot be played, and why.
    """
    contestant = read_contestant(request.checkpoint)
    rival = None if request.opponent in (None, "random") else read_contestant(Path(str(request.opponent)))
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task(f"playing {request.games:,} games", total=request.games)
        spec, results = play_match(contestant, rival, request, progress=lambda n: progress.advance(task, n))
    seats = spec.team_names or tuple(f"team {team}" for team in range(spec.teams))
    verdicts = judge(results, seats if spec.teams > 1 else ("all games",))
    against = None if spec.teams == 1 else "random" if rival is None else str(rival.path)
    if request.json:
        facts = {
            "checkpoint": str(contestant.path),
            "version": contestant.info.version,
            "agent_steps": contestant.info.agent_steps,
            "game": spec.name,
            "opponent": against,
            "games": request.games,
            "greedy": request.greedy,
            "seed": request.seed,
        }
        print(json.dumps(verdict_json(verdicts, facts)))
        return
    title = f"{contestant.path}, {spec.name}" + (f", against {against}" if against else "")
    Console().print(verdict_table(verdicts, title))


def play_match(
    contestant: Contestant, rival: Contestant | None, request: EvalRequest, *, progress: Callable[[int], None]
) -> tuple[GameSpec, Sequence[GameResult]]:
    """Have a checkpoint play, against another one or, where that is None, a random player.

    Raises:
        UsageError, CheckpointError, GameError: what cannot be played, and why.
    """
    games, seed, greedy = request.games, request.seed, request.greedy
    if games < 1:
        raise UsageError(f"--games is {games}; it must be at least 1")
    config = contestant.config
    probe = make_game(config.game, 1, seed, config.game_options)
    probe.close()
    teams = probe.spec.teams
    if teams == 1 and request.opponent is not None:
        raise UsageError(f"{config.game} has one team and nobody to play against: leave out --opponent")
    slots = min(MAX_SLOTS // teams * teams or teams, -(-games // teams) * teams)
    game = make_game(config.game, slots, seed, config.game_options)
    try:
        player = seat_policy(contestant, game.spec, slots, seed=seed, greedy=greedy)
        opponent: Player | None = None
        if rival is not None:
            opponent = seat_policy(rival, game.spec, slots * (teams - 1), seed=seed + 1, greedy=greedy)
        elif teams > 1:
            opponent = RandomPlayer(game.spec, seed=seed + 1)
        return game.spec, Match(game, player, opponent, seed=seed).play(games, progress)
    finally:
        game.close()
