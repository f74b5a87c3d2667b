"""Settings that change while the optimizer trains: from the next update on, reported, and in the checkpoint."""

from __future__ import annotations

from pathlib import Path

import pytest

from quintet.control.config import RunConfig, parse_config
from quintet.control.live_settings import LiveConfig
from quintet.optimizer.checkpoint import find_checkpoint, read_info
from quintet.optimizer.config import OptimizerConfig, PPOConfig, Ramp
from tests.support.in_process_run import InProcessRun, drop

CONFIG = RunConfig(
    ppo=PPOConfig(learning_rate=Ramp(value=1e-3)),
    optimizer=OptimizerConfig(batch_steps=32, normalizer_warmup_steps=0, checkpoint_s=0.0),
)


@pytest.fixture
def run(tmp_path: Path) -> InProcessRun:
    return InProcessRun(folder=tmp_path, ppo=CONFIG.ppo)


def rates(run: InProcessRun) -> list[float]:
    return [float(str(data["losses/learning_rate"])) for data in run.events("metrics")]


def test_a_change_holds_from_the_next_update_on_and_is_reported_with_its_agent_step(run: InProcessRun) -> None:
    optimizer, worker = run.optimizer(settings=LiveConfig(CONFIG)), run.worker()
    run.train(optimizer, worker, 2)
    at = optimizer.progress.agent_steps
    run.link.request_settings({"ppo.learning_rate": "1e-4", "ppo.adam_epsilon": "1e-3"}, by="ada@lab")
    run.link.request_settings({"ppo.team_spirit": "0.5", "ppo.discount": "0.9"}, by="bob@lab")
    run.train(optimizer, worker, 2)
    assert rates(run) == [1e-3, 1e-3, 1e-4, 1e-4]
    assert optimizer.learner.adam.param_groups[0]["eps"] == 1e-3
    last = run.events("metrics")[-1]
    assert (last["losses/team_spirit"], last["losses/discount"]) == (0.5, 0.9)
    events = [data for data in run.events("event") if data["event"] == "set"]
    assert [(data["by"], data["agent_steps"]) for data in events] == [("ada@lab", at), ("bob@lab", at)]
    assert events[0]["changes"] == {"ppo.learning_rate": ["0.001", "0.0001"], "ppo.adam_epsilon": ["1e-05", "0.001"]}
    assert events[1]["message"] == "ppo.team_spirit 0 -> 0.5, ppo.discount 0.99 -> 0.9, by bob@lab"


def test_a_request_that_cannot_be_is_reported_and_changes_nothing(run: InProcessRun) -> None:
    optimizer, worker = run.optimizer(settings=LiveConfig(CONFIG)), run.worker()
    run.link.request_settings({"ppo.clip": "0.1", "ppo.learning_rate": "-1"}, by="eve@lab")
    run.train(optimizer, worker, 1)
    assert optimizer.learner.ppo == CONFIG.ppo
    (refused,) = [data for data in run.events("event") if data["event"] == "set_refused"]
    assert "must be at least 0" in str(refused["message"])
    assert refused["by"] == "eve@lab"


def test_the_budget_and_the_checkpoints_follow_what_is_set(run: InProcessRun) -> None:
    optimizer, worker = run.optimizer(settings=LiveConfig(CONFIG)), run.worker()
    changes = {
        "agent_steps": "100",
        "optimizer.checkpoint_versions": "2",
        "optimizer.max_staleness": "1",
        "ppo.epochs": "3",
    }
    run.link.request_settings(changes, by="ada@lab")
    run.train(optimizer, worker, 3)
    assert (optimizer.budget, optimizer.config.max_staleness, optimizer.learner.ppo.epochs) == (100, 1, 3)
    info = read_info(find_checkpoint(run.folder))
    in_force = parse_config(info.config)
    assert (in_force.agent_steps, in_force.ppo.epochs, in_force.optimizer.checkpoint_versions) == (100, 3, 2)


def test_a_resumed_optimizer_goes_on_with_what_was_set_before_and_after_its_checkpoint(run: InProcessRun) -> None:
    optimizer, worker = run.optimizer(settings=LiveConfig(CONFIG)), run.worker()
    run.link.request_settings({"ppo.learning_rate": "1e-4"}, by="ada@lab")
    run.train(optimizer, worker, 2)
    optimizer.checkpoint()
    run.link.request_settings({"ppo.clip": "0.1"}, by="ada@lab")
    drop(optimizer)
    resumed = run.optimizer(resume=True, settings=LiveConfig(CONFIG))
    assert (resumed.learner.ppo.learning_rate.value, resumed.learner.ppo.clip) == (1e-4, 0.1)
    events = [data for data in run.events("event") if data["event"] == "set"]
    assert [list(dict(data["changes"])) for data in events] == [["ppo.learning_rate"], ["ppo.clip"]]  # none twice
