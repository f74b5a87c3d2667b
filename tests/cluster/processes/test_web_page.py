"""Where the web page listens, which runs it is told about, and the evaluations that are kept for it."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest

from quintet.cluster.processes import web_page
from quintet.cluster.processes.web_page import address, listen, places_at, port_of, run_places, serve_here
from quintet.control.errors import UsageError
from quintet.evaluation.results import keep_evaluation


def make_run(runs: Path, run: str) -> Path:
    (runs / run / "checkpoints" / "000001").mkdir(parents=True)
    (runs / run / "config.toml").write_text("")
    return runs / run


def test_another_port_is_taken_where_the_usual_one_is_in_use(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        monkeypatch.setattr(web_page, "PORT", port_of(taken))
        with listen("127.0.0.1", None) as other:
            assert port_of(other) not in (0, port_of(taken))
        with pytest.raises(UsageError, match=f"port {port_of(taken)}"):
            listen("127.0.0.1", port_of(taken))


def test_beyond_this_machine_nothing_is_served_without_a_token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.nice", lambda change: 0)
    monkeypatch.delenv(web_page.TOKEN, raising=False)
    with pytest.raises(UsageError, match="give a token"):
        serve_here(run=None, port=0, host="0.0.0.0", token=None, redis_url=None)


def test_the_address_holds_the_token() -> None:
    assert address("127.0.0.1", 80, "abc") == "http://127.0.0.1:80/?token=abc"
    assert address("::1", 80, "abc") == "http://[::1]:80/?token=abc"


def test_every_run_of_the_folder_is_offered(tmp_path: Path) -> None:
    (make_run(tmp_path, "one") / "redis_url").write_text("redis://:x@127.0.0.1:1/0")
    make_run(tmp_path, "two")
    places = {place.run: place for place in run_places(tmp_path)}
    assert set(places) == {"one", "two"}
    assert (places["one"].redis_url, places["two"].redis_url) == ("redis://:x@127.0.0.1:1/0", None)
    assert not places["one"].is_live


def test_a_run_that_is_open_elsewhere_is_looked_for_there(tmp_path: Path) -> None:
    make_run(tmp_path, "here")
    first, *others = places_at("redis://far:1/0", "there", tmp_path)
    assert (first.run, first.redis_url, first.is_live) == ("there", "redis://far:1/0", True)
    assert [place.run for place in others] == ["here"]


def test_evaluations_of_a_runs_checkpoint_are_kept_with_the_run(tmp_path: Path) -> None:
    run = make_run(tmp_path, "one")
    for rate in (0.5, 0.75):
        keep_evaluation(run / "checkpoints" / "000001", {"win_rate": rate})
    lines = (run / "league" / "evaluations.jsonl").read_text().splitlines()
    assert [json.loads(line)["win_rate"] for line in lines] == [0.5, 0.75]


def test_an_evaluation_of_a_checkpoint_that_belongs_to_no_run_is_not_kept(tmp_path: Path) -> None:
    alone = tmp_path / "copied" / "000001"
    alone.mkdir(parents=True)
    keep_evaluation(alone, {"win_rate": 0.5})
    assert list(tmp_path.rglob("evaluations.jsonl")) == []


def test_a_run_that_cannot_be_written_to_costs_a_note(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = make_run(tmp_path, "one")
    (run / "league").write_text("a file where a folder should be")
    keep_evaluation(run / "checkpoints" / "000001", {"win_rate": 0.5})
    assert "is not kept" in capsys.readouterr().err
