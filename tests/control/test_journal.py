"""The journal keeps what happened, in order, over restarts and kills."""

from __future__ import annotations

from pathlib import Path

from quintet.control.journal import Event, Journal, read_journal


def test_events_come_back_in_order_with_time_and_agent_steps(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    journal = Journal(path)
    written = [
        journal.add("started", agent_steps=0, text="gymnasium:CartPole-v1", time_s=10.0),
        journal.add("worker died", agent_steps=500, process="worker/3", text="signal 9", time_s=11.0, exit_code=-9),
    ]
    journal.close()
    assert list(read_journal(path)) == written
    assert written[1] == Event(
        time_s=11.0,
        agent_steps=500,
        kind="worker died",
        process="worker/3",
        text="signal 9",
        data={"exit_code": -9},
    )


def test_a_second_journal_adds_to_the_first(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    for kind in ("started", "resumed"):
        journal = Journal(path)
        journal.add(kind, agent_steps=0)
        journal.close()
    assert [event.kind for event in read_journal(path)] == ["started", "resumed"]


def test_an_event_without_a_time_happened_now(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.jsonl")
    first, second = (journal.add("note", agent_steps=0) for _ in range(2))
    journal.close()
    assert 1.6e9 < first.time_s <= second.time_s


def test_lines_that_are_no_event_are_skipped(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    journal = Journal(path)
    journal.add("started", agent_steps=0, time_s=1.0)
    journal.close()
    with path.open("a") as file:
        file.write('{"kind": "dreamt"}\n{"kind": "started", "colour": "red"}\n[1]\n{"kind": "star')
    journal = Journal(path)
    journal.add("stopped", agent_steps=9, time_s=2.0)
    journal.close()
    assert [event.kind for event in read_journal(path)] == ["started", "stopped"]


def test_an_event_reads_as_one_line() -> None:
    event = Event(time_s=0.0, agent_steps=5, kind="worker died", process="worker/3", text="signal 9")
    assert str(event).endswith("  worker/3: worker died (signal 9)")
    assert str(Event(time_s=0.0, agent_steps=5, kind="stopped")).endswith("  stopped")
