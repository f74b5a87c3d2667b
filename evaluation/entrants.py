"""Whoever a person names to play: a checkpoint, a game's bot or random; and the player that sits down for them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from quintet.control.config import RunConfig, parse_config
from quintet.control.errors import UsageError
from quintet.control.run_folder import checkpoint_path, shown
from quintet.evaluation.players import BotPlayer, Player, PolicyPlayer, RandomPlayer
from quintet.evaluation.request import RANDOM
from quintet.games.api import Array, GameSpec, GameWithBots, VectorGame
from quintet.games.dotted import nearest
from quintet.model.policy import Policy
from quintet.model.weights import load_masters
from quintet.optimizer.checkpoint import CheckpointInfo, check_spec_is, read_info, read_policy

BOT = "bot:"


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


def policy_of(contestant: Contestant, game: GameSpec) -> Policy:
    """A checkpoint's policy, on the CPU and in the number format of its run.

    Raises:
        CheckpointError: it was trained on another game, or is damaged.
    """
    check_spec_is(contestant.path, contestant.info, contestant.config.chunk_spec(game))
    policy = Policy(game, contestant.config.model).use_device(torch.device("cpu"))
    load_masters(policy, read_policy(contestant.path, contestant.info), contestant.info.precision)
    return policy


def seat_policy(contestant: Contestant, game: GameSpec, streams: int, *, seed: int, greedy: bool) -> PolicyPlayer:
    """A player with a checkpoint's weights; raises what `policy_of` does."""
    policy = policy_of(contestant, game)
    return PolicyPlayer(policy, contestant.config.chunk_spec(game), streams, seed=seed, greedy=greedy)


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
