"""Starts a run's processes (Redis, the optimizer, Ray) beside one another, and ends them in reverse, whatever happens.

Most of the time up to the first gradient step goes into libraries that load: torch in the optimizer and in the workers.
So the optimizer starts first and waits, loaded; Ray starts meanwhile; and nothing heavy loads in this process.
"""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Callable
from contextlib import ExitStack
from typing import Generic, TypeVar, cast

from quintet.cluster.assembly import (
    begin,
    drive,
    let_children_find_our_code,
    logs_kept,
    look_at_game,
    needed_redis_bytes,
    supervise,
)
from quintet.cluster.board import Board
from quintet.cluster.controller import LEASE_S, Controller
from quintet.cluster.processes.optimizer import OptimizerProcess
from quintet.cluster.processes.redis_server import EmbeddedRedis
from quintet.cluster.processes.signals import Interrupts
from quintet.cluster.processes.spawn import usable_cores
from quintet.cluster.processes.web_page import WebPage
from quintet.cluster.recorder import Recorder
from quintet.cluster.request import TrainRequest
from quintet.cluster.worker_supervisor import Launcher
from quintet.control.config import RunConfig
from quintet.control.config_reader import ConfigError
from quintet.control.errors import UsageError
from quintet.control.live_settings import take_in_requests
from quintet.control.run_folder import RunFolder
from quintet.control.summary import Summary
from quintet.wire.redis_link.client import check_maxmemory
from quintet.wire.redis_link.link import connect
from quintet.wire.redis_link.weights_cache import clear_weights_cache

LINK_WAIT_S = 5.0
GRACE_S = 10.0  # of the optimizer once the run has failed: enough for a checkpoint of a middling network

Result = TypeVar("Result")


def capacity(request: TrainRequest) -> int | None:
    """Workers that there are cores for; None on a cluster, which may grow."""
    return None if request.ray_address else int(usable_cores() / request.cores_per_worker + 1e-9)


def check_capacity(request: TrainRequest, workers: int) -> None:
    """Refuse workers that would never get a core, be it at the start or by autoscaling.

    Raises:
        UsageError: there are not enough; both numbers stand in the message.
    """
    workers, cores = max(workers, request.most_workers), request.cores_per_worker
    if cores <= 0:
        raise UsageError(f"--cores-per-worker is {cores:g}; it must be greater than 0")
    room = capacity(request)
    if room is not None and workers > room:
        raise UsageError(
            f"{workers} workers at {cores:g} cores each do not fit on {usable_cores()} cores, "
            f"which hold {room}; take fewer, or let them share: "
            f"--cores-per-worker {math.floor(100 * usable_cores() / workers) / 100:g}"
        )


def train_with_processes(
    request: TrainRequest, config: RunConfig, folder: RunFolder, board: Board, started_s: float
) -> tuple[str, Summary]:
    """Train with processes of their own for Redis, the optimizer and every worker; why it ended, and the summary."""
    with ExitStack() as stack:
        interrupts = stack.enter_context(Interrupts())
        controller = _start(request, config, folder, board, started_s, stack, interrupts)
        return drive(controller, interrupts)


