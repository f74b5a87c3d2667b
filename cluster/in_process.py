"""`--in-process`: a whole run in one thread over a memory link, for tests and for a debugger. Same files and board."""

from __future__ import annotations

import os
import threading
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from quintet.cluster.assembly import begin, check_game, keep_traceback, logs_kept
from quintet.cluster.board import Board
from quintet.cluster.processes.optimizer import CHECKPOINT_FAILED, PASSIVE_WAIT
from quintet.cluster.processes.signals import Interrupts
from quintet.cluster.recorder import Recorder
from quintet.control.config import RunConfig
from quintet.control.errors import RunFailedError, UsageError, error_report, exit_code, fault
from quintet.control.journal import read_journal
from quintet.control.run_folder import RunFolder
from quintet.control.summary import Summary
from quintet.games.api import GameError
from quintet.games.copies import close_all
from quintet.wire.memory_link import MemoryLink

if TYPE_CHECKING:
    from quintet.optimizer.loop import Optimizer
    from quintet.rollout_workers.worker import Worker

LEASE_S = 3600.0  # a debugger may sit on a breakpoint
TICK_S = 0.25


def train_in_process(
    config: RunConfig,
    folder: RunFolder,
    board: Board,
    started_s: float,
    *,
    start_from: Path | None,
    stop: threading.Event | None = None,
) -> tuple[str, Summary]:
    """Play and learn in turn until the run is at its end; why it ended, and the summary.

    A run that goes on does so from its newest checkpoint, with games of other seeds. What was in flight is gone, and
    its counters begin anew. `stop` ends it like a first Ctrl-C.

    Raises:
        UsageError: more than one worker is wanted.
    """
    if config.rollout.workers != 1:
        raise UsageError(f"--in-process has one worker, the configuration wants {config.rollout.workers}: --workers 1")
    look = check_game(config, logs_kept(folder))
    board.say(f"run {folder.run}: {config.game}; its files are in {folder.where}/; Ctrl-C saves and stops it")
    link = MemoryLink(folder.run, issued_incarnations=_starts(folder))
    config, recorder = begin(link, look.config, look, folder, board, started_s, text="in one process")
    with ExitStack() as stack, recorder.failing():
        interrupts = stack.enter_context(Interrupts(stop))
        optimizer = _optimizer(config, folder, link, start_from)
        recorder.settings.accept()
        worker = _worker(config, folder, link, stack)
        interrupts.defer()
        try:
            reason = _play_and_learn(config, link, worker, optimizer, recorder, interrupts)
        except GameError as error:
            report = error_report(error)
            log = keep_traceback(folder, 0, report["traceback"])
            raise fault(report["error"], exit_code(error), log) from error
        link.set_stopping(True)
        worker.run()  # which finds that it is to leave, and does
        optimizer.run()
        if optimizer.checkpoint_failed:
            raise RunFailedError(CHECKPOINT_FAILED)
        recorder.last_look()
        if reason != "interrupted":
            recorder.check_learned()
    recorder.note("stopped", text=reason)
    recorder.show("ending")
    return reason, recorder.close()


def _starts(folder: RunFolder) -> int:
    """How many processes have trained this run, each with one worker of one incarnation."""
    return sum(event.kind in ("started", "resumed") for event in read_journal(folder.journal))


def _play_and_learn(
    config: RunConfig,
    link: MemoryLink,
    worker: Worker,
    optimizer: Optimizer,
    recorder: Recorder,
    interrupts: Interrupts,
) -> str:
    """Windows and updates in turn; why the run is at its end."""
    next_tick_s = 0.0
    while True:
        worker.step_in_process()
        optimizer.step(timeout_s=0.0)
        if interrupts.requested.is_set():
            return "interrupted"
        if config.agent_steps is not None and optimizer.progress.agent_steps >= config.agent_steps:
            return "budget"
        if time.monotonic() >= next_tick_s:
            link.hold_lease(LEASE_S)
            optimizer.beat()
            link.beat("controller", {"pid": os.getpid(), "stage": recorder.stage})
            recorder.tick(wanted=1, live=1)
            next_tick_s = time.monotonic() + TICK_S
        if (reason := recorder.finished()) is not None:
            return reason


def _optimizer(config: RunConfig, folder: RunFolder, link: MemoryLink, start_from: Path | None) -> Optimizer:
    os.environ.update(PASSIVE_WAIT)
    from quintet.cluster.processes.optimizer import make_optimizer

    optimizer = make_optimizer(config, folder, link, start_from=start_from, prefetch=False, workers_here=True)
    optimizer.start()
    return optimizer


def _worker(config: RunConfig, folder: RunFolder, link: MemoryLink, stack: ExitStack) -> Worker:
    from quintet.cluster.processes.worker import make_worker

    worker, game = make_worker(config, folder.run, link, 0)
    stack.callback(close_all, [game])
    worker.start()
    return worker
