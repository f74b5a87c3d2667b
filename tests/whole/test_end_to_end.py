"""The whole way round in one process: an agent that must remember learns to, one without memory does not."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from gymnasium import spaces

from quintet.games.api import ACTING, Actions, Array, GameSpec, Observation, Transition
from quintet.model.config import PolicyConfig
from quintet.optimizer import loop as service_module
from quintet.optimizer.checkpoint import find_checkpoint, read_info
from quintet.optimizer.config import PPOConfig, Ramp
from quintet.rollout_workers import worker as worker_module
from quintet.wire.link import Counters, Precision
from tests.support.in_process_run import InProcessRun, wait_until

pytestmark = pytest.mark.slow

CUES = 4
WAIT_ROWS = 3
SPEC = GameSpec(
    name="recall",
    teams=1,
    agents_per_team=1,
    observation_space=spaces.Dict({"cue": spaces.Discrete(CUES + 1), "clock": spaces.Discrete(WAIT_ROWS + 2)}),
    action_space=spaces.Dict({"answer": spaces.Discrete(CUES)}),
    max_steps=WAIT_ROWS + 1,
)


class RecallGame:
    """Shows one of four cues in the first row and asks for it in the last; what is done in between is ignored.

    Guessing is right one time in four. The agent acts in the last row only, so that it cannot carry the cue in its own
    previous action: nothing but the LSTM's state can.
    """

    def __init__(self, n_games: int) -> None:
        self.spec, self.n_games = SPEC, n_games
        self.reset(0)

    def reset(self, seed: int) -> Observation:
        self._random = np.random.default_rng(seed)
        self._cue = self._random.integers(0, CUES, self.n_games)
        self._row = np.zeros(self.n_games, np.int64)
        return self._observe()

    def step(self, actions: Actions) -> Transition:
        asked, over = self._row == WAIT_ROWS, self._row > WAIT_ROWS
        right = asked & (actions["answer"][:, 0, 0] == self._cue)
        self._cue = np.where(over, self._random.integers(0, CUES, self.n_games), self._cue)
        self._row = np.where(over, 0, self._row + 1)
        return Transition(
            observation=self._observe(),
            reward=right.astype(np.float32)[:, None, None],
            terminated=asked[:, None, None],
            truncated=np.zeros((self.n_games, 1, 1), np.bool_),
            outcome=np.full((self.n_games, 1), np.nan, np.float32),
        )

    def close(self) -> None:
        pass

    def _observe(self) -> Observation:
        return {
            "cue": self._each(np.where(self._row == 0, self._cue, CUES)),
            "clock": self._each(self._row),
            ACTING: self._each(self._row == WAIT_ROWS),
        }

    def _each(self, x: Array) -> Array:
        return x[:, None, None].copy()


def recall_run(folder: Path, *, precision: Precision = "float32", zero_state: bool = False) -> InProcessRun:
    return InProcessRun(
        folder=folder,
        make=RecallGame,
        slots=32,
        bptt=8,
        chunk=16,
        batch_steps=1024,
        queue_batches=1.0,
        policy=PolicyConfig(lstm_units=32, precision=precision, zero_state=zero_state),
        ppo=PPOConfig(learning_rate=Ramp(value=3e-3), epochs=3, minibatches=2, discount=0.95),
    )


def share_right(run: InProcessRun, agent_steps: int, *, enough: float = 2.0) -> tuple[float, Counters]:
    """Train so long, or until the last 400 answers are good enough; the share of them that was right."""
    torch.manual_seed(0)
    optimizer, worker = run.optimizer(), run.worker()
    answers: list[float] = []
    while optimizer.progress.agent_steps < agent_steps and (len(answers) < 400 or np.mean(answers[-400:]) < enough):
        worker.step_in_process()
        answers += [e["return"][0] for e in worker.play.episodes.drain()]
        optimizer.step(0.0)
    return float(np.mean(answers[-400:])), run.link.counters()


def test_an_agent_learns_to_remember_what_one_without_memory_never_can(tmp_path: Path) -> None:
    remembering, counters = share_right(recall_run(tmp_path / "memory"), 150_000, enough=0.97)
    assert remembering >= 0.97
    assert counters.unaccounted == 0
    assert counters.stale == counters.rejected == counters.lost == 0
    consumed = counters.trained
    forgetful, counters = share_right(recall_run(tmp_path / "zeroed", zero_state=True), consumed)
    assert forgetful < 0.4
    assert counters.trained >= 0.75 * consumed


def test_it_learns_to_remember_in_bfloat16_as_well(tmp_path: Path) -> None:
    remembering, _ = share_right(recall_run(tmp_path, precision="bfloat16"), 150_000, enough=0.9)
    assert remembering >= 0.9


def test_two_workers_and_an_optimizer_in_threads_of_their_own_run_to_the_budget_and_leave_clean_books(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service_module, "BEAT_S", 0.05)
    monkeypatch.setattr(worker_module, "HEARTBEAT_S", 0.05)
    run = recall_run(tmp_path)
    optimizer = run.optimizer(prefetch=True, agent_steps=20_000, replay_error_versions=2)
    workers = [run.worker(k) for k in range(2)]
    reasons: list[str] = []
    threads = [threading.Thread(target=lambda w=w: reasons.append(w.run()), daemon=True) for w in workers]
    for thread in threads:
        thread.start()
    assert optimizer.run() == "budget"
    run.link.set_stopping(True)
    wait_until(lambda: not any(thread.is_alive() for thread in threads))
    assert reasons == ["stopping"] * 2
    counters = run.link.counters()
    assert counters.unaccounted == 0
    assert counters.produced == sum(w.chunker.cumulative_steps for w in workers)
    assert counters.trained >= 20_000
    assert counters.rejected == 0
    errors = [m["recurrent/replay_error"] for m in run.events("metrics") if "recurrent/replay_error" in m]
    assert len(errors) > 3
    assert max(errors) <= 1e-5
    info = read_info(find_checkpoint(tmp_path))
    assert (info.agent_steps, info.version) == (optimizer.progress.agent_steps, run.link.announced_version())
    played = sum(len(data["episodes"]) for data in run.events("episodes"))
    assert played >= 20_000 / (WAIT_ROWS + 1) * 0.9
