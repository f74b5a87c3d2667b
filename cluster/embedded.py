"""Starts a run's processes (Redis, the optimizer, Ray) beside one another, and ends them in reverse, whatever happens.

Most of the time up to the first gradient step goes into libraries that load: torch in the optimizer and in the workers.
So the optimizer starts first and waits, loaded; Ray starts meanwhile; and nothing heavy loads in this process.
"""

from __future__ import annotations

import math
import os
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Generic, TypeVar, cast

from quintet.cluster.board import Board
from quintet.cluster.cli.check import refused, rehearsed
from quintet.cluster.controller import LEASE_S, Controller, RunChannel
from quintet.cluster.processes.optimizer import OptimizerProcess
from quintet.cluster.processes.redis_server import EmbeddedRedis
from quintet.cluster.processes.signals import Interrupts
from quintet.cluster.processes.spawn import usable_cores
from quintet.cluster.processes.web_page import WebPage
from quintet.cluster.recorder import Recorder
from quintet.cluster.worker_supervisor import Launcher, WorkerSupervisor
from quintet.control.autoscale import Bounds
from quintet.control.config import RunConfig, check_config, dump_config
from quintet.control.config_reader import ConfigError
from quintet.control.errors import RunFailedError, UsageError
from quintet.control.live_settings import take_in_requests, with_known_format
from quintet.control.run_folder import RunFolder
from quintet.control.summary import Summary
from quintet.games.api import GameSpec, VectorGame
from quintet.wire.redis_link.client import check_maxmemory, needed_memory_bytes
from quintet.wire.redis_link.link import connect
from quintet.wire.redis_link.weights_cache import clear_weights_cache

LINK_WAIT_S = 5.0
GRACE_S = 10.0  # of the optimizer once the run has failed: enough for a checkpoint of a middling network
MAX_REDIS_RESTARTS = 5  # in a row, each of which lived no longer than this:
QUICK_DEATH_S = 60.0

Result = TypeVar("Result")


@dataclass(frozen=True, kw_only=True, slots=True)
class Resources:
    """Where a run gets its servers and cores from; by default everything is private and on this machine."""

    redis_url: str | None = None
    redis_port: int = 0  # of the private Redis; 0 takes any free one
    ray_address: str | None = None
    cores_per_worker: float = 1.0
    autoscale: Bounds | None = None  # the run chooses its number of workers within these
    web_page: bool = True  # `quintet dashboard` beside the run

    @property
    def private(self) -> bool:
        """Whether all workers play on this machine."""
        return not self.ray_address

    @property
    def capacity(self) -> int | None:
        """Workers that there are cores for; None on a cluster, which may grow."""
        return None if self.ray_address else int(usable_cores() / self.cores_per_worker + 1e-9)


def check_capacity(resources: Resources, workers: int) -> None:
    """Refuse workers that would never get a core, be it at the start or by autoscaling.

    Raises:
        UsageError: there are not enough; both numbers stand in the message.
    """
    workers = max(workers, resources.autoscale.high if resources.autoscale else 0)
    if resources.cores_per_worker <= 0:
        raise UsageError(f"--cores-per-worker is {resources.cores_per_worker:g}; it must be greater than 0")
    if resources.capacity is not None and workers > resources.capacity:
        raise UsageError(
            f"{workers} workers at {resources.cores_per_worker:g} cores each do not fit on {usable_cores()} cores, "
            f"which hold {resources.capacity}; take fewer, or let them share: "
            f"--cores-per-worker {math.floor(100 * usable_cores() / workers) / 100:g}"
        )


def check_game(config: RunConfig, logs: Path | None = None) -> tuple[GameSpec, list[str]]:
    """The game's spec, and lines to say about it and the configuration. Plays a few rows, so that faults show first.

    What a game compiles and caches at its first step is then there before the workers want it, all at once.

    Raises:
        UsageError: no such game, or one that keeps no contract.
        RunFailedError: one that does what nothing can be trained on; a traceback is kept in `logs`.
        ConfigError: numbers that do not go together.
    """
    game, lines = _open_game(config, logs)
    return game.spec, [*lines, *rehearsed(config, game, logs)]


def _open_game(config: RunConfig, logs: Path | None) -> tuple[VectorGame, list[str]]:
    from quintet.games.registry import make_game  # gymnasium takes its time

    with refused(logs):
        game = make_game(config.game, 1, config.seed, config.game_options)
    return game, [f"note: {note}" for note in check_config(config, game.spec)]


def logs_kept(folder: RunFolder) -> Path | None:
    """The logs of a run that has begun before: the folder of one that is refused at its first start is deleted."""
    return folder.logs if folder.config.exists() else None


