"""`quintet eval --save-replay`: which games are kept, where, and that they are the games that were counted."""

from __future__ import annotations

from pathlib import Path

import pytest

from quintet.control.errors import UsageError
from quintet.evaluation.entrants import Scripted
from quintet.evaluation.evaluate import play_match
from quintet.evaluation.replays import replay_folder, replay_name
from quintet.evaluation.request import EvalRequest
from quintet.games.skirmish.replay.file import play, read_replay

STRONG, WEAK = Scripted("bot:strong"), Scripted("bot:weak")


def request(games: int, keep: int, game: str = "skirmish-1v1") -> EvalRequest:
    return EvalRequest(checkpoint="bot:strong", opponent="bot:weak", game=game, games=games, save_replay=keep, seed=4)


def test_the_first_games_are_kept_and_are_those_that_the_verdict_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    played = play_match(STRONG, WEAK, request(4, 3), progress=lambda _: None)
    assert sorted(path.name for path in played.kept) == [
        f"eval-bot-strong-vs-bot-weak-seed4-000{k}.replay" for k in (1, 2, 3)
    ]
    lengths = sorted(result.length for result in played.results)
    for path in sorted(played.kept):
        replay = read_replay(tmp_path / path)
        *_, (_, state) = play(replay)  # an error where it is not the game that was played
        seat = replay.players.index("bot:strong")
        assert replay.players[1 - seat] == "bot:weak"
        assert seat == (int(path.stem[-4:]) - 1) % 2
        results = [result for result in played.results if result.seat == seat and result.length == replay.steps]
        winner = int(state.game[0]["winner"])
        assert [result.outcome for result in results] == [{seat: 1.0, 1 - seat: -1.0}.get(winner, 0.0)]
        lengths.remove(replay.steps)
    assert len(lengths) == 1


def test_what_is_kept_changes_nothing_about_what_is_played(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with_replays, without = (play_match(STRONG, WEAK, request(2, keep), progress=lambda _: None) for keep in (2, 0))
    assert with_replays.results == without.results
    assert (len(with_replays.kept), without.kept) == (2, [])


def test_more_than_is_played_and_other_games_cannot_be_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match="--save-replay is 3; it must be from 0 to --games, 2"):
        play_match(STRONG, WEAK, request(2, 3), progress=lambda _: None)
    with pytest.raises(UsageError, match="only games of skirmish can be kept"):
        play_match(STRONG, WEAK, request(2, 1, "tests.envs.full_spec_game:make_outpost"), progress=lambda _: None)


def test_replays_of_a_checkpoint_go_to_its_run_and_others_beside_it() -> None:
    assert replay_folder(Path("runs/one/checkpoints/000123")) == Path("runs/one/replays")
    assert replay_folder(Path("exported/000123")) == Path("replays")
    assert replay_folder(None) == Path("replays")
    assert replay_name("one 000123", "bot:strong", 1, 0) == "eval-one-000123-vs-bot-strong-seed1-0001.replay"
