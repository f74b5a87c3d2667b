"""One run in one process: a memory link, workers and an optimizer, small enough for a test to look into."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from quintet.games.api import VectorGame
from quintet.games.counting import CountingGame, CountingOptions
from quintet.model.config import PolicyConfig
from quintet.model.policy import Policy
from quintet.optimizer.batch import Batch, collate
from quintet.optimizer.config import OptimizerConfig, PPOConfig
from quintet.optimizer.loop import Optimizer
from quintet.optimizer.settings_in_force import SettingsInForce
from quintet.rollout_workers.chunker import Chunker
from quintet.rollout_workers.config import RolloutConfig
from quintet.rollout_workers.lockstep import LockstepWorker
from quintet.rollout_workers.self_play import SelfPlay
from quintet.rollout_workers.worker import Worker
from quintet.wire.chunk import ChunkSpec, TrajectoryChunk, chunk_spec
from quintet.wire.codec import decode_chunk, encode_chunk
from quintet.wire.config import WireConfig
from quintet.wire.errors import LinkDownError
from quintet.wire.link import Ack, Counters, EncodedWeights, Message, Registration
from quintet.wire.memory_link import MemoryLink
from quintet.wire.redis_link.link import RedisLink
from quintet.wire.reports import PhaseTimer
from tests.support.chunk_factory import RUN

CPU = torch.device("cpu")
torch.set_num_threads(1)  # products this small only wait for one another on a busy machine
SMALL = PolicyConfig(lstm_units=8, precision="float32")


def counting_game(slots: int = 4, **options: Any) -> CountingGame:
    """A counting game of one agent whose games last 5 to 9 rows, unless said otherwise."""
    return CountingGame(slots, CountingOptions(**({"episode_steps": 5, "extra_steps": 4} | options)))


def play_chunks(
    game: VectorGame,
    policy: Policy,
    *,
    bptt: int = 4,
    chunk: int = 8,
    windows: int = 6,
    version: int = 1,
    seed: int = 0,
) -> tuple[ChunkSpec, list[TrajectoryChunk]]:
    """The chunks of some windows of self-play by one version."""
    spec = chunk_spec(game.spec, lstm_units=policy.config.lstm_units, bptt_steps=bptt, chunk_steps=chunk)
    chunker = Chunker(spec, run=RUN, slots=game.n_games)
    chunker.register(Registration(worker=0, incarnation=1))
    play = SelfPlay(game, policy, chunker, seed=seed, timer=PhaseTimer())
    chunks = [c for _ in range(windows) for c in play.play_window(version)]
    return spec, chunks + play.finish()


def batch_of(spec: ChunkSpec, chunks: Sequence[TrajectoryChunk]) -> Batch:
    """The chunks as the optimizer gets them: through bytes."""
    payloads = [encode_chunk(c, spec, compress=False) for c in chunks]
    messages = [
        Message(id=str(k), steps=c.steps, payload=p) for k, (c, p) in enumerate(zip(chunks, payloads, strict=True))
    ]
    return collate(messages, [decode_chunk(p, spec, run=RUN) for p in payloads], CPU)


def wait_until(condition: Callable[[], bool], timeout_s: float = 30.0) -> None:
    """Let other threads go on until something is so."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.001)


class WatchedLink(MemoryLink):
    """Remembers what was published and how every message was settled; can be told to fail."""

    def __init__(self) -> None:
        super().__init__(RUN)
        self.published: list[int] = []
        self.acked: dict[str, Ack] = {}
        self.exit_before_ack = False
        self.failures = 0

    def publish(self, weights: EncodedWeights) -> None:
        self._maybe_fail()
        super().publish(weights)
        self.published.append(weights.version)

    def ack(self, acks: Any) -> Counters:
        if self.exit_before_ack:
            raise KeyboardInterrupt
        self._maybe_fail()
        for ack in acks:
            assert ack.id not in self.acked, "a chunk was settled twice"
            self.acked[ack.id] = ack
        return super().ack(acks)

    def _maybe_fail(self) -> None:
        if self.failures:
            self.failures -= 1
            raise LinkDownError("down")


