"""Which run is meant, and who may write to it."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from cluster.failure import UsageError
from cluster.run_folder import RunFolder, checkpoint_path, create_run, default_name, list_runs, open_live, open_run


def make_run(runs: Path, name: str, time_s: int) -> RunFolder:
    folder = create_run(name, "counting", runs)
    folder.config.write_text("")
    os.utime(folder.config, (time_s, time_s))
    return folder


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
    assert default_name("///", tmp_path).startswith("run-")


def test_the_live_run_is_the_one_whose_lock_is_held(tmp_path: Path) -> None:
    living, newer = make_run(tmp_path, "living", 1000), make_run(tmp_path, "newer", 2000)
    with pytest.raises(UsageError, match="no run"):
        open_live(None, tmp_path)
    with living.locked():
        assert open_live(None, tmp_path).run == "living"
        with pytest.raises(UsageError, match="newer is not being trained"):
            open_live(newer.run, tmp_path)


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
    newest = folder.checkpoints / "000012"
    newest.mkdir(parents=True)
    (newest / "checkpoint.json").write_text('{"agent_steps": 7}')
    (folder.checkpoints / "latest").write_text("000012\n")
    assert folder.checkpoint_info() == {"agent_steps": 7}
    for path in (Path("mine"), folder.path, newest):
        assert checkpoint_path(path, tmp_path) == newest
