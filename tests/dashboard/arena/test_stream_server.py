"""The player is there while somebody watches; viewers of one session share its frames; what breaks says so."""

from __future__ import annotations

import asyncio
import io
import json
import sys
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from quintet.dashboard.arena.player import serve
from quintet.dashboard.arena.request import ArenaError, StreamRequest
from quintet.dashboard.arena.stream_server import (
    MOST_SESSIONS,
    RING_FRAMES,
    BrokenTalkError,
    StreamServer,
    packed,
    receive,
)
from tests.support.arena_run import OUTPOST, arena_run

# A player that counts: frame n of a session is the number n. It ends a replay after 50, and exits at the seed 13.
COUNTER = """
import sys
from quintet.dashboard.arena.stream_server import packed, receive
made = {}
while (question := receive(sys.stdin.buffer)) is not None:
    key, ask = str(sorted(question["show"].items())), question["ask"]
    if question["show"]["seed"] == 13:
        sys.exit(3)
    if ask == "open":
        made[key] = 0
        known = question["show"]["opponent"] != "bot:none"
        answer = {"setting": b'{"kind":"count"}'} if known else {"error": "no such bot"}
    elif ask == "drop":
        answer = {} if made.pop(key, None) is not None else {"error": "that was not on"}
    else:
        most = question["most"]
        if question["show"]["replay"]:
            most = min(most, 50 - made[key])
        answer = {"frames": [b"%d" % n for n in range(made[key], made[key] + most)], "done": False}
        made[key] += most
        answer["done"] = bool(question["show"]["replay"]) and made[key] == 50
    sys.stdout.buffer.write(packed(answer))
    sys.stdout.buffer.flush()
"""
LIVE = StreamRequest(folder="/runs/one")


def with_server(test: Callable[[StreamServer], Awaitable[None]], *, idle_s: float = 60.0) -> None:
    async def carry_out() -> None:
        server = StreamServer(command=(sys.executable, "-c", COUNTER), idle_s=idle_s)
        try:
            await test(server)
        finally:
            await server.close()

    asyncio.run(carry_out())


def numbers(frames: list[bytes]) -> list[int]:
    return [int(frame) for frame in frames]


def test_nothing_is_played_before_somebody_asks_and_then_only_what_is_asked_for() -> None:
    async def look(server: StreamServer) -> None:
        assert [server.playing] == [False]
        setting, epoch = await server.open(LIVE)
        assert server.playing
        assert json.loads(setting) == {"kind": "count"}
        found = await server.frames(LIVE, after=-1, most=5)
        assert (found.first, numbers(found.frames), found.epoch) == (0, [0, 1, 2, 3, 4], epoch)
        found = await server.frames(LIVE, after=4, most=0)
        assert (found.frames, found.made) == ([], 5)

    with_server(look)


def test_a_second_viewer_begins_at_the_newest_frame_and_shares_what_the_first_has_asked_for() -> None:
    async def look(server: StreamServer) -> None:
        await server.frames(LIVE, after=-1, most=10)
        assert (await server.frames(LIVE, after=-1, most=10)).first == 9
        await server.frames(LIVE, after=9, most=10)
        shared = await server.frames(LIVE, after=9, most=4)
        assert numbers(shared.frames) == [10, 11, 12, 13]
        assert shared.made == 20

    with_server(look)


def test_who_comes_too_late_goes_on_where_the_ring_begins() -> None:
    async def look(server: StreamServer) -> None:
        after = -1
        while after < RING_FRAMES + 100:
            found = await server.frames(LIVE, after=after, most=200)
            after = found.first + len(found.frames) - 1
        late = await server.frames(LIVE, after=3, most=2)
        assert late.first == found.made - RING_FRAMES
        assert numbers(late.frames) == [late.first, late.first + 1]

    with_server(look)


def test_a_replay_is_kept_whole_and_ends() -> None:
    async def look(server: StreamServer) -> None:
        wanted = StreamRequest(folder="/runs/one", replay="a.replay")
        first = await server.frames(wanted, after=-1, most=40)
        rest = await server.frames(wanted, after=39, most=40)
        assert (first.done, rest.done) == (False, True)
        assert numbers(first.frames + rest.frames) == list(range(50))
        again = await server.frames(wanted, after=-1, most=100)
        assert numbers(again.frames) == list(range(50))
        assert numbers((await server.frames(wanted, after=49, most=10)).frames) == []

    with_server(look)


