"""Drives one run: keeps optimizer, workers and Redis running, has their reports recorded, and ends it all in order."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from typing import Protocol

from quintet.cluster.processes.redis_server import EmbeddedRedis
from quintet.cluster.processes.restart_policy import RestartPolicy
from quintet.cluster.recorder import Recorder, RunChannel
from quintet.cluster.worker_supervisor import WorkerSupervisor
from quintet.control.autoscale import Autoscaler, parse_bounds
from quintet.control.errors import DONE, FAILED, USAGE, RunFailedError, UsageError
from quintet.wire.errors import LinkDownError

ROUND_S = 0.25
RECONCILE_S = 1.0
LEASE_S = 60.0
DRAIN_S = 20.0
LONGEST_DRAIN_S = 120.0  # of workers whose rows take long
DRAIN_ALONE_S = 1.5  # without an optimizer nobody makes room: long enough for workers that need none
CHECKPOINT_S = 120.0
LINK_PATIENCE_S = 180.0
REDIS_FORGOT = (
    "Redis has lost this run's data: it was restarted without persistence, or somebody deleted its keys; go on from "
    "the last checkpoint with --resume, and let that server write to disk (appendonly yes)"
)
MOST_USELESS_STARTS = 3  # of an optimizer that trained nothing, in a row


class OptimizerHost(Protocol):
    """The optimizer's process, wherever it runs."""

    def start(self) -> None:
        """Start it; it goes on from the newest checkpoint where there is one."""
        ...

    def poll(self) -> int | None:
        """Its exit status, None while it runs."""
        ...

    def why_it_ended(self) -> str:
        """The last thing that the process said, in one line."""
        ...

    def stop(self, grace_s: float) -> int:
        """Have it leave with a checkpoint, kill it after `grace_s`; returns its exit status."""
        ...


