"""The commands that make and steer a run: train, optimizer, status, scale."""

from __future__ import annotations

import contextlib
import json as json_module
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, UseAppendAction, arg

from quintet.control.errors import DONE, FAILED, REDIS_URL, UsageError
from quintet.control.output import say

Overrides = Annotated[UseAppendAction[tuple[str, ...]], arg(name="set", metavar="KEY=VALUE")]
StartFrom = Annotated[Path | None, arg(name="from", metavar="CHECKPOINT")]


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
    from quintet.cluster.cli.train import TrainRequest
    from quintet.cluster.cli.train import train as carry_out
    from quintet.cluster.embedded import Resources
    from quintet.control.operations import scale_bounds
    from quintet.control.run_folder import checkpoint_path

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
    from quintet.cluster.processes.optimizer import run_optimizer
    from quintet.control.run_folder import RunFolder

    url = os.environ.get(REDIS_URL)
    if not url:
        raise UsageError(f"{REDIS_URL} is not set: the optimizer needs redis://:password@host:port of its run")
    if service:
        from quintet.cluster.processes.optimizer_service import serve_optimizer

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
        from quintet.cluster.cli.status_watch import watch_status

        if json:
            raise UsageError("--watch draws and --json prints: take one of them")
        watch_status(run, redis_url or os.environ.get(REDIS_URL))
        return DONE
    from quintet.control.operations import print_status

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
    from quintet.control.operations import scale_bounds, scale_run

    url = redis_url or os.environ.get(REDIS_URL)
    if workers is not None and auto is None:
        say(scale_run(workers, run, url))
    elif auto is not None and workers is None:
        say(scale_run(scale_bounds(auto), run, url))
    else:
        raise UsageError("quintet scale takes a number of workers, or --auto MIN:MAX")
    return DONE


def dashboard(
    run: str | None = None,
    port: int | None = None,
    host: str = "127.0.0.1",
    token: str | None = None,
    redis_url: str | None = None,
    listening: int | None = None,
) -> int:
    """Show every run of this folder in a browser. Ctrl-C ends it; a run never notices.

    Args:
        run: The run shown first; the newest if left out.
        port: Port of the page; 8230 if left out, or another one where that is taken.
        host: Where it listens. Beyond this machine (0.0.0.0) a token is required.
        token: Who gives it may change things; a random one if left out, or that of QUINTET_DASHBOARD_TOKEN.
        redis_url: Where the run is open, if it is not one of this folder's.
        listening: An open socket's number, from whoever started this and has told people its address.
    """
    from quintet.cluster.processes.web_page import serve_here

    url = redis_url or os.environ.get(REDIS_URL) or None
    serve_here(run=run, port=port, host=host, token=token, redis_url=url, listening=listening)
    return DONE


METRICS_TOKEN = "QUINTET_METRICS_TOKEN"  # an environment variable: a token must not stand on a command line


def exporter(run: str | None = None, host: str = "127.0.0.1", port: int = 9464, redis_url: str | None = None) -> int:
    """Serve a run's metrics at /metrics for Prometheus, from its Redis alone, until Ctrl-C.

    The dashboard serves the same at its own /metrics. Where the environment's QUINTET_METRICS_TOKEN is set, a scrape
    must show it as a bearer or as a password; beyond loopback it must be set.

    Args:
        run: The run's name; the newest that is being trained if left out.
        host: The address to listen at; 0.0.0.0 for all of this machine's.
        port: The port to listen at; 0 takes any free one.
        redis_url: Where the run is open, if it is not one of this folder's. QUINTET_REDIS_URL is the same.
    """
    from quintet.control.operations import locate
    from quintet.dashboard.monitoring.exporter import Exporter, MetricsServer, is_loopback
    from quintet.wire.redis_link.link import RedisLink

    token = os.environ.get(METRICS_TOKEN, "")
    if not token and not is_loopback(host):
        raise UsageError(f"--host {host} can be reached from other machines: set {METRICS_TOKEN} to a token first")
    folder, url = locate(run, redis_url or os.environ.get(REDIS_URL))
    # No waiting for Redis here: a scrape that finds it silent says so, and the next one asks again.
    with RedisLink(url, folder.run) as link, MetricsServer(host, port, Exporter(link).text, token) as server:
        shown = f"http://{host}:{server.server_address[1]}/metrics"
        say(f"run {folder.run}: {shown}{' (with the token)' if token else ''}; Ctrl-C ends it")
        with contextlib.suppress(KeyboardInterrupt):
            server.serve_forever()
    return DONE


def doctor(run: str | None = None, json: bool = False, redis_url: str | None = None) -> int:
    """Say what is wrong with a run, why it matters and what to do: who starves, who died and of what, what fills up.

    Exit code 0 when it is healthy, 1 when it is not.

    Args:
        run: The run's name; the newest that is being trained if left out, else the newest.
        json: One JSON object instead of text.
        redis_url: Where the run is open, if it is not one of this folder's.
    """
    from quintet.cluster.cli.doctor import examine

    return DONE if examine(run, redis_url or os.environ.get(REDIS_URL), as_json=json) else FAILED


def check(
    what: Positional[str | None] = None,
    game: str | None = None,
    config: Path | None = None,
    overrides: Overrides = (),
    json: bool = False,
) -> int:
    """Play a game as a run would, and say what is wrong with it, with file and line. Exit code 2 if it cannot train.

    Args:
        what: The game: gymnasium:CartPole-v1, my_module:MyEnv, pettingzoo:my_module:MyEnv ...
        game: The same, as the other commands name it.
        config: A TOML file, or the name of one that ships with Quintet; its game where none is named.
        overrides: Any key of the configuration, for example --set game_options.kwargs.length=4. May be repeated.
        json: One JSON object instead of lines.
    """
    from quintet.cluster.processes.optimizer import PASSIVE_WAIT

    os.environ.update(PASSIVE_WAIT)  # before torch is loaded
    from quintet.cluster.cli.check import run_check

    if what is not None and game is not None:
        raise UsageError(f"the game is {what}, and --game says {game}: name it once")
    name = what or game
    named = () if name is None else (f"game={json_module.dumps(name)}",)
    return run_check(config, (*named, *overrides), json=json)


def set_settings(
    changes: Positional[tuple[str, ...]] = (), run: str | None = None, redis_url: str | None = None
) -> int:
    """Change settings of a run while it goes on: quintet set ppo.learning_rate=3e-5 team_spirit.value=0.6

    All of them hold from the optimizer's next update on, or none. Without any, list what can be changed.

    Args:
        changes: KEY=VALUE, as --set takes them. A ramp is changed whole or by its parts; `none` unsets.
        run: The run's name; the newest that is being trained if left out.
        redis_url: Where the run is open, if it is not one of this folder's.
    """
    from quintet.control.operations import change_run_settings, list_settings

    url = redis_url or os.environ.get(REDIS_URL)
    if changes:
        say(change_run_settings(changes, run, url))
    else:
        list_settings(run, url)
    return DONE
