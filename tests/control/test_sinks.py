"""What is written to metrics.jsonl and TensorBoard can be read again, also after a kill."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from quintet.control.config import RunConfig, flat_config, parse_config
from quintet.control.sinks import JsonlFile, JsonlSink, TensorBoardSink, last_jsonl, read_jsonl
from quintet.optimizer.config import PPOConfig, Ramp

ROOT = Path(__file__).parents[2]


def test_rows_come_back_as_they_were_written(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    sink = JsonlSink(path)
    sink.write({"version": 1, "losses/entropy": 0.1 + 0.2})
    sink.write({"version": 2})
    sink.close()
    assert list(read_jsonl(path)) == [{"version": 1, "losses/entropy": 0.1 + 0.2}, {"version": 2}]
    assert last_jsonl(path) == {"version": 2}


def test_what_is_not_finite_is_written_as_null_so_that_any_reader_takes_it(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    sink = JsonlSink(path)
    sink.write({"a": float("nan"), "b": float("inf"), "c": 1.0})
    sink.close()

    def refuse(text: str) -> None:
        raise AssertionError(f"{text} is not JSON")

    assert json.loads(path.read_text(), parse_constant=refuse) == {"a": None, "b": None, "c": 1.0}


def test_a_second_writer_goes_on_where_the_first_ended(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    for version in (1, 2):
        sink = JsonlSink(path)
        sink.write({"version": version})
        sink.close()
    assert [row["version"] for row in read_jsonl(path)] == [1, 2]


@pytest.mark.parametrize(
    "torn", ['{"version": 2, "losses/ent', '{"version": 2', "{", '"', "\udc80".encode("utf-8", "surrogateescape")]
)
def test_a_torn_last_line_costs_only_itself(tmp_path: Path, torn: str | bytes) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(b'{"version": 1}\n' + (torn if isinstance(torn, bytes) else torn.encode()))
    assert list(read_jsonl(path)) == [{"version": 1}]
    assert last_jsonl(path) == {"version": 1}
    sink = JsonlSink(path)
    sink.write({"version": 3})
    sink.close()
    assert [row["version"] for row in read_jsonl(path)] == [1, 3]


def test_a_missing_or_empty_file_has_no_rows(tmp_path: Path) -> None:
    assert list(read_jsonl(tmp_path / "nothing.jsonl")) == []
    assert last_jsonl(tmp_path / "nothing.jsonl") == {}
    (tmp_path / "empty.jsonl").touch()
    assert last_jsonl(tmp_path / "empty.jsonl") == {}


def test_the_last_row_is_found_in_a_file_longer_than_what_is_read_of_it(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    lines = JsonlFile(path)
    for version in range(500):
        lines.append({"version": version})
    lines.close()
    assert last_jsonl(path, tail_bytes=100) == {"version": 499}


def test_every_line_written_before_a_kill_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    code = (
        "import sys, pathlib\nfrom quintet.control.sinks import JsonlSink\n"
        f"sink = JsonlSink(pathlib.Path({str(path)!r}))\nfor i in range(1000): sink.write({{'version': i}})\n"
        "print('written', flush=True)\nwhile True: sink.write({'version': -1})"
    )
    writer = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert writer.stdout is not None
    with writer, writer.stdout:
        assert writer.stdout.readline() == "written\n"
        os.kill(writer.pid, signal.SIGKILL)
    versions = [row["version"] for row in read_jsonl(path)]
    assert versions[:1000] == list(range(1000))
    assert set(versions[1000:]) <= {-1}


def events(folder: Path) -> list[Any]:
    from tensorboard.backend.event_processing.event_file_loader import LegacyEventFileLoader

    (path,) = folder.iterdir()
    return list(LegacyEventFileLoader(str(path)).Load())


def test_tensorboard_reads_the_numbers_at_their_agent_steps(tmp_path: Path) -> None:
    folder = tmp_path / "tensorboard"
    sink = TensorBoardSink(folder)
    sink.write({"time_s": 5.0, "version": 1, "agent_steps": 1000, "losses/entropy": 0.5, "charts/episodic_return": 3.0})
    sink.write({"time_s": 6.0, "version": 2, "agent_steps": 2000, "losses/entropy": 0.25})
    sink.close()
    version, first, second = events(folder)
    assert version.file_version == "brain.Event:2"
    assert (first.step, second.step) == (1000, 2000)
    assert first.wall_time == 5.0
    assert {v.tag: v.simple_value for v in first.summary.value} == {
        "losses/entropy": 0.5,
        "charts/episodic_return": 3.0,
    }
    assert {v.tag: v.simple_value for v in second.summary.value} == {"losses/entropy": 0.25}


def test_writing_for_tensorboard_loads_neither_torch_nor_tensorflow(tmp_path: Path) -> None:
    code = (
        "import sys, pathlib\nfrom quintet.control.sinks import TensorBoardSink\n"
        f"sink = TensorBoardSink(pathlib.Path({str(tmp_path)!r}))\nsink.write({{'agent_steps': 1, 'losses/a': 1.0}})\n"
        "print([m for m in sys.modules if m.partition('.')[0] in ('torch', 'tensorflow', 'ray')])"
    )
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def texts(folder: Path) -> dict[str, list[tuple[int, str]]]:
    """By tag: the step and the text of every text that TensorBoard's own reader finds."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    reader = EventAccumulator(str(folder))
    reader.Reload()
    return {
        tag: [(event.step, event.tensor_proto.string_val[0].decode()) for event in reader.Tensors(tag)]
        for tag in reader.Tags()["tensors"]
        if reader.SummaryMetadata(tag).plugin_data.plugin_name == "text"
    }


def test_tensorboard_holds_the_configuration_and_what_happened_as_texts(tmp_path: Path) -> None:
    config = RunConfig(agent_steps=1000)
    sink = TensorBoardSink(tmp_path, config)
    sink.mark("worker/3: worker died (signal 9)", agent_steps=500, time_s=5.0)
    sink.mark("set ppo.learning_rate", agent_steps=700, time_s=6.0)
    sink.close()
    found = texts(tmp_path)
    ((step, text),) = found["config"]
    assert step == 0
    assert parse_config(text.removeprefix("```toml\n").removesuffix("```")) == config
    assert found["journal"] == [(500, "worker/3: worker died (signal 9)"), (700, "set ppo.learning_rate")]


def test_tensorboard_compares_runs_by_what_they_were_set_to(tmp_path: Path) -> None:
    from tensorboard.plugins.hparams.metadata import SESSION_START_INFO_TAG, parse_session_start_info_plugin_data

    config = RunConfig(device="cpu", game_options={"wrappers": ["a:b"]}, ppo=PPOConfig(learning_rate=Ramp(value=0.25)))
    TensorBoardSink(tmp_path, config).close()
    (value,) = [v for event in events(tmp_path) for v in event.summary.value if v.tag == SESSION_START_INFO_TAG]
    hparams = parse_session_start_info_plugin_data(value.metadata.plugin_data.content).hparams
    assert hparams["ppo.learning_rate"].number_value == 0.25
    assert hparams["device"].string_value == "cpu"
    assert hparams["deterministic"].bool_value is False
    assert hparams["game_options.wrappers"].string_value == "['a:b']"
    assert set(hparams) == set(flat_config(config))
    assert "minutes" not in hparams