def _look(config: RunConfig, logs: Path | None) -> tuple[GameSpec, list[str], Callable[[], list[str]] | None]:
    """The game's spec, lines to say, and a rehearsal that is still to be done.

    A game that others bring is rehearsed at once. Ours may compile for long, while everything else starts.
    """
    game, lines = _open_game(config, logs)
    rehearse = partial(rehearsed, config, game, logs)
    if ":" in config.game:
        return game.spec, [*lines, *rehearse()], None
    return game.spec, lines, rehearse


def train_with_processes(
    config: RunConfig,
    folder: RunFolder,
    board: Board,
    started_s: float,
    *,
    resources: Resources,
    start_from: Path | None,
    overrides: Sequence[str] = (),
) -> tuple[str, Summary]:
    """Train with processes of their own for Redis, the optimizer and every worker; why it ended, and the summary."""
    with ExitStack() as stack:
        interrupts = stack.enter_context(Interrupts())
        controller, recorder = _start(
            config, overrides, folder, board, started_s, resources, start_from, stack, interrupts
        )
        interrupts.defer()
        with recorder.failing():
            reason = controller.run()
            controller.wind_down(reason)
        recorder.show("ending")
        return reason, recorder.close()


def _start(
    config: RunConfig,
    overrides: Sequence[str],
    folder: RunFolder,
    board: Board,
    started_s: float,
    resources: Resources,
    start_from: Path | None,
    stack: ExitStack,
    interrupts: Interrupts,
) -> tuple[Controller, Recorder]:
    """Everything up to the first worker; `stack` ends it in reverse."""
    let_children_find_our_code()
    game, lines, rehearse = _look(config, logs_kept(folder))  # what is wrong shows before anything is started, or said
    board.say(f"run {folder.run}: {config.game}; its files are in {folder.where}/; Ctrl-C saves and stops it")
    board.say("starting Redis, the optimizer and Ray")
    url, redis = _redis(config, folder, resources, stack)
    folder.write_redis_url(url)
    stack.callback(clear_weights_cache, folder.run)
    optimizer = OptimizerProcess(folder, _url_of("optimizer", url, redis), start_from, workers_here=resources.private)
    optimizer.start(hold=True)
    stack.callback(optimizer.stop, GRACE_S)
    launcher = _ray(config, folder, _url_of("worker", url, redis), resources, stack)
    interrupts.install()  # Ray brings a handler of its own for SIGTERM
    rehearsal = rehearse and _InThread(rehearse)  # may compile; torch loads in the others meanwhile
    link = stack.enter_context(connect(url, folder.run, wait_s=LINK_WAIT_S))
    config, through = take_in_requests(link, config, overrides, resumed=folder.config.exists())
    open_link(link, config := with_known_format(config, folder, link.run_config()), game)
    link.drop_settings(through)
    link.set_autoscale(str(resources.autoscale or ""))
    if redis is not None:  # ours alone: whoever held the lease died with the `quintet train` before this one
        link.break_optimizer_lease()
    folder.propose_config(dump_config(config))
    optimizer.release()
    for line in lines:
        board.say(line)
    recorder = Recorder(folder=folder, config=config, link=link, board=board, started_s=started_s)
    recorder.note("resumed" if folder.has_checkpoint else "started", text=f"ready after {recorder.wall_s:.1f} s")
    crew = WorkerSupervisor(launcher, link, recorder, keep_traceback=partial(keep_traceback, folder))
    crew.adopt(config.rollout.workers)
    while rehearsal is not None and not rehearsal.has_ended(within_s=1.0):
        link.hold_lease(LEASE_S)
    for line in rehearsal.result() if rehearsal else ():
        board.say(line)
    if resources.web_page:
        _web_page(folder, recorder, stack)
    controller = Controller(
        link=link,
        crew=crew,
        optimizer=optimizer,
        recorder=recorder,
        redis=redis,
        interrupted=interrupts.requested,
        describe={
            "pid": os.getpid(),
            "capacity": -1 if resources.capacity is None else resources.capacity,
            "cores_per_worker": resources.cores_per_worker,
        },
    )
    return controller, recorder


def _web_page(folder: RunFolder, recorder: Recorder, stack: ExitStack) -> None:
    """The web page, last of all: it must not take time from what the first gradient step waits for."""
    page = WebPage(folder)
    page.start()
    stack.callback(page.stop)
    recorder.address = page.address
    recorder.board.say(f"dashboard: {page.address}")


def _redis(
    config: RunConfig, folder: RunFolder, resources: Resources, stack: ExitStack
) -> tuple[str, KeptRedis | None]:
    """The URL of the run's Redis, and the server if it is ours."""
    needed = needed_memory_bytes(
        max_queue_bytes=config.wire.max_queue_bytes,
        workers=max(config.rollout.workers, resources.autoscale.high if resources.autoscale else 0),
        weights_bytes=weights_bytes(config),
    )
    if resources.redis_url is not None:
        check_maxmemory(resources.redis_url, needed)
        return resources.redis_url, None
    maxmemory = config.wire.redis_maxmemory_bytes or needed
    if maxmemory < needed:
        raise ConfigError(
            f"wire.redis_maxmemory_bytes is {maxmemory}, but this run needs {needed} (2 x wire.max_queue_bytes + "
            "(workers + 2) x weights); raise it, or lower wire.max_queue_bytes"
        )
    redis = KeptRedis(folder.redis, maxmemory, resources.redis_port, 4 * config.wire.max_queue_bytes)
    stack.callback(redis.stop)
    return redis.url, redis


