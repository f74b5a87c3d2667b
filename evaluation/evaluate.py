"""`quintet eval`: a checkpoint or a bot plays whole games against another or a random player; exact for a seed."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import Progress

from quintet.control.errors import UsageError
from quintet.control.output import answer, stdout
from quintet.evaluation.entrants import Contestant, Entrant, Scripted, bot_source, game_of, name_of, read_entrant, seat
from quintet.evaluation.match import GameResult, Match, own_streams
from quintet.evaluation.players import Player
from quintet.evaluation.replays import ReplayRecorder, replay_folder, replay_name
from quintet.evaluation.request import RANDOM, EvalRequest
from quintet.evaluation.results import SeatVerdict, judge, keep_evaluation, verdict_json, verdict_text
from quintet.games.api import Array, GameSpec, VectorGame
from quintet.games.registry import make_game
from quintet.games.skirmish.game import SkirmishGame
from quintet.games.skirmish.replay.file import Replay, write_replay

MAX_SLOTS = 200  # games of one inference batch


@dataclass(frozen=True, kw_only=True, slots=True)
class Played:
    """A match that was played."""

    spec: GameSpec
    results: Sequence[GameResult]
    player_source: str | None  # hash of a bot's source
    opponent_source: str | None
    kept: Sequence[Path] = ()  # replays


def evaluate(
    player: str | Path,
    opponent: str | Path | None = None,
    *,
    game: str | None = None,
    games: int = 1000,
    greedy: bool = False,
    seed: int = 1,
) -> dict[str, Any]:
    """Have somebody play whole games; the same call gives the same numbers.

    Args:
        player: a checkpoint folder, a run folder or a run's name; or `bot:NAME`, `random`.
        opponent: likewise; random, if left out.
        game: what is played where neither is a checkpoint.
        games: how many, split evenly over the seats.
        greedy: take the likeliest action instead of a drawn one.
        seed: of the games and of the draws of actions.

    Returns:
        What `quintet eval --json` prints: "return_mean", "win_rate" and their intervals, and under "seats" each seat's.

    Raises:
        UsageError, CheckpointError, ConfigError, GameError: what cannot be played, and why.
    """
    rival = None if opponent is None else str(opponent)
    request = EvalRequest(checkpoint=str(player), opponent=rival, game=game, games=games, greedy=greedy, seed=seed)
    return _judged(request, lambda _: None).found


def carry_out(request: EvalRequest) -> None:
    """Carry out `quintet eval`; a progress bar on stderr, the verdict on stdout.

    Raises:
        UsageError, CheckpointError, ConfigError, GameError: what cannot be played, and why.
    """
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task(f"playing {request.games:,} games", total=request.games)
        judged = _judged(request, lambda n: progress.advance(task, n))
    kept = judged.kept
    if kept:
        console.print(f"{len(kept)} replays in {kept[0].parent}/", soft_wrap=True, highlight=False)
    if request.json:
        answer(json.dumps(judged.found))
    else:
        Console(file=stdout()).print(verdict_text(judged.verdicts, judged.title))


@dataclass(frozen=True, kw_only=True, slots=True)
class _Judged:
    """What came of an evaluation."""

    title: str
    verdicts: Sequence[SeatVerdict]
    found: dict[str, Any]  # as JSON
    kept: Sequence[Path]  # replays


def _judged(request: EvalRequest, progress: Callable[[int], None]) -> _Judged:
    """Play a match and judge it; the run that the checkpoint belongs to keeps the verdict."""
    player = read_entrant(request.checkpoint)
    rival = None if request.opponent is None else read_entrant(request.opponent)
    played = play_match(player, rival, request, progress=progress)
    spec = played.spec
    seats = spec.team_names or tuple(f"team {team}" for team in range(spec.teams))
    verdicts = judge(played.results, seats if spec.teams > 1 else ("all games",))
    against = None if spec.teams == 1 else str(rival or RANDOM)
    found = verdict_json(verdicts, _facts(player, against, played, request))
    if isinstance(player, Contestant):
        keep_evaluation(player.path, found)
    title = f"{_with_source(str(player), played.player_source)}, {spec.name}"
    if against is not None:
        title += f", against {_with_source(against, played.opponent_source)}"
    return _Judged(title=title, verdicts=verdicts, found=found, kept=played.kept)


def _facts(player: Entrant, against: str | None, played: Played, request: EvalRequest) -> dict[str, Any]:
    """What was played, for the verdict's JSON."""
    info = player.info if isinstance(player, Contestant) else None
    return {
        "checkpoint": str(player),
        "version": info and info.version,
        "agent_steps": info and info.agent_steps,
        "bot_source": played.player_source,
        "game": played.spec.name,
        "opponent": against,
        "opponent_bot_source": played.opponent_source,
        "games": request.games,
        "greedy": request.greedy,
        "seed": request.seed,
    }


