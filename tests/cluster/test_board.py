"""The board's picture, its progress and its manners on and off a terminal."""

from __future__ import annotations

import io
import re
from dataclasses import replace

import pytest
from rich.console import Console

from quintet.cluster.board import Board, BoardState, duration, plain_line, render
from quintet.wire.link import Counters

STARTING = BoardState(run="my-run", game="gymnasium:CartPole-v1", stage="starting Redis", wall_s=1.0)
TRAINING = BoardState(
    run="my-run",
    game="gymnasium:CartPole-v1",
    stage="training",
    wall_s=32.0,
    agent_steps_budget=250_000,
    row={
        "version": 75.0,
        "agent_steps": 155_000.0,
        "charts/agent_steps_per_s": 5000.0,
        "charts/episodic_return": 312.44,
        "charts/episodic_length": 312.4,
        "charts/episodes": 1204.0,
        "losses/policy_loss": -0.0123,
        "losses/entropy": 0.51,
        "lag/staleness_mean": 0.61,
        "queue/bytes": 3 * 2.0**20,
        "workers/wanted": 2.0,
        "workers/live": 1.0,
        "game/draw_rate": 0.31,
        "game/win_rate_0": 0.4,
    },
    counters=Counters(produced=160_000, trained=155_000, stale=100, in_flight=4900),
    phases={"worker": {"play": 0.6, "wait": 0.4}, "optimizer": {"learn": 0.9, "wait": 0.1}},
    events=[f"12:00:0{i}  event {i}" for i in range(8)],
)


LARGE = replace(
    TRAINING,
    run="five-against-five-20261121-003512",
    game="pettingzoo:pettingzoo.classic.connect_four_v3",
    stage="workers finish their windows",
    wall_s=360_000.0,
    agent_steps_budget=10_000_000_000,
    minutes_budget=60_000.0,
    until="charts/episodic_return=475",
    row=TRAINING.row
    | {"agent_steps": 9_876_543_210.0, "version": 1_234_567.0, "charts/episodic_return": -12_345.67}
    | {f"game/part_{name}_of_the_reward": 0.123456 for name in "abcdefghijklmnop"},
    counters=Counters(
        produced=9_999_999_999, trained=9_876_543_210, stale=12_345_678, rejected=1_234_567, lost=123_456, in_flight=1
    ),
    phases={
        "worker": {"infer": 0.4, "play": 0.3, "wait": 0.2, "encode": 0.05, "push": 0.03, "other": 0.02},
        "optimizer": {"learn": 0.5, "wait": 0.2, "publish": 0.1, "settle": 0.1, "checkpoint": 0.06, "replay": 0.04},
        "optimizer/prefetch": {"wait": 0.6, "decode": 0.3, "collate": 0.1},
    },
    health="staleness: " + "many words about what is wrong and what to do " * 5,
    severity="warning",
    address="http://127.0.0.1:8080/?token=0123456789abcdef",
)


def picture(state: BoardState, width: int = 80, height: int = 24) -> str:
    console = Console(record=True, width=width, force_terminal=True, file=io.StringIO())
    console.print(render(state, width=width, height=height))
    return console.export_text()


def test_the_picture_shows_every_number_that_a_person_watches() -> None:
    text = picture(TRAINING)
    for part in (
        "my-run · gymnasium:CartPole-v1 · training",
        "155,000 / 250,000 agent steps  62%  ETA 0:00:19  elapsed 0:00:32",
        "return            312.44",
        "agent steps/s      5,000",
        "policy loss      -0.0123",
        "staleness mean      0.61",
        "queued MiB           3.0",
        "workers 1 live of 2 wanted   draw rate 0.31   win rate, team 0 0.4",
        "steps   160,000 produced = 155,000 trained + 100 stale + 0 rejected + 0 lost",
        "        + 4,900 in flight",
        "worker    ██████████░░░░░░  play 60%  wait 40%",
        "optimizer ██████████████░░  learn 90%  wait 10%",
        "workers wait for room 40% of the time",
    ):
        assert part in text, part
    assert "BROKEN" not in text


def test_what_is_not_known_is_a_dash_and_not_a_zero() -> None:
    assert "value loss             –" in picture(TRAINING)


def test_as_many_of_the_last_events_are_shown_as_there_is_room_for() -> None:
    few, many = picture(TRAINING), picture(TRAINING, height=40)
    assert "event 7" in few
    assert "event 2" not in few
    assert "event 0" in many


@pytest.mark.parametrize("state", [STARTING, TRAINING, LARGE], ids=["starting", "training", "large"])
def test_it_fills_a_terminal_of_80_by_24_to_the_character(state: BoardState) -> None:
    lines = picture(state).splitlines()
    assert [len(line) for line in lines] == [80] * 24
    assert state.stage in lines[0]


def test_whatever_a_run_is_everything_that_matters_fits() -> None:
    text = picture(LARGE)
    for part in ("99%", "ETA", "until charts/episodic_return=475", "-12,345.67", "9,999,999,999 produced", "in flight"):
        assert part in text, part
    for part in ("worker    █", "optimizer █", "prefetch  █", "warning: staleness:", "page    http://127.0.0.1:8080/"):
        assert part in text, part
    assert "win rate, team 0" in text


