"""A worker of a deterministic run: it plays in turns with the optimizer, and begins its games anew with every epoch."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from quintet.rollout_workers.worker import ROOM_POLL_S, Worker
from quintet.wire.chunk import TrajectoryChunk
from quintet.wire.errors import LinkDownError
from quintet.wire.link import EncodedWeights
from quintet.wire.retry import RETRY_S


class LockstepWorker(Worker):
    """Plays while less than a batch is in flight, with the version then announced; never leaves within a window."""

    def __init__(self, *, batch_steps: int, **given: Any) -> None:
        """`batch_steps`: the run's optimizer.batch_steps; the rest is a `Worker`'s."""
        super().__init__(**given)
        self.epoch = 0
        # The stream, bounded as `open_run` bounds it, has room for so many steps when less than a batch is in flight.
        chunk_steps = self.spec.chunk_steps * self.spec.agents
        self.turn_steps = self.wire.max_queued_steps(batch_steps=batch_steps, chunk_steps=chunk_steps) - batch_steps + 1

    def _ready(self) -> bool:
        with self.timer.phase("wait"):
            try:
                mine = self._take_news()
            except LinkDownError:
                mine = False
                time.sleep(RETRY_S)
            if not mine:
                self._poll()
                time.sleep(ROOM_POLL_S)
        return mine

    def _take_news(self) -> bool:
        """Whether the optimizer has used up what it can; then its newest weights are here.

        It publishes before it acknowledges. So once less than a batch is in flight it has nothing to do, and what it
        has announced is what it made of all that was pushed.
        """
        if not self.link.has_room(self.turn_steps, 0):
            return False
        self.message = self.link.control_message()
        if self.message.version != self.version:
            self._load(self._latest())
        return 0 < self.version == self.message.version

    def _fetch(self) -> None:
        """Weights are loaded when it is this worker's turn, and not before."""

    def _leaves_within(self, row: int) -> bool:
        return False

    def _load(self, weights: EncodedWeights | None) -> None:
        super()._load(weights)
        if weights is not None and weights.epoch > self.epoch:
            self.epoch = weights.epoch
            self.play = self.play.begin_anew(games_seed(self.seed, weights.epoch_seed))

    def _last_chunks(self) -> list[TrajectoryChunk]:
        """None: a run that can be repeated has no chunks cut short because a worker left."""
        return []


def games_seed(seed: int, epoch_seed: int) -> int:
    """What seeds the games and the sampling of one determinism epoch: a hash of both numbers, 31 bits."""
    return int(np.random.SeedSequence((seed, epoch_seed)).generate_state(1)[0]) & 0x7FFF_FFFF
