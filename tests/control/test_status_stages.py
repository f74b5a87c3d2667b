"""Before a run learns, its stage names what it really waits for."""

from __future__ import annotations

from pathlib import Path

import pytest

from quintet.control import status as stages
from quintet.control.status import stage_at_the_start
from quintet.wire.link import Counters, Heartbeat

NOTHING = Counters()


def beat(process: str, age_s: float = 0.5) -> Heartbeat:
    return Heartbeat(process=process, incarnation=0, age_s=age_s, cumulative_steps=0, data={})


OPTIMIZER, WORKER = beat("optimizer"), beat("worker/0")


@pytest.mark.parametrize(
    ("beats", "counters", "row", "stage"),
    [
        ([OPTIMIZER], NOTHING, {}, stages.LOADING_WORKERS),
        ([OPTIMIZER, WORKER], NOTHING, {}, stages.FIRST_CHUNKS),
        ([OPTIMIZER, WORKER], Counters(produced=8, in_flight=8), {}, stages.FIRST_BATCH),
        ([OPTIMIZER, WORKER], Counters(produced=8, trained=8), {}, stages.FIRST_CHUNKS),  # of a run that is resumed
        ([OPTIMIZER, WORKER], NOTHING, {"version": 2.0}, stages.WARMING_UP),
    ],
)
def test_the_stage_is_what_is_missing(
    beats: list[Heartbeat], counters: Counters, row: dict[str, float], stage: str
) -> None:
    assert stage_at_the_start(beats, counters, row) == stage


def test_compiling_is_named_where_nothing_is_compiled_yet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    assert stage_at_the_start([], NOTHING, {}) == stages.COMPILING
    (tmp_path / "model_123").mkdir()
    (tmp_path / "model_123" / "lstm_rows.forward_row-1.py311.1.nbc").touch()
    assert stage_at_the_start([], NOTHING, {}) == stages.LOADING


def test_what_was_said_before_a_resume_does_not_count() -> None:
    old = [beat("optimizer", 3600.0), beat("worker/0", 3600.0)]
    assert stage_at_the_start(old, Counters(produced=8, in_flight=8), {}) in (stages.LOADING, stages.COMPILING)
