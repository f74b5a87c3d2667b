"""The optimizer's loop: pop, learn, settle, publish, checkpoint, report."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal, TypeVar

import numpy as np
import psutil
import torch

from games.api import GameSpec
from model.config import PolicyConfig
from model.policy import Policy
from model.weights import encode_weights
from optimizer.batch import Batch, Freshness
from optimizer.checkpoint import (
    CheckpointError,
    CheckpointInfo,
    find_checkpoint,
    read_info,
    read_snapshot,
    save_checkpoint,
)
from optimizer.config import OptimizerConfig, PPOConfig
from optimizer.gather import BatchGatherer, Prefetcher
from optimizer.learner import Learner, NonFiniteUpdateError, Update
from optimizer.replay import ReplayCheck
from wire.chunk import chunk_spec
from wire.errors import LinkDownError
from wire.link import Counters, OptimizerLink, Settlement
from wire.reports import PhaseTimer

Reason = Literal["stopping", "budget"]
Result = TypeVar("Result")

PROCESS = "optimizer"
BEAT_S = 1.0
RETRY_S = 0.2
MAX_BAD_BATCHES = 3


class DeviceError(ValueError):
    """The device that was asked for is not there."""


class TrainingDivergedError(Exception):
    """Several batches in a row gave a loss or gradient that is not finite."""


def pick_device(device: str) -> torch.device:
    """`auto` is the GPU where there is one.

    Raises:
        DeviceError: a GPU is asked for, and there is none.
    """
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise DeviceError(f"device is {device!r}, but this machine shows no CUDA GPU; use --device auto or cpu")
    return torch.device(device)


class Optimizer:
    """One optimizer process of one run."""

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
    ) -> None:
        self.link, self.run_name, self.config, self.budget = link, run, optimizer_config, agent_steps
        self.folder, self.config_text, self.game_name = run_folder, config_text, game_spec.name
        self.device = pick_device(device)
        self.spec = chunk_spec(
            game_spec, lstm_units=policy_config.lstm_units, bptt_steps=bptt_steps, chunk_steps=chunk_steps
        )
        torch.manual_seed(seed)
        self.policy = Policy(game_spec, policy_config).use_device(self.device)
        self.learner = Learner(
            self.policy, spec=game_spec, ppo=ppo_config, config=optimizer_config, bptt_steps=bptt_steps, seed=seed
        )
        self.replay = ReplayCheck(game_spec, policy_config, self.device, bptt_steps)
        self.epochs = ppo_config.epochs
        self.version = self.agent_steps = self.gradient_steps = self.trained_net = 0
        self.warmup_left = optimizer_config.normalizer_warmup_steps
        self.bad_batches = 0
        self.timer, self.prefetch_timer = PhaseTimer(), PhaseTimer()
        self.counters = Counters()
        self._restore(resume, start_from)
        self.gatherer = BatchGatherer(
            link,
            self.spec,
            run=run,
            batch_steps=optimizer_config.batch_steps,
            device=self.device,
            timer=self.prefetch_timer,
        )
        self.prefetcher = Prefetcher(self.gatherer) if prefetch else None
        self.beaten_s = self.checkpointed_s = time.monotonic()
        self.checkpointed_version = self.version
        self.checkpoint_failed = False
        self.stop_requested = False
        self._publish()

    def run(self) -> Reason:
        """Train until told to stop or the budget of agent steps is used up; a checkpoint is the last thing written.

        consumes: chunks. waits for: a full batch. unblocked by: workers' pushes.
        produces: versions, checkpoints, metrics, and room in the stream.
        """
        try:
            while True:
                self.step(timeout_s=0.2)
                if self.budget is not None and self.agent_steps >= self.budget:
                    return "budget"
                if self.stop_requested or self._beat():
                    return "stopping"
        finally:
            if self.prefetcher is not None:
                self.prefetcher.close()
            self.checkpoint()

    def step(self, timeout_s: float) -> bool:
        """Train on one batch if one is ready within `timeout_s`; True if it did."""
        with self.timer.phase("wait"):
            batch = self.prefetcher.take(timeout_s) if self.prefetcher else self.gatherer.gather(timeout_s)
        if batch is None:
            if self.version and self._ask(self.link.needs_republish, default=False):
                self._publish(again=True)
            return False
        update = self._learn(batch)
        self.agent_steps += int(batch.valid.sum())
        replayed = self._replay_error(batch, update.freshness) if update and update.gradient_steps else {}
        # Publish first: settling makes room, and whoever waited for room should go on with the new version.
        self._publish()
        self._settle(batch, update)
        self._checkpoint_when_due()
        self._report(batch, update, replayed)
        return True

    def _learn(self, batch: Batch) -> Update | None:
        """One update; None if the batch was not trained on (warm-up of the normalisers, or not finite)."""
        with self.timer.phase("learn"):
            if self.warmup_left > 0:
                self.warmup_left -= int(batch.valid.sum())
                self.learner.warm_up(batch)
                return None
            try:
                update = self.learner.update(batch, version=self.version, agent_steps=self.agent_steps)
            except NonFiniteUpdateError as error:
                self._keep_bad_batch(batch, error)
                return None
            self.bad_batches = 0
            self.gradient_steps += update.gradient_steps
            return update

    def _keep_bad_batch(self, batch: Batch, error: NonFiniteUpdateError) -> None:
        """Keep a batch that gave NaN for inspection; three in a row end the run at the last good checkpoint."""
        self.bad_batches += 1
        path = self.folder / "logs" / f"bad_batch_{self.version:06d}.npz"
        path.parent.mkdir(parents=True, exist_ok=True)
        arrays = {"reward": batch.reward, "value": batch.value}
        for group in ("observation", "action", "log_prob"):
            arrays |= {f"{group}/{name}": tensor for name, tensor in getattr(batch, group).items()}
        np.savez_compressed(path, **{name: x.cpu().numpy() for name, x in arrays.items()})  # type: ignore[arg-type]
        self.link.report(PROCESS, "event", {"event": "bad_batch", "message": f"{error}; kept as {path}"})
        if self.bad_batches >= MAX_BAD_BATCHES:
            self._settle(batch, None)
            raise TrainingDivergedError(f"{self.bad_batches} batches in a row were not finite: {error}; see {path}")

    def _settle(self, batch: Batch, update: Update | None) -> None:
        """Acknowledge the batch: steps of the warm-up count as stale, of a batch that was not finite as rejected."""
        window_steps = self.spec.bptt_steps * self.spec.agents
        settlements = []
        for k, delivery in enumerate(batch.deliveries):
            if update is not None:
                trained = int(update.freshness.trained_windows[k]) * window_steps
                stale = int(update.freshness.stale_windows[k]) * window_steps
                settlements.append(Settlement(id=delivery.id, trained=trained, stale=stale))
            elif self.bad_batches:
                settlements.append(Settlement(id=delivery.id, rejected=delivery.steps))
            else:
                settlements.append(Settlement(id=delivery.id, stale=delivery.steps))
        self.trained_net += sum(s.trained for s in settlements)
        self.gatherer.remember(settlements)
        with self.timer.phase("settle"):
            self.counters = self._until_up(lambda: self.link.settle(settlements))

    def _publish(self, *, again: bool = False) -> None:
        """Publish the next version (or, after a restart of Redis, the same one again)."""
        with self.timer.phase("publish"):
            if not again:
                self.version += 1
            weights = encode_weights(
                self.policy, version=self.version, agent_steps=self.agent_steps, spec_hash=self.spec.hash
            )
            self.replay.keep(weights)
            self._until_up(lambda: self.link.publish(weights))

    def _until_up(self, call: Callable[[], Result]) -> Result:
        """Repeat an idempotent call until the link is up again."""
        while True:
            try:
                return call()
            except LinkDownError:
                if self.stop_requested:
                    raise
                time.sleep(RETRY_S)

    def _ask(self, call: Callable[[], bool], *, default: bool) -> bool:
        try:
            return call()
        except LinkDownError:
            return default

    def _replay_error(self, batch: Batch, freshness: Freshness) -> dict[str, float]:
        every = self.config.replay_error_versions
        if every == 0 or self.version % every:
            return {}
        with self.timer.phase("replay"):
            return self.replay(batch, freshness)

    def _report(self, batch: Batch, update: Update | None, replayed: dict[str, float]) -> None:
        metrics: dict[str, float] = {"version": self.version, "agent_steps": self.agent_steps, **replayed}
        if update is not None:
            staleness = update.freshness.staleness
            metrics |= update.stats
            metrics["lag/staleness_mean"] = float(staleness.mean())
            metrics["lag/staleness_p95"] = float(np.percentile(staleness, 95))
        if self.counters.produced:
            metrics["lag/sample_reuse"] = self.counters.trained * self.epochs / self.counters.produced
        self.link.report(PROCESS, "metrics", dict(metrics))

    def _beat(self) -> bool:
        """Once a second: heartbeat and phase shares; True when the run was asked to end."""
        now = time.monotonic()
        if now - self.beaten_s < BEAT_S:
            return False
        self.beaten_s = now
        data: dict[str, float | int | str] = {
            "pid": os.getpid(),
            "version": self.version,
            "rss_bytes": psutil.Process().memory_info().rss,
        }
        try:
            self.link.beat(PROCESS, data)
            self.link.report(PROCESS, "phases", dict(self.timer.drain()))
            self.link.report(f"{PROCESS}/prefetch", "phases", dict(self.prefetch_timer.drain()))
            return self.link.stopping()
        except LinkDownError:
            return False

    def _checkpoint_when_due(self) -> None:
        by_time = self.config.checkpoint_s and time.monotonic() - self.checkpointed_s >= self.config.checkpoint_s
        every = self.config.checkpoint_versions
        if by_time or (every and self.version - self.checkpointed_version >= every):
            self.checkpoint()

    def checkpoint(self) -> None:
        """Write one now; a full disk is reported and training goes on from memory."""
        info = CheckpointInfo(
            version=self.version,
            agent_steps=self.agent_steps,
            gradient_steps=self.gradient_steps,
            trained_net=self.trained_net,
            spec_hash=self.spec.hash,
            game=self.game_name,
            config=self.config_text,
        )
        self.checkpointed_s, self.checkpointed_version = time.monotonic(), self.version
        with self.timer.phase("checkpoint"):
            try:
                save_checkpoint(
                    self.folder / "checkpoints", info, self.learner.snapshot(), keep=self.config.keep_checkpoints
                )
            except CheckpointError as error:
                self.link.report(PROCESS, "event", {"event": "checkpoint_failed", "message": str(error)})
                self.checkpoint_failed = True
                return
        self.checkpoint_failed = False
        self.link.report(PROCESS, "event", {"event": "checkpoint", "version": self.version})

    def _restore(self, resume: bool, start_from: Path | None) -> None:
        """Go on from this run's newest checkpoint, or start a new run from the weights of another."""
        # A version is never used twice: count on from the largest that anybody has ever seen.
        self.version = self._until_up(self.link.announced_version)
        if resume or start_from is not None:
            folder = find_checkpoint(self.folder if resume else start_from)  # type: ignore[arg-type]
            info = read_info(folder)
            if info.spec_hash != self.spec.hash:
                raise CheckpointError(
                    f"checkpoint {folder} is of {info.game!r} with spec {info.spec_hash}, this run is "
                    f"{self.game_name!r} with spec {self.spec.hash}: game, lstm_units, bptt_steps and chunk_steps must "
                    "be the same"
                )
            snapshot = read_snapshot(folder, info)
            self._check_fits(folder, snapshot)
            self.learner.restore(snapshot)
            self.warmup_left = 0 if info.gradient_steps else self.warmup_left
            if resume:
                self.trained_net = info.trained_net
                self.agent_steps, self.gradient_steps = info.agent_steps, info.gradient_steps
                self.version = max(self.version, info.version)
        self._count_undone()

    def _check_fits(self, folder: Path, snapshot: Mapping[str, torch.Tensor]) -> None:
        """The spec's hash says nothing of the network's other widths."""
        for name, own in self.policy.state_dict().items():
            found = snapshot.get(f"policy.{name}")
            if found is None or found.shape != own.shape:
                shape = "missing" if found is None else str(list(found.shape))
                raise CheckpointError(
                    f"checkpoint {folder} is of another network: {name} is {shape}, expected {list(own.shape)}; "
                    "model.encoder_units and model.encoder must be the same"
                )

    def _count_undone(self) -> None:
        """Steps trained by a predecessor after what this process starts from was written are in no weights any more."""
        self.counters = self._until_up(self.link.counters)
        undone = max(0, self.counters.trained - self.trained_net)
        if undone != self.counters.undone:
            self._until_up(lambda: self.link.mark_undone(undone))
        if self.counters.produced:
            self.link.report(PROCESS, "event", {"event": "resumed", "version": self.version, "steps_undone": undone})
