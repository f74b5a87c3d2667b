"""A run as the page sees it: how it stands with the run, and what it does when files or Redis are away."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from quintet.control.config import dump_config, parse_config
from quintet.dashboard.context import PageContext
from quintet.dashboard.layout import page_address
from quintet.dashboard.run_watch import RunPlace, RunWatch, Watcher
from quintet.wire.redis_link.link import RedisLink

CONFIG = parse_config("", overrides=["agent_steps=1000"])


def make_run(runs: Path, run: str = "one", *, redis_url: str | None = None, live: bool = False) -> RunPlace:
    """A run's folder with a configuration, two rows and one event."""
    folder = runs / run
    folder.mkdir(parents=True)
    (folder / "config.toml").write_text(dump_config(CONFIG))
    rows = [{"time_s": 1.0 + k, "version": k, "agent_steps": 10 * k, "losses/entropy": 0.5} for k in (1, 2)]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    event = {"time_s": 1.0, "agent_steps": 0, "kind": "started", "process": "", "text": "", "data": {}}
    (folder / "journal.jsonl").write_text(json.dumps(event) + "\n" + '{"kind": "nonsense"}\n')
    return RunPlace(run=run, folder=folder, redis_url=redis_url, is_live=live)


@pytest.fixture
def link(redis_url: str, run_name: str) -> Iterator[RedisLink]:
    with RedisLink(redis_url, run_name) as link:
        link.open_run(spec_hash="0" * 16, config_text=dump_config(CONFIG), max_queued_steps=10, max_queue_bytes=10)
        yield link


def test_before_the_first_look_the_page_says_that_it_is_loading(tmp_path: Path) -> None:
    assert RunWatch(make_run(tmp_path)).connection == "loading"


def test_a_run_that_ended_is_known_from_its_files(tmp_path: Path) -> None:
    watch = RunWatch(make_run(tmp_path))
    watch.look_at_files()
    watch.look_further()
    assert watch.connection == "ended"
    assert watch.config == CONFIG
    assert watch.latest["version"] == 2
    assert [event.kind for event in watch.events] == ["started"]
    assert watch.findings is not None
    assert watch.findings[0].about == "run"


def test_a_folder_without_files_is_no_error(tmp_path: Path) -> None:
    watch = RunWatch(RunPlace(run="x", folder=tmp_path / "x", redis_url=None, is_live=False))
    watch.look_at_files()
    assert (watch.connection, watch.config, len(watch.table), watch.events) == ("ended", None, 0, ())


def test_events_of_a_journal_that_was_replaced_are_not_kept(tmp_path: Path) -> None:
    place = make_run(tmp_path)
    watch = RunWatch(place)
    watch.look_at_files()
    (place.folder / "journal.jsonl").unlink()
    watch.look_at_files()
    assert watch.events == ()


def test_a_live_run_whose_redis_is_away_is_silent_and_says_why(tmp_path: Path) -> None:
    watch = RunWatch(make_run(tmp_path, redis_url="redis://127.0.0.1:1/0", live=True))
    watch.look_at_files()
    watch.look_at_redis()
    assert watch.connection == "silent"
    assert watch.status is None
    assert "127.0.0.1" in watch.link_error
    watch.close()


@pytest.mark.redis
def test_redis_says_how_a_live_run_is_and_whether_somebody_drives_it(
    tmp_path: Path, redis_url: str, run_name: str, link: RedisLink
) -> None:
    watch = RunWatch(make_run(tmp_path, run_name, redis_url=redis_url, live=True))
    watch.look_at_files()
    watch.look_at_redis()
    standing = [watch.connection]
    link.beat("controller", {"capacity": 2})
    link.set_wanted_workers(2)
    link.request_settings({"ppo.clip": "0.15"}, "somebody")
    link.report("worker/0", "phases", {"play": 1.0, "wait": 3.0})
    watch.look_at_redis()
    assert [*standing, watch.connection] == ["unattended", "live"]
    assert watch.status is not None
    assert (watch.status.wanted_workers, watch.status.config.ppo.clip) == (2, 0.15)
    assert watch.phases == {"worker/0": {"play": 0.25, "wait": 0.75}}
    watch.close()


@pytest.mark.redis
def test_without_files_the_latest_row_comes_from_redis(
    tmp_path: Path, redis_url: str, run_name: str, link: RedisLink
) -> None:
    link.keep_latest_row({"version": 7.0, "losses/entropy": 0.25})
    watch = RunWatch(RunPlace(run=run_name, folder=tmp_path / run_name, redis_url=redis_url, is_live=True))
    watch.look_at_redis()
    assert watch.latest == {"version": 7.0, "losses/entropy": 0.25}
    watch.close()


@pytest.mark.redis
def test_a_redis_that_does_not_have_the_run_is_named(tmp_path: Path, redis_url: str) -> None:
    watch = RunWatch(make_run(tmp_path, "nobodys", redis_url=redis_url, live=True))
    watch.look_at_redis()
    assert "nobodys is not open" in watch.link_error
    watch.close()


def test_the_watcher_shows_the_run_that_is_meant_and_else_a_live_one(tmp_path: Path) -> None:
    places = [make_run(tmp_path, "new"), make_run(tmp_path, "busy", live=True), make_run(tmp_path, "old")]
    watcher = Watcher(lambda: places)
    try:
        assert watcher.watch("old") is watcher.watch("old")
        assert [found.place.run for name in ("old", None) if (found := watcher.watch(name))] == ["old", "busy"]
        assert watcher.watch("none") is None
    finally:
        watcher.close()


@pytest.mark.slow
def test_the_watchers_thread_brings_a_page_up_to_date(tmp_path: Path) -> None:
    place = make_run(tmp_path)
    watcher = Watcher(lambda: [place])
    try:
        found = watcher.watch("one")
        assert found is not None
        context = PageContext(watcher, found, may_change=False)
        wait_until(lambda: context.watch.connection == "ended")
        with (place.folder / "metrics.jsonl").open("a") as file:
            file.write('{"version": 3, "agent_steps": 30}\n')
        wait_until(lambda: len(context.watch.table) == 3)
        assert context.link() is None
        assert page_address("/cluster", context.run) == "/cluster?run=one"
    finally:
        watcher.close()


def wait_until(condition: object, timeout_s: float = 30.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < deadline
        time.sleep(0.02)
