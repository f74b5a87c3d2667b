"""A game at fault ends the run: exit code 1, one line that says why, the whole traceback in a log that it names."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from quintet.cluster.__main__ import run
from quintet.control.journal import read_journal
from tests.support.live_run import SMALL

LATE = 400  # no rehearsal comes so far, if it knows how long games may be
BOUND = """game_options.wrappers=[{name = "gymnasium.wrappers:TimeLimit", max_episode_steps = 1000}]"""


def train(name: str, *arguments: str) -> int:
    """One run `x` in this process and folder, of a faulty environment; returns the exit code."""
    settings = [word for setting in SMALL[1:] for word in ("--set", setting)]
    game = f"gymnasium:tests.envs.faulty_env:{name}-v0"
    return run(["train", "--in-process", "--run", "x", "--game", game, *settings, *arguments])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("NanReward", ("the reward is nan; expected finite numbers", f"slot 0, row {LATE})")),
        ("Raises", ("raised ValueError: the simulator of this environment broke with a", "faulty_env.py:")),
        ("Exits", ("SystemExit: licence expired", "faulty_env.py:")),
    ],
)
def test_in_one_process(
    name: str,
    parts: tuple[str, ...],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    late = ("--set", f"game_options.kwargs.faulty_row={LATE}", "--set", BOUND)
    assert train(name, "--quiet", "--agent-steps", "5000", *late) == 1
    (line,) = capsys.readouterr().err.strip().splitlines()
    for part in parts:
        assert part in line
    found = re.search(r"the whole traceback is in (\S+)$", line)
    assert found is not None
    log = Path(found[1]).read_text()
    assert log.startswith("Traceback (most recent call last):")
    assert "faulty_env.py" in log or name == "NanReward"
    events = list(read_journal(tmp_path / "runs" / "x" / "journal.jsonl"))
    assert events[-1].kind == "failed"
    assert parts[0] in events[-1].text
