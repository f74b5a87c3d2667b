"""`quintet train`: from what it was told to a configuration and a run folder, and in the end to an exit code."""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from cluster.board import Board, duration
from cluster.failure import DONE, INTERRUPTED, USAGE, UsageError, report
from cluster.run_folder import RunFolder, create_run, open_run
from cluster.start_up import Resources, check_capacity, train_with_processes
from control.config import RunConfig, load_config
from control.summary import Summary, summary_json


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainRequest:
    """What `quintet train` was told."""

    config: Path | None = None
    overrides: Sequence[str] = ()
    run: str | None = None
    resume: bool = False
    start_from: Path | None = None
    in_process: bool = False
    json: bool = False
    resources: Resources = field(default_factory=Resources)


def train(request: TrainRequest) -> int:
    """Carry out `quintet train`; returns the exit code. Every failure is one line on stderr."""
    started_s = _command_started_s()
    folder: RunFolder | None = None
    try:
        config, folder = _prepare(request)
        with folder.locked(), Board() as board:
            reason, summary = _train(request, config, folder, board, started_s)
            board.say(_goodbye(folder, reason, summary))
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001  (the command's border: it becomes a line and a code)
        code = report(error, None if folder is None else folder.logs)
        if folder is not None and (code == USAGE or folder.is_bare) and not folder.config.exists():
            shutil.rmtree(folder.path)  # nothing came of it, and the name is free again
        return code
    if request.json:
        print(summary_json(summary), flush=True)
    return INTERRUPTED if reason == "interrupted" else DONE


def _command_started_s() -> float:
    """The `time.monotonic()` at which this process began."""
    age_s: float = time.time() - psutil.Process().create_time()
    return time.monotonic() - age_s


def _prepare(request: TrainRequest) -> tuple[RunConfig, RunFolder]:
    """The run's configuration and folder."""
    if request.resume:
        if request.config is not None or request.start_from is not None:
            raise UsageError(
                "--resume goes on with the run's own configuration and checkpoint: leave out --config and --from, "
                "and change single keys with --set"
            )
        folder = open_run(request.run)
        config = load_config(folder.config, request.overrides)
        _check_request(request, config)
        return config, folder
    config = load_config(request.config, request.overrides)
    _check_request(request, config)
    return config, create_run(request.run, config.game)


def _check_request(request: TrainRequest, config: RunConfig) -> None:
    """Refuse options that do not go together.

    Raises:
        UsageError: which, and what to do.
    """
    resources = request.resources
    if request.in_process:
        if resources != Resources():
            raise UsageError("--in-process has neither Redis nor Ray: leave out their options")
        if request.resume:
            raise UsageError("--in-process leaves no stream to --resume; start a new run with --from CHECKPOINT")
        return
    if resources.ray_address and not resources.redis_url:
        raise UsageError("--ray-address needs --redis-url: workers on other machines cannot reach a private Redis")
    check_capacity(resources, config.rollout.workers)


def _train(
    request: TrainRequest, config: RunConfig, folder: RunFolder, board: Board, started_s: float
) -> tuple[str, Summary]:
    """Train; why it ended, and the summary."""
    if request.in_process:
        from cluster.in_process import train_in_process

        return train_in_process(config, folder, board, started_s, start_from=request.start_from)
    return train_with_processes(
        config, folder, board, started_s, resources=request.resources, start_from=request.start_from
    )


def _goodbye(folder: RunFolder, reason: str, summary: Summary) -> str:
    """What a person wants to know at the end, and what to type next."""
    ended = "interrupted" if reason == "interrupted" else f"done ({reason})"
    mean = "" if summary.episode_return_mean is None else f", return {summary.episode_return_mean:.2f}"
    line = f"{ended}: {summary.agent_steps:,} agent steps in {duration(summary.wall_s)}{mean}; {folder.summary}"
    if reason == "interrupted":
        return f"{line}\ngo on with: quintet train --run {folder.run} --resume"
    return f"{line}\nsee what it learned: quintet eval {folder.run}"
