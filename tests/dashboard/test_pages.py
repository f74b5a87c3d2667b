"""What the pages show, as the HTML that they make of a run's data."""

from __future__ import annotations

from dataclasses import replace

import pytest

from quintet.control.config import parse_config
from quintet.control.doctor.finding import Finding
from quintet.control.errors import UsageError
from quintet.control.journal import Event
from quintet.control.live_settings import differences, setting_text
from quintet.dashboard.charts import MARK_LEVELS, ChartView, mark_of
from quintet.dashboard.pages import cluster, league, overview, runs
from quintet.dashboard.series import MetricsTable
from quintet.wire.link import Heartbeat

CONFIG = parse_config("")
NASTY = '<img src=x onerror="alert(1)">'


def beat(process: str, age_s: float = 0.5, **data: float | int | str) -> Heartbeat:
    return Heartbeat(process=process, incarnation=1, age_s=age_s, cumulative_steps=1234, data=data)


def event(kind: str = "note", text: str = "", process: str = "", agent_steps: int = 0) -> Event:
    return Event(time_s=100.0, agent_steps=agent_steps, kind=kind, process=process, text=text)  # type: ignore[arg-type]


def evaluation(opponent: str | None, wins: float, agent_steps: int, **more: object) -> dict[str, object]:
    rate = {"win_rate": wins, "win_rate_low": wins - 0.1, "win_rate_high": wins + 0.1}
    return {"opponent": opponent, "agent_steps": agent_steps, "version": 3, "games": 100, "draws": 1, **rate, **more}


def table_of(tmp_path: object, rows: list[dict[str, float]]) -> MetricsTable:
    table = MetricsTable(tmp_path / "none")  # type: ignore[operator]
    table._append(rows)
    return table


# ---- cluster ----


def test_every_process_stands_in_the_table_in_order_with_what_it_said() -> None:
    beats = [
        beat("worker/10", version=5),
        beat("worker/2", age_s=99, version=7),
        beat("optimizer", version=7, rss_bytes=2**20),
    ]
    html = cluster.processes_html(beats, {"worker/2": {"play": 1.0, "wait": 1.0}}, {"version": 7.0}, {"worker/2": 3})
    assert html.index("optimizer") < html.index("worker/2") < html.index("worker/10")
    assert "2 behind" in html
    assert "✕ silent" in html
    assert "1 MiB" in html
    assert "play 50%, wait 50%" in html
    assert '<span class="warn">3</span>' in html


def test_what_a_process_says_cannot_become_markup() -> None:
    html = cluster.processes_html([beat(NASTY, pid=NASTY)], {NASTY: {NASTY: 1.0}}, {}, {})
    html += cluster.legend_html({"worker/0": {NASTY: 1.0}})
    html += cluster.events_html([event(text=NASTY, process=NASTY)])
    found = Finding(severity="error", about=NASTY, seen=NASTY, why=NASTY, advice=NASTY, details=NASTY)
    html += cluster.findings_html([found], live=True)
    html += league.opponents_html([evaluation(NASTY, 0.5, 10)], NASTY) + league.opponents_html([], NASTY)
    html += runs.changes_html([event("set", text=NASTY, process=NASTY)])
    html += runs.differences_html({NASTY: CONFIG, "b": replace(CONFIG, game=NASTY)})
    assert "<img" not in html


def test_nothing_yet_says_so_everywhere() -> None:
    assert "starting" in cluster.processes_html([], {}, {}, {})
    assert "looking" in cluster.findings_html(None, live=True)
    assert "Healthy" in cluster.findings_html([], live=True)
    assert "nothing has happened" in cluster.events_html([])
    assert "quintet eval one" in league.opponents_html([], "one")
    assert "no winners" in league.itself_html({})
    assert "no step" in overview.law_html({})
    assert "Choose two" in runs.differences_html({"a": CONFIG})
    assert "No setting" in runs.changes_html([event()])


def test_the_newest_events_stand_first() -> None:
    html = cluster.events_html([event(text="old"), event("worker died", text="new")])
    assert html.index("new") < html.index("old")
    assert 'class="k bad">worker died' in html


