"""The number format of a run: settled by its optimizer, written down by its controller, taken over by everybody."""

from __future__ import annotations

from pathlib import Path

import pytest

from quintet.control.config import RunConfig, dump_config, load_config, parse_config
from quintet.control.errors import USAGE, UsageError, exit_code
from quintet.control.live_settings import SettingsWatch, with_known_format
from quintet.control.run_folder import RunFolder
from quintet.model.config import PolicyConfig
from quintet.optimizer.number_format import FORCED
from quintet.wire.errors import DecodeError, WeightsRefusedError
from quintet.wire.link import Precision
from quintet.wire.memory_link import MemoryLink
from tests.model.test_weights import OTHER
from tests.support.in_process_run import InProcessRun
from tests.support.live_run import SMALL, quintet


def configured(precision: str) -> RunConfig:
    return parse_config(f'[model]\nprecision = "{precision}"')


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    """Of a run whose format is open."""
    folder = RunFolder(tmp_path)
    folder.write_config(dump_config(RunConfig()))
    return folder


# ---- the controller ----


def test_what_the_optimizer_settled_on_is_written_down_for_all(folder: RunFolder, precision: Precision) -> None:
    link = MemoryLink("a")
    link.open_run(spec_hash="a", config_text=dump_config(RunConfig()), max_queued_steps=1, max_queue_bytes=1)
    watch = SettingsWatch(folder, RunConfig(), link)
    assert not watch.note_format(link.heartbeats())
    link.request_settings({"ppo.clip": "0.1"}, by="ada@lab")
    assert watch.look()
    link.beat("optimizer", {"precision": precision})
    assert watch.note_format(link.heartbeats())
    assert not watch.note_format(link.heartbeats())
    watch.look_for_optimizer(link.heartbeats())
    assert load_config(folder.config) == watch.config
    assert (watch.config.model.precision, watch.config.ppo.clip) == (precision, 0.1)
    assert parse_config(link.run_config()).model.precision == precision


def test_a_format_that_there_is_not_is_no_news_and_neither_is_one_that_stands_already(folder: RunFolder) -> None:
    link = MemoryLink("a")
    link.beat("optimizer", {"precision": "fp8"})
    assert not SettingsWatch(folder, RunConfig(), link).note_format(link.heartbeats())
    link.beat("optimizer", {"precision": "bfloat16"})
    assert not SettingsWatch(folder, configured("float32"), link).note_format(link.heartbeats())


def test_a_run_that_goes_on_takes_over_its_format_and_refuses_another_with_both_names(
    folder: RunFolder, precision: Precision
) -> None:
    registered = dump_config(configured(precision))
    assert with_known_format(RunConfig(), folder, registered) == configured(precision)
    assert with_known_format(configured(precision), folder, registered) == configured(precision)
    other = OTHER[precision]
    with pytest.raises(UsageError, match=f"computes in {precision}, but model.precision is {other}"):
        with_known_format(configured(other), folder, registered)
    assert with_known_format(configured(other), folder, dump_config(RunConfig())) == configured(other)
    folder.config.unlink()
    assert with_known_format(configured(other), folder, registered) == configured(other), "a new run of an old name"


# ---- workers ----


def test_a_worker_computes_in_the_runs_format_and_replays_to_the_last_bit(tmp_path: Path, precision: Precision) -> None:
    """Whatever its own machine prefers: what it is configured with is `auto`."""
    run = InProcessRun(folder=tmp_path, policy=PolicyConfig(lstm_units=16, precision=precision), batch_steps=64)
    optimizer = run.optimizer(replay_error_versions=1)
    run.policy = PolicyConfig(lstm_units=16)
    worker = run.worker()
    assert worker.policy.precision == "float32"
    run.train(optimizer, worker, 4)
    assert worker.policy.precision == precision
    errors = [data["recurrent/replay_error"] for data in run.events("metrics") if "recurrent/replay_error" in data]
    assert len(errors) >= 3
    assert max(errors) <= 1e-6
    assert max(data.get("recurrent/replay_value_error", 0.0) for data in run.events("metrics")) <= 1e-5


def test_a_worker_of_the_other_format_leaves_for_good_and_names_both(tmp_path: Path, precision: Precision) -> None:
    other = OTHER[precision]
    run = InProcessRun(folder=tmp_path, policy=PolicyConfig(lstm_units=8, precision=precision))
    run.optimizer()
    run.policy = PolicyConfig(lstm_units=8, precision=other)
    worker = run.worker()
    with pytest.raises(WeightsRefusedError, match=f"in {precision}, but model.precision is {other} here") as refused:
        worker.run()
    assert worker.name in str(refused.value)
    assert exit_code(refused.value) == USAGE, "which ends the run: see the worker supervisor"
    assert worker.chunker.window == -1, "it has played nothing"


def test_weights_that_nobody_can_read_make_a_worker_leave_for_good(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = InProcessRun(folder=tmp_path)
    run.optimizer()

    def damaged(newer_than: int) -> None:
        raise DecodeError("weights of version 1: found sha256 12, expected 34")

    monkeypatch.setattr(run.link, "latest", damaged)
    with pytest.raises(WeightsRefusedError, match=r"cannot read the run's weights: .* found sha256 12, expected 34"):
        run.worker().run()


# ---- a whole run ----


@pytest.mark.slow
def test_a_run_whose_format_is_open_has_one_in_its_configuration_and_in_its_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(FORCED, "bfloat16")
    small = [word for setting in SMALL for word in ("--set", setting)]
    done = quintet("train", "--run", "a", "--in-process", "--agent-steps", "600", *small, cwd=tmp_path)
    assert done.returncode == 0, done
    folder = RunFolder(tmp_path / "runs" / "a")
    assert load_config(folder.config).model.precision == "bfloat16"
    assert folder.checkpoint_info()["precision"] == "bfloat16"
    assert "computes in bfloat16" in folder.journal.read_text()
