"""Skirmish with random legal actions on one core: agent-steps/s beside the bar, and its share of a rollout step.

    python benchmarks/game_speed.py [--game skirmish-5v5 --batches 16 64 256 --lstm-units 1024] [--json]

Whole games are played, from the first wave to the end, so that early and late steps count as they come. Observations
and masks are built; the actions are drawn from the masks by a compiled sampler, whose time counts too and is also shown
apart. Seconds are those of one core's time that the process has had (it has one thread and waits for nothing), so that
others on the machine do not count; by the clock on the wall it is shown beside. The share is that of `game.step` in the
time of `SelfPlay.play_window`, by the clock of its own phases, at the batch that was fastest; the policy computes in
the number format that a run on this machine would have.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from common.arguments import from_command_line
from common.machine import busy_share, describe
from numba import njit
from rich.console import Console
from rich.table import Table

from quintet.games.api import ACTING, ACTION_MASK_PREFIX, Array, Observation
from quintet.games.registry import make_game
from quintet.games.skirmish.game import HEADS, SkirmishGame
from quintet.model.config import PolicyConfig
from quintet.model.policy import Policy
from quintet.optimizer.number_format import settled
from quintet.rollout_workers.chunker import Chunker
from quintet.rollout_workers.self_play import SelfPlay
from quintet.wire.chunk import chunk_spec
from quintet.wire.reports import PhaseTimer

BAR_AGENT_STEPS_PER_S = 150_000
BAR_SHARE = 0.2
BPTT_STEPS = 16
UNIT = "agent-steps per second of one core as a multiple of 150,000"


@dataclass(frozen=True, kw_only=True, slots=True)
class Args:
    """What is played."""

    game: str = "skirmish-5v5"
    """Preset."""
    batches: tuple[int, ...] = (16, 32, 64, 128, 256)
    """Slots that are tried; the fastest counts."""
    seconds: float = 6.0
    """At least so much of a core's time for each batch, in whole games."""
    lstm_units: int = 1024
    """Of the policy in the rollout; 0 leaves it out."""
    windows: int = 2
    """Windows of the rollout that are timed, after one that warms up."""
    json: bool = False
    """Print one object with ratio, unit and config as the last line of stdout."""


class Sampler:
    """Legal actions, uniformly: the primary one, then target and item from its rows, then offsets."""

    def __init__(self, game: SkirmishGame) -> None:
        shape = (game.n_games, 2, game.spec.agents_per_team)
        self._chosen = np.zeros((len(HEADS), *shape), np.int64)
        self._random = np.array([1], np.uint64)
        self.actions: dict[str, Array] = dict(zip(HEADS, self._chosen, strict=True))

    def draw(self, observation: Observation) -> dict[str, Array]:
        """Into arrays that the next call writes over."""
        masks = [observation[f"{ACTION_MASK_PREFIX}{head}"] for head in ("primary", "target", "item")]
        _draw(masks[0], masks[1], masks[2], observation[ACTING], self._chosen, self._random)
        return self.actions


@njit(cache=True)
def _draw(primary: Array, target: Array, item: Array, acting: Array, chosen: Array, random: Array) -> None:
    games, teams, agents = acting.shape
    for g in range(games):
        for team in range(teams):
            for agent in range(agents):
                if not acting[g, team, agent]:
                    continue
                action = _one_of(primary[g, team, agent], random)
                chosen[0, g, team, agent] = action
                chosen[1, g, team, agent] = _one_of(target[g, team, agent, action], random)
                chosen[2, g, team, agent] = _below(9, random)
                chosen[3, g, team, agent] = _below(9, random)
                chosen[4, g, team, agent] = _one_of(item[g, team, agent, action], random)


@njit(cache=True)
def _below(n: int, random: Array) -> int:
    random[0] ^= random[0] << np.uint64(13)
    random[0] ^= random[0] >> np.uint64(7)
    random[0] ^= random[0] << np.uint64(17)
    return np.int64((random[0] >> np.uint64(11)) % np.uint64(n))  # type: ignore[return-value]


@njit(cache=True)
def _one_of(mask: Array, random: Array) -> int:
    legal = 0
    for k in range(mask.shape[0]):
        legal += mask[k]
    if legal == 0:
        return 0
    lot = _below(legal, random)
    for k in range(mask.shape[0]):
        if mask[k]:
            if lot == 0:
                return k
            lot -= 1
    return 0


