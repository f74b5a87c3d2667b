"""Replays: what is written is read, what is damaged is refused with a reason, and a game plays again as it was."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
import pytest
import zstandard

from quintet.games.skirmish.replay import file as replay_module
from quintet.games.skirmish.replay.file import (
    HASH_EVERY,
    MAX_BODY_BYTES,
    GameRecorder,
    Replay,
    ReplayError,
    play,
    read_replay,
    rules_hash,
    write_replay,
)
from quintet.games.skirmish.rules import PRESETS
from quintet.games.skirmish.start import StartOptions, draw_start
from quintet.games.skirmish.state import state_hash

STEPS = 12


def made_up(steps: int = STEPS, preset: str = "skirmish-1v1", **changes: Any) -> Replay:
    """A replay that nobody played: legal numbers, invented hashes."""
    random = np.random.default_rng(3)
    actions = random.integers([0, -1, 0, 0, 0], [25, 37, 9, 9, 10], (steps, 2 * PRESETS[preset].heroes, 5))
    fields: dict[str, Any] = {
        "preset": preset,
        "seed": 2**64 - 5,
        "start": draw_start(StartOptions(preset=PRESETS[preset]), 4),
        "actions": actions.astype(np.int8),
        "players": ("bot:strong", "run 000123"),
        "hashes": tuple(f"{k:016x}" for k in range(2 + steps // HASH_EVERY)),
        "rules": rules_hash(),
    }
    return Replay(**fields | changes)


def packed(content: dict[str, Any], **outer: Any) -> bytes:
    """A file with this content, and with a right checksum unless told otherwise."""
    inside = zstandard.compress(msgpack.packb(content))
    frame = {
        "format": "quintet-replay",
        "version": 1,
        "size": len(inside),
        "sha256": hashlib.sha256(inside).digest(),
        "body": inside,
    }
    data: bytes = msgpack.packb(frame | outer)
    return data


def body_of(path: Path) -> dict[str, Any]:
    body: dict[str, Any] = msgpack.unpackb(zstandard.decompress(msgpack.unpackb(path.read_bytes())["body"]))
    return body


@pytest.mark.parametrize("dtype", [np.int8, np.int16])
@pytest.mark.parametrize("steps", [0, STEPS, HASH_EVERY])
def test_what_is_written_is_read(tmp_path: Path, steps: int, dtype: type) -> None:
    replay = made_up(steps)
    replay = replace(replay, actions=replay.actions.astype(dtype))
    path = tmp_path / "deep" / "game.replay"
    assert write_replay(path, replay) == path.stat().st_size
    found = read_replay(path)
    assert found.actions.dtype == dtype
    assert np.array_equal(found.actions, replay.actions)
    assert found.start.tobytes() == replay.start.tobytes()
    for field in ("preset", "seed", "players", "hashes", "rules"):
        assert getattr(found, field) == getattr(replay, field)
    assert [p.name for p in path.parent.iterdir()] == ["game.replay"], "nothing unfinished is left"


def test_a_long_game_of_five_against_five_takes_a_few_tens_of_kilobytes(tmp_path: Path) -> None:
    """With every head drawn at random in every step, which no player does."""
    assert write_replay(tmp_path / "long.replay", made_up(1500, "skirmish-5v5")) < 60_000


def test_a_file_that_was_cut_short_anywhere_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "game.replay"
    write_replay(path, made_up())
    whole = path.read_bytes()
    for length in range(0, len(whole), 7):
        path.write_bytes(whole[:length])
        with pytest.raises(ReplayError):
            read_replay(path)


def test_a_bit_that_flipped_anywhere_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "game.replay"
    write_replay(path, made_up())
    whole = path.read_bytes()
    for at in range(0, len(whole), 5):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 16]) + whole[at + 1 :])
        with pytest.raises(ReplayError):
            read_replay(path)


@pytest.mark.parametrize(
    ("outer", "message"),
    [
        ({"format": "mp3"}, "is no replay"),
        ({"version": 2}, "version 2; this Quintet reads version 1"),
        ({"size": 3}, "expected 3. The file was cut short"),
        ({"sha256": b"wrong"}, "the file is damaged"),
        ({"body": "text"}, "'body' is str; expected bytes"),
    ],
)
def test_an_envelope_that_is_wrong_says_how(tmp_path: Path, outer: dict[str, Any], message: str) -> None:
    path = tmp_path / "game.replay"
    write_replay(path, made_up())
    path.write_bytes(packed(body_of(path), **outer))
    with pytest.raises(ReplayError, match=message):
        read_replay(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"preset": "skirmish-9v9"}, "the preset is 'skirmish-9v9'; there are skirmish-1v1"),
        ({"seed": -1}, "the seed is -1; expected 64 bits"),
        ({"seed": True}, "'seed' is bool; expected int"),
        ({"players": ["one"]}, "'players' names 1; expected 2"),
        ({"players": [1, 2]}, "'players' holds something else than texts"),
        ({"hashes": []}, "'hashes' has 0; expected 2"),
        ({"dtype": "float64"}, "the actions are 'float64'; expected int8 or int16"),
        ({"shape": [STEPS, 3, 5]}, r"shape \[12, 3, 5\]; expected \[steps, 2, 5\]"),
        ({"shape": [STEPS + 1, 2, 5]}, "120 bytes; expected 130 for 13 steps"),
        ({"shape": [-1, 2, 5]}, "expected -10 for -1 steps"),
        ({"actions": b"\x7f" * STEPS * 10}, "part 0 of the actions goes from 127 to 127; expected 0 to 24"),
        ({"actions": b"\xfe" * STEPS * 10}, "part 0 of the actions goes from -2"),
        ({"start": {}}, "'start' has ; expected archetype"),
        ({"more": 1}, "unknown fields: more"),
    ],
)
def test_a_body_that_cannot_be_says_what_was_found(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    path = tmp_path / "game.replay"
    write_replay(path, made_up())
    path.write_bytes(packed(body_of(path) | change))
    with pytest.raises(ReplayError, match=message):
        read_replay(path)


@pytest.mark.parametrize(
    "change",
    [
        {"level": 99},
        {"archetype": [[9] * 5] * 2},
        {"archetype": [1]},
        {"first_wave": -4},
        {"rune_kinds": 16},
        {"level": "x"},
    ],
)
def test_a_start_that_the_engine_could_not_use_is_refused(tmp_path: Path, change: dict[str, Any]) -> None:
    path = tmp_path / "game.replay"
    write_replay(path, made_up())
    body = body_of(path)
    path.write_bytes(packed(body | {"start": body["start"] | change}))
    with pytest.raises(ReplayError, match="'start' has"):
        read_replay(path)


def test_a_small_file_that_would_unpack_to_much_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    path = tmp_path / "bomb.replay"
    bomb = zstandard.compress(b"\0" * (MAX_BODY_BYTES + 1))
    path.write_bytes(packed({}, body=bomb, size=len(bomb), sha256=hashlib.sha256(bomb).digest()))
    assert path.stat().st_size < 100_000
    with pytest.raises(ReplayError, match=r"unpacks to 67,108,865 bytes"):
        read_replay(path)


def test_a_large_file_is_refused_unread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replay_module, "MAX_FILE_BYTES", 100)
    path = tmp_path / "large.replay"
    path.write_bytes(b"x" * 101)
    with pytest.raises(ReplayError, match="101 bytes; a replay has at most 100"):
        read_replay(path)


def test_no_file_is_an_error_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(ReplayError, match=r"cannot read the replay .*none.replay: No such file"):
        read_replay(tmp_path / "none.replay")


def test_other_rules_are_refused_before_anything_is_played() -> None:
    with pytest.raises(ReplayError, match=f"by the rules 0123456789abcdef, these are {rules_hash()}"):
        next(play(made_up(rules="0123456789abcdef")))


def test_the_rules_hash_is_over_every_number(monkeypatch: pytest.MonkeyPatch) -> None:
    from quintet.games.skirmish import rules

    before = rules_hash()
    monkeypatch.setattr(rules, "PASSIVE_GOLD_S", rules.PASSIVE_GOLD_S + 0.001)
    rules_hash.cache_clear()
    changed = rules_hash()
    monkeypatch.undo()
    rules_hash.cache_clear()
    assert rules_hash() == before != changed


@pytest.fixture(scope="module")
def recorded() -> tuple[Replay, str]:
    """A little more than HASH_EVERY steps of a real game, and the hash of its state after them."""
    from quintet.games.skirmish.game import make_skirmish

    game = make_skirmish(PRESETS["skirmish-1v1"], 2, 0, line_up="random", start_level=[1, 5], rune_kinds="random")
    game.reset(9)
    recorder = GameRecorder(
        "skirmish-1v1", int(game.seeds[1]), game.starts[1], game.state, 1, ("bot:strong", "bot:middle")
    )
    for _ in range(HASH_EVERY + 10):
        strong, middle = game.bot_actions("strong"), game.bot_actions("middle")
        game.step({head: np.stack([strong[head][:, 0], middle[head][:, 1]], axis=1) for head in strong})
        recorder.add(game.played[1], game.state, 1)
    return recorder.replay(game.state, 1), state_hash(game.state, 1)


def test_a_recorded_game_plays_again_to_the_same_state(recorded: tuple[Replay, str], tmp_path: Path) -> None:
    replay, expected = recorded
    assert replay.steps == HASH_EVERY + 10
    write_replay(tmp_path / "game.replay", replay)
    again = read_replay(tmp_path / "game.replay")
    hashes = [state_hash(state, 0) for _, state in play(again)]
    assert len(hashes) == replay.steps + 1
    assert hashes[-1] == expected == replay.hashes[-1]
    assert len(set(hashes)) == len(hashes), "something happened in every step"


def test_an_action_that_was_changed_is_noticed(recorded: tuple[Replay, str]) -> None:
    replay, _ = recorded
    actions = replay.actions.copy()
    actions[100:120, 0] = [1, -1, 0, 0, 0]
    assert not np.array_equal(actions, replay.actions)
    with pytest.raises(ReplayError, match=f"at or before step {HASH_EVERY}: .*The engine has changed"):
        list(play(replace(replay, actions=actions)))


def test_another_seed_or_start_is_noticed_at_once(recorded: tuple[Replay, str]) -> None:
    replay, _ = recorded
    start = replay.start.copy()
    start["level"] = 10 - start["level"]
    for other in (replace(replay, seed=replay.seed ^ 1), replace(replay, start=start)):
        with pytest.raises(ReplayError, match="at or before step 0"):
            next(play(other))
