"""What Prometheus reads is what the run's link says, by the names that the metrics have everywhere."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from quintet.cluster.processes.redis_server import EmbeddedRedis
from quintet.control import metrics as names
from quintet.control.config import RunConfig, dump_config
from quintet.control.metrics import HELP, help_text
from quintet.dashboard.monitoring.exporter import OWN_HELP, SLOWEST, SPEED_WINDOW_S, Exporter, prometheus_name
from quintet.wire.errors import LinkDownError
from quintet.wire.link import Counters, Heartbeat, PendingChunk
from quintet.wire.memory_link import MemoryLink
from quintet.wire.redis_link.link import RedisLink
from tests.conftest import AnyLink

SPEC = "0123456789abcdef"
Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def samples(page: bytes) -> Samples:
    """Every sample of a page by its name and its labels, without the run's."""
    found: Samples = {}
    for family in text_string_to_metric_families(page.decode()):
        for sample in family.samples:
            labels = tuple(sorted((k, v) for k, v in sample.labels.items() if k != "run"))
            assert (sample.name, labels) not in found
            found[sample.name, labels] = sample.value
    return found


def plain(page: bytes) -> dict[str, float]:
    """The samples that have no label but the run."""
    return {name: value for (name, labels), value in samples(page).items() if not labels}


class Clock:
    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


class FakeSource:
    """A run as the exporter sees it, with whatever a test needs."""

    run = "fake"

    def __init__(self, n_workers: int = 0) -> None:
        self.row: dict[str, float] = {}
        self.config_text = ""
        self.told = Counters()
        self.down = False
        self.beats = [
            Heartbeat(process=f"worker/{k}", incarnation=1, age_s=0.0, cumulative_steps=0, data={"rss_bytes": 10 + k})
            for k in range(n_workers)
        ]

    def latest_row(self) -> dict[str, float]:
        if self.down:
            raise LinkDownError("nobody answers")
        return dict(self.row)

    def run_config(self) -> str:
        return self.config_text

    def stopping(self) -> bool:
        return False

    def heartbeats(self) -> list[Heartbeat]:
        return self.beats

    def counters(self) -> Counters:
        return self.told

    def server_health(self) -> None:
        return None


def test_every_metric_name_is_there_with_its_help() -> None:
    source = FakeSource()
    source.row = {name: 1.0 for name in (*names.NAMES, names.VERSION, names.AGENT_STEPS)}
    text = Exporter(source).text().decode()
    for name in source.row:
        grown = name.startswith("steps/") and name not in (names.STEPS_IN_FLIGHT, names.STEPS_UNDONE)
        exported = prometheus_name(name) + ("_total" if grown else "")
        assert re.search(rf"^{exported}\{{.*run=\"fake\".*\}} ", text, flags=re.MULTILINE), name
        assert f"# HELP {exported} {help_text(name)}\n" in text
        assert f"# TYPE {exported} {'counter' if grown else 'gauge'}\n" in text


def test_the_numbers_are_those_of_the_link(link: AnyLink) -> None:
    link.open_run(
        spec_hash=SPEC, config_text=dump_config(RunConfig(agent_steps=1000)), max_queued_steps=99, max_queue_bytes=99
    )
    registration = link.register(0, SPEC)
    who = {"worker": 0, "incarnation": registration.incarnation}
    link.push([PendingChunk(**who, sequence=1, cumulative_steps=24, steps=8, payload=b"12345")])
    link.heartbeat(registration, 30, {"rss_bytes": 2**20, "version": 3})
    link.beat("optimizer", {"rss_bytes": 2**21, "version": 5, "pid": 1})
    link.keep_latest_row({"version": 5.0, "losses/entropy": 0.25, "events/worker died": 2.0})
    found = samples(Exporter(link).text())
    bare = {name: value for (name, labels), value in found.items() if not labels}
    assert bare["quintet_up"] == bare["quintet_run_open"] == 1
    assert bare["quintet_losses_entropy"] == 0.25
    assert bare["quintet_steps_produced_total"] == 24
    assert bare["quintet_steps_lost_total"] == 16
    assert bare["quintet_steps_in_flight"] == 8
    assert bare["quintet_steps_unaccounted"] == 0
    assert bare["quintet_queue_bytes"] == 5
    assert bare["quintet_limit_agent_steps"] == 1000
    assert bare["quintet_limit_queue_bytes"] == RunConfig().wire.max_queue_bytes
    assert bare["quintet_workers_rss_bytes"] == 2**20
    assert bare["quintet_workers_versions_behind_max"] == 2
    assert found["quintet_process_version", (("process", "optimizer"),)] == 5
    assert found["quintet_process_rss_bytes", (("process", "worker/0"),)] == 2**20
    assert found["quintet_events_total", (("event", "worker died"),)] == 2
    assert found["quintet_events_total", (("event", "bad_batch"),)] == 0
    if isinstance(link, RedisLink):
        assert bare["quintet_redis_used_bytes"] > 0
        assert bare["quintet_redis_maxmemory_bytes"] == 256 * 2**20  # of this test session's server
    else:
        assert "quintet_redis_used_bytes" not in bare