def test_its_size_is_the_same_whatever_it_shows_so_that_nothing_jumps() -> None:
    for height in (24, 30, 50):
        assert len({len(picture(state, height=height).splitlines()) for state in (STARTING, TRAINING, LARGE)}) == 1


@pytest.mark.parametrize("height", [3, 10, 16])
def test_a_small_terminal_shows_the_top_of_it(height: int) -> None:
    assert len(picture(TRAINING, height=height).splitlines()) == height


def test_the_doctors_worst_finding_takes_the_place_of_who_waits_for_whom() -> None:
    text = picture(replace(TRAINING, health="worker/3: last heard of 20 s ago", severity="warning"))
    assert "health  warning: worker/3: last heard of 20 s ago" in text
    assert "workers wait for room" not in text
    assert "health  nothing is wrong" in picture(replace(TRAINING, health="nothing is wrong"))


def test_a_broken_conservation_law_is_shown() -> None:
    assert "BROKEN by 7" in picture(replace(TRAINING, counters=Counters(produced=7)))


def test_before_the_first_version_only_the_stage_is_shown() -> None:
    text = picture(STARTING)
    assert "starting Redis" in text
    assert "return" not in text
    assert "no budget: runs until it is stopped" in text


def test_the_value_that_ends_the_run_is_shown() -> None:
    assert "until charts/episodic_return=475" in picture(replace(TRAINING, until="charts/episodic_return=475"))


def test_of_two_budgets_the_one_that_ends_first_counts() -> None:
    state = replace(TRAINING, minutes_budget=1.0)
    assert list(state.progress) == pytest.approx([0.62, 19.0])
    late = replace(TRAINING, minutes_budget=0.75)
    assert list(late.progress) == pytest.approx([32 / 45, 13.0])


def test_progress_never_passes_the_end_and_needs_a_speed_for_an_eta() -> None:
    done = replace(TRAINING, row={"version": 1.0, "agent_steps": 300_000.0, "charts/agent_steps_per_s": 10.0})
    assert done.progress == (1.0, 0.0)
    assert replace(TRAINING, row={"agent_steps": 1000.0}).progress == (0.004, None)
    assert STARTING.progress == (0.0, None)


def test_the_plain_line_holds_the_same_numbers() -> None:
    line = plain_line(TRAINING)
    assert "\n" not in line
    assert "155,000 / 250,000 agent steps  62%  ETA 0:00:19" in line
    assert "return 312.44" in line
    assert "workers 1/2" in line
    assert plain_line(STARTING) == "quintet 0:00:01  starting Redis"


class Clock:
    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def test_off_a_terminal_a_line_is_printed_every_ten_seconds_and_for_every_new_stage() -> None:
    out, clock = io.StringIO(), Clock()
    with Board(Console(file=out, force_terminal=False, width=60), clock) as board:
        board.update(STARTING)
        board.update(STARTING)
        board.update(TRAINING)
        for clock.now_s in (1.0, 9.9, 10.1, 15.0, 20.2):
            board.update(TRAINING)
        board.say("saved a checkpoint")
    lines = out.getvalue().splitlines()
    assert [line.split("  ")[1] for line in lines[:-1]] == ["starting Redis", "training", "training", "training"]
    assert lines[-1] == "saved a checkpoint"


def test_on_a_terminal_it_is_drawn_at_most_once_a_second() -> None:
    out, clock = io.StringIO(), Clock()
    drawn: list[int] = []
    with Board(Console(file=out, force_terminal=True, width=110, height=40), clock) as board:
        for tick in range(160):
            clock.now_s = tick / 40
            before = len(out.getvalue())
            board.update(TRAINING)
            drawn.append(len(out.getvalue()) > before)
    assert sum(drawn) == 4


@pytest.mark.parametrize(("seconds", "text"), [(0.9, "0:00:00"), (271.0, "0:04:31"), (36_061.0, "10:01:01")])
def test_durations_read_as_clocks(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_without_colours_the_picture_says_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    out = io.StringIO()
    Console(file=out, force_terminal=True, width=80, height=24).print(render(LARGE))
    colours = re.findall(r"\x1b\[([\d;]*)m", out.getvalue())
    assert set(";".join(colours).split(";")) <= {"0", "1", "2", ""}  # bold and dim are no colours
    assert "█" in out.getvalue()


def test_a_terminal_that_can_do_nothing_gets_plain_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "dumb")
    out = io.StringIO()
    with Board(Console(file=out, force_terminal=True, width=80), Clock()) as board:
        board.update(TRAINING)
    assert out.getvalue() == plain_line(TRAINING) + "\n"


@pytest.mark.parametrize("terminal", [True, False])
def test_a_quiet_board_says_nothing(terminal: bool) -> None:
    out = io.StringIO()
    with Board(Console(file=out, force_terminal=terminal), quiet=True) as board:
        board.update(TRAINING)
        board.say("anything")
    assert out.getvalue() == ""


def test_a_plain_line_names_what_is_wrong_and_no_hints() -> None:
    assert plain_line(replace(TRAINING, severity="error", health="no Redis")).endswith("  error: no Redis")
    assert "hint" not in plain_line(replace(TRAINING, severity="hint", health="more workers"))
