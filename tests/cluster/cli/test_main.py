"""The command line from outside: fast help, exit codes, and one clear line for every kind of bad input."""

from __future__ import annotations

import errno
import json
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest

from quintet.cluster import assembly, in_process
from quintet.cluster.__main__ import COMMANDS, run
from quintet.control.errors import exit_code, keep_traceback, one_line, report
from quintet.control.run_folder import RunFolder
from quintet.rollout_workers.worker import Worker
from tests.support.live_run import ROOT, SMALL, assert_conserved, command_line, environment, quintet

pytestmark = pytest.mark.slow  # nearly every test starts processes

RESTLESS = "game=gymnasium:tests.envs.restless_env:Restless-v0"
TRAIN = ("train", "--run", "bad", "--agent-steps", "1")


def assert_one_line(done: subprocess.CompletedProcess[str], code: int, *parts: str) -> None:
    """The exit code, one line on stderr that holds all parts, no traceback, and no process left."""
    assert done.returncode == code, done
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("quintet: "), lines
    for part in parts:
        assert part in lines[0], lines
    assert left_over() == []


def left_over() -> list[str]:
    """Command lines of children of this test process that still run; one that ended and waits to be reaped does not."""
    lines = [command_line(child) for child in psutil.Process().children(recursive=True)]
    return [line for line in lines if line and "redis-server" not in line]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the run `done` was trained, in one process."""
    cwd = tmp_path_factory.mktemp("trained")
    settings = [word for setting in SMALL for word in ("--set", setting)]
    done = quintet("train", "--run", "done", "--in-process", "--agent-steps", "1500", "--json", *settings, cwd=cwd)
    assert done.returncode == 0, done
    return cwd


@pytest.mark.parametrize("arguments", ["--help", "train --help", "status", "scale 2"])
def test_help_and_status_load_neither_torch_nor_ray(arguments: str, tmp_path: Path) -> None:
    code = (
        "import sys; from quintet.cluster.__main__ import run\n"
        "try: run(sys.argv[1:])\n"
        "except SystemExit: pass\n"
        "print(sorted({'torch', 'ray', 'numba', 'gymnasium'} & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments.split()],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    loaded = done.stderr.splitlines()[-1]
    assert "torch" not in loaded
    assert "ray" not in loaded
    assert "numba" not in loaded


def test_a_run_in_one_process_prints_its_summary_alone_where_a_game_prints_and_changes_the_folder(
    trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RESTLESS_PLACES", str(trained))
    monkeypatch.setenv("PYTHONIOENCODING", "ascii")
    settings = [word for setting in (*SMALL, RESTLESS) for word in ("--set", setting)]
    done = quintet("train", "--in-process", "--agent-steps", "600", "--json", "--quiet", *settings, cwd=trained)
    assert done.returncode == 0, done
    summary = json.loads(done.stdout)
    # Once to look at it, and then once for every one of the worker's games.
    assert (done.stderr.count("made"), done.stderr.count("as a C library does")) == (9, 9)
    assert summary["agent_steps"] >= 600
    assert_conserved(summary)
    (folder,) = [path for path in (trained / "runs").iterdir() if path.name != "done"]
    assert json.loads((folder / "summary.json").read_text()) == summary
    assert folder.name.startswith("restless-v0-")
    assert (folder / "metrics.jsonl").exists()
    assert (folder / "checkpoints" / "latest").exists()
    done = quintet("eval", folder.name, "--games", "2", "--json", cwd=trained)
    assert json.loads(done.stdout)["checkpoint"].startswith("runs/restless-v0-"), done
    assert (folder / "league" / "evaluations.jsonl").exists()


def test_a_thread_that_a_game_leaves_does_not_hold_the_command() -> None:
    program = (
        "import threading; from quintet.cluster.__main__ import leave; "
        "threading.Thread(target=threading.Event().wait, name='simulator').start(); leave(3, within_s=0.1)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment(), text=True, capture_output=True, timeout=60, check=False
    )
    assert done.returncode == 3
    assert done.stderr == "quintet: ends without the threads that the game still has: simulator\n"


def test_a_crash_of_a_simulator_is_told_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "crashing.py").write_text("import os, signal\n\nos.kill(os.getpid(), signal.SIGSEGV)\n")
    done = quintet("check", "crashing:Env", cwd=tmp_path)
    assert done.returncode == -signal.SIGSEGV
    assert "Fatal Python error: Segmentation fault" in done.stderr
    assert 'crashing.py", line 3 in <module>' in done.stderr


def test_an_unknown_option_is_bad_usage(tmp_path: Path) -> None:
    assert quintet("train", "--nonsense", cwd=tmp_path).returncode == 2
    assert quintet("nonsense", cwd=tmp_path).returncode == 2


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (("--game", "gymnasium:CartPol-v1"), ("CartPol", "CartPole")),
        (("--game", "gymnasium:ALE/Pong-v5", "--in-process"), ("ALE",)),
        (("--game", "tests.envs.odd_game:make_text", "--in-process"), ("Text",)),
        (("--set", "rollout.chunk_steps=17"), ("17", "16")),
        (("--set", "ppo.learnin_rate=1e-4"), ("learnin_rate", "ppo.learning_rate")),
        (("--set", "ppo.discount=1.5"), ("ppo.discount", "1.5")),
        (("--config", "nowhere.toml"), ("nowhere.toml",)),
        (("--workers", "99"), ("99", "--cores-per-worker")),
        (("--redis-url", "redis://127.0.0.1:1/0", "--in-process"), ("--in-process",)),
        (("--ray-address", "127.0.0.1:1"), ("--redis-url",)),
        (("--from", "nowhere"), ("nowhere", "checkpoint")),
        (("--until", "charts/episodic_retrun=1"), ("charts/episodic_return",)),
        (("--device", "gpu"), ("'gpu'", "did you mean cuda?")),
    ],
)
def test_bad_input_is_one_line_exit_code_2_and_leaves_nothing(
    arguments: tuple[str, ...], parts: tuple[str, ...], tmp_path: Path
) -> None:
    done = quintet(*TRAIN, *arguments, cwd=tmp_path)
    assert_one_line(done, 2, *parts)
    assert "starting" not in done.stdout or "--from" in arguments  # refused before anything is started
    assert not (tmp_path / "runs" / "bad").exists()


def test_a_run_name_that_is_taken_names_resume(trained: Path) -> None:
    done = quintet("train", "--run", "done", cwd=trained)
    assert_one_line(done, 2, "done", "--resume", "--run")
    assert (trained / "runs" / "done" / "summary.json").exists()


def test_redis_that_is_not_there_or_refuses_the_password(tmp_path: Path, redis_url: str) -> None:
    assert_one_line(quintet(*TRAIN, "--redis-url", "redis://127.0.0.1:1/0", cwd=tmp_path), 1, "127.0.0.1:1")
    head, _, place = redis_url.rpartition("@")
    assert head
    wrong = quintet(*TRAIN, "--redis-url", f"redis://:wrong@{place}", cwd=tmp_path)
    assert_one_line(wrong, 2, "password")
    assert "wrong" not in wrong.stderr.replace("wrong password", "")
    assert not (tmp_path / "runs" / "bad").exists()


def test_a_port_in_use_is_named(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert_one_line(quintet(*TRAIN, "--redis-port", str(port), cwd=tmp_path), 1, str(port), "in use")


def test_a_checkpoint_of_another_network_or_a_truncated_one_is_refused(
    trained: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(trained)

    def complaint(code: int, *arguments: str) -> str:
        assert run(arguments) == code
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith("quintet: ")
        return line

    other = ("--set", "model.lstm_units=8", "--run", "other", "--from", "done", "--in-process")
    settings = [word for setting in SMALL for word in ("--set", setting)]
    assert "lstm_units" in complaint(1, "train", *settings, *other)

    checkpoints = trained / "runs" / "done" / "checkpoints"
    copy = trained / "truncated"
    copy.mkdir()
    for path in (checkpoints / (checkpoints / "latest").read_text()).iterdir():
        data = path.read_bytes()
        (copy / path.name).write_bytes(data[: len(data) // 2] if path.name == "policy.safetensors" else data)
    line = complaint(1, "eval", "truncated")
    assert "policy.safetensors" in line
    assert "sha256" in line
    (copy / "checkpoint.json").write_text("{")
    assert "checkpoint.json" in complaint(1, "eval", "truncated")
    assert "nobody to play against" in complaint(2, "eval", "done", "--opponent", "random")


def test_a_checkpoint_that_cannot_be_written_fails_the_run_and_leaves_its_other_files(tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "bad"
    folder.mkdir(parents=True)
    (folder / "checkpoints").write_text("in the way")
    done = quintet(*TRAIN, "--in-process", "--set", "optimizer.normalizer_warmup_steps=0", cwd=tmp_path)
    assert_one_line(done, 1, "checkpoint")
    assert json.loads((folder / "summary.json").read_text())["versions"] > 0
    assert "could not write checkpoint" in (folder / "journal.jsonl").read_text()


def test_a_run_in_one_process_goes_on_with_another_incarnation_and_other_games(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(trained / "runs" / "done", tmp_path / "runs" / "done")
    monkeypatch.chdir(tmp_path)
    workers: list[Worker] = []
    make = in_process._worker

    def kept(*arguments: Any) -> Worker:
        workers.append(make(*arguments))
        return workers[-1]

    monkeypatch.setattr(in_process, "_worker", kept)
    for life in range(2):
        steps = str(2000 + 500 * life)
        assert run(("train", "--run", "done", "--in-process", "--resume", "--agent-steps", steps, "--json")) == 0
    assert [worker.registration.incarnation for worker in workers] == [2, 3]  # the first trained what was copied
    assert len({1 * 7919, *(worker.play.actor.generator.initial_seed() - worker.seed for worker in workers)}) == 3
    summary = json.loads((tmp_path / "runs" / "done" / "summary.json").read_text())
    assert summary["agent_steps"] >= 2500
    assert_conserved(summary)


@pytest.mark.parametrize(("refused", "code"), [(("--device", "cuda:99"), 2), (("--set", "model.encoder_units=64"), 1)])
def test_a_resume_that_the_optimizer_refuses_is_in_no_later_ones_way(
    refused: tuple[str, str], code: int, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(trained / "runs" / "done", tmp_path / "runs" / "done")
    monkeypatch.chdir(tmp_path)
    config = tmp_path / "runs" / "done" / "config.toml"
    before = config.read_text()
    assert run(("train", "--run", "done", "--in-process", "--resume", "--agent-steps", "4000", *refused)) == code
    assert config.read_text() == before


def test_eval_gives_the_same_numbers_for_the_same_command(
    trained: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(trained)

    def said(*arguments: str) -> str:
        assert run(("eval", *arguments, "--games", "20", "--seed", "3")) == 0
        return capsys.readouterr().out

    first = json.loads(said("done", "--json"))
    assert json.loads(said("runs/done", "--json")) == first
    assert first["seats"][0]["games"] == 20
    assert f"{first['return_mean']:.3f}" in said("done")
    # The whole interval, not the mean alone: twenty lengths of episodes do happen to add up to the same sum.
    assert json.loads(said("done", "--json", "--greedy"))["seats"][0]["returns"] != first["seats"][0]["returns"]


def test_the_optimizer_runs_where_ray_cannot_be_imported(tmp_path: Path) -> None:
    (tmp_path / "ray.py").write_text("raise ImportError('no Ray here')\n")
    env = environment()
    code = (
        "import sys; sys.path.insert(0, '.')\n"
        "import quintet.cluster.processes.optimizer as process\n"
        "process.load_libraries()\n"
        "from quintet.cluster.__main__ import run\n"
        "assert 'ray' not in sys.modules\n"
        "assert set(process.SLOW_TO_LOAD) <= set(sys.modules)\n"
        "sys.exit(run(['optimizer', '--run-folder', 'runs/none']))"
    )
    env["QUINTET_REDIS_URL"] = "redis://127.0.0.1:not-a-port/0"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=env, capture_output=True, text=True, check=False
    )
    assert_one_line(done, 2, "Redis URL")


def test_the_optimizer_needs_a_redis_url_from_the_environment(tmp_path: Path) -> None:
    assert_one_line(quintet("optimizer", "--run-folder", "runs/x", cwd=tmp_path), 2, "QUINTET_REDIS_URL")


def test_a_bug_is_one_line_too_and_its_traceback_is_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(KeyError) as caught:
        dict[str, int]()["no such key"]
    assert report(caught.value, tmp_path / "logs") == 1
    (line,) = capsys.readouterr().err.splitlines()
    (kept,) = (tmp_path / "logs").iterdir()
    assert "KeyError" in line
    assert str(kept) in line
    assert 'dict[str, int]()["no such key"]' in kept.read_text()


def test_a_traceback_is_kept_with_a_files_name_that_is_no_utf8(tmp_path: Path) -> None:
    name = "st\udce4mme.csv"
    kept = [keep_traceback(FileNotFoundError(name), tmp_path)]
    (tmp_path / "logs").mkdir()
    kept.append(str(assembly.keep_traceback(RunFolder(tmp_path), 0, name)))
    assert all("st\\udce4mme.csv" in Path(path).read_text() for path in kept)


def test_a_full_disk_is_called_by_its_name() -> None:
    assert "the disk is full at x" in one_line(OSError(errno.ENOSPC, "No space left on device", "x"))
    assert exit_code(OSError(errno.ENOSPC, "No space left on device", "x")) == 1


def test_every_command_is_in_the_pages_that_people_read() -> None:
    pages = "".join((ROOT / "docs" / page).read_text() for page in ("training.md", "cluster.md"))
    for command in COMMANDS:
        assert f"quintet {command}" in pages, command
