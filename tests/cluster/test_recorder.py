"""Reports in, the run's files out."""

from __future__ import annotations

import json
import time
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from quintet.cluster.board import Board, BoardState
from quintet.cluster.recorder import Recorder
from quintet.control import status as stages
from quintet.control.config import parse_config
from quintet.control.errors import RunFailedError
from quintet.control.journal import read_journal
from quintet.control.run_folder import RunFolder
from quintet.control.sinks import read_jsonl
from quintet.wire.link import Ack, PendingChunk
from quintet.wire.memory_link import MemoryLink

SPEC = "0123456789abcdef"


def make_recorder(folder: RunFolder, link: MemoryLink, config: str = "") -> Recorder:
    board = Board(Console(file=StringIO()))
    return Recorder(folder=folder, config=parse_config(config), link=link, board=board, started_s=time.monotonic())


@pytest.fixture
def link() -> MemoryLink:
    link = MemoryLink("recorded")
    link.open_run(spec_hash=SPEC, config_text="", max_queued_steps=1000, max_queue_bytes=1000)
    return link


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    folder = RunFolder(tmp_path / "recorded")
    folder.logs.mkdir(parents=True)
    return folder


def report_version(link: MemoryLink, version: int) -> None:
    row = {"version": version, "agent_steps": 10 * version, "losses/policy_loss": 0.5}
    link.report("optimizer", "metrics", dict(row))


def test_every_version_is_one_row_and_the_summary_holds_the_last_numbers(folder: RunFolder, link: MemoryLink) -> None:
    recorder = make_recorder(folder, link)
    registration = link.register(0, SPEC)
    who = {"worker": 0, "incarnation": registration.incarnation}
    link.push([PendingChunk(**who, sequence=1, cumulative_steps=8, steps=8, payload=b"")])
    link.heartbeat(registration, 8, {"rss_bytes": 2**40})
    for version in (1, 2, 3):
        report_version(link, version)
    assert recorder.tick(wanted=1, live=1) == 3
    assert recorder.tick(wanted=1, live=1) == 0
    summary = recorder.close()
    assert [row["version"] for row in read_jsonl(folder.metrics)] == [1, 2, 3]
    assert (summary.agent_steps, summary.versions) == (30, 3)
    assert (summary.steps_produced, summary.steps_in_flight) == (8, 8)
    assert summary.peak_rss_bytes == 2**40
    assert json.loads(folder.summary.read_text())["versions"] == 3
    assert len(list(folder.tensorboard.iterdir())) == 1


def test_a_new_recorder_goes_on_behind_the_last_row_of_the_one_before(folder: RunFolder, link: MemoryLink) -> None:
    first = make_recorder(folder, link)
    report_version(link, 1)
    first.tick(wanted=1, live=1)
    first.close()
    report_version(link, 2)
    second = make_recorder(folder, link)
    second.tick(wanted=1, live=1)
    second.close()
    assert [row["version"] for row in read_jsonl(folder.metrics)] == [1, 2]


def test_events_of_processes_are_in_the_journal_with_the_first_gradient_step(
    folder: RunFolder, link: MemoryLink
) -> None:
    recorder = make_recorder(folder, link)
    link.report("optimizer", "event", {"event": "resumed", "version": 3, "steps_undone": 7})
    link.report("optimizer", "event", {"event": "checkpoint_failed", "message": "the disk is full"})
    report_version(link, 4)
    report_version(link, 5)
    recorder.tick(wanted=1, live=1)
    recorder.close()
    events = [(event.kind, event.process, event.text) for event in read_journal(folder.journal)]
    assert events[:2] == [
        ("resumed", "optimizer", "version 3, steps_undone 7"),
        ("checkpoint failed", "optimizer", "the disk is full"),
    ]
    assert [text for _, _, text in events if text.startswith("first gradient step")] == [events[2][2]]


def test_what_makes_a_run_fail_is_written_down_with_the_summary(folder: RunFolder, link: MemoryLink) -> None:
    recorder = make_recorder(folder, link)

    def fail() -> None:
        with recorder.failing():
            raise ValueError("it broke\nbadly")

    with pytest.raises(ValueError, match="broke"):
        fail()
    assert [event.text for event in read_journal(folder.journal) if event.kind == "failed"] == ["it broke badly"]
    assert folder.summary.exists()


