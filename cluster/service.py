"""`quintet controller`: drives a run on a Redis, a Ray cluster and an optimizer that somebody else keeps up."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import ExitStack

from quintet.cluster.assembly import begin, check_game, drive, let_children_find_our_code, needed_redis_bytes, supervise
from quintet.cluster.board import Board
from quintet.cluster.controller import Controller
from quintet.cluster.processes.health_file import RETRY_S, touch_health_file, wait_for
from quintet.cluster.processes.optimizer_service import OptimizerService
from quintet.cluster.processes.signals import Interrupts
from quintet.cluster.ray_cluster.launcher import JoinedRay, RayLauncher
from quintet.cluster.ray_cluster.node import split_address
from quintet.cluster.request import ControllerRequest
from quintet.control.config import RunConfig, as_complete, load_config
from quintet.control.errors import DONE, INTERRUPTED, UsageError, report
from quintet.control.run_folder import RUNS, RunFolder, checked, create_run
from quintet.wire.errors import LinkDownError
from quintet.wire.redis_link.client import check_maxmemory
from quintet.wire.redis_link.link import RedisLink

FILLING = "filling"  # in the controller's heartbeat: 1 while it wants a worker for every core
NODES_PATIENCE_S = 5.0  # without a single core the run is opened with one worker, which waits for the first


def serve_controller(request: ControllerRequest) -> int:
    """Carry out `quintet controller`; returns the exit code. Every failure is one line on stderr."""
    started_s = time.monotonic()
    folder: RunFolder | None = None
    try:
        url = request.url
        split_address(request.ray_address)
        config, folder = open_or_create(request)
        with folder.locked(), folder.free_if_refused(), Board() as board:
            reason = _drive(request, url, config, folder, board, started_s)
            board.say(f"{folder.run}: {reason}; go on by starting the controller again")
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001  (the command's border: it becomes a line and a code)
        return report(error, None if folder is None else folder.logs)
    return INTERRUPTED if reason == "interrupted" else DONE


def open_or_create(request: ControllerRequest) -> tuple[RunConfig, RunFolder]:
    """The run's own configuration where it exists already, else that of the request; and its folder."""
    folder = RunFolder(RUNS / checked(request.run))
    if folder.config.is_file():
        return as_complete(load_config(folder.config, request.overrides)), folder
    config = load_config(request.config, request.overrides)
    return config, create_run(request.run, config.game)


def _drive(
    request: ControllerRequest, url: str, config: RunConfig, folder: RunFolder, board: Board, started_s: float
) -> str:
    """Drive the run to its end; returns why it ended."""

    def tell(error: Exception) -> None:
        board.say(f"waiting: {error}")

    with ExitStack() as stack:
        interrupts = stack.enter_context(Interrupts())
        look = check_game(config)
        link = stack.enter_context(RedisLink(url, folder.run))
        wait_for(lambda: link.wait_until_ready(0.0), LinkDownError, tell)
        let_children_find_our_code()
        session = wait_for(lambda: JoinedRay(request.ray_address), UsageError, tell)
        assert session is not None  # nothing else ends the waiting
        stack.callback(session.close, keep_logs_in=folder.logs / "workers")
        interrupts.install()  # Ray brings a handler of its own for SIGTERM
        fill = Filler(link, session.cores, request.cores_per_worker, automatic=request.workers is None)
        workers = first_wish(link, request.workers or fill.wait_for_cores(NODES_PATIENCE_S))
        check_maxmemory(url, needed_redis_bytes(look.config, workers))
        said = f"{workers} workers wanted"
        recorder = begin(link, look.config, look, folder, board, started_s, workers=workers, text=said)[1]
        launcher = RayLauncher(
            session,
            redis_url="" if request.node_redis_url else url,
            run=folder.run,
            cores_per_worker=request.cores_per_worker,
            detached=True,
        )
        controller = Controller(
            link=link,
            supervisor=supervise(launcher, link, recorder, workers),
            optimizer=OptimizerService(link.heartbeats),
            recorder=recorder,
            redis=None,
            interrupted=interrupts.requested,
            describe=fill.describe,
            fill=fill,
        )
        return drive(controller, interrupts)[0]


class Filler:
    """Wants one worker for every core that the cluster offers, until somebody asks for another number."""

    def __init__(
        self,
        link: RedisLink,
        cores: Callable[[], float],
        cores_per_worker: float,
        *,
        automatic: bool,
    ) -> None:
        """`describe` goes into the controller's heartbeat, so that `quintet scale` knows what there is room for."""
        self._link, self._cores, self._cores_per_worker = link, cores, cores_per_worker
        before = {beat.process: beat.data for beat in link.heartbeats()}.get("controller", {})
        # A number that a person chose stays, also under the next controller.
        self._automatic = automatic and before.get(FILLING, 1) == 1
        self._last_wish = -1
        self.describe: dict[str, float | int | str] = {
            "pid": os.getpid(),
            "cores_per_worker": cores_per_worker,
            FILLING: int(self._automatic),
        }
        self._look()

    def __call__(self, wanted: int) -> int:
        """Called once a second with how many are wanted now; returns how many are from now on."""
        touch_health_file()
        room = self._look()
        if self._last_wish not in (-1, wanted) or self._link.autoscale():
            self._automatic = False  # `quintet scale` was here
            self.describe[FILLING] = 0
        if not self._automatic or room == wanted or not room:
            return wanted
        self._last_wish = room
        self._link.set_wanted_workers(room)
        return room

    def wait_for_cores(self, patience_s: float) -> int:
        """Workers that there is room for, at least 1; waits so long for the first node."""
        deadline_s = time.monotonic() + patience_s
        while not (room := self._look()) and time.monotonic() < deadline_s:
            time.sleep(RETRY_S)
        return max(1, room)

    def _look(self) -> int:
        """Workers that the cluster has cores for now."""
        room = int(self._cores() / self._cores_per_worker + 1e-9)
        self.describe["capacity"] = room
        return room


def first_wish(link: RedisLink, workers: int) -> int:
    """How many workers to want at the start: as many as a controller that was killed wanted, where there was one."""
    message = link.control_message()
    was_killed = bool(link.run_config()) and not message.stopping
    return message.wanted_workers if was_killed and message.wanted_workers else workers