def test_a_wish_for_workers_is_a_whole_number() -> None:
    assert cluster.workers_of(" 2 ") == 2
    with pytest.raises(UsageError, match="no whole number"):
        cluster.workers_of("many")


# ---- overview ----


def test_the_law_is_shown_with_its_numbers_and_says_when_it_is_broken() -> None:
    numbers = {"produced": 1000, "trained": 900, "in_flight": 90, "stale": 10, "rejected": 0, "lost": 0, "undone": 5}
    html = overview.law_html({**numbers, "unaccounted": 0})
    assert '<b data-step="trained">900</b> 90.00%' in html
    assert "undone by resumes <b>5</b>" in html
    assert "broken" not in html
    assert "broken by <b>7</b>" in overview.law_html({**numbers, "unaccounted": 7})


def test_only_what_a_person_asks_about_becomes_a_mark(tmp_path: object) -> None:
    assert mark_of(event("checkpoint"), "steps") is None
    died = mark_of(event("worker died", text="signal 9", process="worker/1", agent_steps=15), "steps")
    assert died is not None
    assert (died.x, died.level, died.text) == (15.0, MARK_LEVELS["worker died"], "worker/1 worker died: signal 9")
    view = ChartView(table_of(tmp_path, [{"agent_steps": 10.0}, {"agent_steps": 20.0}]))
    marks = view.marks([event("set", agent_steps=n) for n in (5, 15, 25)])
    assert [mark.x for mark in marks] == [15.0]


def test_a_view_shows_the_last_part_of_a_run_without_what_a_resume_threw_away(tmp_path: object) -> None:
    steps = [10.0, 20, 30, 40, 20, 30, 40, 50]
    table = table_of(
        tmp_path, [{"agent_steps": s, "time_s": k + 1.0, "losses/entropy": float(k)} for k, s in enumerate(steps)]
    )
    assert ChartView(table).curve("losses/entropy").mean.tolist() == [0, 1, 4, 5, 6, 7]
    assert ChartView(table, share=0.5).x.tolist() == [20, 30, 40, 50]
    assert ChartView(table, axis="time", share=0.25).x.tolist() == [7, 8]


# ---- league ----


def test_each_opponent_is_shown_by_its_newest_evaluation() -> None:
    found = [evaluation("random", 0.5, 10), evaluation("bot:easy", 0.2, 10), evaluation("random", 0.8, 20)]
    assert [e["win_rate"] for e in league.newest_of_each(found)] == [0.8, 0.2]
    html = league.opponents_html(found, "one")
    assert "<b>80.0%</b>" in html
    assert "70.0% to 90.0%" in html


def test_a_game_without_winners_is_shown_by_its_returns() -> None:
    alone = {
        "opponent": None,
        "return_mean": 471.5,
        "return_low": 460.0,
        "return_high": 480.0,
        "games": 20,
        "version": 2,
    }
    html = league.opponents_html([alone], "one")
    assert "<b>471.50</b>" in html
    assert "plays alone" in html


def test_win_rates_over_versions_are_one_curve_for_each_opponent_with_its_interval() -> None:
    found = [evaluation("random", 0.8, 20), evaluation("random", 0.5, 10), evaluation("bot:easy", 0.2, 10)]
    curves, lines = league.win_rate_curves([*found, evaluation("random", 0.9, 30, greedy=True)])
    assert [line.name for line in lines] == ["random", "bot:easy", "random (greedy)"]
    assert curves["random"].x.tolist() == [10, 20]
    assert curves["random"].mean.tolist() == [0.5, 0.8]
    assert curves["random"].high.tolist() == pytest.approx([0.6, 0.9])


# ---- runs ----


def test_configurations_differ_in_the_keys_that_differ_and_no_others() -> None:
    other = parse_config(
        "", overrides=["ppo.clip=0.1", "ppo.learning_rate.end=1e-5", "ppo.learning_rate.until_steps=9"]
    )
    found = differences({"a": CONFIG, "b": other})
    assert found == {"ppo.learning_rate": ("0.001", "0.001 to 1e-05 (steps 0 to 9)"), "ppo.clip": ("0.2", "0.1")}
    assert setting_text(other, "ppo.clip") == "0.1"
    assert "same in every key" in runs.differences_html({"a": CONFIG, "b": CONFIG})
