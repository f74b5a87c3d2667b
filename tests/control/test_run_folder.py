"""Which run is meant, and who may write to it."""

from __future__ import annotations

import fcntl
import os
import shutil
import stat
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from quintet.cluster.cli.train import train
from quintet.cluster.request import TrainRequest
from quintet.control import run_folder
from quintet.control.errors import UsageError
from quintet.control.run_folder import (
    RunFolder,
    checkpoint_path,
    create_run,
    default_names,
    delete_run,
    list_runs,
    open_live,
    open_run,
)


def make_run(runs: Path, name: str, time_s: int) -> RunFolder:
    folder = create_run(name, "counting", runs)
    folder.config.write_text("")
    os.utime(folder.config, (time_s, time_s))
    return open_run(name, runs)


def test_the_newest_run_is_meant_where_none_is_named(tmp_path: Path) -> None:
    make_run(tmp_path, "old", 1000)
    make_run(tmp_path, "new", 2000)
    assert [folder.run for folder in list_runs(tmp_path)] == ["new", "old"]
    assert open_run(None, tmp_path).run == "new"
    assert open_run("old", tmp_path).run == "old"
    with pytest.raises(UsageError, match=r"no run older.*new, old"):
        open_run("older", tmp_path)


def test_a_name_can_be_taken_once_but_a_start_that_came_to_nothing_does_not_count(tmp_path: Path) -> None:
    create_run("mine", "counting", tmp_path)
    create_run("mine", "counting", tmp_path).config.write_text("")
    with pytest.raises(UsageError, match="--resume"):
        create_run("mine", "counting", tmp_path)


@pytest.mark.parametrize("name", ["", "a/b", "..", "-x", "a" * 101])
def test_a_name_that_cannot_be_a_folder_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="run name"):
        create_run(name, "counting", tmp_path)


def test_runs_without_a_name_are_named_after_the_game_and_never_alike(tmp_path: Path) -> None:
    first = create_run(None, "pettingzoo:pettingzoo.classic.tictactoe_v3", tmp_path)
    second = create_run(None, "pettingzoo:pettingzoo.classic.tictactoe_v3", tmp_path)
    assert first.run.startswith("pettingzoo-classic-tictactoe-v3-")
    assert first.run != second.run
    assert next(default_names("///")).startswith("run-")


def test_the_live_run_is_the_one_whose_lock_is_held(tmp_path: Path) -> None:
    living, newer = make_run(tmp_path, "living", 1000), make_run(tmp_path, "newer", 2000)
    with pytest.raises(UsageError, match="no run"):
        open_live(None, tmp_path)
    with living.locked():
        assert open_live(None, tmp_path).run == "living"
        with pytest.raises(UsageError, match="newer is not being trained"):
            open_live(newer.run, tmp_path)