class Controller:
    """One run's controller; `run` returns why the run ended, `wind_down` ends its processes."""

    def __init__(
        self,
        *,
        link: RunChannel,
        supervisor: WorkerSupervisor,
        optimizer: OptimizerHost,
        recorder: Recorder,
        redis: EmbeddedRedis | None,
        interrupted: threading.Event,
        describe: dict[str, float | int | str],
        fill: Callable[[int], int] = lambda wanted: wanted,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`describe` goes into the controller's heartbeat, for `quintet status` and `scale`.

        `fill` is asked once a second how many workers to want instead of so many, where cores come and go.
        """
        self._fill = fill
        self.link, self.supervisor, self.optimizer = link, supervisor, optimizer
        self.recorder, self.redis = recorder, redis
        self.interrupted, self.describe, self._clock = interrupted, describe, clock
        self._reconciled_s = self._link_up_s = float("-inf")
        self._optimizer_restarts = RestartPolicy(MOST_USELESS_STARTS, started_s=clock())
        self._trained_before = -1  # steps that its predecessors trained; not known yet
        self._optimizer_next_start_s: float | None = None  # set while it is to be started again
        self._wanted = -1  # not known yet
        self._autoscaler = Autoscaler(clock)

    def run(self) -> str:
        """Go on until the run is at its end; returns why.

        consumes: reports, heartbeats, the wish of `quintet scale`, exits of processes.
        waits for: a quarter of a second.
        unblocked by: that, or Ctrl-C.
        produces: workers, restarts, the lease, the run's files, the board.

        Raises:
            RunFailedError: a process exited too often, or Redis is away for too long.
            UsageError: a process cannot work with this configuration.
        """
        self._link_up_s = self._clock()
        while True:
            if self.interrupted.is_set():
                return "interrupted"
            reason = self.round()
            if reason is not None:
                return reason
            self.interrupted.wait(ROUND_S)

    def round(self) -> str | None:
        """One round; why the run is at its end, if it is."""
        if self.redis is not None and self.redis.ensure():
            self.recorder.note("restarted", process="redis", text="it had died; its append-only file keeps the stream")
        reason = self._watch_optimizer()
        if reason is not None:
            return reason
        try:
            if self._clock() - self._reconciled_s >= RECONCILE_S:
                self._reconcile()
            self.recorder.tick(wanted=self._wanted, live=self.supervisor.live)
            self._link_up_s = self._clock()
            if self._trained_before < 0:
                self._trained_before = self.recorder.counters.trained
        except LinkDownError as error:
            away_s = self._clock() - self._link_up_s
            if away_s > LINK_PATIENCE_S:
                raise RunFailedError(f"Redis has been away for {away_s:.0f} s: {error}") from error
            self.recorder.show()
        return self.recorder.finished()

    def wind_down(self, reason: str) -> None:
        """End the run's processes: workers finish their windows while the optimizer takes them, then it checkpoints.

        When the optimizer has left already, nobody makes room any more and the workers are told that the run stops. If
        it failed and would have been started again, that is no failure of the run.
        """
        left = self.optimizer.poll()
        had_failed = self._optimizer_next_start_s is not None or left not in (None, DONE, USAGE, FAILED)
        try:
            self.recorder.show("workers finish their windows")
            if left is None:
                self.link.set_wanted_workers(0)
                self._drain_workers(max(DRAIN_S, min(LONGEST_DRAIN_S, self._longest_row_s() * 1.5)))
            else:
                self.link.set_stopping(True)
                self._drain_workers(DRAIN_ALONE_S)
            self.recorder.show("saving the last checkpoint")
            self.link.set_stopping(True)
        except LinkDownError:
            self.recorder.note("note", text="Redis is away: leaving without it")
        status = self.optimizer.stop(CHECKPOINT_S)
        self.recorder.last_look()
        if had_failed:
            self.recorder.note("note", process="optimizer", text="it had just died: the checkpoint before that stays")
        elif status != DONE:
            raise RunFailedError(f"the optimizer: {self.optimizer.why_it_ended()}")
        if reason != "interrupted":
            self.recorder.check_learned()
        self.recorder.note("stopped", text=reason)

    def _reconcile(self) -> None:
        """Hold the lease, and bring wanted and live workers together."""
        self._reconciled_s = self._clock()
        self._check_still_open()
        self.link.hold_lease(LEASE_S)
        self.link.beat("controller", {**self.describe, "stage": self.recorder.stage})
        wanted, why = self._autoscaled(self._fill(self.link.wanted_workers()))
        if wanted != self._wanted:
            if self._wanted >= 0:
                self.recorder.note("scaled", text=f"{self._wanted} -> {wanted} workers" + (why and f": {why}"))
            self._wanted = wanted
        self.supervisor.reconcile(wanted)

    def _check_still_open(self) -> None:
        """Redis may have been restarted without its data, and then every process says something else.

        Raises:
            RunFailedError: it knows nothing of the run any more.
        """
        if not self.link.run_config():
            raise RunFailedError(REDIS_FORGOT)

    def _autoscaled(self, wanted: int) -> tuple[int, str]:
        """How many workers are wanted, and why where `quintet scale --auto` has the run say so itself."""
        self._autoscaler.look(
            wanted=wanted, playing=self.recorder.playing, phases=self.recorder.phases, counters=self.recorder.counters
        )
        bounds = self.link.autoscale()
        if not bounds:
            return wanted, ""
        decision = self._autoscaler.decide(parse_bounds(bounds), wanted)
        if decision.workers != wanted:
            self.link.set_wanted_workers(decision.workers)
        return decision.workers, decision.why

    def _watch_optimizer(self) -> str | None:
        """Start it again when it failed; "budget" when it had trained as much as was asked."""
        if self._optimizer_next_start_s is not None:
            if self._clock() >= self._optimizer_next_start_s:
                self._optimizer_next_start_s = None
                self._optimizer_restarts.started_s = self._clock()
                self._trained_before = self.recorder.counters.trained
                with contextlib.suppress(LinkDownError):  # then it waits for the lease to end by itself
                    self.link.break_optimizer_lease()
                self.optimizer.start()
                self.recorder.note("restarted", process="optimizer")
            return None
        status = self.optimizer.poll()
        if status is None:
            return None
        if status == DONE:
            return "budget"
        with contextlib.suppress(LinkDownError):
            self._check_still_open()  # what it ended of then is no fault of its own
        if status == USAGE:
            raise UsageError(self.optimizer.why_it_ended())
        if status == FAILED:
            raise RunFailedError(self.optimizer.why_it_ended())
        self._optimizer_failed(status)
        return None

    def _optimizer_failed(self, status: int) -> None:
        restarts = self._optimizer_restarts
        restarts.exited(self._clock(), useful=self.recorder.counters.trained > self._trained_before >= 0)
        how = f"signal {-status}" if status < 0 else self.optimizer.why_it_ended()
        self.recorder.note("optimizer died", process="optimizer", text=how)
        if restarts.too_many:
            raise RunFailedError(f"the optimizer died {restarts.in_a_row} times in a row, last of this: {how}")
        self._optimizer_next_start_s = self._clock() + 0.5 * restarts.useless

    def _longest_row_s(self) -> float:
        """How long a worker may take to notice that it is to leave: it looks between rows."""
        return max((float(beat.data.get("row_s", 0.0)) for beat in self.link.heartbeats()), default=0.0)

    def _drain_workers(self, patience_s: float) -> None:
        """Wait until the workers have left by themselves; end those that do not."""
        deadline = self._clock() + patience_s
        while self.supervisor.live and self._clock() < deadline:
            self.link.hold_lease(LEASE_S)
            self.supervisor.reconcile(0)
            self.recorder.tick(wanted=0, live=self.supervisor.live)
            time.sleep(0.02)
        if self.supervisor.live:
            self.recorder.note(
                "note",
                text=f"{self.supervisor.live} workers did not leave within {patience_s:.0f} s and were ended: what "
                "they had played of their windows is not kept",
            )
        self.supervisor.kill_all()
