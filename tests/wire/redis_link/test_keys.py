"""Every key is spelled in wire/redis_link/keys.py and nowhere else."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from quintet.wire.redis_link.keys import ALL_KEYS, RunKeys, check_run_name

ROOT = Path(__file__).parents[3]
FOLDERS = sorted(path.name for path in (ROOT / "quintet").iterdir() if path.is_symlink())


def test_no_other_module_spells_a_key() -> None:
    spelled = [
        path.relative_to(ROOT).as_posix()
        for folder in FOLDERS
        for path in (ROOT / folder).rglob("*.py")
        if re.search(r"[\"'`]quintet:[\w{%]", path.read_text())
    ]
    assert spelled == ["wire/redis_link/keys.py"]


def test_nothing_ever_asks_redis_for_everything() -> None:
    for folder in FOLDERS:
        for path in (ROOT / folder).rglob("*.py"):
            text = path.read_text()
            for command in ("FLUSHALL", "FLUSHDB", '"KEYS"', "'KEYS'", "XRANGE", "flushall", "flushdb"):
                assert command not in text, f"{path} uses {command}"


def test_the_table_and_the_names_of_a_run_agree() -> None:
    listed = {key.of("some-run") for key in ALL_KEYS}
    assert listed == set(vars(RunKeys("some-run")).values())
    assert len(listed) == len(ALL_KEYS)
    assert all(name.startswith("quintet:some-run:") for name in listed)


def test_every_key_says_who_writes_and_reads_it_and_how_long_it_lives() -> None:
    for key in ALL_KEYS:
        assert all((key.holds, key.writer, key.reader, key.lifetime)), key.suffix


@pytest.mark.parametrize("run", ["five", "2024-01-02_03.04", "a" * 100])
def test_good_names_of_runs(run: str) -> None:
    assert check_run_name(run) == run


@pytest.mark.parametrize("run", ["", "..", ".hidden", "a/b", "a:b", "a b", "ü", "a" * 101, "a\n", "{a}"])
def test_bad_names_of_runs_are_refused(run: str) -> None:
    with pytest.raises(ValueError, match="run name"):
        RunKeys(run)