def _url_of(role: str, url: str, redis: KeptRedis | None) -> str:
    """The URL for a child: our own Redis has a user for each role; somebody else's has the one that we were given."""
    return url if redis is None else redis.url_of(role)


def weights_bytes(config: RunConfig) -> int:
    """A generous estimate of a version's bytes, made without torch: LSTM and neighbours, and half as much again."""
    units, encoder = config.model.lstm_units, config.model.hidden_units
    lstm = 4 * units * (units + encoder + 2)
    return int(1.5 * 4 * (lstm + 8 * encoder * encoder)) + 2**20


class KeptRedis:
    """The private Redis server, started again on the same port when it dies: its append-only file keeps the run."""

    def __init__(self, folder: Path, maxmemory_bytes: int, port: int, aof_rewrite_min_bytes: int) -> None:
        self._folder, self._maxmemory_bytes, self._aof_bytes = folder, maxmemory_bytes, aof_rewrite_min_bytes
        self._restarts = 0
        self._server = self._start(port)
        self.url = self._server.url

    def url_of(self, role: str) -> str:
        """The URL of a role of `quintet.wire.redis_link.acl`; it outlives a restart."""
        return self._server.url_of(role)

    def ensure(self) -> bool:
        """Start it again if it died; True if it had to.

        Raises:
            RunFailedError: it died too often.
        """
        if self._server.process.poll() is None:
            return False
        lived_s = time.monotonic() - self._started_s
        self._restarts = self._restarts + 1 if lived_s < QUICK_DEATH_S else 1
        if self._restarts > MAX_REDIS_RESTARTS:
            raise RunFailedError(f"Redis died {self._restarts} times in a row; see {self._folder / 'redis.log'}")
        self._server.stop()
        self._server = self._start(self._server.port)
        return True

    def stop(self) -> None:
        """End it; it writes what it holds."""
        self._server.stop()

    def _start(self, port: int) -> EmbeddedRedis:
        self._started_s = time.monotonic()
        return EmbeddedRedis.start(
            self._folder,
            maxmemory_bytes=self._maxmemory_bytes,
            port=port,
            aof_rewrite_min_bytes=self._aof_bytes,
        )


def _ray(config: RunConfig, folder: RunFolder, url: str, resources: Resources, stack: ExitStack) -> Launcher:
    from quintet.cluster.ray_cluster import launcher as launch

    session: launch.Session
    if resources.ray_address:
        session = launch.JoinedRay(resources.ray_address)
    else:
        session = launch.LocalRay(workers=config.rollout.workers)
    stack.callback(session.close, keep_logs_in=folder.logs / "workers")
    return launch.RayLauncher(
        session,
        redis_url=url,
        run=folder.run,
        cores_per_worker=resources.cores_per_worker,
        detached=resources.ray_address is not None,
    )


def open_link(link: RunChannel, config: RunConfig, game: GameSpec, workers: int | None = None) -> None:
    """Open the run on its link and say what is wanted: so many workers, else as many as the configuration says.

    Raises:
        SpecMismatchError: the link holds this run with another game or network.
    """
    from quintet.games.spec_text import spec_to_text

    spec = config.chunk_spec(game)
    link.open_run(
        spec_hash=spec.hash,
        config_text=dump_config(config),
        max_queued_steps=config.wire.max_queued_steps(
            batch_steps=config.optimizer.batch_steps, chunk_steps=config.rollout.chunk_steps * game.agents_per_team
        ),
        max_queue_bytes=config.wire.max_queue_bytes,
    )
    link.keep_game_spec(spec_to_text(game))
    link.set_wanted_workers(config.rollout.workers if workers is None else workers)
    link.hold_lease(LEASE_S)


def let_children_find_our_code() -> None:
    """Children start from other scripts than ours: they get the folder of our code and the one we are in."""
    root = str(Path(__file__).absolute().parents[2])
    places = [root, os.getcwd(), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
    os.environ["PYTHONPATH"] = os.pathsep.join(dict.fromkeys(place for place in places if place))


def keep_traceback(folder: RunFolder, worker: int, text: str) -> Path:
    """Append a dead worker's traceback to its log in the run folder; returns the log's path."""
    path = folder.logs / f"worker-{worker}.log"
    with path.open("a", encoding="utf-8", errors="backslashreplace") as file:
        file.write(text.rstrip() + "\n\n")
    return path


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
