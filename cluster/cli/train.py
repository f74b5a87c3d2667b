"""`quintet train`: from what it was told to a configuration and a run folder, and in the end to an exit code."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

import psutil

from quintet.cluster.board import Board, duration
from quintet.cluster.embedded import check_capacity, train_with_processes
from quintet.cluster.request import TrainRequest
from quintet.control.config import RunConfig, as_complete, check_alone, load_config
from quintet.control.doctor.health_check import in_one_line
from quintet.control.doctor.health_snapshot import read_health
from quintet.control.doctor.learning import not_learning
from quintet.control.errors import DONE, INTERRUPTED, UsageError, report
from quintet.control.output import answer
from quintet.control.run_folder import RunFolder, create_beside, create_run, delete_run, open_run
from quintet.control.summary import Summary, summary_json


def train(request: TrainRequest) -> int:
    """Carry out `quintet train`; returns the exit code. Every failure is one line on stderr."""
    started_s = _command_started_s()
    folder: RunFolder | None = None
    try:
        request = request.spelled_out()
        if request.dry_run:
            return _dry_run(request)
        config, folder = _prepare(request)
        with folder.locked(), folder.free_if_refused(), Board(quiet=request.quiet) as board:
            reason, summary = _train(request, config, folder, board, started_s)
            board.say(outcome(folder, reason, summary))
        if request.json:
            answer(summary_json(summary))
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001  (the command's border: it becomes a line and a code)
        return report(error, None if folder is None else folder.logs)
    return INTERRUPTED if reason == "interrupted" else DONE


def _dry_run(request: TrainRequest) -> int:
    """What a new run would be.

    Raises:
        UsageError, ConfigError, RunFailedError: as of a run.
    """
    if request.restart_behavior is not None:
        raise UsageError(
            "--dry-run says what a new run would be: leave out --resume and --restart-behavior; the configuration of a "
            "run that is there stands in its config.toml"
        )
    from quintet.cluster.cli.dry_run import dry_run

    config = load_config(request.config, request.overrides)
    _check_request(request, config)
    dry_run(config, in_turns=request.in_process or config.deterministic, json=request.json, quiet=request.quiet)
    return DONE


def _command_started_s() -> float:
    """The `time.monotonic()` at which this process began."""
    age_s: float = time.time() - psutil.Process().create_time()
    return time.monotonic() - age_s


def _prepare(request: TrainRequest) -> tuple[RunConfig, RunFolder]:
    """The run's configuration and folder."""
    if request.restart_behavior in ("restart", "overwrite"):
        return _prepare_again(request)
    if request.restart_behavior == "resume":
        if request.config is not None or request.start_from is not None:
            raise UsageError(
                "--resume goes on with the run's own configuration and checkpoint: leave out --config and --from, "
                "and change single keys with --set"
            )
        folder = open_run(request.run)
        config = as_complete(load_config(folder.config, request.overrides))
        _check_request(request, config)
        return config, folder
    config = load_config(request.config, request.overrides)
    _check_request(request, config)
    return config, create_run(request.run, config.game)


def _prepare_again(request: TrainRequest) -> tuple[RunConfig, RunFolder]:
    """A run that begins once more, with its own configuration or another: under a new name, or in the old one's place.

    Raises:
        UsageError: no such run, or one that must not be deleted.
    """
    overwrite = request.restart_behavior == "overwrite"
    if overwrite and request.run is None:
        raise UsageError("--restart-behavior overwrite deletes a run: say which, with --run NAME")
    old = open_run(request.run)
    config = load_config(request.config or old.config, request.overrides)
    config = config if request.config else as_complete(config)
    _check_request(request, config)
    if not overwrite:
        return config, create_beside(old.run)
    if old.is_live:
        raise UsageError(f"run {old.run} is being trained now and is not deleted; stop it first")
    if request.start_from is not None and old.path.resolve() in request.start_from.resolve().parents:
        raise UsageError(f"--from {request.start_from} lies in run {old.run}, which is to be deleted")
    delete_run(old, _forgetting(request.redis_url, old.run))
    return config, create_run(old.run, config.game)


def _forgetting(redis_url: str | None, run: str) -> Callable[[], None]:
    """What has a Redis that is not the run's own forget it."""
    if redis_url is None:
        return lambda: None
    from quintet.wire.redis_link.client import forget_run

    return partial(forget_run, redis_url, run)


def _check_request(request: TrainRequest, config: RunConfig) -> None:
    """Refuse options that do not go together, and all of the configuration that can be known to be wrong.

    Raises:
        UsageError: which, and what to do.
        ConfigError: a value that no run can have.
    """
    check_alone(config)
    if request.in_process:
        servers = (request.redis_url, request.redis_port, request.ray_address, request.autoscale)
        if servers != (None, 0, None, None) or request.cores_per_worker != 1.0:
            raise UsageError("--in-process has neither Redis nor Ray: leave out their options")
        return
    if request.ray_address and not request.redis_url:
        raise UsageError("--ray-address needs --redis-url: workers on other machines cannot reach a private Redis")
    check_capacity(request, config.rollout.workers)


def _train(
    request: TrainRequest, config: RunConfig, folder: RunFolder, board: Board, started_s: float
) -> tuple[str, Summary]:
    """Train; why it ended, and the summary."""
    if request.in_process:
        from quintet.cluster.in_process import train_in_process

        return train_in_process(config, folder, board, started_s, start_from=request.start_from)
    return train_with_processes(request, config, folder, board, started_s)


def outcome(folder: RunFolder, reason: str, summary: Summary) -> str:
    """What a person wants to know at the end, and what to type next."""
    ended = "interrupted" if reason == "interrupted" else f"done ({reason})"
    mean = "" if summary.episode_return_mean is None else f", return {summary.episode_return_mean:.2f}"
    line = f"{ended}: {summary.agent_steps:,} agent steps in {duration(summary.wall_s)}{mean}"
    line += f"; {folder.shown(folder.summary)}"
    if reason == "interrupted":
        return f"{line}\ngo on with: quintet train --run {folder.run} --resume"
    for finding in not_learning(read_health(folder.path, None, live=False)):
        line += f"\n{finding.severity}: {in_one_line([finding])}"
    return f"{line}\nsee what it learned: quintet eval {folder.run}"
