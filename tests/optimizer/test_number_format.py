"""What `auto` comes to: for the slowest of the machines that are known, and once for a run."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from quintet.model.config import PolicyConfig
from quintet.optimizer import number_format
from quintet.optimizer.checkpoint import CheckpointError, CheckpointInfo, find_checkpoint, read_info
from quintet.optimizer.number_format import FORCED, WIDE, NumberFormatError, multiplies_bf16, settled
from quintet.wire.link import Precision
from tests.model.test_weights import OTHER
from tests.support.in_process_run import CPU, InProcessRun

CUDA = torch.device("cuda")


@pytest.fixture(autouse=True)
def unforced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(FORCED, raising=False)


def auto(
    monkeypatch: pytest.MonkeyPatch,
    *,
    cpu: bool,
    gpu: bool | None = None,
    workers_here: bool = True,
    lstm_units: int = WIDE,
) -> str:
    """What `auto` comes to where CPU and GPU have units for bf16 or not."""
    monkeypatch.setattr(number_format, "multiplies_bf16", lambda device: gpu if device.type == "cuda" else cpu)
    config = PolicyConfig(lstm_units=lstm_units)
    return settled(config, CPU if gpu is None else CUDA, workers_here=workers_here).precision


def test_auto_is_the_format_that_no_machine_is_slow_in(monkeypatch: pytest.MonkeyPatch) -> None:
    assert auto(monkeypatch, cpu=True) == "bfloat16"
    assert auto(monkeypatch, cpu=False) == "float32"
    assert auto(monkeypatch, cpu=True, gpu=True) == "bfloat16"
    assert auto(monkeypatch, cpu=False, gpu=True) == "float32", "its workers would emulate it"
    assert auto(monkeypatch, cpu=True, gpu=False) == "float32"


def test_of_workers_elsewhere_nothing_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    assert auto(monkeypatch, cpu=True, gpu=True, workers_here=False) == "float32"
    assert auto(monkeypatch, cpu=True, workers_here=False) == "float32"


def test_small_networks_have_compiled_kernels_in_float32_only(monkeypatch: pytest.MonkeyPatch) -> None:
    assert auto(monkeypatch, cpu=True, lstm_units=WIDE - 1) == "float32"
    assert auto(monkeypatch, cpu=True, gpu=True, lstm_units=128) == "float32"


def test_an_explicit_format_is_taken_as_it_is(precision: Precision, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(FORCED, OTHER[precision])
    config = PolicyConfig(precision=precision)
    assert settled(config, CPU, workers_here=True) == config


def test_a_run_that_goes_on_keeps_the_format_of_its_checkpoint(
    precision: Precision, monkeypatch: pytest.MonkeyPatch
) -> None:
    info = CheckpointInfo(
        version=1, agent_steps=0, gradient_steps=0, trained_net=0, spec_hash="", game="", config="", precision=precision
    )
    monkeypatch.setenv(FORCED, OTHER[precision])
    assert settled(PolicyConfig(), CPU, workers_here=True, checkpoint=info).precision == precision


def test_the_environment_says_what_auto_is(precision: Precision, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(FORCED, precision)
    assert settled(PolicyConfig(lstm_units=4096), CUDA, workers_here=False).precision == precision
    monkeypatch.setenv(FORCED, "fp8")
    with pytest.raises(NumberFormatError, match="is 'fp8'; expected float32 or bfloat16"):
        settled(PolicyConfig(), CPU, workers_here=True)


def test_a_gpu_that_only_emulates_bfloat16_has_no_units_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: including_emulation)
    assert not multiplies_bf16(CUDA)


def test_a_run_goes_on_in_its_own_format_and_begins_anew_in_any(tmp_path: Path, precision: Precision) -> None:
    run = InProcessRun(folder=tmp_path, policy=PolicyConfig(lstm_units=8, precision=precision))
    optimizer = run.optimizer()
    optimizer.checkpoint()
    folder = find_checkpoint(tmp_path)
    assert read_info(folder).precision == precision
    run.policy = PolicyConfig(lstm_units=8, precision=OTHER[precision])
    with pytest.raises(CheckpointError, match=f"is computed in {precision}, but model.precision is {OTHER[precision]}"):
        run.optimizer(resume=True)
    assert run.optimizer(start_from=folder).policy.precision == OTHER[precision]