def drop(optimizer: Optimizer) -> None:
    """The process is gone: nothing is settled or written any more."""
    if optimizer.prefetcher is not None:
        optimizer.prefetcher.close()


@dataclass(kw_only=True)
class InProcessRun:
    """Opens the run on a memory link; builds workers and optimizers on it."""

    folder: Path
    make: Callable[[int], VectorGame] = counting_game
    slots: int = 4
    bptt: int = 4
    chunk: int = 8
    batch_steps: int = 32
    queue_batches: float = 4.0
    policy: PolicyConfig = SMALL
    ppo: PPOConfig = field(default_factory=PPOConfig)
    link: MemoryLink | RedisLink = field(default_factory=lambda: MemoryLink(RUN))
    deterministic: bool = False

    def __post_init__(self) -> None:
        self.game_spec = self.make(1).spec
        self.spec = chunk_spec(
            self.game_spec, lstm_units=self.policy.lstm_units, bptt_steps=self.bptt, chunk_steps=self.chunk
        )
        bound = int(self.queue_batches * self.batch_steps)
        if self.deterministic:  # as the worker takes it to be, which asks for room to see whose turn it is
            bound = WireConfig().max_queued_steps(
                batch_steps=self.batch_steps, chunk_steps=self.chunk * self.spec.agents
            )
        self.link.open_run(
            spec_hash=self.spec.hash,
            config_text="",
            max_queued_steps=bound,
            max_queue_bytes=1 << 28,
        )
        self.link.set_wanted_workers(8)
        self.link.hold_lease(1e6)

    def worker(self, index: int = 0, game: VectorGame | None = None) -> Worker:
        """A worker that has registered and looks for news at every window."""
        given: dict[str, Any] = {
            "game": game or self.make(self.slots),
            "policy": Policy(self.game_spec, self.policy).use_device(CPU),
            "run": RUN,
            "config": RolloutConfig(games_per_worker=self.slots, bptt_steps=self.bptt, chunk_steps=self.chunk),
            "wire": WireConfig(poll_s=0.0),
            "link": self.link,
            "worker": index,
            "seed": index,
        }
        worker = LockstepWorker(batch_steps=self.batch_steps, **given) if self.deterministic else Worker(**given)
        worker.start()
        return worker

    def optimizer(
        self,
        *,
        resume: bool = False,
        prefetch: bool = False,
        start_from: Path | None = None,
        agent_steps: int | None = None,
        seed: int = 0,
        settings: SettingsInForce | None = None,
        **config: Any,
    ) -> Optimizer:
        """A started optimizer with tiny batches, no warm-up of the normalisers and no checkpoints by time."""
        fields: dict[str, Any] = {"batch_steps": self.batch_steps, "normalizer_warmup_steps": 0, "checkpoint_s": 0.0}
        optimizer = Optimizer(
            game_spec=self.game_spec,
            policy_config=self.policy,
            optimizer_config=OptimizerConfig(**(fields | config)),
            ppo_config=self.ppo,
            bptt_steps=self.bptt,
            chunk_steps=self.chunk,
            link=self.link,
            run=RUN,
            run_folder=self.folder,
            seed=seed,
            device="cpu",
            config_text="text = 1\n",
            resume=resume,
            start_from=start_from,
            agent_steps=agent_steps,
            prefetch=prefetch,
            deterministic=self.deterministic,
            settings=settings,
        )
        optimizer.start()
        return optimizer

    def train(self, optimizer: Optimizer, worker: Worker, batches: int) -> None:
        """Play and learn by turns until so many more batches are settled."""
        while batches:
            worker.step_in_process()
            batches -= optimizer.step(0.0)

    def events(self, kind: str) -> list[dict[str, Any]]:
        """The data of all reports of a kind so far."""
        _, reports = self.link.read_reports("0", 0.0)
        return [r.data for r in reports if r.kind == kind]
