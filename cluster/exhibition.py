"""One fresh game of skirmish between any two players, recorded."""

from __future__ import annotations

from collections.abc import Callable

from cluster.evaluator import RANDOM, game_of, name_of, read_entrant, seat
from cluster.failure import UsageError
from cluster.match import Match, own_streams
from games.registry import make_game
from games.skirmish.game import SkirmishGame
from games.skirmish.recorded import RecordedGame
from games.skirmish.replay import Replay


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
