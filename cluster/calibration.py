"""How fast this machine plays and learns, by a little of both in this process, and what a run can expect of it."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import psutil

from quintet.cluster.assembly import needed_redis_bytes
from quintet.cluster.processes.optimizer import PASSIVE_WAIT
from quintet.cluster.processes.spawn import usable_cores
from quintet.control.config import RunConfig, open_steps

if TYPE_CHECKING:
    import torch

    from quintet.games.api import VectorGame
    from quintet.model.policy import Policy
    from quintet.optimizer.batch import Batch

PLAY_S = 2.0  # of a chunk, or as much of it as can be played in this time
WAITING = 0.5  # versions that are made while a batch arrives and is learned from


@dataclass(frozen=True, kw_only=True, slots=True)
class Measured:
    """One worker and the optimizer, each by itself."""

    played_steps: int  # rows x agents that count
    valid_share: float  # of the rows x agents that travel; those that only begin a game do not count
    play_steps_per_s: float
    learn_steps_per_s: float  # in one pass
    gradient_steps: int
    rss_bytes: int  # of this process, which plays and learns


@dataclass(frozen=True, kw_only=True, slots=True)
class Expected:
    """What a run is likely to do on this machine; None where no budget says how long it goes on."""

    agent_steps_per_s: float
    play_steps_per_s: float  # of all workers
    learn_steps_per_s: float  # with all passes
    agent_steps: int | None
    duration_s: float | None
    versions: int | None
    gradient_steps: int | None
    gradient_steps_per_version: int
    staleness_mean: float
    redis_bytes: int  # 0 without one
    process_bytes: int  # of a worker, and of the optimizer, at most
    measured: Measured


def expect(config: RunConfig, *, in_turns: bool) -> Expected:
    """Play and learn a little, and say what comes of it; `in_turns` where one process does both.

    Raises:
        GameError: the game's own.
        DeviceError: there is no such device.
    """
    measured, open_batches = calibrate(config)
    ppo, workers = config.ppo, max(1, config.rollout.workers)
    play, learn = measured.play_steps_per_s, measured.learn_steps_per_s / ppo.epochs
    cores = 1 if in_turns else usable_cores()
    rate = min(workers * play, learn, cores / (1 / play + 1 / learn))
    steps, duration_s = _budget(config, rate)
    versions, a_version = None, ppo.epochs * ppo.minibatches
    if steps is not None:
        learned = steps / measured.valid_share - config.optimizer.normalizer_warmup_steps
        versions = max(0, round(learned / config.optimizer.batch_steps))
    return Expected(
        agent_steps_per_s=rate,
        play_steps_per_s=workers * play,
        learn_steps_per_s=learn,
        agent_steps=steps,
        duration_s=duration_s,
        versions=versions,
        gradient_steps=None if versions is None else versions * a_version,
        gradient_steps_per_version=a_version,
        staleness_mean=open_batches / 2 + config.wire.max_queued_batches + WAITING,
        redis_bytes=0 if in_turns else config.wire.redis_maxmemory_bytes or needed_redis_bytes(config, workers),
        process_bytes=measured.rss_bytes,
        measured=measured,
    )


def _budget(config: RunConfig, rate: float) -> tuple[int | None, float | None]:
    """Agent steps and seconds until the budget that is used up first; None without any."""
    ends_s = [] if config.minutes is None else [60 * config.minutes]
    ends_s += [] if config.agent_steps is None else [config.agent_steps / rate]
    return (round(min(ends_s) * rate), min(ends_s)) if ends_s else (None, None)


def calibrate(config: RunConfig) -> tuple[Measured, float]:
    """Play for up to a chunk, and learn from it twice, the second time by the clock; also batches being played at once.

    Raises:
        GameError: the game's own.
        DeviceError: there is no such device.
    """
    os.environ.update(PASSIVE_WAIT)  # read when torch is loaded
    import torch

    from quintet.games.copies import closing
    from quintet.games.registry import make_game
    from quintet.model.kernels.precompile import compile_kernels
    from quintet.model.policy import Policy
    from quintet.optimizer.learner import pick_device
    from quintet.optimizer.number_format import settled

    device, threads = pick_device(config.device), torch.get_num_threads()
    config = replace(config, model=settled(config.model, device, workers_here=True))
    compile_kernels()
    with closing(make_game(config.game, config.rollout.games_per_worker, config.seed, config.game_options)) as game:
        policy = Policy(game.spec, config.model).use_device(torch.device("cpu"))
        try:
            torch.set_num_threads(1)
            batch, played_steps, play_s = _play(config, game, policy, device)
            torch.set_num_threads(config.optimizer.threads or usable_cores())
            gradient_steps, learn_s = _learn(config, game, policy.use_device(device), batch)
        finally:
            torch.set_num_threads(threads)
    spec, valid = game.spec, max(1, int(batch.valid.sum()))
    measured = Measured(
        played_steps=valid,
        valid_share=valid / played_steps,
        play_steps_per_s=valid / play_s,
        learn_steps_per_s=valid / learn_s,
        gradient_steps=gradient_steps,
        rss_bytes=psutil.Process().memory_info().rss,
    )
    return measured, open_steps(config, spec.teams, spec.agents_per_team) / config.optimizer.batch_steps


def _play(config: RunConfig, game: VectorGame, policy: Policy, device: torch.device) -> tuple[Batch, int, float]:
    """What a worker plays within a chunk's rows or `PLAY_S`: as one batch, in rows x agents, and in seconds."""
    from quintet.optimizer.batch import collate
    from quintet.rollout_workers.chunker import Chunker
    from quintet.rollout_workers.self_play import SelfPlay
    from quintet.wire.chunk import chunk_spec
    from quintet.wire.link import Message, Registration
    from quintet.wire.reports import PhaseTimer

    rollout, units, rows = config.rollout, config.model.lstm_units, 0
    spec = chunk_spec(game.spec, lstm_units=units, bptt_steps=rollout.bptt_steps, chunk_steps=rollout.chunk_steps)
    chunker = Chunker(spec, run="calibration", slots=game.n_games)
    chunker.register(Registration(worker=0, incarnation=1))
    play = SelfPlay(game, policy, chunker, seed=config.seed, timer=PhaseTimer())
    began_s = time.perf_counter()

    def is_over(t: int) -> bool:
        nonlocal rows
        over = time.perf_counter() - began_s > PLAY_S
        rows += not (over and t)
        return over

    chunks = []
    while rows < rollout.chunk_steps and (not rows or time.perf_counter() - began_s <= PLAY_S):
        chunks += play.play_window(1, is_over)
    chunks += play.finish()
    played_s = time.perf_counter() - began_s
    messages = [Message(id=str(k), steps=chunk.steps, payload=b"") for k, chunk in enumerate(chunks)]
    return collate(messages, chunks, device), rows * chunker.streams * spec.agents, played_s


def _learn(config: RunConfig, game: VectorGame, policy: Policy, batch: Batch) -> tuple[int, float]:
    """Gradient steps of one pass over the batch, in minibatches as large as the run's, and how long they took."""
    from quintet.optimizer.learner import Learner

    steps = int(batch.windows.sum()) * config.rollout.bptt_steps * game.spec.agents_per_team
    parts = max(1, round(steps / (config.optimizer.batch_steps / config.ppo.minibatches)))
    learner = Learner(
        policy,
        spec=game.spec,
        ppo=replace(config.ppo, epochs=1, minibatches=parts),
        config=config.optimizer,
        bptt_steps=config.rollout.bptt_steps,
        seed=config.seed,
    )
    learner.warm_up(batch)
    learner.update(batch, version=1, agent_steps=0)  # what is made at a first step is made now
    began_s = time.perf_counter()
    update = learner.update(batch, version=1, agent_steps=0)
    return update.gradient_steps, time.perf_counter() - began_s