def test_the_latest_row_is_shared_with_readers_elsewhere(folder: RunFolder, link: MemoryLink) -> None:
    recorder = make_recorder(folder, link)
    recorder.note("worker died", process="worker/0", text="signal 9")
    link.report("optimizer", "event", {"event": "bad_batch", "message": "NaN"})
    link.report("worker/0", "event", {"event": "anything at all"})
    link.report("worker/0", "phases", {"play": 0.75, "wait": 0.25})
    report_version(link, 1)
    recorder.tick(wanted=2, live=1)
    row = link.latest_row()
    recorder.close()
    assert (row["version"], row["agent_steps"], row["losses/policy_loss"]) == (1, 10, 0.5)
    assert (row["workers/wanted"], row["workers/live"]) == (2, 1)
    assert (row["phase/worker/play_s"], row["queue/wait_s"]) == (0.75, 0.25)
    assert {name: n for name, n in row.items() if name.startswith("events/")} == {
        "events/worker died": 1,
        "events/bad_batch": 1,
    }
    assert abs(row["time_s"] - time.time()) < 60
    assert row["wall_s"] > 0


def test_the_board_follows_the_stages_until_the_run_learns_and_then_what_the_doctor_says(
    folder: RunFolder, link: MemoryLink, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder = make_recorder(folder, link)
    states: list[BoardState] = []
    monkeypatch.setattr(recorder.board, "update", states.append)
    recorder.address = "http://127.0.0.1:1/"
    recorder.tick(wanted=1, live=0)
    link.beat("optimizer", {})
    recorder.tick(wanted=1, live=0)
    link.register(0, SPEC)
    report_version(link, 1)
    recorder.tick(wanted=1, live=1)
    recorder.show("saving the last checkpoint")
    recorder.tick(wanted=1, live=1)
    recorder.close()
    assert states[0].stage in (stages.LOADING, stages.COMPILING)
    assert [state.stage for state in states[1:]] == [
        stages.LOADING_WORKERS,
        stages.TRAINING,
        "saving the last checkpoint",
        "saving the last checkpoint",
    ]
    assert [bool(state.health) for state in states] == [False, False, True, False, False]
    assert {state.address for state in states} == {"http://127.0.0.1:1/"}


@pytest.mark.parametrize(
    ("happened", "says"),
    [
        ("nothing", "no step arrived"),
        ("in flight", "8 steps arrived, and a batch has"),
        ("stale", "all 8 steps that arrived warmed up the normalisers"),
        ("rejected", "8 of 8 steps were rejected; the last because of chunk reward: found NaN"),
    ],
)
def test_a_run_that_trained_nothing_is_never_done_and_says_why(
    happened: str, says: str, folder: RunFolder, link: MemoryLink
) -> None:
    recorder = make_recorder(folder, link)
    if happened != "nothing":
        who = {"worker": 0, "incarnation": link.register(0, SPEC).incarnation}
        link.push([PendingChunk(**who, sequence=1, cumulative_steps=8, steps=8, payload=b"")])
    if happened in ("stale", "rejected"):
        (message,) = link.pop(8, 0.0)
        link.ack([Ack(id=message.id, **{happened: 8})])
        link.report("optimizer", "event", {"event": "rejected", "message": "chunk reward: found NaN"})
    recorder.tick(wanted=1, live=1)
    with pytest.raises(RunFailedError, match=says):
        recorder.check_learned()
    recorder.close()


def test_a_rejection_is_an_event_of_the_journal_and_on_the_board(folder: RunFolder, link: MemoryLink) -> None:
    recorder = make_recorder(folder, link)
    link.report("optimizer", "event", {"event": "rejected", "message": "chunk reward: found NaN"})
    recorder.tick(wanted=1, live=1)
    recorder.close()
    (event,) = read_journal(folder.journal)
    assert (event.kind, event.text) == ("rejected", "chunk reward: found NaN")
    assert "rejected (chunk reward: found NaN)" in recorder.events[-1]