def test_the_session_that_was_asked_for_longest_ago_makes_room() -> None:
    async def look(server: StreamServer) -> None:
        requests = [StreamRequest(folder="/runs/one", seed=seed) for seed in range(100, 100 + MOST_SESSIONS + 1)]
        epochs = [(await server.open(request))[1] for request in requests]
        assert len(set(epochs)) == MOST_SESSIONS + 1
        assert (await server.open(requests[-1]))[1] == epochs[-1]
        assert (await server.open(requests[0]))[1] != epochs[0]  # it was dropped, and begins anew

    with_server(look)


def test_the_player_ends_when_nobody_asks_any_more_and_comes_back_with_the_next_one() -> None:
    async def look(server: StreamServer) -> None:
        _, epoch = await server.open(LIVE)
        while server.playing:
            await asyncio.sleep(0.05)
        again = await server.frames(LIVE, after=30, most=3)
        assert again.epoch != epoch
        assert server.playing

    with_server(look, idle_s=0.3)


def test_what_cannot_be_shown_and_a_player_that_exits_are_said() -> None:
    async def look(server: StreamServer) -> None:
        with pytest.raises(ArenaError, match="no such bot"):
            await server.open(StreamRequest(folder="/runs/one", opponent="bot:none"))
        _, epoch = await server.open(LIVE)
        with pytest.raises(ArenaError, match=r"stopped .* ask again"):
            await server.open(StreamRequest(folder="/runs/one", seed=13))
        assert not server.playing
        assert (await server.frames(LIVE, after=-1, most=1)).epoch != epoch

    with_server(look)


def ask(*questions: dict[str, Any]) -> list[dict[str, Any]]:
    """What the real player answers, over pipes that are only memory."""
    answers = io.BytesIO()
    serve(io.BytesIO(b"".join(packed(question) for question in questions)), answers)
    answers.seek(0)
    return [answer for _ in questions if (answer := receive(answers)) is not None]


def test_the_player_opens_plays_drops_and_answers_errors_in_one_line(tmp_path: Path) -> None:
    wanted = asdict(StreamRequest(folder=str(arena_run(tmp_path, OUTPOST))))
    more = {"ask": "more", "show": wanted, "most": 3, "for_s": 60.0}
    unopened, opened, frames, brief, dropped, gone, lost = ask(
        more, {"ask": "open", "show": wanted}, more, {**more, "most": 50, "for_s": 0.0},
        {"ask": "drop", "show": wanted},
        more,
        {"ask": "open", "show": {**wanted, "folder": str(tmp_path / "none")}},
    )  # fmt: skip
    assert unopened == gone == {"error": "this show is not on; open it again"}
    assert json.loads(opened["setting"])["teams"] == 2
    assert [json.loads(frame)["step"] for frame in frames["frames"]] == [0, 1, 2]
    assert len(brief["frames"]) == 1  # no time is left after the first
    assert dropped == {}
    assert "cannot be read" in lost["error"]
    assert "\n" not in lost["error"]


def test_what_is_no_message_is_told_from_a_pipe_that_was_closed() -> None:
    assert receive(io.BytesIO(b"")) is None
    with pytest.raises(BrokenTalkError, match="at most"):
        receive(io.BytesIO(b"\xff\xff\xff\xff"))
    with pytest.raises(BrokenTalkError, match="expected a map"):
        receive(io.BytesIO(b"\x01\x00\x00\x00\x05"))


def test_the_page_answers_only_to_pages_that_are_open(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from quintet.dashboard.pages import arena

    async def carry_out() -> None:
        server = StreamServer(command=(sys.executable, "-c", COUNTER))
        monkeypatch.setattr(arena, "server", server)
        place = SimpleNamespace(redis_url=None)
        page = SimpleNamespace(folder=tmp_path, watch=SimpleNamespace(place=place))
        monkeypatch.setitem(arena._tickets, "mine", page)

        async def get(what: str, **query: str) -> tuple[int, Any]:
            response = await arena.answer(what, SimpleNamespace(query_params=query))  # type: ignore[arg-type]
            return response.status_code, json.loads(bytes(response.body))

        try:
            status, opened = await get("open", ticket="mine")
            assert (status, opened["setting"]) == (200, {"kind": "count"})
            status, found = await get("frames", ticket="mine", after="-1", most="3")
            assert (status, found["frames"], found["epoch"]) == (200, [0, 1, 2], opened["epoch"])
            assert (await get("open", ticket="theirs"))[0] == 404
            assert (await get("secrets", ticket="mine"))[0] == 404
            assert "whole number" in (await get("frames", ticket="mine", after="x"))[1]["error"]
            assert "not the name of a file" in (await get("open", ticket="mine", replay="../x.replay"))[1]["error"]
        finally:
            await server.close()

    asyncio.run(carry_out())
