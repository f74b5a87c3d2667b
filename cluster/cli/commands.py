"""The commands of `quintet`: a function each, whose docstring and annotations, or its request's, are the help."""

from __future__ import annotations

import contextlib
import json as json_module
import os
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from quintet.cluster.request import ControllerRequest, Overrides, StartFrom, TrainRequest
from quintet.control.errors import DONE, FAILED, REDIS_URL, UsageError
from quintet.control.output import say
from quintet.evaluation.request import EvalRequest, WatchRequest
from quintet.explain.request import ExplainRequest


def train(request: Annotated[TrainRequest, arg(name="")]) -> int:
    """Train a recurrent policy. Without options: CartPole, on this machine, until Ctrl-C."""
    from quintet.cluster.cli.train import train as carry_out

    return carry_out(request)


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
    """Say how far a run is, which processes run, where the steps went, and which stage starves.

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
    """Say what is wrong with a run, why it matters and what to do: what starves, what failed and why, what fills up.

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
    _before_torch()
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


def evaluate(request: Annotated[EvalRequest, arg(name="")]) -> int:
    """Have a checkpoint or a bot play whole games: win rates per seat with 95 % intervals, or mean returns.

    The same command gives the same numbers.
    """
    _before_torch()
    from quintet.evaluation.evaluate import carry_out

    carry_out(request)
    return DONE


def explain(request: Annotated[ExplainRequest, arg(name="")]) -> int:
    """Explain a network and what goes on in it while it plays: a picture (SVG and PNG) and two paragraphs."""
    _before_torch()
    from quintet.explain.command import carry_out

    carry_out(request)
    return DONE


def watch(request: Annotated[WatchRequest, arg(name="")]) -> int:
    """Show a game of skirmish: a replay, or one that is played now. In the terminal, or as a film."""
    _before_torch()
    from quintet.evaluation.watch import watch as carry_out

    carry_out(request)
    return DONE


def controller(request: Annotated[ControllerRequest, arg(name="")]) -> int:
    """Drive a run on a Redis, a Ray cluster and an optimizer (`quintet optimizer --service`) that run already.

    A run that exists goes on with its own configuration. Ctrl-C or SIGTERM ends it in order: workers finish their
    windows, the optimizer saves a checkpoint. Killed without a word, workers and optimizer go on for a minute, and the
    next controller takes them over. It needs a Ray node on its own machine, for example the head.
    """
    from quintet.cluster.service import serve_controller

    return serve_controller(request)


def node(address: str, cores: int | None = None) -> int:
    """Offer this machine's cores to a Ray cluster until SIGTERM or Ctrl-C; then its workers leave without a step lost.

    Args:
        address: host:port of the Ray head. RAY_AUTH_MODE=token and RAY_AUTH_TOKEN let this machine in.
        cores: How many; all that this process may use if left out.
    """
    from quintet.cluster.processes.spawn import usable_cores
    from quintet.cluster.ray_cluster.node import serve_node

    return serve_node(address, usable_cores() if cores is None else cores)


def secrets(out: Path = Path(".env"), force: bool = False, show: bool = False) -> int:
    """Write the secrets of `docker compose` with fresh random values into .env, readable by this user alone.

    Args:
        out: The file.
        force: Replace the one there is.
        show: Print them instead of writing a file.
    """
    from quintet.cluster.compose_env import EXAMPLE, fresh_env, write_env

    say(fresh_env(EXAMPLE.read_text()).rstrip("\n") if show else write_env(out, force=force))
    return DONE


def _before_torch() -> None:
    """Have torch's threads sleep while they wait: it asks when it is loaded."""
    from quintet.cluster.processes.optimizer import PASSIVE_WAIT

    os.environ.update(PASSIVE_WAIT)