def test_a_second_controller_cannot_drive_the_same_run(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    with folder.locked():
        assert folder.is_live
        with pytest.raises(UsageError, match="already"), RunFolder(tmp_path).locked():
            raise AssertionError("two at once")
    assert not folder.is_live


def test_the_redis_url_is_for_this_user_alone(tmp_path: Path) -> None:
    folder = make_run(tmp_path, "mine", 1000)
    with pytest.raises(UsageError, match="--redis-url"):
        folder.read_redis_url()
    folder.write_redis_url("redis://:secret@127.0.0.1:1/0")
    assert folder.read_redis_url() == "redis://:secret@127.0.0.1:1/0"
    assert stat.S_IMODE(folder.redis_url.stat().st_mode) == 0o600


def test_a_checkpoint_is_named_by_its_folder_its_run_or_its_runs_folder(tmp_path: Path) -> None:
    folder = make_run(tmp_path, "mine", 1000)
    assert not folder.has_checkpoint
    assert folder.checkpoint_info() == {}
    with pytest.raises(UsageError, match="no checkpoint at mine"):
        checkpoint_path(Path("mine"), tmp_path)
    folder.journal.touch()  # it began
    with pytest.raises(UsageError, match="run mine has no checkpoint yet"):
        checkpoint_path(Path("mine"), tmp_path)
    newest = folder.checkpoints / "000012"
    newest.mkdir(parents=True)
    (newest / "checkpoint.json").write_text('{"agent_steps": 7}')
    (folder.checkpoints / "latest").write_text("000012\n")
    assert folder.checkpoint_info() == {"agent_steps": 7}
    for path in (Path("mine"), folder.path, newest):
        assert checkpoint_path(path, tmp_path) == newest


def test_a_folder_is_the_same_whatever_the_current_one_becomes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    folder = create_run("mine", "counting")
    assert (folder.shown(folder.summary), folder.shown(Path("/elsewhere"))) == ("runs/mine/summary.json", "/elsewhere")
    monkeypatch.chdir("/")
    assert folder.shown(folder.summary) == "runs/mine/summary.json"
    assert folder.summary == tmp_path / "runs" / "mine" / "summary.json"
    assert folder.logs.is_dir()


# ---- two starts at the same moment ----


def test_runs_without_a_name_that_start_in_the_same_moment_share_no_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    barrier = threading.Barrier(4)
    monkeypatch.setattr("time.strftime", lambda *_: "20261121-003512")

    def start(_: int) -> str:
        barrier.wait(10.0)
        return create_run(None, "counting", tmp_path).run

    with ThreadPoolExecutor(4) as pool:
        for k in range(20):
            assert len({*pool.map(start, range(4))} | {*os.listdir(tmp_path)}) == 4 * (k + 1)


def test_of_two_starts_under_one_name_the_lock_decides_and_the_loser_deletes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    winner = create_run("s", "counting")
    (winner.logs / "optimizer.log").write_text("just begun")
    with winner.locked():
        assert train(TrainRequest(run="s", in_process=True, quiet=True)) == 2
        assert "run s is being trained already, by process" in capsys.readouterr().err
        assert (winner.logs / "optimizer.log").read_text() == "just begun"
    first, second = create_run("t", "counting"), create_run("t", "counting")
    with second.locked(), pytest.raises(UsageError, match="being trained already"), first.locked():
        pass
    assert second.logs.is_dir()
    with pytest.raises(UsageError), second.locked(), second.free_if_refused():
        raise UsageError("refused")
    assert second.logs.is_dir()  # it was there before: not ours to delete
    with pytest.raises(UsageError), first.locked(), first.free_if_refused():
        raise UsageError("refused")
    assert not first.path.exists()


def test_a_start_whose_rival_has_ended_meanwhile_does_not_write_over_its_run(tmp_path: Path) -> None:
    winner, loser = create_run("s", "counting", tmp_path), create_run("s", "counting", tmp_path)
    with winner.locked():
        winner.config.write_text("seed = 1")
    with pytest.raises(UsageError, match="run s exists already"), loser.locked():
        pass
    with open_run("s", tmp_path).locked():
        assert winner.config.read_text() == "seed = 1"


def test_a_lock_of_a_folder_that_was_deleted_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, real = make_run(tmp_path, "mine", 1000), run_folder._lock

    def too_late(descriptor: int) -> bool:
        shutil.rmtree(folder.path)
        make_run(tmp_path, "mine", 1000).lock.touch()  # begun again by somebody else
        return real(descriptor)

    with folder.locked():
        pass
    monkeypatch.setattr(run_folder, "_lock", too_late)
    with pytest.raises(UsageError, match="was deleted by another process"), folder.locked():
        pass
    shutil.rmtree(folder.path)
    with pytest.raises(UsageError, match="was deleted by another process"), folder.locked():
        pass


def test_nobody_can_begin_a_run_while_it_is_deleted_and_forgotten(tmp_path: Path) -> None:
    folder, seen = make_run(tmp_path, "mine", 1000), list[bool]()
    folder.lock.touch()
    delete_run(folder, forget=lambda: seen.append(open_run("mine", tmp_path).is_live))
    assert (seen, folder.path.exists()) == ([True], False)


def test_whoever_only_looks_does_not_keep_a_run_from_starting(tmp_path: Path) -> None:
    folder = make_run(tmp_path, "mine", 1000)
    with folder.lock.open("w") as looking:
        fcntl.flock(looking, fcntl.LOCK_SH)
        threading.Timer(0.05, fcntl.flock, (looking, fcntl.LOCK_UN)).start()
        with folder.locked():
            assert folder.is_live
