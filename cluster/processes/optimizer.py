"""The optimizer as an operating-system process: what `quintet optimizer` runs, and the handle of whoever started it.

Nothing here imports Ray: the optimizer runs on machines that have none.
"""

from __future__ import annotations

import importlib
import os
import signal
import subprocess
import sys
import traceback
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from quintet.cluster.processes.malloc import keep_freed_memory
from quintet.cluster.processes.spawn import spawn, stop, usable_cores
from quintet.control.config import RunConfig, dump_config, parse_config
from quintet.control.errors import CRASHED, DONE, FAILED, LINK_DOWN, REDIS_URL, exit_code, one_line
from quintet.control.live_settings import LiveConfig
from quintet.control.run_folder import RunFolder
from quintet.wire.errors import LinkDownError
from quintet.wire.link import OptimizerLink

if TYPE_CHECKING:
    from quintet.optimizer.loop import Optimizer

PREFIX = "quintet: "  # of the one line that a failing command leaves on stderr
CHECKPOINT_FAILED = "the last checkpoint could not be written (see the journal for why); the one before it stays"
SLOW_TO_LOAD = ("quintet.games.spec_text", "quintet.optimizer.loop", "torch._dynamo", "quintet.wire.redis_link.link")
CONNECT_S = 30.0
# Two spinning OpenMP threads beside a busy worker run five times slower than two sleeping ones. Read when torch loads.
PASSIVE_WAIT = {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "0"}


def run_optimizer(folder: RunFolder, redis_url: str, *, start_from: Path | None, hold: bool, workers_here: bool) -> int:
    """Train until the run is asked to stop or its budget is used up; SIGTERM asks for it, too. Returns the exit code.

    It goes on from the run's newest checkpoint where there is one, else it starts from `start_from` or anew. What ends
    it is said in one line on stderr; a bug's traceback stands above that line.

    Args:
        folder: the run's folder.
        redis_url: where the run is open, or will be.
        start_from: a checkpoint whose weights a new run starts with.
        hold: load everything that is slow to load, then wait until stdin ends before touching the run.
        workers_here: whether all workers play on this machine: `auto` is settled by what their processors can do.
    """
    code, said = train_to_its_end(folder, redis_url, start_from=start_from, hold=hold, workers_here=workers_here)
    if said:
        print(f"{PREFIX}{said}", file=sys.stderr, flush=True)
    return code


