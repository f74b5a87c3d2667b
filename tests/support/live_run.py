"""A real `quintet train` as a child of a test: started small, watched through its files, killed in parts."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import psutil

from quintet.cluster.processes.spawn import wait_gone
from quintet.control.sinks import read_jsonl

ROOT = Path(__file__).resolve().parents[2]
PATIENCE_S = 120.0  # a busy machine is no failure
Found = TypeVar("Found")

SMALL = (
    "game=gymnasium:CartPole-v1",
    "model.lstm_units=16",
    "rollout.workers=1",
    "rollout.games_per_worker=8",
    "rollout.chunk_steps=16",
    "ppo.epochs=1",
    "ppo.minibatches=1",
    "optimizer.batch_steps=512",
    "optimizer.normalizer_warmup_steps=256",
    "optimizer.checkpoint_versions=5",
    "optimizer.max_staleness=8",
    "optimizer.threads=1",
    "wire.max_queued_batches=1",
)


def environment() -> dict[str, str]:
    places = [str(ROOT), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, places))}


def quintet(*arguments: str, cwd: Path, timeout_s: float = PATIENCE_S) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    command = [sys.executable, "-m", "quintet", *arguments]
    return subprocess.run(
        command, cwd=cwd, env=environment(), capture_output=True, text=True, timeout=timeout_s, check=False
    )


class LiveRun:
    """One `quintet train --run live` in a folder of the test's own."""

    def __init__(self, cwd: Path, arguments: Sequence[str], *, dashboard: bool = False) -> None:
        self.cwd, self.folder = cwd, cwd / "runs" / "live"
        settings = [word for setting in SMALL for word in ("--set", setting)]
        settings += ["--no-dashboard"] * (not dashboard)
        self.output = cwd / "output.txt"
        with self.output.open("ab") as file:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "quintet", "train", "--run", "live", *settings, *arguments],
                cwd=cwd,
                env=environment(),
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def versions(self) -> list[int]:
        """The version of every row of metrics.jsonl."""
        return [int(row["version"]) for row in read_jsonl(self.folder / "metrics.jsonl")]

    def wait_for(self, condition: Callable[[], Found], what: str) -> Found:
        """Wait until something is true (or not empty); fails with the command's output if it ends before."""
        deadline = time.monotonic() + PATIENCE_S
        while not (found := condition()):
            assert self.process.poll() is None, f"quintet train ended while {what}: {self.output.read_text()}"
            assert time.monotonic() < deadline, f"{what} took too long: {self.output.read_text()}"
            time.sleep(0.05)
        return found

    def wait_for_versions(self, n_more: int) -> None:
        """Wait until so many more versions were made."""
        wanted = max(self.versions(), default=0) + n_more
        self.wait_for(lambda: max(self.versions(), default=0) >= wanted, f"waiting for version {wanted}")

    def family(self) -> list[psutil.Process]:
        """Every process of the run, `quintet train` first."""
        parent = psutil.Process(self.process.pid)
        return [parent, *parent.children(recursive=True)]

    def find(self, words: str) -> psutil.Process:
        """The one process of the run whose command line holds these words."""
        found = self.wait_for(lambda: [p for p in self.family() if words in command_line(p)], f"looking for {words}")
        assert len(found) == 1, found
        return found[0]

    def interrupt(self) -> int:
        """One Ctrl-C; returns the exit code."""
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(PATIENCE_S)

    def summary(self) -> dict[str, Any]:
        return dict(json.loads((self.folder / "summary.json").read_text()))

    def checkpoint(self) -> dict[str, Any]:
        """The newest checkpoint's JSON part."""
        checkpoints = self.folder / "checkpoints"
        return dict(json.loads((checkpoints / (checkpoints / "latest").read_text() / "checkpoint.json").read_text()))

    def versions_unsaved(self) -> int:
        """Versions made since the newest checkpoint; 0 before the first one."""
        if not (self.folder / "checkpoints" / "latest").exists():
            return 0
        return int(max(self.versions()) - self.checkpoint()["version"])

    def journal(self, kind: str) -> list[dict[str, Any]]:
        """The journal's events of one kind."""
        return [event for event in read_jsonl(self.folder / "journal.jsonl") if event["kind"] == kind]


def command_line(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


@contextmanager
def live_run(cwd: Path, *arguments: str, dashboard: bool = False) -> Iterator[LiveRun]:
    """A run that is trained until the block ends, at the latest."""
    run = LiveRun(cwd, arguments, dashboard=dashboard)
    family: list[psutil.Process] = []
    try:
        yield run
        if run.process.poll() is None:
            family = run.family()
    finally:
        if run.process.poll() is None:
            run.process.kill()
        run.process.wait()
        for process in wait_gone(family, timeout_s=10.0):
            process.kill()


def assert_conserved(summary: dict[str, Any]) -> None:
    """produced = trained + stale + rejected + lost + in flight."""
    parts = [summary[f"steps_{name}"] for name in ("trained", "stale", "rejected", "lost", "in_flight")]
    assert summary["steps_produced"] == sum(parts), summary
