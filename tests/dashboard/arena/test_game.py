"""Games in the Arena: who sits where, what frames say, whose weights play; and replays that are those very games."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from quintet.dashboard.arena.frame import encode
from quintet.dashboard.arena.game import Game
from quintet.dashboard.arena.recording import Recording
from quintet.dashboard.arena.request import ArenaError, StreamRequest
from quintet.games.api import GameWithPictures
from quintet.games.skirmish.replay.file import GameRecorder, write_replay
from quintet.games.skirmish.rules import PRESETS, REWARD_NAMES
from quintet.optimizer.checkpoint import CheckpointError
from tests.support.arena_run import OUTPOST, SKIRMISH, arena_run
from tests.support.needs import extra


def frames(game: Game, count: int) -> list[dict[str, Any]]:
    return [game.next() for _ in range(count)]


def test_games_follow_one_another_and_every_frame_is_plain_json(tmp_path: Path) -> None:
    game = Game(StreamRequest(folder=str(arena_run(tmp_path, OUTPOST))))
    seen = frames(game, 40)
    assert {"heads", "bots", "teams"} <= set(json.loads(encode(game.setting)))
    for before, now in pairwise(seen):
        assert json.loads(encode(now))["game"] == now["game"]
        assert now["first"] == before["last"]
        assert now["game"] == before["game"] + now["first"]
        assert now["step"] == (0 if now["first"] else before["step"] + 1)
        for old, new in zip(before["agents"], now["agents"], strict=True):
            assert new["total"] == pytest.approx((0 if now["first"] else old["total"]) + new["reward"], abs=1e-3)
    assert sum(frame["last"] for frame in seen) >= 3
    assert all(agent["mind"] for frame in seen for agent in frame["agents"])
    assert seen[0]["players"] == ["untrained", "untrained"]


def test_against_a_bot_the_policy_changes_seats_and_only_it_thinks(tmp_path: Path) -> None:
    folder = str(arena_run(tmp_path, OUTPOST, 7))
    for opponent in ("bot:eager", "random"):
        game = Game(StreamRequest(folder=folder, opponent=opponent))
        for frame in frames(game, 40):
            seat = frame["game"] % 2
            assert frame["players"][seat] == "version 7"
            assert frame["players"][1 - seat] == opponent
            traced = [agent["mind"] is not None for agent in frame["agents"]]
            assert traced == [seat == 0] * 2 + [seat == 1] * 2


def test_two_checkpoints_play_each_other_and_think_different_things(tmp_path: Path) -> None:
    folder = arena_run(tmp_path, OUTPOST, 3, 12)
    game = Game(StreamRequest(folder=str(folder), opponent="000003", player="000012"))
    assert game.setting["checkpoints"] == ["000012", "000003"]
    frame = game.next()
    assert frame["players"] == ["version 12", "version 3"]
    same = Game(StreamRequest(folder=str(folder), player="000012")).next()
    assert frame["agents"][0]["mind"]["value"] == pytest.approx(same["agents"][0]["mind"]["value"], abs=1e-5)
    assert frame["agents"][2]["mind"]["value"] != pytest.approx(same["agents"][2]["mind"]["value"], abs=1e-5)


@pytest.mark.slow
def test_the_newest_checkpoint_plays_where_the_run_is_not_alive(tmp_path: Path) -> None:
    game = Game(StreamRequest(folder=str(arena_run(tmp_path, OUTPOST, 3, 12)), redis_url="redis://:x@127.0.0.1:1"))
    frame = game.next()
    assert (frame["version"], frame["origin"]) == (12, "checkpoint 000012")
    game.close()


def test_what_cannot_be_played_says_why(tmp_path: Path) -> None:
    folder = arena_run(tmp_path / "one", OUTPOST, 3)
    with pytest.raises(ArenaError, match="cannot be read"):
        Game(StreamRequest(folder=str(tmp_path / "none")))
    with pytest.raises(ArenaError, match="has no bot:clever; its bots: lazy, eager"):
        Game(StreamRequest(folder=str(folder), opponent="bot:clever"))
    with pytest.raises(CheckpointError, match="000009"):
        Game(StreamRequest(folder=str(folder), player="000009"))
    (folder / "config.toml").write_text(
        (folder / "config.toml").read_text().replace("lstm_units = 8", "lstm_units = 16")
    )
    with pytest.raises(ArenaError, match="lstm_units is 8 there and 16 here"):
        Game(StreamRequest(folder=str(folder), player="000003"))
    alone = arena_run(tmp_path / "alone", 'game = "gymnasium:CartPole-v1"\n[model]\nlstm_units = 8\n')
    with pytest.raises(ArenaError, match="nobody to play against"):
        Game(StreamRequest(folder=str(alone), opponent="random"))


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")  # pygame's own, when it is imported
def test_other_games_show_the_pictures_that_they_draw(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    extra("pygame", "pettingzoo")
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    game = Game(
        StreamRequest(folder=str(arena_run(tmp_path, 'game = "gymnasium:CartPole-v1"\n[model]\nlstm_units = 8\n')))
    )
    first, second = frames(game, 2)
    assert first["picture"].startswith("data:image/webp;base64,")
    assert first["picture"] != second["picture"]
    assert isinstance(game.game, GameWithPictures)
    picture = game.game.picture()
    assert picture is not None
    assert picture.shape == (400, 600, 3)
    game.close()


def test_a_game_that_cannot_draw_has_no_picture_and_is_shown_all_the_same(tmp_path: Path) -> None:
    game = Game(StreamRequest(folder=str(arena_run(tmp_path, OUTPOST))))
    frame = game.next()
    assert "picture" not in frame
    assert "scene" not in frame
    assert not game.setting["pictures"]


def recorded(folder: Path, steps: int) -> tuple[list[dict[str, Any]], str]:
    """The first steps of a live session of skirmish, and the name of a replay of exactly these."""
    game = Game(StreamRequest(folder=str(folder), greedy=True))
    assert game.skirmish is not None
    sim = game.skirmish
    recorder = GameRecorder("skirmish-1v1", int(sim.seeds[0]), sim.starts[0], sim.state, 0, ("version 4", "version 4"))
    seen = [game.next()]
    for _ in range(steps):
        seen.append(game.next())
        recorder.add(sim.played[0], sim.state, 0)
    write_replay(folder / "replays" / "one.replay", recorder.replay(sim.state, 0))
    return seen, "one.replay"


@pytest.mark.slow
def test_a_replay_shows_the_very_game_and_the_thoughts_that_were_thought_in_it(tmp_path: Path) -> None:
    folder = arena_run(tmp_path, SKIRMISH, 4)
    live, name = recorded(folder, 70)
    session = Recording(StreamRequest(folder=str(folder), replay=name))
    assert session.setting["steps"] == 70
    again = [session.next() for _ in range(71)]
    assert session.next() is None
    for step, (was, now) in enumerate(zip(live, again, strict=True)):
        assert now is not None
        assert now["scene"] == was["scene"], step
        assert now["slots"] == was["slots"], step
        assert now["last"] == (step == 70)
        for a, b in zip(was["agents"], now["agents"], strict=True):
            assert b["total"] == pytest.approx(a["total"], abs=1e-3)
            assert b["sums"] == pytest.approx(a["sums"], abs=1e-5)
            assert b["mind"]["value"] == pytest.approx(a["mind"]["value"], rel=1e-3, abs=1e-4)
            if step < 70 and a["acting"]:
                assert b["mind"]["heads"]["primary"] == a["mind"]["heads"]["primary"]
                assert b["action"]["primary"] == a["action"]["primary"]


def test_a_scene_holds_what_the_state_holds_and_what_each_team_sees(tmp_path: Path) -> None:
    game = Game(StreamRequest(folder=str(arena_run(tmp_path, SKIRMISH)), opponent="bot:middle"))
    assert game.skirmish is not None
    state, layout = game.skirmish.state, game.skirmish.tables.layout
    for _ in range(40):  # one by one: the state changes in place
        frame = game.next()
        units = {row[0]: row for row in frame["scene"]["units"]}
        alive = np.flatnonzero(state.unit[0]["alive"]).tolist()
        assert {u for u, row in units.items() if row[6]} == set(alive)
        for u in alive:
            unit = state.unit[0][u]
            assert units[u][1:3] == [unit["kind"], unit["team"]]
            assert units[u][3:5] == [round(float(unit["x"])), round(float(unit["y"]))]
            assert [bool(units[u][7] >> team & 1) for team in range(2)] == unit["seen"].astype(bool).tolist()
        assert [hero["level"] for hero in frame["scene"]["heroes"]] == state.hero[0]["level"].tolist()
        for slots in frame["slots"]:  # both see their own hero, first
            assert slots[0] in (0, layout.block)
    parts = np.array([agent["parts"] for agent in frame["agents"]])
    assert parts.shape == (2, len(REWARD_NAMES))


def test_rewards_of_a_step_add_up_to_those_of_the_game(tmp_path: Path) -> None:
    game = Game(StreamRequest(folder=str(arena_run(tmp_path, SKIRMISH)), opponent="bot:strong", seed=3))
    seen = frames(game, 90)
    for agent in range(2):
        parts = np.sum([frame["agents"][agent]["parts"] for frame in seen if frame["game"] == 0], axis=0)
        assert parts == pytest.approx(seen[-1]["agents"][agent]["sums"], abs=1e-3)
        assert np.abs(parts).sum() > 0
    last = seen[-1]["agents"]
    own = [sum(agent["sums"]) for agent in last]
    assert last[0]["total"] == pytest.approx(own[0] - own[1], abs=2e-3)


def test_a_replay_of_another_game_than_the_runs_is_shown_without_thoughts(tmp_path: Path) -> None:
    _, name = recorded(arena_run(tmp_path / "run", SKIRMISH, 4), 3)
    other = arena_run(tmp_path / "other", SKIRMISH.replace("1v1", "3v3"))
    (other / "replays").mkdir()
    (tmp_path / "run" / "replays" / name).rename(other / "replays" / name)
    frame = Recording(StreamRequest(folder=str(other), replay=name)).next()
    assert frame is not None
    assert frame["origin"] == "no checkpoint, no thoughts"
    assert len(frame["scene"]["heroes"]) == 2 * PRESETS["skirmish-1v1"].heroes
    with pytest.raises(ArenaError, match="plays skirmish-3v3"):
        Recording(StreamRequest(folder=str(other), replay=name, player="000004"))
