"""Runs that cannot learn, each for another reason, are told so with that reason; those that learn are left in peace.

Every run is a real one, of a real worker and optimizer: a game of one decision per row, or the reason itself.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch

from quintet.control.doctor.finding import Finding
from quintet.control.doctor.health_snapshot import read_health
from quintet.control.doctor.learning import LEAST_STEPS, LEAST_VERSIONS, not_learning
from quintet.control.doctor.rules import diagnose
from quintet.control.metrics import MetricsAggregator
from quintet.control.sinks import JsonlSink
from quintet.model.config import PolicyConfig
from quintet.optimizer.config import PPOConfig, Ramp
from quintet.rollout_workers import worker as worker_module
from tests.envs.signpost import Fault, Signpost
from tests.support.in_process_run import InProcessRun

pytestmark = pytest.mark.slow

VERSIONS = LEAST_VERSIONS + 4


@pytest.fixture(autouse=True)
def every_window_reports_its_games(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not once a second: by the clock, a fast machine's whole run would hold three reports."""
    monkeypatch.setattr(worker_module, "HEARTBEAT_S", 0.0)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A run: the game, what is wrong with it, and every setting that matters; by themselves they learn it."""

    fault: Fault = "none"
    teams: int = 1
    box: bool = False
    rate: float = 4e-3
    epochs: int = 1
    minibatches: int = 4
    value_coefficient: float = 0.5
    others: dict[str, Any] = field(default_factory=dict)


def train(folder: Path, plan: Plan, *, start_from: Path | None = None, versions: int = VERSIONS) -> Path:
    """Train so long and write metrics.jsonl, as the recorder does; the newest checkpoint."""
    torch.manual_seed(0)
    run = InProcessRun(
        folder=folder,
        make=lambda n: Signpost(n, plan.fault, teams=plan.teams, box=plan.box),
        slots=128 // plan.teams,
        bptt=8,
        chunk=16,
        batch_steps=1024,
        queue_batches=2.0,
        policy=PolicyConfig(lstm_units=16, precision="float32"),
        ppo=PPOConfig(
            learning_rate=Ramp(value=plan.rate),
            entropy_coefficient=Ramp(value=0.01),
            epochs=plan.epochs,
            minibatches=plan.minibatches,
            value_coefficient=plan.value_coefficient,
            discount=0.9,
            gae_lambda=0.95,
            clip=0.2,
            normalize_advantages=True,
            gradient_clip="elementwise",
        ),
    )
    folder.mkdir(exist_ok=True)
    optimizer, worker = run.optimizer(start_from=start_from), run.worker()
    run.train(optimizer, worker, versions)
    worker.step_in_process()
    sink, after = JsonlSink(folder / "metrics.jsonl"), MetricsAggregator()
    _, reports = run.link.read_reports("0", 0.0)
    for row in after.consume(reports):
        sink.write(row)
    sink.close()
    optimizer.checkpoint()
    return folder / "checkpoints" / (folder / "checkpoints" / "latest").read_text().strip()


def told(folder: Path) -> Finding | None:
    """What the doctor says of the run's learning."""
    snapshot = read_health(folder, None, live=False)
    assert snapshot.course is not None
    assert snapshot.course.versions >= LEAST_VERSIONS
    assert snapshot.course.agent_steps >= LEAST_STEPS
    found = list(not_learning(snapshot))
    assert [finding for finding in diagnose(snapshot) if finding.about == "learning"] == found
    assert len(found) <= 1
    return found[0] if found else None


FAULTS = {
    "blind": (Plan(fault="blind"), "the observation is the same in every row", "quintet check"),
    "deaf": (Plan(fault="deaf"), "neither rewards nor observations depend on the action", "a wrapper changes it"),
    "deaf, with a Box": (Plan(fault="deaf", box=True, rate=3e-4), "neither rewards nor observations", "wrapper"),
    "unpaid": (Plan(fault="unpaid"), "steps was paid 1", "reward steps towards the goal"),
    "endless": (Plan(fault="endless"), "no game has ended in", "TimeLimit"),
    "few gradient steps": (Plan(rate=3e-4, epochs=1, minibatches=1), "takes 1 gradient step per 9", "try ppo.epochs=4"),
    "tiny steps": (Plan(rate=1e-6), "a learning rate of 1e-06 hardly moves the policy", "try ppo.learning_rate=3e-4"),
    "huge steps": (Plan(rate=3.0), "at a learning rate of 3", "try ppo.learning_rate=3e-4"),
    "value swamps": (Plan(value_coefficient=1e5, rate=1e-3), "99.9% of the gradient that policy and value share",
                     "ppo.value_coefficient"),
}  # fmt: skip


@pytest.mark.parametrize("name", FAULTS)
def test_a_run_that_cannot_learn_is_told_so_with_the_reason(name: str, tmp_path: Path) -> None:
    plan, seen, advice = FAULTS[name]
    train(tmp_path / "run", plan)
    finding = told(tmp_path / "run")
    assert finding is not None
    assert finding.severity == "warning"
    assert seen in finding.seen, finding
    assert advice in finding.advice, finding
    assert finding.why


def test_one_gradient_step_per_thousand_steps_is_said_in_these_words(tmp_path: Path) -> None:
    train(tmp_path / "run", Plan(rate=3e-4, epochs=1, minibatches=1))
    finding = told(tmp_path / "run")
    assert finding is not None
    assert finding.seen.startswith(f"entropy and return have not moved in {VERSIONS} versions: the policy takes 1 ")


@pytest.mark.parametrize(
    "plan",
    [
        Plan(),
        Plan(box=True),
        Plan(fault="forgotten", rate=5e-3),
        Plan(rate=1e-3),  # as where the value swamps
        Plan(rate=3e-4),  # so slowly that nothing is to be seen yet
        Plan(teams=2),  # the return is 0 by construction
        Plan(teams=2, rate=3e-4),
    ],
    ids=["quick", "box", "by memory", "slowly", "more slowly", "mirror", "slow mirror"],
)
def test_a_run_that_learns_is_left_in_peace(plan: Plan, tmp_path: Path) -> None:
    train(tmp_path / "run", plan)
    assert told(tmp_path / "run") is None


def test_a_run_that_goes_on_with_what_was_learned_is_left_in_peace(tmp_path: Path) -> None:
    learned = train(tmp_path / "first", Plan(), versions=VERSIONS)
    train(tmp_path / "second", Plan(), start_from=learned)
    snapshot = read_health(tmp_path / "second", None, live=False)
    assert snapshot.course is not None
    assert snapshot.course.performance == "flat"  # so that it is the learned start that keeps the doctor silent
    assert told(tmp_path / "second") is None
