"""What random legal actions score on each task: the lower end of the normalised scores, measured and kept as data."""

from __future__ import annotations

from learning.ours import EVAL_SEED
from learning.tasks import Level, Task

from quintet.evaluation.entrants import Scripted, seat
from quintet.evaluation.match import Match, own_streams
from quintet.evaluation.players import RandomPlayer
from quintet.evaluation.results import Z, judge
from quintet.games.registry import make_game

SLOTS = 100


def measure(task: Task, games: int) -> Level:
    """Mean return, or win rate where there is an opponent, of random legal actions over fresh games.

    Raises:
        GameError: the game cannot be made.
    """
    slots = min(SLOTS, games // 2 * 2 or 2)
    game = make_game(task.game, slots, EVAL_SEED, task.options)
    try:
        theirs = ~own_streams(slots, game.spec.teams)
        rival = task.opponent and seat(Scripted(task.opponent), game, theirs, seed=EVAL_SEED + 1, greedy=False)
        player = RandomPlayer(game.spec, seed=EVAL_SEED)
        results = Match(game, player, rival or None, seed=EVAL_SEED).play(games, lambda _: None)
    finally:
        game.close()
    verdict = judge(results, [str(team) for team in range(game.spec.teams)])[-1]
    found = verdict.win_rate or verdict.returns
    how = "mean return" if task.opponent is None else f"win rate against {task.opponent}, seats by turns"
    return Level(
        score=found.mean,
        error=(found.high - found.low) / (2 * Z),
        how=f"{how}, random legal actions, {games:,} games",
    )


def as_toml(task: Task, level: Level) -> str:
    """A line of levels.toml."""
    return f'{task.name}.random = {{ score = {level.score:.4g}, error = {level.error:.2g}, how = "{level.how}" }}'
