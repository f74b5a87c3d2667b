"""A file on a disk that fills up and is emptied again: nothing is lost, and the writer does not notice."""

from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path

import pytest

from quintet.control import sinks
from quintet.control.sinks import BufferedFile, JsonlFile, read_jsonl

FULL = Path("/dev/full")


def test_what_has_no_room_waits_and_is_written_in_order_once_there_is_some(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    code = (
        "import json, resource\n"
        "from pathlib import Path\n"
        "from quintet.control.sinks import JsonlFile\n"
        f"file = JsonlFile(Path({str(path)!r}))\n"
        "file.append({'n': 0})\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (13, resource.RLIM_INFINITY))\n"  # half of the second line
        "for n in range(1, 50): file.append({'n': n})\n"
        f"print(Path({str(path)!r}).stat().st_size)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))\n"
        "file.append({'n': 50})\n"
        "file.close()\n"
    )
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[1] == resource.RLIM_INFINITY
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.stdout.strip(), done.stderr) == ("13", "")
    assert [record["n"] for record in read_jsonl(path)] == list(range(51))


@pytest.mark.skipif(not FULL.exists(), reason="this system has no /dev/full")
def test_a_file_that_never_had_room_says_so_when_it_is_closed() -> None:
    file = JsonlFile(FULL)
    file.append({"n": 1})
    with pytest.raises(OSError, match="No space left"):
        file.close()
    file.close()


def test_what_waits_is_bounded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sinks, "WAITING_BYTES", 10)
    file = BufferedFile(tmp_path / "f")
    file.write(b"12345678")
    file.write(b"abcd")
    assert file.dropped_bytes == 4
    file.flush()
    file.write(b"efgh")
    file.close()
    assert (tmp_path / "f").read_bytes() == b"12345678efgh"


def test_other_errors_are_not_waited_for(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        BufferedFile(tmp_path / "nowhere" / "f")
