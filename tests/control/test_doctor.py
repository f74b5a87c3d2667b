"""What the doctor finds in made-up snapshots: each trouble with what was seen, why it matters and what to do."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from quintet.control.config import RunConfig
from quintet.control.doctor.finding import Finding
from quintet.control.doctor.health_snapshot import Disk, HealthSnapshot, read_health
from quintet.control.doctor.rules import diagnose, diagnosis_json, is_healthy
from quintet.control.journal import Event, EventKind, Journal
from quintet.control.status import RunStatus, status_json
from quintet.wire.link import Counters, Heartbeat
from quintet.wire.redis_link.client import ServerHealth

NOW_S = 1_000_000.0
ROW = {
    "time_s": NOW_S - 1,
    "version": 70,
    "lag/staleness_mean": 0.6,
    "losses/policy_loss": 0.1,
    "losses/value_loss": 0.2,
    "losses/entropy": 0.3,
    "phase/worker/play_s": 0.9,
    "phase/worker/wait_s": 0.1,
    "phase/optimizer/learn_s": 0.9,
    "phase/optimizer/wait_s": 0.1,
}
SERVER = ServerHealth(
    used_bytes=10 << 20,
    maxmemory_bytes=100 << 20,
    maxmemory_policy="noeviction",
    aof_enabled=True,
    aof_write_ok=True,
    aof_rewrite_ok=True,
    uptime_s=60,
)
DISK = Disk(path="runs/r", free_bytes=10 << 30, checkpoint_bytes=1 << 20)


def beat(process: str, age_s: float = 0.5) -> Heartbeat:
    return Heartbeat(process=process, incarnation=1, age_s=age_s, cumulative_steps=0, data={})


def event(kind: EventKind, process: str = "", text: str = "", ago_s: float = 5.0) -> Event:
    return Event(time_s=NOW_S - ago_s, agent_steps=0, kind=kind, process=process, text=text)


def a_status(**changes: Any) -> RunStatus:
    status = RunStatus(
        run="r",
        config=RunConfig(),
        counters=Counters(produced=100_000, trained=94_000, stale=4000, in_flight=2000),
        wanted_workers=2,
        heartbeats=[beat(process) for process in ("controller", "optimizer", "worker/0", "worker/1")],
        metrics=ROW,
    )
    return replace(status, **changes)


def snapshot(*, status: RunStatus | None = None, **changes: Any) -> HealthSnapshot:
    healthy = HealthSnapshot(run="r", status=status or a_status(), server=SERVER, disk=DISK, now_s=NOW_S)
    return replace(healthy, **changes)


def the_one(found: HealthSnapshot) -> Finding:
    findings = diagnose(found)
    assert len(findings) == 1, findings
    return findings[0]


def test_a_sound_run_has_no_findings_and_is_healthy() -> None:
    findings = diagnose(snapshot())
    assert findings == ()
    assert is_healthy(findings)
    found = diagnosis_json(snapshot(), findings)
    assert found["healthy"] is True
    assert found["last_heard_s"]["worker/1"] == 0.5
    json.dumps(found)


@pytest.mark.parametrize(
    ("metrics", "about", "seen", "advice"),
    [
        ({"phase/optimizer/wait_s": 0.9}, "optimizer", "it starves: it waits for chunks 50% of the time", "scale N"),
        ({"phase/worker/wait_s": 0.9}, "workers", "wait for room in the stream 50%", "fewer workers"),
    ],
)
def test_a_stage_that_starves_is_named_as_a_hint(metrics: dict[str, float], about: str, seen: str, advice: str) -> None:
    finding = the_one(snapshot(status=a_status(metrics=ROW | metrics)))
    assert (finding.severity, finding.about) == ("hint", about)
    assert seen in finding.seen
    assert advice in finding.advice
    assert is_healthy([finding])


TROUBLES: list[tuple[Callable[[], HealthSnapshot], str, str, str]] = [
    (
        lambda: snapshot(status=a_status(counters=Counters(produced=10, trained=8))),
        "error",
        "steps",
        "BROKEN by 2",
    ),
    (lambda: snapshot(status=a_status(heartbeats=[*a_status().heartbeats[:3], beat("worker/1", 20.0)])), "warning",
     "worker/1", "last heard of 20 s ago"),
    (lambda: snapshot(status=a_status(heartbeats=[*a_status().heartbeats[:3], beat("worker/1", 99.0)])), "error",
     "worker/1", "last heard of 99 s ago"),
    (lambda: snapshot(status=a_status(heartbeats=a_status().heartbeats[1:])), "warning", "controller", "nothing yet"),
    (lambda: snapshot(status=a_status(wanted_workers=9)), "warning", "workers", "2 of 9 workers have registered"),
    (lambda: snapshot(status=a_status(metrics=ROW | {"time_s": NOW_S - 500})), "error", "optimizer",
     "no version for 500 s"),
    (lambda: snapshot(status=a_status(metrics=ROW | {"losses/entropy": None})), "error", "optimizer",
     "losses/entropy is not a finite number"),
    (lambda: snapshot(status=a_status(metrics=ROW | {"lag/staleness_mean": 4.5})), "warning", "staleness",
     "4.5 versions in the mean"),
    (lambda: snapshot(status=a_status(counters=Counters(produced=100_000, trained=70_000, stale=30_000))), "warning",
     "staleness", "too old to train on"),
    (lambda: snapshot(status=a_status(counters=Counters(produced=100_000, trained=99_000, rejected=1000))), "warning",
     "steps", "1,000 of 100,000 steps were rejected"),
    (lambda: snapshot(status=a_status(counters=Counters(produced=100_000, trained=90_000, lost=10_000))), "warning",
     "steps", "10,000 of 100,000 steps were lost"),
    (lambda: snapshot(status=a_status(counters=Counters(queued_bytes=250_000_000))), "warning", "stream",
     "238 of 256 MiB"),
    (lambda: snapshot(server=replace(SERVER, used_bytes=85 << 20)), "warning", "Redis", "85 of 100 MiB"),
    (lambda: snapshot(server=replace(SERVER, used_bytes=99 << 20)), "error", "Redis", "99 of 100 MiB"),
    (lambda: snapshot(server=replace(SERVER, maxmemory_policy="allkeys-lru")), "error", "Redis", "allkeys-lru"),
    (lambda: snapshot(server=replace(SERVER, aof_enabled=False)), "warning", "Redis", "no append-only file"),
    (lambda: snapshot(server=replace(SERVER, aof_write_ok=False)), "error", "Redis", "could not append"),
    (lambda: snapshot(server=replace(SERVER, aof_rewrite_ok=False)), "warning", "Redis", "could not rewrite"),
    (lambda: snapshot(disk=replace(DISK, free_bytes=500 << 20)), "warning", "disk", "500 MiB are free"),
    (lambda: snapshot(disk=replace(DISK, checkpoint_bytes=11 << 30)), "error", "disk", "10,240 MiB are free"),
    (lambda: snapshot(events=[event("checkpoint"), event("checkpoint failed", text="no room")]), "error", "disk",
     "could not be written: no room"),
]  # fmt: skip


@pytest.mark.parametrize(("make", "severity", "about", "seen"), TROUBLES)
def test_a_trouble_is_named_with_what_was_seen_why_it_matters_and_what_to_do(
    make: Callable[[], HealthSnapshot], severity: str, about: str, seen: str
) -> None:
    finding = the_one(make())
    assert (finding.severity, finding.about) == (severity, about)
    assert seen in finding.seen
    assert finding.why
    assert finding.advice
    assert not is_healthy([finding])


NAN = "chunk reward: found 3 of 64 numbers NaN, infinite or beyond 1e+12 (sent by worker 2; 10 chunks so far)"


def test_rejected_steps_are_named_with_the_last_reasons_and_advice_that_fits_them() -> None:
    events = [event("rejected", text=f"chunk run: found {k}") for k in range(4)] + [event("rejected", text=NAN)]
    some = a_status(counters=Counters(produced=100_000, trained=99_000, rejected=1000))
    finding = the_one(snapshot(status=some, events=events))
    assert finding.seen == f"1,000 of 100,000 steps were rejected: {NAN}"
    assert finding.details == "chunk run: found 2\nchunk run: found 3"
    assert "quintet check" in finding.advice
    assert "version of" not in finding.advice
    another = the_one(
        snapshot(status=some, events=[event("rejected", text="chunk wire version: found [2], expected [3]")])
    )
    assert "another version of this program" in another.advice


def test_where_nearly_all_is_rejected_nobody_is_told_that_more_workers_would_help() -> None:
    waits = ROW | {"phase/optimizer/wait_s": 0.9, "phase/optimizer/learn_s": 0.1}
    nearly_all = a_status(counters=Counters(produced=1000, trained=100, rejected=900), metrics=waits)
    finding = the_one(snapshot(status=nearly_all, events=[event("rejected", text=NAN)]))
    assert finding.severity == "error"
    assert "900 of 1,000 steps were rejected: quintet doctor" in status_json(nearly_all)["bottleneck"]


def test_a_run_that_has_ended_still_says_what_was_rejected() -> None:
    ended = [event("rejected", text=NAN), event("failed", text="all of the first 1,024 steps were rejected")]
    findings = diagnose(HealthSnapshot(run="r", status=None, live=False, events=ended, now_s=NOW_S))
    assert [finding.seen for finding in findings if finding.about == "steps"] == [f"chunks were rejected: {NAN}"]


@pytest.mark.parametrize(
    ("said", "severity", "seen"),
    [
        ({"in": "step", "in_s": 42.0}, "hint", "has been inside the game's step for 42 s"),
        ({"in": "step", "in_s": 999.0}, "warning", "has been inside the game's step for 999 s"),
        ({"in": "step", "in_s": 12.0, "row_s": 16.0}, "hint", "plays a slow game: 16 s a row, 256 s a window"),
    ],
)
def test_a_slow_game_is_named_and_nobody_is_told_to_kill_its_worker(
    said: dict[str, Any], severity: str, seen: str
) -> None:
    slow = replace(beat("worker/1"), data=said)
    finding = the_one(snapshot(status=a_status(heartbeats=[*a_status().heartbeats[:3], slow])))
    assert (finding.severity, finding.about) == (severity, "worker/1")
    assert seen in finding.seen
    assert "fewer rollout.games_per_worker" in finding.advice
    waits = ROW | {"phase/optimizer/wait_s": 0.9, "phase/optimizer/learn_s": 0.1}
    starving = a_status(heartbeats=[*a_status().heartbeats[:3], slow], metrics=waits)
    advice = [found.advice for found in diagnose(snapshot(status=starving)) if found.about == "optimizer"]
    assert len(advice) == 1
    assert "more games per worker" not in advice[0]  # beside the advice to take fewer
    silent = replace(beat("worker/1", 99.0), data=said)
    assert "kill" not in the_one(snapshot(status=a_status(heartbeats=[*a_status().heartbeats[:3], silent]))).advice


def test_a_process_that_crashed_is_named_with_its_last_traceback_and_one_that_crashes_again_is_an_error() -> None:
    crashed = event("worker died", "worker/1", "ValueError: bad", ago_s=30)
    finding = the_one(snapshot(events=[crashed], tracebacks={"worker/1": "Traceback ...", "worker/0": "old"}))
    assert (finding.severity, finding.about, finding.details) == ("warning", "worker/1", "Traceback ...")
    assert "died once in the last 10 minutes, 30 s ago the last time: ValueError: bad" in finding.seen
    assert the_one(snapshot(events=[crashed] * 3)).severity == "error"
    assert diagnose(snapshot(events=[replace(crashed, time_s=NOW_S - 3600)])) == ()


def test_steps_that_warmed_up_the_normalisers_are_no_staleness() -> None:
    config = RunConfig()
    warm_up = config.optimizer.normalizer_warmup_steps + config.optimizer.batch_steps
    assert diagnose(snapshot(status=a_status(counters=Counters(produced=warm_up, stale=warm_up)))) == ()


def test_processes_that_were_started_a_moment_ago_are_not_missed_yet() -> None:
    missing = a_status(heartbeats=a_status().heartbeats[:1], wanted_workers=1)
    assert not is_healthy(diagnose(snapshot(status=missing, events=[event("started", ago_s=100)])))
    found = diagnose(snapshot(status=missing, events=[event("started", ago_s=100), event("scaled", ago_s=5)]))
    assert [(f.severity, f.about) for f in found] == [("hint", "optimizer"), ("hint", "workers")]


def test_a_paused_run_is_healthy_and_says_that_it_is_paused() -> None:
    finding = the_one(snapshot(status=a_status(wanted_workers=0, metrics=ROW | {"time_s": NOW_S - 5000})))
    assert finding.severity == "hint"
    assert finding.why == "the run is paused"


def test_the_worst_comes_first() -> None:
    found = diagnose(
        snapshot(
            status=a_status(metrics=ROW | {"phase/optimizer/wait_s": 5.0}, heartbeats=a_status().heartbeats[1:]),
            server=replace(SERVER, aof_write_ok=False),
        )
    )
    assert [finding.severity for finding in found] == ["error", "warning", "hint"]


def test_a_redis_that_is_silent_is_an_error_with_its_reason() -> None:
    finding = the_one(HealthSnapshot(run="r", status=None, trouble="connection refused", now_s=NOW_S))
    assert (finding.severity, finding.about) == ("error", "Redis")
    assert "connection refused" in finding.seen


@pytest.mark.parametrize(
    ("events", "severity", "seen"),
    [
        ([event("started"), event("stopped", text="10 minutes are over")], "hint", "stopped, 10 minutes are over"),
        ([event("started"), event("failed", text="worker 0 died")], "error", "failed, worker 0 died"),
        ([event("stopped"), event("started")], "error", "no last word"),
    ],
)
def test_a_run_that_nobody_trains_says_how_it_ended(events: list[Event], severity: str, seen: str) -> None:
    finding = the_one(HealthSnapshot(run="r", status=None, live=False, events=events, now_s=NOW_S))
    assert finding.severity == severity
    assert seen in finding.seen
    assert "--resume" in finding.advice


def test_vitals_are_read_from_a_runs_folder(tmp_path: Path) -> None:
    folder = tmp_path / "r"
    (folder / "logs").mkdir(parents=True)
    (folder / "checkpoints" / "000001").mkdir(parents=True)
    (folder / "checkpoints" / "000001" / "policy.safetensors").write_bytes(b"x" * 1000)
    (folder / "checkpoints" / "latest").write_text("000001")
    (folder / "logs" / "worker-3.log").write_text(
        "Traceback (most recent call last):\n  old\n\nTraceback (most recent call last):\n  new\nValueError: bad\n\n"
    )
    (folder / "logs" / "optimizer.log").write_text("all is well\n")
    journal = Journal(folder / "journal.jsonl")
    journal.add("worker died", agent_steps=5, process="worker/3", text="ValueError: bad")
    journal.close()
    found = read_health(folder, a_status(metrics={}))
    assert found.run == "r"
    assert found.disk is not None
    assert found.disk.checkpoint_bytes == 1000
    assert found.tracebacks == {"worker/3": "Traceback (most recent call last):\n  new\nValueError: bad"}
    assert [e.process for e in found.events] == ["worker/3"]
    finding = next(f for f in diagnose(found) if f.about == "worker/3")
    assert finding.details.endswith("ValueError: bad")


def test_a_folder_that_is_not_here_adds_nothing(tmp_path: Path) -> None:
    found = read_health(tmp_path / "elsewhere", a_status())
    assert (found.disk, found.events, found.tracebacks) == (None, (), {})