def _with_source(name: str, source: str | None) -> str:
    return name if source is None else f"{name} (source {source[:12]})"


def play_match(
    player: Entrant, rival: Entrant | None, request: EvalRequest, *, progress: Callable[[int], None]
) -> Played:
    """Have somebody play, against somebody else or, where that is None, a random player.

    Raises:
        UsageError, CheckpointError, ConfigError, GameError: what cannot be played, and why.
    """
    games, seed, greedy = request.games, request.seed, request.greedy
    if games < 1:
        raise UsageError(f"--games is {games}; it must be at least 1")
    if not 0 <= request.save_replay <= games:
        raise UsageError(f"--save-replay is {request.save_replay}; it must be from 0 to --games, {games}")
    name, options = game_of(player, rival, request.game)
    probe = make_game(name, 1, seed, options)
    probe.close()
    teams = probe.spec.teams
    slots = min(MAX_SLOTS // teams * teams or teams, -(-games // teams) * teams)
    game, kept = make_game(name, slots, seed, options), list[Path]()
    try:
        if request.save_replay:
            game = keep_replays(game, player, rival, request, kept)
        one, other = _seated(game, player, rival, own_streams(slots, teams), seed=seed, greedy=greedy)
        return Played(
            spec=game.spec,
            results=Match(game, one, other, seed=seed).play(games, progress),
            player_source=bot_source(player, game),
            opponent_source=bot_source(rival, game),
            kept=kept,
        )
    finally:
        game.close()


def _seated(
    game: VectorGame, player: Entrant, rival: Entrant | None, own: Array, *, seed: int, greedy: bool
) -> tuple[Player, Player | None]:
    """Who sits on the player's own streams, and who on the others; nobody where there are none.

    Raises:
        UsageError: there is nobody to play against, or no such bot.
    """
    if game.spec.teams == 1 and rival is not None:
        raise UsageError(f"{game.spec.name} has one team and nobody to play against: leave out --opponent")
    one = seat(player, game, own, seed=seed, greedy=greedy)
    if game.spec.teams == 1:
        return one, None
    return one, seat(rival or Scripted(RANDOM), game, ~own, seed=seed + 1, greedy=greedy)


def keep_replays(
    game: VectorGame, player: Entrant, rival: Entrant | None, request: EvalRequest, kept: list[Path]
) -> VectorGame:
    """The same game, which writes its first games into files and puts their paths into `kept`.

    Raises:
        UsageError: it is no game of skirmish.
    """
    names = name_of(player), name_of(rival or Scripted(RANDOM))
    folder = replay_folder(player.path if isinstance(player, Contestant) else None)

    def keep(number: int, replay: Replay) -> None:
        path = folder / replay_name(names[0], names[1], request.seed, number)
        write_replay(path, replay)
        kept.append(path)

    return ReplayRecorder(game, names, request.save_replay, keep)


@dataclass(frozen=True, kw_only=True, slots=True)
class PlayedGame:
    """One game that was played."""

    result: GameResult  # from the first player's seat
    replay: Replay | None  # of a game of skirmish


def play(
    player: str | Path,
    opponent: str | Path | None = None,
    *,
    game: str | None = None,
    seed: int = 1,
    greedy: bool = False,
    to_watch: bool = False,
    progress: Callable[[int, int], None] = lambda *_: None,
) -> PlayedGame:
    """Have somebody play one game, on the first seat; the same call gives the same game.

    Args:
        player: a checkpoint folder, a run folder or a run's name; or `bot:NAME`, `random`.
        opponent: likewise; random, if left out.
        game: what is played where neither is a checkpoint.
        seed: of the game and of the draws of actions.
        greedy: take the likeliest action instead of a drawn one.
        to_watch: refuse a game that makes no replay.
        progress: of skirmish, called after every step with its number and how many there may be.

    Raises:
        UsageError, CheckpointError, ConfigError, GameError: what cannot be played, and why.
    """
    one, other = read_entrant(player), None if opponent is None else read_entrant(opponent)
    rival = other or Scripted(RANDOM)
    name, options = game_of(one, rival, game)
    replays: list[Replay] = []
    playing = make_game(name, 1, seed, options)
    try:
        teams, most = playing.spec.teams, playing.spec.max_steps
        if isinstance(playing, SkirmishGame):
            players = name_of(one), name_of(rival)
            playing = ReplayRecorder(
                playing, players, 1, lambda _, replay: replays.append(replay), lambda step: progress(step, most or step)
            )
        elif to_watch:
            raise UsageError(f"only games of skirmish can be watched, and {one} plays {name}")
        first, against = _seated(playing, one, other, own_streams(1, teams), seed=seed, greedy=greedy)
        (result,) = Match(playing, first, against, seed=seed).play(1, lambda _: None)
    finally:
        playing.close()
    return PlayedGame(result=result, replay=replays[0] if replays else None)
