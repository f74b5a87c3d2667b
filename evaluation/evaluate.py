"""`quintet eval`: a checkpoint or a bot plays whole games against another or a random player; exact for a seed."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import Progress

from quintet.control.config import RunConfig, parse_config
from quintet.control.errors import UsageError
from quintet.control.output import answer, stdout
from quintet.control.run_folder import checkpoint_path, shown
from quintet.evaluation.match import GameResult, Match, own_streams
from quintet.evaluation.players import BotPlayer, Player, PolicyPlayer, RandomPlayer
from quintet.evaluation.replays import RecordedGame
from quintet.evaluation.results import judge, keep_evaluation, verdict_json, verdict_text
from quintet.games.api import Array, GameSpec, GameWithBots, VectorGame
from quintet.games.dotted import nearest
from quintet.games.registry import make_game
from quintet.games.skirmish.game import SkirmishGame
from quintet.games.skirmish.replay.file import Replay
from quintet.model.policy import Policy
from quintet.model.weights import load_masters
from quintet.optimizer.checkpoint import CheckpointInfo, check_spec_is, read_info, read_policy

MAX_SLOTS = 200  # games of one inference batch
BOT = "bot:"
RANDOM = "random"


@dataclass(frozen=True, kw_only=True, slots=True)
class Contestant:
    """A checkpoint that was read."""

    path: Path
    info: CheckpointInfo
    config: RunConfig
    shown: str  # the path as a person meets it

    def __str__(self) -> str:
        return self.shown


@dataclass(frozen=True, slots=True)
class Scripted:
    """A player without a network: `random`, or `bot:NAME`."""

    name: str

    def __str__(self) -> str:
        return self.name


Entrant = Contestant | Scripted


def read_entrant(text: str | Path) -> Entrant:
    """Whoever a person means: `random`, `bot:NAME`, or else a checkpoint.

    Raises:
        UsageError: there is no such checkpoint.
        CheckpointError: it is damaged.
    """
    if str(text) == RANDOM or str(text).startswith(BOT):
        return Scripted(str(text))
    return read_contestant(Path(text))


def read_contestant(path: Path) -> Contestant:
    """The checkpoint that a person means by `path`.

    Raises:
        UsageError: there is none.
        CheckpointError: it is damaged.
    """
    folder = checkpoint_path(path)
    info = read_info(folder)
    config = parse_config(info.config, source=f"the configuration in {folder}")
    return Contestant(path=folder, info=info, config=config, shown=shown(folder, Path.cwd()))


def seat(entrant: Entrant, game: VectorGame, streams: Array, *, seed: int, greedy: bool) -> Player:
    """A player for the streams of a game where `streams` [B] bool is true.

    Raises:
        UsageError: the game has no such bot.
        CheckpointError: a checkpoint was trained on another game, or is damaged.
    """
    if isinstance(entrant, Contestant):
        return seat_policy(entrant, game.spec, int(streams.sum()), seed=seed, greedy=greedy)
    if entrant.name == RANDOM:
        return RandomPlayer(game.spec, seed=seed)
    bot_source(entrant, game)
    assert isinstance(game, GameWithBots)
    return BotPlayer(game, entrant.name.removeprefix(BOT), streams)


def bot_source(entrant: Entrant | None, game: VectorGame) -> str | None:
    """The hash of a bot's source and rules; None for everybody else.

    Raises:
        UsageError: the game has no such bot.
    """
    if not isinstance(entrant, Scripted) or entrant.name == RANDOM:
        return None
    name, bots = entrant.name.removeprefix(BOT), game.bots if isinstance(game, GameWithBots) else {}
    if name not in bots:
        known = ", ".join(f"{BOT}{bot}" for bot in bots) or "none"
        hint = nearest(name, bots, prefix=BOT)
        raise UsageError(f"{game.spec.name} has no bot {name!r}{hint}; its bots: {known}")
    return bots[name]


def seat_policy(contestant: Contestant, game: GameSpec, streams: int, *, seed: int, greedy: bool) -> PolicyPlayer:
    """A player with a checkpoint's weights.

    Raises:
        CheckpointError: it was trained on another game, or is damaged.
    """
    config, info = contestant.config, contestant.info
    spec = config.chunk_spec(game)
    check_spec_is(contestant.path, info, spec)
    policy = Policy(game, config.model).use_device(torch.device("cpu"))
    load_masters(policy, read_policy(contestant.path, info), info.precision)
    return PolicyPlayer(policy, spec, streams, seed=seed, greedy=greedy)


@dataclass(frozen=True, kw_only=True, slots=True)
class EvalRequest:
    """What `quintet eval` was told."""

    player: str | Path  # see `read_entrant`
    opponent: str | Path | None = None  # None is random where there is somebody to play against
    game: str | None = None  # needed where neither is a checkpoint, which says itself what it plays
    games: int = 1000
    greedy: bool = False
    seed: int = 1
    json: bool = False
    save_replay: int = 0  # so many games, the first ones, are kept


@dataclass(frozen=True, kw_only=True, slots=True)
class Played:
    """A match that was played."""

    spec: GameSpec
    results: Sequence[GameResult]
    player_source: str | None  # hash of a bot's source
    opponent_source: str | None
    kept: Sequence[Path] = ()  # replays


def evaluate(request: EvalRequest) -> None:
    """Carry out `quintet eval`; a progress bar on stderr, the verdict on stdout.

    Raises:
        UsageError, CheckpointError, GameError: what cannot be played, and why.
    """
    player = read_entrant(request.player)
    rival = None if request.opponent is None else read_entrant(request.opponent)
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task(f"playing {request.games:,} games", total=request.games)
        played = play_match(player, rival, request, progress=lambda n: progress.advance(task, n))
    if played.kept:
        console.print(f"{len(played.kept)} replays in {played.kept[0].parent}/", soft_wrap=True, highlight=False)
    spec = played.spec
    seats = spec.team_names or tuple(f"team {team}" for team in range(spec.teams))
    verdicts = judge(played.results, seats if spec.teams > 1 else ("all games",))
    against = None if spec.teams == 1 else str(rival or RANDOM)
    found = verdict_json(verdicts, _facts(player, against, played, request))
    if isinstance(player, Contestant):
        keep_evaluation(player.path, found)
    if request.json:
        answer(json.dumps(found))
        return
    title = f"{_with_source(str(player), played.player_source)}, {spec.name}"
    if against is not None:
        title += f", against {_with_source(against, played.opponent_source)}"
    Console(file=stdout()).print(verdict_text(verdicts, title))


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
        UsageError, CheckpointError, GameError: what cannot be played, and why.
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
    if teams == 1 and rival is not None:
        raise UsageError(f"{name} has one team and nobody to play against: leave out --opponent")
    slots = min(MAX_SLOTS // teams * teams or teams, -(-games // teams) * teams)
    game, kept = make_game(name, slots, seed, options), list[Path]()
    try:
        if request.save_replay:
            game = keep_replays(game, player, rival, request, kept)
        own = own_streams(slots, teams)
        one = seat(player, game, own, seed=seed, greedy=greedy)
        other: Player | None = None
        if teams > 1:
            other = seat(rival or Scripted(RANDOM), game, ~own, seed=seed + 1, greedy=greedy)
        return Played(
            spec=game.spec,
            results=Match(game, one, other, seed=seed).play(games, progress),
            player_source=bot_source(player, game),
            opponent_source=bot_source(rival, game),
            kept=kept,
        )
    finally:
        game.close()


def keep_replays(
    game: VectorGame, player: Entrant, rival: Entrant | None, request: EvalRequest, kept: list[Path]
) -> VectorGame:
    """The same game, which writes its first games into files and puts their paths into `kept`.

    Raises:
        UsageError: it is no game of skirmish.
    """
    from quintet.evaluation.replays import ReplayRecorder, replay_folder, replay_name
    from quintet.games.skirmish.replay.file import write_replay

    names = name_of(player), name_of(rival or Scripted(RANDOM))
    folder = replay_folder(player.path if isinstance(player, Contestant) else None)

    def keep(number: int, replay: Replay) -> None:
        path = folder / replay_name(names[0], names[1], request.seed, number)
        write_replay(path, replay)
        kept.append(path)

    return ReplayRecorder(game, names, request.save_replay, keep)


def name_of(entrant: Entrant) -> str:
    """A player's name for the scoreboard: of a checkpoint its run and version."""
    if isinstance(entrant, Scripted):
        return entrant.name
    folder = entrant.path
    return f"{folder.parent.parent.name} {folder.name}" if folder.parent.name == "checkpoints" else folder.name


