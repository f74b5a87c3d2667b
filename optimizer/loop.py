"""The optimizer's loop: take a batch, learn, publish, acknowledge, checkpoint, report."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Literal

import numpy as np
import psutil
import torch

from quintet.games.api import GameSpec
from quintet.model.config import PolicyConfig
from quintet.model.policy import Policy
from quintet.model.weights import encode_weights
from quintet.optimizer.batch import Batch, Freshness, keep_bad_batch
from quintet.optimizer.batcher import Batcher, Prefetcher
from quintet.optimizer.checkpoint import (
    UNKNOWN,
    CheckpointError,
    CheckpointInfo,
    Progress,
    check_precision,
    checkpoint_to_resume,
    find_checkpoint,
    load_fitting,
    save_checkpoint,
)
from quintet.optimizer.config import OptimizerConfig, PPOConfig
from quintet.optimizer.determinism import (
    DeterministicRun,
    EpochBrokenError,
    FreeRun,
    random_state,
    restore_random_state,
)
from quintet.optimizer.learner import Learner, NonFiniteUpdateError, Update, pick_device
from quintet.optimizer.lease import Lease
from quintet.optimizer.recurrence_check import RecurrenceCheck
from quintet.optimizer.rejections import Rejections
from quintet.optimizer.settings_in_force import SettingsInForce, SettingsReader
from quintet.optimizer.signs.learning_signs import LearningSigns
from quintet.wire.chunk import chunk_spec
from quintet.wire.errors import LeaseLostError, LinkDownError
from quintet.wire.link import Ack, Counters, OptimizerLink
from quintet.wire.reports import PhaseTimer
from quintet.wire.retry import Result, until_up
from quintet.wire.settings import BEFORE_ALL, Setting

Reason = Literal["stopping", "budget"]

PROCESS = "optimizer"
BEAT_S = 1.0
MAX_BAD_BATCHES = 3


class TrainingDivergedError(Exception):
    """Several batches in a row gave a loss or gradient that is not finite."""

    ends_run_with = 1  # see `quintet.control.errors`


class Optimizer:
    """One optimizer process of one run: `start`, then `run`, or `step` by `step`."""

    def __init__(
        self,
        *,
        game_spec: GameSpec,
        policy_config: PolicyConfig,
        optimizer_config: OptimizerConfig,
        ppo_config: PPOConfig,
        bptt_steps: int,
        chunk_steps: int,
        link: OptimizerLink,
        run: str,
        run_folder: Path,
        seed: int,
        device: str,
        config_text: str,
        resume: bool,
        start_from: Path | None = None,
        agent_steps: int | None = None,
        prefetch: bool = True,
        deterministic: bool = False,
        settings: SettingsInForce | None = None,
    ) -> None:
        """Build the network and what trains it; the link and the run folder are left alone until `start`."""
        self.link, self.config, self.budget, self.folder = link, optimizer_config, agent_steps, run_folder
        self.resume, self.start_from, self.config_text, self.game_name = resume, start_from, config_text, game_spec.name
        device_here = pick_device(device)
        self.spec = chunk_spec(
            game_spec, lstm_units=policy_config.lstm_units, bptt_steps=bptt_steps, chunk_steps=chunk_steps
        )
        torch.manual_seed(seed)
        np.random.seed(seed)
        self.policy = Policy(game_spec, policy_config).use_device(device_here)
        self.learner = Learner(
            self.policy, spec=game_spec, ppo=ppo_config, config=optimizer_config, bptt_steps=bptt_steps, seed=seed
        )
        self.signs = LearningSigns(self.learner)
        self.recurrence = RecurrenceCheck(game_spec, policy_config, device_here, bptt_steps)
        self.progress = Progress(
            version=0,
            agent_steps=0,
            gradient_steps=0,
            trained_net=0,
            warmup_left=optimizer_config.normalizer_warmup_steps,
        )
        self.mode = DeterministicRun() if deterministic else FreeRun()
        self.settings = None if settings is None else SettingsReader(settings)
        self.timer, self.prefetch_timer = PhaseTimer(), PhaseTimer()
        self.counters = Counters()
        self.stop_requested = self.checkpoint_failed = False
        self.lease = Lease(link)
        batch_steps, timer = optimizer_config.batch_steps, self.prefetch_timer
        self.rejections = heard = Rejections(link, PROCESS, batch_steps=batch_steps)
        self.batcher = Batcher(
            link, self.spec, run=run, batch_steps=batch_steps, device=device_here, timer=timer, rejections=heard
        )
        self.prefetcher = Prefetcher(self.batcher) if prefetch and not deterministic else None
        self.next_batch = self.batcher.batch if self.prefetcher is None else self.prefetcher.batch
        self.beaten_s = float("-inf")
        self.checkpointed_s, self.checkpointed_version = time.monotonic(), 0

    def start(self) -> None:
        """Take the run's lease, go on from the checkpoint, and publish the first version.

        Raises:
            LeaseHeldError: another optimizer trains this run.
            CheckpointError: the checkpoint is missing, damaged, or of another game or network.
        """
        self.lease.take()
        self._restore()
        self._take_settings()
        if self.counters.trained:
            self.rejections.took()
        if self.prefetcher is not None:
            self.prefetcher.start()
        self.checkpointed_s, self.checkpointed_version = time.monotonic(), self.progress.version
        self.mode.begin_epoch(self.batcher, self.progress)
        self._publish()
        self.beat()  # at once: it says which number format the run has

    def run(self) -> Reason:
        """Train until told to stop or the budget of agent steps is used up; a checkpoint is the last thing written.

        consumes: chunks. waits for: a full batch. unblocked by: workers' pushes.
        produces: versions, checkpoints, metrics, and room in the stream.

        Raises:
            LeaseLostError: another optimizer trains this run now; nothing more is written.
            AllRejectedError: nothing of the first batches was what this run's chunks are.
            EpochBrokenError: a deterministic run must go on from its last checkpoint.
            TrainingDivergedError: too many batches in a row were not finite.
        """
        self.lease.keep()
        save = True
        try:
            while True:
                self.step(timeout_s=0.2)
                self.lease.check()
                if self.budget is not None and self.progress.agent_steps >= self.budget:
                    return "budget"
                if self.stop_requested or self.beat():
                    return "stopping"
        except (LeaseLostError, EpochBrokenError):
            save = False  # what is in memory is not the run's any more
            raise
        finally:
            if self.prefetcher is not None:
                self.prefetcher.close()
            if save and (self.checkpointed_version != self.progress.version or self.checkpoint_failed):
                self.checkpoint()
            self.lease.release()

    def step(self, timeout_s: float) -> bool:
        """Train on one batch if one is ready within `timeout_s`; True if it did."""
        progress = self.progress
        with self.timer.phase("wait"):
            batch = self.next_batch(timeout_s)
        if batch is None:
            if progress.version and self._ask(self.link.needs_republish, default=False):
                self._publish(again=True)
            return False
        self._take_settings()
        self.mode.check(batch)
        update = self._learn(batch)
        progress.agent_steps += int(batch.valid.sum())
        progress.batches += 1
        replayed = self._replay_error(batch, update.freshness) if update and update.gradient_steps else {}
        versions, age_s = progress.version + 1 - self.checkpointed_version, time.monotonic() - self.checkpointed_s
        due = self.mode.checkpoint_due(self.config, progress, versions=versions, age_s=age_s)
        late = self.mode.begin_epoch(self.batcher, progress) if due else ()
        # Publish first: acknowledging makes room, and whoever waited for room should go on with the new version.
        self._publish()
        self._ack(batch, update, late)
        if due:
            self.checkpoint(era_begins=self.mode.begins_epochs)
        self._report(update, replayed | self._signs(batch, update))
        return True

    def _take_settings(self) -> None:
        """Put into force what was asked for since the last look: it holds from this update on."""
        reader = self.settings
        if reader is None:
            return
        nothing: list[Setting] = []
        requests = self._ask(lambda: self.link.settings(reader.through), default=nothing)
        if reader.take(requests, lambda data: self.link.report(PROCESS, "event", data), self.progress.agent_steps):
            self.learner.adjust(reader.in_force.ppo, reader.in_force.optimizer)
            self.config, self.budget = reader.in_force.optimizer, reader.in_force.agent_steps
            self.config_text = reader.in_force.text

    def _learn(self, batch: Batch) -> Update | None:
        """One update; None if the batch was not trained on (warm-up of the normalisers, or not finite)."""
        progress = self.progress
        with self.timer.phase("learn"):
            if progress.warmup_left > 0:
                progress.warmup_left -= int(batch.valid.sum())
                self.learner.warm_up(batch)
                return None
            progress.trained_s = self.mode.trained_s(progress.trained_s)
            try:
                update = self.learner.update(
                    batch,
                    version=progress.version,
                    agent_steps=progress.agent_steps,
                    trained_s=progress.trained_s,
                )
            except NonFiniteUpdateError as error:
                self._keep_bad_batch(batch, error)
                return None
            progress.bad_batches = 0
            progress.gradient_steps += update.gradient_steps
            return update

    def _keep_bad_batch(self, batch: Batch, error: NonFiniteUpdateError) -> None:
        """Keep a batch that gave NaN for inspection; three in a row end the run at the last good checkpoint."""
        bad = self.progress.bad_batches = self.progress.bad_batches + 1
        path = keep_bad_batch(self.folder, self.progress.version, batch)
        self.link.report(PROCESS, "event", {"event": "bad_batch", "message": f"{error}; kept as {path}"})
        if bad >= MAX_BAD_BATCHES:
            self._ack(batch, None)
            raise TrainingDivergedError(f"{bad} batches in a row were not finite: {error}; see {path}")

    def _ack(self, batch: Batch, update: Update | None, late: Sequence[Ack] = ()) -> None:
        """Acknowledge the batch, and `late` with it.

        Steps of the warm-up count as stale, of a batch that was not finite as rejected.
        """
        window_steps = self.spec.bptt_steps * self.spec.agents
        acks = list(late)
        for k, message in enumerate(batch.messages):
            if update is not None:
                trained = int(update.freshness.trained_windows[k]) * window_steps
                stale = int(update.freshness.stale_windows[k]) * window_steps
                acks.append(Ack(id=message.id, trained=trained, stale=stale))
            elif self.progress.bad_batches:
                acks.append(Ack(id=message.id, rejected=message.steps))
            else:
                acks.append(Ack(id=message.id, stale=message.steps))
        trained = sum(ack.trained for ack in acks)
        self.progress.trained_net += trained
        self.progress.passed_net += trained * (update.epochs if update else 0)
        self.batcher.remember(acks)
        with self.timer.phase("settle"):
            self.counters = self._until_up(lambda: self.link.ack(acks))

    def _publish(self, *, again: bool = False) -> None:
        """Publish the next version (or, after a restart of Redis, the same one again)."""
        with self.timer.phase("publish"):
            if not again:
                self.progress.version += 1
            version, agent_steps = self.progress.version, self.progress.agent_steps
            weights = encode_weights(self.policy, version=version, agent_steps=agent_steps, spec_hash=self.spec.hash)
            self.recurrence.keep(weights)
            self._until_up(lambda: self.link.publish(self.mode.mark(weights)))

    def _until_up(self, call: Callable[[], Result]) -> Result:
        """Repeat an idempotent call until the link is up again."""
        return until_up(call, give_up=lambda: self.stop_requested)

    def _ask(self, call: Callable[[], Result], *, default: Result) -> Result:
        try:
            return call()
        except LinkDownError:
            return default

    def _replay_error(self, batch: Batch, freshness: Freshness) -> dict[str, float]:
        every = self.config.replay_error_versions
        if every == 0 or self.progress.batches % every:
            return {}
        with self.timer.phase("replay"):
            return self.recurrence(batch, freshness)

    def _signs(self, batch: Batch, update: Update | None) -> dict[str, float]:
        if update is None:
            return {}
        with self.timer.phase("signs"):
            return self.signs(batch, update, self.progress.agent_steps, self.progress.trained_s)

    def _report(self, update: Update | None, looked_at: dict[str, float]) -> None:
        progress = self.progress
        metrics: dict[str, float] = {"version": progress.version, "agent_steps": progress.agent_steps, **looked_at}
        if update is not None:
            staleness = update.freshness.staleness
            metrics |= update.stats
            metrics["lag/staleness_mean"] = float(staleness.mean())
            metrics["lag/staleness_p95"] = float(np.percentile(staleness, 95))
        if self.counters.produced and progress.trained_net:
            epochs = (
                progress.passed_net / progress.trained_net
            )  # done on average: `target_kl` and changed settings count
            metrics["lag/sample_reuse"] = self.counters.trained * epochs / self.counters.produced
        self.link.report(PROCESS, "metrics", dict(metrics))

    def beat(self) -> bool:
        """Once a second: heartbeat and phase shares; True when the run was asked to end."""
        now = time.monotonic()
        if now - self.beaten_s < BEAT_S:
            return False
        self.beaten_s = now
        data: dict[str, float | int | str] = {
            "pid": os.getpid(),
            "version": self.progress.version,
            "precision": self.policy.precision,
            "rss_bytes": psutil.Process().memory_info().rss,
        }
        try:
            self.link.beat(PROCESS, data)
            self.link.report(PROCESS, "phases", dict(self.timer.drain()))
            self.link.report(f"{PROCESS}/prefetch", "phases", dict(self.prefetch_timer.drain()))
            return self.link.stopping()
        except LinkDownError:
            return False

    def checkpoint(self, *, era_begins: bool = False) -> None:
        """Write one now; a full disk is reported and training goes on from memory."""
        info = CheckpointInfo(
            **asdict(self.progress),
            era_begins=era_begins,
            settings_through=BEFORE_ALL if self.settings is None else self.settings.through,
            journal_bytes=self._journal_bytes(),
            spec_hash=self.spec.hash,
            spec=self.spec.text,
            precision=self.policy.precision,
            game=self.game_name,
            config=self.config_text,
        )
        self.checkpointed_s, self.checkpointed_version = time.monotonic(), info.version
        with self.timer.phase("checkpoint"):
            try:
                save_checkpoint(
                    self.folder / "checkpoints",
                    info,
                    {**self.learner.snapshot(), **random_state()},
                    keep=self.config.keep_checkpoints,
                    confirm=self.lease.confirm,
                )
            except CheckpointError as error:
                self.link.report(PROCESS, "event", {"event": "checkpoint_failed", "message": str(error)})
                self.checkpoint_failed = True
                return
        self.checkpoint_failed = False
        self.link.report(PROCESS, "event", {"event": "checkpoint", "version": info.version})

    def _journal_bytes(self) -> int:
        try:
            return (self.folder / "journal.jsonl").stat().st_size
        except OSError:  # nobody keeps one: the optimizer may run without a controller
            return 0

    def _restore(self) -> None:
        """Go on from this run's newest checkpoint, or start a new run from the weights of another."""
        # A version is never used twice: count on from the largest that anybody has ever seen.
        self.progress.version = announced = self._until_up(self.link.announced_version)
        folder = None
        if self.resume:
            folder = checkpoint_to_resume(self.folder, deterministic=self.mode.begins_epochs)
        elif self.start_from is not None:
            folder = find_checkpoint(self.start_from)
        if folder is not None:
            info, snapshot = load_fitting(folder, spec=self.spec, policy=self.policy)
            self.learner.restore(snapshot)
            if info.gradient_steps:
                self.progress.warmup_left = 0
            if self.resume:
                check_precision(folder, info, self.policy)
                self._go_on_from(info, announced)
                restore_random_state(snapshot)
        self._count_undone()

    def _go_on_from(self, info: CheckpointInfo, announced: int) -> None:
        if info.warmup_left == UNKNOWN:
            info.warmup_left = self.progress.warmup_left
        self.progress = info.progress()
        self.progress.version = max(announced, info.version)
        if self.settings is not None:
            self.settings.reported_through = info.settings_through

    def _count_undone(self) -> None:
        """Steps trained by a predecessor after what this process starts from was written are in no weights any more."""
        self.counters = self._until_up(self.link.counters)
        undone = max(0, self.counters.trained - self.progress.trained_net)
        if undone != self.counters.undone:
            self._until_up(lambda: self.link.mark_undone(undone))
        if self.counters.produced:
            resumed = {"event": "resumed", "version": self.progress.version, "steps_undone": undone}
            self.link.report(PROCESS, "event", resumed)
