"""How the scripted bots of skirmish fare against each other: win rates on both seats, lengths, and the bots' hashes.

Usage: python benchmarks/bot_table.py --games skirmish-1v1 skirmish-5v5 --pairs strong-middle --each-seat 200
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from common.arguments import from_command_line

from quintet.evaluation.results import wilson
from quintet.games.api import Array
from quintet.games.registry import make_game
from quintet.games.skirmish.game import SkirmishGame


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """What is played: pairs are written first-second; each seat is the first one's."""

    games: tuple[str, ...] = ("skirmish-1v1", "skirmish-3v3", "skirmish-5v5")
    pairs: tuple[str, ...] = ("weak-random", "middle-weak", "strong-middle")
    each_seat: int = 200
    seed: int = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class Ends:
    """How games between two bots ended, the first one's view. Arrays over games."""

    outcome: Array  # +1 won, 0 drawn, -1 lost
    length_s: Array


def play(name: str, bots: tuple[str, str], seat: int, n_games: int, seed: int) -> Ends:
    """`n_games` games side by side, the first bot on `seat`."""
    game = make_game(name, n_games, seed)
    assert isinstance(game, SkirmishGame)
    game.reset(seed)
    outcome, length = np.full(n_games, np.nan), np.zeros(n_games)
    step = 0
    while np.isnan(outcome).any():
        step += 1
        actions = game.bot_actions(bots[0] if seat == 0 else bots[1])
        theirs = game.bot_actions(bots[1] if seat == 0 else bots[0])
        for head, chosen in actions.items():
            chosen[:, 1] = theirs[head][:, 1]
        transition = game.step(actions)
        first_end = transition.ended & np.isnan(outcome)
        outcome[first_end] = transition.outcome[first_end, seat]
        length[first_end] = step * game.spec.step_s
    game.close()
    return Ends(outcome=outcome, length_s=length)


def row(name: str, bots: tuple[str, str], settings: Settings) -> str:
    """One line of the table."""
    seats = [play(name, bots, seat, settings.each_seat, settings.seed + seat) for seat in range(2)]
    outcome = np.concatenate([match.outcome for match in seats])
    length = np.concatenate([match.length_s for match in seats])
    wins, drawn = wilson(int((outcome > 0).sum()), len(outcome)), float((outcome == 0).mean())
    by_seat = " / ".join(f"{(match.outcome > 0).mean():.1%}" for match in seats)
    return (
        f"| {name} | {bots[0]} | {bots[1]} | {wins.mean:.1%} | {wins.low:.1%} to {wins.high:.1%} | {by_seat} | "
        f"{drawn:.1%} | {length.mean():.0f} | {np.percentile(length, 5):.0f} to {np.percentile(length, 95):.0f} |"
    )


def main() -> None:
    """Print the table."""
    settings = from_command_line(Settings, __doc__)
    game = make_game(settings.games[0], 1, settings.seed)
    assert isinstance(game, SkirmishGame)
    print(", ".join(f"{bot} {source}" for bot, source in game.bots.items()))
    print(f"{2 * settings.each_seat} games a row, half of them on each seat; lengths in seconds of the game")
    print("| game | bot | against | wins | 95 % | seat 0 / 1 | drawn | mean length | 5 to 95 % |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    for name in settings.games:
        for pair in settings.pairs:
            first, _, second = pair.partition("-")
            print(row(name, (first, second), settings), flush=True)


if __name__ == "__main__":
    main()
