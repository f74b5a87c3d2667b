"""A controller and its supervisor over a memory link, with workers and an optimizer that do what the test says."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from io import StringIO
from pathlib import Path

from rich.console import Console

from quintet.cluster.board import Board
from quintet.cluster.controller import Controller
from quintet.cluster.recorder import Recorder
from quintet.cluster.worker_supervisor import WorkerSupervisor
from quintet.control.config import parse_config
from quintet.control.errors import DONE
from quintet.control.journal import read_journal
from quintet.control.run_folder import RunFolder
from quintet.wire.link import Ack, PendingChunk
from quintet.wire.memory_link import MemoryLink

SPEC = "0123456789abcdef"


class Clock:
    """Time that passes when the test says so."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


class ScriptedWorkers:
    """A launcher whose workers play until the test ends them, or until they are no longer wanted."""

    def __init__(self, link: MemoryLink) -> None:
        self.link = link
        self.playing: set[int] = set()
        self.ends: dict[int, dict[str, str]] = {}
        self.starts: list[int] = []
        self.killed: list[int] = []
        self.adoptable: list[int] = []
        self.node_exited = False
        self.stubborn = False

    def ensure(self) -> bool:
        exited, self.node_exited = self.node_exited, False
        if exited:
            self.ends |= {worker: {"error": "its Ray node died"} for worker in self.playing}
        return exited

    def adopt(self, workers: Sequence[int]) -> list[int]:
        self.playing |= set(self.adoptable)
        return self.adoptable

    def start(self, worker: int) -> None:
        assert worker not in self.playing
        self.starts.append(worker)
        self.playing.add(worker)
        self.link.register(worker, SPEC)

    def poll(self, worker: int) -> dict[str, str] | None:
        message = self.link.control_message()
        if worker in self.ends:
            self.playing.discard(worker)
            return self.ends.pop(worker)
        if not self.stubborn and (worker >= message.wanted_workers or message.stopping):
            self.playing.discard(worker)
            return {"reason": "scaled_down"}
        return None

    def kill(self, worker: int) -> None:
        self.killed.append(worker)
        self.playing.discard(worker)


class ScriptedOptimizer:
    """An optimizer host whose process ends when and how the test says."""

    def __init__(self) -> None:
        self.status: int | None = None
        self.starts = 0
        self.stopped_with: list[float] = []

    def start(self) -> None:
        self.starts += 1
        self.status = None

    def poll(self) -> int | None:
        return self.status

    def why_it_ended(self) -> str:
        return "it broke"

    def stop(self, grace_s: float) -> int:
        self.stopped_with.append(grace_s)
        self.status = DONE if self.status is None else self.status
        return self.status


class Scene:
    """A controller with everything around it."""

    def __init__(self, folder: RunFolder, config_text: str = "") -> None:
        self.clock = Clock()
        self.link = MemoryLink("scene")
        self.link.open_run(spec_hash=SPEC, config_text="seed = 1", max_queued_steps=1000, max_queue_bytes=1000)
        self.link.set_wanted_workers(2)
        self.folder, self.workers, self.optimizer = folder, ScriptedWorkers(self.link), ScriptedOptimizer()
        self.interrupted = threading.Event()
        board = Board(Console(file=StringIO()), clock=self.clock)
        config = parse_config(config_text)
        self.recorder = Recorder(folder=folder, config=config, link=self.link, board=board, started_s=0.0)
        self.tracebacks: list[tuple[int, str]] = []
        self.supervisor = WorkerSupervisor(
            self.workers,
            self.link,
            self.recorder,
            keep_traceback=self.keep_traceback,
            clock=self.clock,
        )
        self.controller = Controller(
            link=self.link,
            supervisor=self.supervisor,
            optimizer=self.optimizer,
            recorder=self.recorder,
            redis=None,
            interrupted=self.interrupted,
            describe={"capacity": 2},
            clock=self.clock,
        )

    def keep_traceback(self, worker: int, text: str) -> Path:
        self.tracebacks.append((worker, text))
        return self.folder.logs / f"worker-{worker}.log"

    def round(self, seconds: float = 1.0) -> str | None:
        self.clock.now += seconds
        return self.controller.round()

    def train_a_chunk(self) -> None:
        """A chunk of worker 0 arrives, and is trained on."""
        who = {"worker": 0, "incarnation": self.link.register(0, SPEC).incarnation}
        self.link.push([PendingChunk(**who, sequence=1, cumulative_steps=8, steps=8, payload=b"x")])
        (message,) = self.link.pop(8, 0.0)
        self.link.ack([Ack(id=message.id, trained=8)])

    def journal(self, kind: str) -> list[str]:
        return [event.process or event.text for event in read_journal(self.folder.journal) if event.kind == kind]

    def close(self) -> None:
        self.recorder.close()
