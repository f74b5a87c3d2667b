"""The commands that make and steer a run: train, optimizer, status, scale."""

from __future__ import annotations

import json as json_module
import os
from pathlib import Path

from tyro.conf import Positional

from cluster.failure import DONE, REDIS_URL, UsageError
from cluster.options import Overrides, StartFrom


def train(
    config: Path | None = None,
    run: str | None = None,
    game: str | None = None,
    agent_steps: int | None = None,
    minutes: float | None = None,
    until: str | None = None,
    workers: int | None = None,
    seed: int | None = None,
    device: str | None = None,
    overrides: Overrides = (),
    resume: bool = False,
    start_from: StartFrom = None,
    in_process: bool = False,
    json: bool = False,
    redis_url: str | None = None,
    redis_port: int = 0,
    ray_address: str | None = None,
    cores_per_worker: float = 1.0,
) -> int:
    """Train a recurrent policy. Without options: CartPole, on this machine, until Ctrl-C.

    Args:
        config: A TOML file, or the name of one that ships with Quintet.
        run: The run's name; its files are in runs/NAME/. Made of the game and the time if left out.
        game: gymnasium:CartPole-v1, pettingzoo:pettingzoo.classic.tictactoe_v3, my_module:make ...
        agent_steps: Stop after so many agent steps. A budget given here replaces those of the configuration.
        minutes: Stop after so many minutes.
        until: Stop when a metric is reached, for example charts/episodic_return=475.
        workers: Rollout workers at the start; `quintet scale` changes it later.
        seed: Seeds the first weights, the games and the sampling of actions.
        device: Where the optimizer computes: auto, cpu, cuda, cuda:1.
        overrides: Any key of the configuration, for example --set ppo.learning_rate=1e-4. May be repeated.
        resume: Go on with the run named by --run, or with the newest.
        start_from: Start a new run with the weights of a checkpoint or of another run.
        in_process: Everything in this one process, without Redis and Ray: for debugging.
        json: Print the summary as the last line of stdout.
        redis_url: A Redis server to use instead of a private one: redis://:password@host:port
        redis_port: Port of the private Redis; 0 takes any free one.
        ray_address: A Ray cluster whose cores the workers use.
        cores_per_worker: What a worker claims; less than 1 lets workers share cores.
    """
    from cluster.run_folder import checkpoint_path
    from cluster.start_up import Resources
    from cluster.train import TrainRequest
    from cluster.train import train as carry_out

    budget = {"agent_steps": agent_steps, "minutes": minutes, "until": until}
    if any(value is not None for value in budget.values()):
        budget = {key: "none" if value is None else value for key, value in budget.items()}
    wanted = {**budget, "game": game, "rollout.workers": workers, "seed": seed, "device": device}
    given = [f"{key}={_toml(value)}" for key, value in wanted.items() if value is not None]
    return carry_out(
        TrainRequest(
            config=config,
            overrides=(*given, *overrides),
            run=run,
            resume=resume,
            start_from=None if start_from is None else checkpoint_path(start_from),
            in_process=in_process,
            json=json,
            resources=Resources(
                redis_url=redis_url or (None if in_process else os.environ.get(REDIS_URL)),
                redis_port=redis_port,
                ray_address=ray_address,
                cores_per_worker=cores_per_worker,
            ),
        )
    )


def _toml(value: object) -> str:
    """A value as `--set` reads it; a text in quotes, so that no text is mistaken for a number."""
    return json_module.dumps(value) if isinstance(value, str) and value != "none" else str(value)


def optimizer(run_folder: Path, start_from: StartFrom = None, hold: bool = False) -> int:
    """Run the optimizer alone: the process that trains. QUINTET_REDIS_URL says where the run is open. Needs no Ray.

    Args:
        run_folder: runs/NAME; its newest checkpoint is gone on from.
        start_from: A checkpoint whose weights a new run starts with.
        hold: Load the libraries, then wait until stdin is closed.
    """
    from cluster.optimizer_process import run_optimizer
    from cluster.run_folder import RunFolder

    url = os.environ.get(REDIS_URL)
    if not url:
        raise UsageError(f"{REDIS_URL} is not set: the optimizer needs redis://:password@host:port of its run")
    return run_optimizer(RunFolder(run_folder), url, start_from=start_from, hold=hold)


def status(run: str | None = None, json: bool = False, redis_url: str | None = None) -> int:
    """Say how far a run is, who lives, where the steps went, and which stage starves.

    Args:
        run: The run's name; the newest that is being trained if left out.
        json: One JSON object instead of a table.
        redis_url: Where the run is open, if it is not one of this folder's.
    """
    from cluster.live import print_status

    print_status(run, redis_url or os.environ.get(REDIS_URL), as_json=json)
    return DONE


def scale(workers: Positional[int], run: str | None = None, redis_url: str | None = None) -> int:
    """Change how many rollout workers a run has while it goes on.

    Args:
        workers: How many from now on.
        run: The run's name; the newest that is being trained if left out.
        redis_url: Where the run is open, if it is not one of this folder's.
    """
    from cluster.live import scale as carry_out

    print(carry_out(workers, run, redis_url or os.environ.get(REDIS_URL)))
    return DONE
