"""A rollout worker's process: from a Redis URL, a run's name and a number to a `Worker` that plays."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from typing import TYPE_CHECKING, Any

from quintet.cluster.processes.malloc import keep_freed_memory
from quintet.cluster.processes.spawn import usable_cores
from quintet.control.config import RunConfig, parse_config
from quintet.control.errors import error_report
from quintet.games.api import VectorGame
from quintet.wire.errors import LinkError
from quintet.wire.link import WorkerLink

if TYPE_CHECKING:
    from quintet.rollout_workers.worker import Worker
    from quintet.wire.redis_link.link import RedisLink

CONNECT_S = 30.0
MOST_SAID = 16_384  # characters of a traceback that a heartbeat carries
PLAYING_NICE = 5  # where workers share cores, a third of the share of a process with 0


def run_worker(redis_url: str, run: str, worker: int) -> str:
    """Play until told to leave; returns why. Everything but the three arguments is read from the run itself.

    Raises:
        LinkError: Redis cannot be reached, refuses, or holds no such run.
        GameError: this machine cannot play the run's game.
    """
    import torch

    from quintet.wire.redis_link.link import connect

    torch.set_num_threads(1)
    keep_freed_memory()
    with connect(redis_url, run, wait_s=CONNECT_S) as link:
        played = 0
        try:
            config = parse_config(link.run_config(), source=f"the configuration of run {run}")
            player, game = make_worker(config, run, link, worker)
            player.start()

            def ask_to_leave(*_: object) -> None:
                player.leave_requested = True

            give_way(max(config.rollout.workers, worker + 1))
            if threading.current_thread() is threading.main_thread():
                signal.signal(signal.SIGTERM, ask_to_leave)  # from `quintet node`, whose machine is about to go
            try:
                return player.run()
            finally:
                played = player.version
                with contextlib.suppress(Exception):  # a game that broke may not close either; the first error counts
                    game.close()
        except Exception as error:
            _tell_why_it_ended(link, worker, error, played)
            raise


def _tell_why_it_ended(link: RedisLink, worker: int, error: Exception, version: int) -> None:
    """For a controller that adopted this worker, and cannot hear what its process returns."""
    words = error_report(error)
    words["traceback"] = words["traceback"][-MOST_SAID:]
    with contextlib.suppress(LinkError):
        link.beat(f"worker/{worker}", {**words, "version": version})


def give_way(workers: int) -> None:
    """The calling thread and those that it starts take second place to the optimizer and to Redis, if cores are short.

    All workers wait for those two; a worker with a core of its own would only lose by it. Threads that run already keep
    their place; elsewhere than on Linux nothing happens.
    """
    if workers > usable_cores() and sys.platform == "linux":  # where a thread has a priority of its own
        thread = threading.get_native_id()
        niceness = os.getpriority(os.PRIO_PROCESS, thread)
        os.setpriority(os.PRIO_PROCESS, thread, max(niceness, PLAYING_NICE))


def make_worker(config: RunConfig, run: str, link: WorkerLink, worker: int) -> tuple[Worker, VectorGame]:
    """A worker, to be started, and the game that it plays, to be closed after it.

    What is compiled at a first use is compiled before the worker registers: from then on it is expected to be heard of.
    """
    import torch

    from quintet.games.registry import make_game
    from quintet.model.kernels.precompile import compile_kernels
    from quintet.model.policy import Policy
    from quintet.rollout_workers.guarded_game import guarded
    from quintet.rollout_workers.lockstep import LockstepWorker
    from quintet.rollout_workers.policy_rehearsal import rehearse_policy
    from quintet.rollout_workers.worker import Worker

    with guarded(config.game, make_game, ""):
        n_games, options = config.rollout.games_per_worker, config.game_options
        game = make_game(config.game, n_games, config.seed, options, worker=worker)
    compile_kernels()
    policy = Policy(game.spec, config.model).use_device(torch.device("cpu"))
    with guarded(config.game, game, "step"):
        rehearse_policy(game, policy, config.seed)
    given: dict[str, Any] = {"game": game, "policy": policy, "run": run, "link": link, "worker": worker}
    given |= {"config": config.rollout, "wire": config.wire, "seed": config.seed}
    if config.deterministic:
        return LockstepWorker(batch_steps=config.optimizer.batch_steps, **given), game
    return Worker(**given), game
