"""What `quintet status` says about a run, and which stage it calls the bottleneck."""

from __future__ import annotations

import json

import pytest
from rich.console import Console

from quintet.control.config import RunConfig
from quintet.control.status import (
    RunStatus,
    bottleneck,
    conservation_line,
    phase_shares,
    phases_of,
    status_json,
    status_table,
)
from quintet.wire.link import Counters, Heartbeat


def beat(process: str, age_s: float = 0.5, steps: int = 0) -> Heartbeat:
    return Heartbeat(process=process, incarnation=1, age_s=age_s, cumulative_steps=steps, data={"version": 7})


def status() -> RunStatus:
    return RunStatus(
        run="my-run",
        config=RunConfig(game="gymnasium:CartPole-v1", agent_steps=250_000),
        counters=Counters(produced=100, trained=80, stale=5, in_flight=15, queued_chunks=2, queued_bytes=2**20),
        wanted_workers=3,
        heartbeats=[beat("worker/0", steps=1200), beat("worker/1", age_s=40.0), beat("optimizer")],
        metrics={
            "version": 7,
            "agent_steps": 80_000,
            "charts/episodic_return": 312.4,
            "phase/worker/play_s": 0.2,
            "phase/worker/wait_s": 0.8,
            "phase/optimizer/learn_s": 1.0,
        },
    )


def printed(state: RunStatus) -> str:
    console = Console(width=140, record=True, quiet=False, file=None)
    with console.capture() as capture:
        console.print(status_table(state))
    return capture.get()


def test_the_table_shows_progress_processes_steps_and_bottleneck() -> None:
    text = printed(status())
    assert "80,000 of 250,000 agent steps, version 7" in text
    assert "2 live of 3 wanted" not in text  # worker/1 has been silent
    assert "1 live of 3 wanted" in text
    assert "produced 100 = trained 80 + stale 5 + rejected 0 + lost 0 + in flight 15" in text
    assert "40.0 s ago (silent)" in text
    assert "1,200" in text
    assert "workers wait for room 80% of the time" in text
    assert "312.4" in text


def test_the_table_of_a_run_that_has_not_begun_says_so() -> None:
    fresh = RunStatus(run="new", config=RunConfig(), counters=Counters(), wanted_workers=1)
    text = printed(fresh)
    assert "no process of this run has said anything" in text
    assert "0 agent steps, version 0" in text


def test_nulls_of_metrics_jsonl_do_not_disturb() -> None:
    row = {"version": 1, "agent_steps": 5, "charts/episodic_return": None, "phase/worker/play_s": None}
    state = RunStatus(run="r", config=RunConfig(), counters=Counters(), wanted_workers=1, metrics=row)  # type: ignore[arg-type]
    assert "5 agent steps" in printed(state)


def test_the_json_form_holds_the_same_facts() -> None:
    plain = json.loads(json.dumps(status_json(status())))
    assert (plain["run"], plain["agent_steps"], plain["version"]) == ("my-run", 80_000, 7)
    assert (plain["workers_wanted"], plain["workers_live"]) == (3, 1)
    assert plain["steps"]["trained"] == 80
    assert plain["steps"]["unaccounted"] == 0
    assert [process["process"] for process in plain["processes"]] == ["worker/0", "worker/1", "optimizer"]
    assert plain["metrics"]["charts/episodic_return"] == 312.4
    assert "workers wait for room" in plain["bottleneck"]


def test_a_broken_conservation_law_is_said_aloud() -> None:
    assert "BROKEN" not in conservation_line(Counters(produced=10, trained=10))
    assert "BROKEN by 3" in conservation_line(Counters(produced=10, trained=7))
    assert "undone 4" in conservation_line(Counters(produced=10, trained=10, undone=4))


@pytest.mark.parametrize(
    ("worker_wait", "optimizer_wait", "said"),
    [
        (0.0, 0.8, "the optimizer waits for chunks 80% of the time: more workers would help"),
        (0.6, 0.0, "workers wait for room 60% of the time: the optimizer is the bottleneck"),
        (0.4, 0.5, "the optimizer waits for chunks 50%"),
        (0.5, 0.4, "workers wait for room 50%"),
        (0.1, 0.2, "balanced: the optimizer waits 20% of its time, the workers 10%"),
    ],
)
def test_the_stage_that_starves_is_named(worker_wait: float, optimizer_wait: float, said: str) -> None:
    phases = {
        "worker": {"play": 2 * (1 - worker_wait), "wait": 2 * worker_wait},
        "optimizer": {"learn": 1 - optimizer_wait, "wait": optimizer_wait},
    }
    assert said in bottleneck(phases, Counters())


def test_without_phases_no_stage_is_blamed() -> None:
    assert bottleneck({"worker": {"play": 1.0}}, Counters()) == "not known yet: no phases from optimizer"
    assert bottleneck({}, Counters()) == "not known yet: no phases from optimizer and worker"


def test_phases_are_found_in_a_row_by_process_and_name() -> None:
    row = {"phase/worker/play_s": 1.0, "phase/optimizer/prefetch/wait_s": 2.0, "losses/entropy": 3.0, "version": 4}
    assert phases_of(row) == {"worker": {"play": 1.0}, "optimizer/prefetch": {"wait": 2.0}}


def test_shares_add_up_and_the_largest_comes_first() -> None:
    assert list(phase_shares({"play": 1.0, "wait": 3.0}).items()) == [("wait", 0.75), ("play", 0.25)]
    assert phase_shares({}) == {}
    assert phase_shares({"play": 0.0}) == {}
