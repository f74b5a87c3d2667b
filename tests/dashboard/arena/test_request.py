"""What a browser may ask the Arena for, and what it is refused."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from quintet.dashboard.arena.request import ArenaError, list_checkpoints, list_replays, read_request, request_from


def test_an_empty_query_is_the_newest_policy_against_itself(tmp_path: Path) -> None:
    found = read_request({}, folder=tmp_path, redis_url="redis://:secret@host:1")
    assert (found.player, found.opponent, found.replay, found.greedy, found.seed) == ("newest", "itself", "", False, 1)
    assert found.path == tmp_path.resolve()


def test_equal_shows_have_equal_keys_and_others_other_ones(tmp_path: Path) -> None:
    def key(**told: str) -> str:
        return read_request(told, folder=tmp_path, redis_url="").key

    assert key(opponent="bot:strong") == key(opponent="bot:strong")
    assert len({key(), key(opponent="bot:strong"), key(greedy="1"), key(seed="2"), key(player="000123")}) == 5


@pytest.mark.parametrize(
    ("told", "words"),
    [
        ({"player": "../../etc"}, "a checkpoint's number"),
        ({"opponent": "bot:"}, "bot:NAME or a checkpoint"),
        ({"opponent": "/etc/passwd"}, "bot:NAME or a checkpoint"),
        ({"replay": "../one.replay"}, "not the name of a file"),
        ({"replay": "a/b.replay"}, "not the name of a file"),
        ({"replay": ".hidden.replay"}, "not the name of a file"),
        ({"replay": "config.toml"}, "not the name of a file"),
        ({"seed": "one"}, "expected a whole number"),
        ({"seed": "-1"}, "must be from 0 to"),
    ],
)
def test_what_cannot_be_shown_is_refused_with_a_reason(told: dict[str, str], words: str, tmp_path: Path) -> None:
    with pytest.raises(ArenaError, match=words):
        read_request(told, folder=tmp_path, redis_url="")


def test_a_message_with_unknown_fields_is_no_show(tmp_path: Path) -> None:
    with pytest.raises(ArenaError, match="that is no show"):
        request_from({"folder": str(tmp_path), "command": "rm"})


def test_checkpoints_and_replays_are_listed_newest_first_and_nothing_else_is(tmp_path: Path) -> None:
    for name in ("000009", "000120", "000031", "backup"):
        (tmp_path / "checkpoints" / name).mkdir(parents=True)
        (tmp_path / "checkpoints" / name / "checkpoint.json").touch()
    (tmp_path / "checkpoints" / "000777").mkdir()  # half written
    assert list_checkpoints(tmp_path) == ["000120", "000031", "000009"]
    (tmp_path / "replays").mkdir()
    for age, name in enumerate(("b.replay", "a.replay", ".c.replay.99", "notes.txt")):
        (tmp_path / "replays" / name).touch()
        os.utime(tmp_path / "replays" / name, (1000 - age, 1000 - age))
    assert list_replays(tmp_path) == ["b.replay", "a.replay"]
    assert list_checkpoints(tmp_path / "none") == list_replays(tmp_path / "none") == []