def game_of(player: Entrant, rival: Entrant | None, wanted: str | None) -> tuple[str, dict[str, Any]]:
    """Name and options of the game: a checkpoint's own, else the one that was named."""
    for entrant in (player, rival):
        if isinstance(entrant, Contestant):
            if wanted not in (None, entrant.config.game):
                raise UsageError(f"--game is {wanted}, but checkpoint {entrant} plays {entrant.config.game}")
            return entrant.config.game, entrant.config.game_options
    if wanted is None:
        raise UsageError(f"{player} plays many games: say which, for example --game skirmish-5v5")
    return wanted, {}


def play_one(
    player: str,
    opponent: str | None,
    game: str | None,
    *,
    seed: int,
    greedy: bool,
    progress: Callable[[int, int], None],
) -> Replay:
    """Have a player (a checkpoint, bot:NAME or random) play one game as blue.

    Args:
        player: who plays.
        opponent: against whom; None is random.
        game: what, if neither is a checkpoint.
        seed: of the game and of the players' draws.
        greedy: policies take their likeliest action.
        progress: called after every step with its number and how many there may be.

    Raises:
        UsageError, CheckpointError, GameError: what cannot be played, and why.
    """
    blue, red = read_entrant(player), read_entrant(opponent or RANDOM)
    name, options = game_of(blue, red, game)
    inner = make_game(name, 1, seed, options)
    if not isinstance(inner, SkirmishGame):
        inner.close()
        raise UsageError(f"only games of skirmish can be watched, and {blue} plays {name}")
    recorded = RecordedGame(
        inner, (name_of(blue), name_of(red)), on_step=lambda step: progress(step, inner.spec.max_steps or step)
    )
    try:
        own = own_streams(1, inner.spec.teams)
        one = seat(blue, recorded, own, seed=seed, greedy=greedy)
        other = seat(red, recorded, ~own, seed=seed + 1, greedy=greedy)
        Match(recorded, one, other, seed=seed).play(1, lambda _: None)
    finally:
        recorded.close()
    assert recorded.replay is not None
    return recorded.replay
