"""The commands that make and steer a run: train, optimizer, status, scale."""

from __future__ import annotations

import json as json_module
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from tyro.conf import Positional

from cluster.failure import DONE, REDIS_URL, UsageError
from cluster.options import Overrides, StartFrom
from control.output import say


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
    restart_behavior: Literal["resume", "restart", "overwrite"] | None = None,
    start_from: StartFrom = None,
    deterministic: bool = False,
    in_process: bool = False,
    json: bool = False,
    quiet: bool = False,
    track: bool = False,
    redis_url: str | None = None,
    redis_port: int = 0,
    ray_address: str | None = None,
    cores_per_worker: float = 1.0,
    no_dashboard: bool = False,
    autoscale: str | None = None,
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
        resume: Go on with the run named by --run, or with the newest. Short for --restart-behavior resume.
        restart_behavior: Of a run that is there: go on with it, begin it again under a new name, or in its place.
        start_from: Start a new run with the weights of a checkpoint or of another run.
        deterministic: A run that can be repeated to the last bit: one worker, in turns with an optimizer of one thread.
        in_process: Everything in this one process, without Redis and Ray: for debugging.
        json: Print the summary as the last line of stdout.
        quiet: Print nothing but errors, and what --json asks for.
        track: Log to Weights & Biases as well; needs the extra `track`.
        redis_url: A Redis server to use instead of a private one: redis://:password@host:port
        redis_port: Port of the private Redis; 0 takes any free one.
        ray_address: A Ray cluster whose cores the workers use.
        cores_per_worker: What a worker claims; less than 1 lets workers share cores.
        no_dashboard: Start no web page beside the run; `quintet dashboard` shows it all the same.
        autoscale: MIN:MAX workers, for example 1:4: the run itself keeps its optimizer fed, and no more than that.
    """
    from cluster.live import scale_bounds
    from cluster.run_folder import checkpoint_path
    from cluster.start_up import Resources
    from cluster.train import TrainRequest
    from cluster.train import train as carry_out

    if resume and restart_behavior not in (None, "resume"):
        raise UsageError(f"--resume and --restart-behavior {restart_behavior} say different things: take one of them")
    wanted = {"game": game, "rollout.workers": workers, "seed": seed, "device": device, "track": track or None}
    if deterministic:
        wanted |= {"deterministic": True, "rollout.workers": 1 if workers is None else workers}
    budget = {"agent_steps": agent_steps, "minutes": minutes, "until": until}
    return carry_out(
        TrainRequest(
            config=config,
            overrides=(*_as_overrides(budget, wanted), *overrides),
            run=run,
            restart_behavior="resume" if resume else restart_behavior,
            start_from=None if start_from is None else checkpoint_path(start_from),
            in_process=in_process,
            json=json,
            quiet=quiet,
            resources=Resources(
                redis_url=redis_url or (None if in_process else os.environ.get(REDIS_URL)),
                redis_port=redis_port,
                ray_address=ray_address,
                cores_per_worker=cores_per_worker,
                web_page=in_process or not no_dashboard,
                autoscale=None if autoscale is None else scale_bounds(autoscale),
            ),
        )
    )


def _as_overrides(budget: Mapping[str, object], wanted: Mapping[str, object]) -> list[str]:
    """The options that were given, as `--set` would have them; a budget replaces the other budgets, too."""
    if any(value is not None for value in budget.values()):
        budget = {key: "none" if value is None else value for key, value in budget.items()}
    return [f"{key}={_toml(value)}" for key, value in {**budget, **wanted}.items() if value is not None]


def _toml(value: object) -> str:
    """A value as `--set` reads it; a text in quotes, so that no text is mistaken for a number."""
    return json_module.dumps(value) if isinstance(value, str | bool) and value != "none" else str(value)


def optimizer(
    run_folder: Path,
    start_from: StartFrom = None,
    hold: bool = False,
    service: bool = False,
    workers_here: bool = False,
) -> int:
    """Run the optimizer alone: the process that trains. QUINTET_REDIS_URL says where the run is open. Needs no Ray.

    Args:
        run_folder: runs/NAME; its newest checkpoint is gone on from.
        start_from: A checkpoint whose weights a new run starts with.
        hold: Load the libraries, then wait until stdin is closed.
        service: Wait for Redis and for `quintet controller` to open the run; somebody else starts this again.
        workers_here: All workers play on this machine, so model.precision = auto may go by its processor.
    """
    from cluster.optimizer_process import run_optimizer
    from cluster.run_folder import RunFolder

    url = os.environ.get(REDIS_URL)
    if not url:
        raise UsageError(f"{REDIS_URL} is not set: the optimizer needs redis://:password@host:port of its run")
    if service:
        from cluster.optimizer_service import serve_optimizer

        return serve_optimizer(RunFolder(run_folder), url)
    return run_optimizer(RunFolder(run_folder), url, start_from=start_from, hold=hold, workers_here=workers_here)


def status(run: str | None = None, json: bool = False, watch: bool = False, redis_url: str | None = None) -> int:
    """Say how far a run is, who lives, where the steps went, and which stage starves.

    Args:
        run: The run's name; the newest that is being trained if left out.
        json: One JSON object instead of a table.
        watch: The live board instead, until the run ends or Ctrl-C.
        redis_url: Where the run is open, if it is not one of this folder's.
    """
    if watch:
        from cluster.status_watch import watch_status

        if json:
            raise UsageError("--watch draws and --json prints: take one of them")
        watch_status(run, redis_url or os.environ.get(REDIS_URL))
        return DONE
    from cluster.live import print_status

    print_status(run, redis_url or os.environ.get(REDIS_URL), as_json=json)
    return DONE


def scale(
    workers: Positional[int | None] = None,
    auto: str | None = None,
    run: str | None = None,
    redis_url: str | None = None,
) -> int:
    """Change how many rollout workers a run has while it goes on.

    Args:
        workers: How many from now on; 0 pauses the run.
        auto: MIN:MAX instead: the run keeps its optimizer fed with as few workers as that takes.
        run: The run's name; the newest that is being trained if left out.
        redis_url: Where the run is open, if it is not one of this folder's.
    """
    from cluster.live import scale as carry_out
    from cluster.live import scale_bounds

    url = redis_url or os.environ.get(REDIS_URL)
    if workers is not None and auto is None:
        say(carry_out(workers, run, url))
    elif auto is not None and workers is None:
        say(carry_out(scale_bounds(auto), run, url))
    else:
        raise UsageError("quintet scale takes a number of workers, or --auto MIN:MAX")
    return DONE