def play(name: str, n_games: int, seconds: float) -> dict[str, float]:
    """Whole games for at least so long: microseconds a game-step, of it the sampler's, and agent-steps/s."""
    game = make_game(name, n_games, 0)
    assert isinstance(game, SkirmishGame)
    sampler = Sampler(game)
    observation = game.reset(0)
    observation = game.step(sampler.draw(observation)).observation  # compiles what is not compiled yet
    observation = game.reset(1)
    steps, drawn_s, begin_wall, begin = 0, 0.0, time.perf_counter(), time.process_time()
    whole = game.spec.max_steps or 1
    while steps % (whole + 1) or time.process_time() < begin + seconds:
        drawing = time.process_time()
        actions = sampler.draw(observation)
        drawn_s += time.process_time() - drawing
        observation = game.step(actions).observation
        steps += 1
    taken_s, wall_s = time.process_time() - begin, time.perf_counter() - begin_wall
    agents = n_games * 2 * game.spec.agents_per_team
    return {
        "games": n_games,
        "agent_steps_per_s": steps * agents / taken_s,
        "agent_steps_per_wall_s": steps * agents / wall_s,
        "us_per_game_step": 1e6 * taken_s / (steps * n_games),
        "sampler_us": 1e6 * drawn_s / (steps * n_games),
    }


def share_of_rollout(name: str, n_games: int, lstm_units: int, windows: int) -> dict[str, float]:
    """Seconds per phase of `play_window`, and the share of the game."""
    game = make_game(name, n_games, 0)
    torch.manual_seed(0)
    cpu = torch.device("cpu")
    policy = Policy(game.spec, settled(PolicyConfig(lstm_units=lstm_units), cpu, workers_here=True)).use_device(cpu)
    spec = chunk_spec(game.spec, lstm_units=lstm_units, bptt_steps=BPTT_STEPS, chunk_steps=BPTT_STEPS)
    timer = PhaseTimer()
    rollout = SelfPlay(game, policy, Chunker(spec, run="benchmark", slots=n_games), seed=0, timer=timer)
    rollout.play_window(1)
    timer.drain()
    for _ in range(windows):
        rollout.play_window(1)
    phases = timer.drain()
    return {"share": phases["play"] / sum(phases.values()), **phases}


def main() -> None:
    args = from_command_line(Args, __doc__)
    torch.set_num_threads(1)
    busy = busy_share()
    results = [play(args.game, n_games, args.seconds) for n_games in args.batches]
    best = max(results, key=lambda result: result["agent_steps_per_s"])
    ratio = best["agent_steps_per_s"] / BAR_AGENT_STEPS_PER_S
    rollout = {}
    if args.lstm_units:
        rollout = share_of_rollout(args.game, int(best["games"]), args.lstm_units, args.windows)
    if not args.json:
        show(args, results, ratio, rollout)
    result: dict[str, Any] = {
        "ratio": round(ratio, 3),
        "unit": UNIT,
        "best": best,
        "batches": results,
        "rollout": rollout | ({"bar": BAR_SHARE} if rollout else {}),
        "config": {"game": args.game, "lstm_units": args.lstm_units, "busy_share": busy, **describe()},
    }
    print(json.dumps(result))


def show(args: Args, results: list[dict[str, float]], ratio: float, rollout: dict[str, float]) -> None:
    table = Table(title=f"{args.game}, random legal actions, one core")
    for column in ("games", "agent-steps/s", "on the wall", "µs a game-step", "of it the sampler"):
        table.add_column(column, justify="right")
    for row in results:
        speeds = row["agent_steps_per_s"], row["agent_steps_per_wall_s"]
        numbers = (row["games"], *speeds, row["us_per_game_step"], row["sampler_us"])
        table.add_row(*(f"{number:,.1f}" if number < 1000 else f"{number:,.0f}" for number in numbers))
    console = Console()
    console.print(table)
    console.print(f"best: {ratio:.2f} of {BAR_AGENT_STEPS_PER_S:,} agent-steps/s")
    if rollout:
        console.print(
            f"share of a rollout step at LSTM {args.lstm_units}: {rollout['share']:.1%} (bar {BAR_SHARE:.0%})"
        )


if __name__ == "__main__":
    main()