def _start(
    request: TrainRequest,
    config: RunConfig,
    folder: RunFolder,
    board: Board,
    started_s: float,
    stack: ExitStack,
    interrupts: Interrupts,
) -> Controller:
    """Everything up to the first worker; `stack` ends it in reverse."""
    let_children_find_our_code()
    look = look_at_game(config, logs_kept(folder))  # what is wrong shows before anything is started
    config = look.config
    is_ours = ":" not in config.game  # such a game may compile for long, while everything else starts
    look.notes.extend([] if is_ours else look.rehearse())
    board.say(f"run {folder.run}: {config.game}; its files are in {folder.where}/; Ctrl-C saves and stops it")
    board.say("starting Redis, the optimizer and Ray")
    url, redis = _redis(request, config, folder, stack)
    folder.write_redis_url(url)
    stack.callback(clear_weights_cache, folder.run)
    optimizer = OptimizerProcess(
        folder, _url_of("optimizer", url, redis), request.start_from, workers_here=not request.ray_address
    )
    optimizer.start(hold=True)
    stack.callback(optimizer.stop, GRACE_S)
    launcher = _ray(request, config, folder, _url_of("worker", url, redis), stack)
    interrupts.install()  # Ray brings a handler of its own for SIGTERM
    rehearsal = _InThread(look.rehearse) if is_ours else None  # torch loads in the others meanwhile
    link = stack.enter_context(connect(url, folder.run, wait_s=LINK_WAIT_S))
    config, through = take_in_requests(link, config, request.overrides, resumed=folder.config.exists())
    config, recorder = begin(link, config, look, folder, board, started_s)
    link.drop_settings(through)
    link.set_autoscale(request.autoscale or "")
    if redis is not None:  # nobody else's: what held the lease ended with the `quintet train` before this one
        link.break_optimizer_lease()
    optimizer.release()
    supervisor = supervise(launcher, link, recorder, config.rollout.workers)
    while rehearsal is not None and not rehearsal.has_ended(within_s=1.0):
        link.hold_lease(LEASE_S)
    for line in rehearsal.result() if rehearsal else ():
        board.say(line)
    if not request.no_dashboard:
        _web_page(folder, recorder, stack)
    room = capacity(request)
    return Controller(
        link=link,
        supervisor=supervisor,
        optimizer=optimizer,
        recorder=recorder,
        redis=redis,
        interrupted=interrupts.requested,
        describe={
            "pid": os.getpid(),
            "capacity": -1 if room is None else room,
            "cores_per_worker": request.cores_per_worker,
        },
    )


def _web_page(folder: RunFolder, recorder: Recorder, stack: ExitStack) -> None:
    """The web page, last of all: it must not take time from what the first gradient step waits for."""
    page = WebPage(folder)
    page.start()
    stack.callback(page.stop)
    recorder.address = page.address
    recorder.board.say(f"dashboard: {page.address}")


def _redis(
    request: TrainRequest, config: RunConfig, folder: RunFolder, stack: ExitStack
) -> tuple[str, EmbeddedRedis | None]:
    """The URL of the run's Redis, and the server if it is ours."""
    needed = needed_redis_bytes(config, max(config.rollout.workers, request.most_workers))
    if request.redis_url is not None:
        check_maxmemory(request.redis_url, needed)
        return request.redis_url, None
    maxmemory = config.wire.redis_maxmemory_bytes or needed
    if maxmemory < needed:
        raise ConfigError(
            f"wire.redis_maxmemory_bytes is {maxmemory}, but this run needs {needed} (2 x wire.max_queue_bytes + "
            "(workers + 2) x weights); raise it, or lower wire.max_queue_bytes"
        )
    redis = EmbeddedRedis.start(
        folder.redis,
        maxmemory_bytes=maxmemory,
        port=request.redis_port,
        aof_rewrite_min_bytes=4 * config.wire.max_queue_bytes,
    )
    stack.callback(redis.stop)
    return redis.url, redis


def _url_of(role: str, url: str, redis: EmbeddedRedis | None) -> str:
    """The URL for a child: our own Redis has a user for each role; somebody else's has the one that we were given."""
    return url if redis is None else redis.url_of(role)


def _ray(request: TrainRequest, config: RunConfig, folder: RunFolder, url: str, stack: ExitStack) -> Launcher:
    from quintet.cluster.ray_cluster.launcher import JoinedRay, RayLauncher, Session
    from quintet.cluster.ray_cluster.private_node import LocalRay

    session: Session
    session = JoinedRay(request.ray_address) if request.ray_address else LocalRay(workers=config.rollout.workers)
    stack.callback(session.close, keep_logs_in=folder.logs / "workers")
    return RayLauncher(
        session,
        redis_url=url,
        run=folder.run,
        cores_per_worker=request.cores_per_worker,
        detached=request.ray_address is not None,
    )


class _InThread(Generic[Result]):
    """A function under way in a thread of its own."""

    def __init__(self, function: Callable[[], Result]) -> None:
        self._function = function
        self._result: Result | None = None
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def has_ended(self, within_s: float) -> bool:
        """Whether it has ended by then."""
        self._thread.join(within_s)
        return not self._thread.is_alive()

    def result(self) -> Result:
        """What it returned; raises what it raised."""
        self._thread.join()
        if self._error is not None:
            raise self._error
        return cast(Result, self._result)

    def _run(self) -> None:
        try:
            self._result = self._function()
        except BaseException as error:  # noqa: BLE001  (raised again by `result`)
            self._error = error