def train_to_its_end(
    folder: RunFolder, redis_url: str, *, start_from: Path | None, hold: bool, workers_here: bool
) -> tuple[int, str]:
    """As `run_optimizer`; returns the exit code and the line that says why, empty where all went well."""
    os.environ.update(PASSIVE_WAIT)
    keep_freed_memory()
    signal.signal(signal.SIGTERM, _leave)
    try:
        if hold:
            load_libraries()
            sys.stdin.buffer.read()
        return _train(folder, redis_url, start_from, workers_here)
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001  (the process's border: it becomes a line and a code)
        code = exit_code(error)
        if isinstance(error, LinkDownError):
            code = LINK_DOWN
        if code is None:
            code = CRASHED
            traceback.print_exc()
        return code, one_line(error)


def _leave(*_: object) -> None:
    """SIGTERM before there is anything to save."""
    sys.exit(DONE)


def load_libraries() -> None:
    """Load what is slow to load; torch's compiler belongs to that, which its optimizers ask for when they are made.

    The network's kernels belong to it, too: on a first start they are compiled here and loaded by the workers.
    """
    for module in SLOW_TO_LOAD:
        importlib.import_module(module)
    from quintet.model.kernels.precompile import compile_kernels

    compile_kernels()


def _train(folder: RunFolder, redis_url: str, start_from: Path | None, workers_here: bool) -> tuple[int, str]:
    import torch

    from quintet.wire.redis_link.link import connect

    with connect(redis_url, folder.run, wait_s=CONNECT_S) as link:
        config = parse_config(link.run_config(), source=f"the configuration of run {folder.run}")
        torch.set_num_threads(config.optimizer.threads or usable_cores())
        optimizer = make_optimizer(
            config, folder, link, start_from=start_from, prefetch=True, workers_here=workers_here
        )
        optimizer.start()

        def ask_to_stop(*_: object) -> None:
            optimizer.stop_requested = True

        signal.signal(signal.SIGTERM, ask_to_stop)
        optimizer.run()
    if optimizer.checkpoint_failed:
        return FAILED, CHECKPOINT_FAILED
    return DONE, ""


def make_optimizer(
    config: RunConfig,
    folder: RunFolder,
    link: OptimizerLink,
    *,
    start_from: Path | None,
    prefetch: bool,
    workers_here: bool,
) -> Optimizer:
    """The optimizer of a run: at the run's newest checkpoint, else at the weights of `start_from`, else anew."""
    from quintet.games.spec_text import spec_from_text
    from quintet.optimizer.loop import Optimizer

    config = _with_number_format(config, folder, workers_here=workers_here)
    settings = LiveConfig(config)
    if config.deterministic:
        from quintet.optimizer.determinism import make_deterministic

        make_deterministic()
    return Optimizer(
        game_spec=spec_from_text(link.game_spec()),
        policy_config=config.model,
        optimizer_config=config.optimizer,
        ppo_config=config.ppo,
        bptt_steps=config.rollout.bptt_steps,
        chunk_steps=config.rollout.chunk_steps,
        link=link,
        run=folder.run,
        run_folder=folder.path,
        seed=config.seed,
        device=config.device,
        config_text=dump_config(config),
        resume=folder.has_checkpoint,
        start_from=start_from,
        agent_steps=config.agent_steps,
        prefetch=prefetch,
        deterministic=config.deterministic,
        settings=settings,
    )


def _with_number_format(config: RunConfig, folder: RunFolder, *, workers_here: bool) -> RunConfig:
    """The run's configuration once `auto` is settled."""
    from quintet.optimizer.checkpoint import checkpoint_to_resume, read_info
    from quintet.optimizer.learner import pick_device
    from quintet.optimizer.number_format import settled

    info = None
    if folder.has_checkpoint:
        info = read_info(checkpoint_to_resume(folder.path, deterministic=config.deterministic))
    model = settled(config.model, pick_device(config.device), workers_here=workers_here, checkpoint=info)
    return replace(config, model=model)


class OptimizerProcess:
    """The optimizer as a child of this process; see `quintet.cluster.controller.OptimizerHost`."""

    def __init__(
        self, folder: RunFolder, redis_url: str, start_from: Path | None, *, workers_here: bool = True
    ) -> None:
        self._workers_here = workers_here
        self._folder, self._redis_url, self._start_from = folder, redis_url, start_from
        self._log = folder.logs / "optimizer.log"
        self._process: subprocess.Popen[bytes] | None = None
        self._log_start = 0

    @property
    def pid(self) -> int:
        """0 before the first start."""
        return 0 if self._process is None else self._process.pid

    def start(self, *, hold: bool = False) -> None:
        """Start it in a session of its own; it ends with this process.

        With `hold` it loads its libraries, and waits for `release` before it looks at the run.
        """
        command = [sys.executable, "-m", "quintet", "optimizer", "--run-folder", str(self._folder.path)]
        if self._start_from is not None:
            command += ["--from", str(self._start_from)]
        command += ["--workers-here"] * self._workers_here
        self._log_start = self._log.stat().st_size if self._log.exists() else 0
        self._process = spawn(
            command + ["--hold"] * hold,
            env={REDIS_URL: self._redis_url, **PASSIVE_WAIT},
            log=self._log,
            stdin=subprocess.PIPE if hold else subprocess.DEVNULL,
        )

    def release(self) -> None:
        """The run is open: go on."""
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.close()

    def poll(self) -> int | None:
        """Its exit status, None while it runs."""
        return None if self._process is None else self._process.poll()

    def why_it_ended(self) -> str:
        """The last line that it wrote since it was started, without the prefix."""
        with self._log.open("rb") as file:
            file.seek(self._log_start)
            lines = [line.strip() for line in file.read().decode(errors="replace").splitlines() if line.strip()]
        said = [line for line in lines if line.startswith(PREFIX)] or lines or ["it said nothing"]
        return said[-1].removeprefix(PREFIX)

    def stop(self, grace_s: float) -> int:
        """Have it leave with a checkpoint, kill it after `grace_s`; returns its exit status."""
        return DONE if self._process is None else stop(self._process, grace_s=grace_s)