def test_the_counters_of_redis_count_and_not_those_of_the_last_row() -> None:
    source = FakeSource()
    source.row = {names.STEPS_TRAINED: 1.0, names.QUEUE_CHUNKS: 1.0}
    source.told = Counters(produced=7, trained=7, queued_chunks=3)
    found = plain(Exporter(source).text())
    assert found["quintet_steps_trained_total"] == 7
    assert found["quintet_queue_chunks"] == 3


def test_a_silent_redis_is_said_and_nothing_old_is_shown_and_the_next_scrape_asks_again() -> None:
    source = FakeSource()
    source.row = {"losses/entropy": 0.5}
    exporter = Exporter(source)
    source.down = True
    assert set(plain(exporter.text())) == {"quintet_up", "quintet_exporter_seconds"}
    assert plain(exporter.text())["quintet_up"] == 0
    source.down = False
    assert plain(exporter.text())["quintet_losses_entropy"] == 0.5


def test_a_run_that_is_not_open_yet_is_said_to_be_so() -> None:
    found = plain(Exporter(MemoryLink("later")).text())
    assert (found["quintet_up"], found["quintet_run_open"]) == (1, 0)


def test_a_configuration_of_another_version_costs_its_limits_alone() -> None:
    source = FakeSource()
    source.config_text = "a_key_of_tomorrow = 1"
    source.row = {"losses/entropy": 0.5}
    found = plain(Exporter(source).text())
    assert found["quintet_losses_entropy"] == 0.5
    assert "quintet_limit_queue_bytes" not in found


def test_two_hundred_workers_are_shown_as_sums_and_the_slowest_ten_one_by_one() -> None:
    source, clock = FakeSource(n_workers=200), Clock()
    exporter = Exporter(source, clock)
    exporter.text()
    clock.now_s += SPEED_WINDOW_S
    slow = {f"worker/{k}" for k in range(50, 50 + SLOWEST)}
    source.beats = [
        replace(beat, cumulative_steps=int(SPEED_WINDOW_S) * (1 if beat.process in slow else 100))
        for beat in source.beats
    ]
    found = samples(exporter.text())
    speeds = {labels: value for (name, labels), value in found.items() if name == "quintet_worker_steps_per_s"}
    assert {dict(labels)["process"] for labels in speeds} == slow
    assert set(speeds.values()) == {1.0}
    assert found["quintet_workers_steps_per_s", ()] == SLOWEST * 1 + (200 - SLOWEST) * 100
    assert found["quintet_workers_rss_bytes", ()] == sum(range(10, 210))
    shown = {dict(labels)["process"] for (name, labels) in found if name == "quintet_process_heartbeat_age_s"}
    assert shown == slow


def test_a_worker_that_has_said_nothing_new_counts_as_standing_still() -> None:
    source, clock = FakeSource(n_workers=1), Clock()
    exporter = Exporter(source, clock)
    source.beats = [replace(source.beats[0], cumulative_steps=500)]
    exporter.text()
    clock.now_s += SPEED_WINDOW_S
    source.beats = [replace(source.beats[0], age_s=SPEED_WINDOW_S)]
    assert samples(exporter.text())["quintet_worker_steps_per_s", (("process", "worker/0"),)] == 0


def test_a_replaced_worker_is_not_measured_against_its_predecessor() -> None:
    source, clock = FakeSource(n_workers=1), Clock()
    exporter = Exporter(source, clock)
    source.beats = [replace(source.beats[0], cumulative_steps=10_000)]
    exporter.text()
    clock.now_s += SPEED_WINDOW_S
    source.beats = [replace(source.beats[0], incarnation=2, cumulative_steps=10)]
    assert all(name != "quintet_worker_steps_per_s" for name, _ in samples(exporter.text()))


def test_names_that_prometheus_does_not_know_are_made_ones_that_it_does() -> None:
    source = FakeSource()
    source.row = {"game/a-b c": 1.0, "game/a_b_c": 2.0, 'game/"\n\\': 3.0, "losses/x": math.nan}
    found = samples(Exporter(source).text())
    assert found["quintet_game_a_b_c", (("component", "a-b c"),)] == 1
    assert found["quintet_game_a_b_c", (("component", "a_b_c"),)] == 2
    assert found["quintet_game____", (("component", '"\n\\'),)] == 3
    assert math.isnan(found["quintet_losses_x", ()])


@pytest.mark.parametrize("text", [*HELP.values(), *OWN_HELP.values()])
def test_every_help_is_one_line(text: str) -> None:
    assert "\n" not in text


@pytest.mark.redis
def test_a_user_that_may_only_read_is_enough(tmp_path: Path) -> None:
    with EmbeddedRedis.start(tmp_path, maxmemory_bytes=64 * 2**20) as server:
        with RedisLink(server.url_of("controller"), "guarded") as controller:
            controller.open_run(spec_hash=SPEC, config_text="", max_queued_steps=9, max_queue_bytes=9)
            controller.beat("controller", {"rss_bytes": 7})
            controller.keep_latest_row({"losses/entropy": 0.5})
        with RedisLink(server.url_of("viewer"), "guarded") as viewer:
            found = samples(Exporter(viewer).text())
    assert found["quintet_losses_entropy", ()] == 0.5
    assert found["quintet_process_rss_bytes", (("process", "controller"),)] == 7
    assert found["quintet_run_stopping", ()] == 0
