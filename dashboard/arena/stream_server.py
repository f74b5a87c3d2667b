"""The dashboard's side of the Arena: starts the player while somebody watches, and keeps the frames that all share."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import secrets
import struct
import sys
import time
from asyncio import StreamReader
from asyncio.subprocess import PIPE, Process
from collections import deque
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, Any

import msgpack

from quintet.dashboard.arena.request import ArenaError, StreamRequest

MOST_BYTES = 64 * 2**20
_LENGTH = struct.Struct("<I")


class BrokenTalkError(Exception):
    """The other side is gone, or speaks something else."""


def packed(message: dict[str, Any]) -> bytes:
    """A message as it travels."""
    body: bytes = msgpack.packb(message)
    return _LENGTH.pack(len(body)) + body


def _unpacked(body: bytes) -> dict[str, Any]:
    try:
        message = msgpack.unpackb(body, strict_map_key=True)
    except (ValueError, msgpack.exceptions.UnpackException) as error:
        raise BrokenTalkError(f"a message is not msgpack ({error})") from error
    if not isinstance(message, dict):
        raise BrokenTalkError(f"a message is a {type(message).__name__}; expected a map")
    return message


def _checked(length: bytes) -> int:
    size = int(_LENGTH.unpack(length)[0])
    if size > MOST_BYTES:
        raise BrokenTalkError(f"a message has {size:,} bytes; at most {MOST_BYTES:,} are read")
    return size


def receive(pipe: IO[bytes]) -> dict[str, Any] | None:
    """The next message; None when the other side has closed the pipe.

    Raises:
        BrokenTalkError: something else than a message came.
    """
    length = pipe.read(_LENGTH.size)
    if len(length) < _LENGTH.size:
        return None
    return _unpacked(pipe.read(_checked(length)))


async def receive_async(pipe: StreamReader) -> dict[str, Any]:
    """The next message.

    Raises:
        BrokenTalkError: something else than a message came.
        asyncio.IncompleteReadError: the other side has closed the pipe.
    """
    length = await pipe.readexactly(_LENGTH.size)
    return _unpacked(await pipe.readexactly(_checked(length)))


IDLE_S = 30.0  # after so long without a question, nobody watches
MOST_SESSIONS = 4  # at a time; the one that was asked for longest ago makes room
RING_FRAMES = 600  # of a game that goes on; a replay is kept whole
ANSWER_S = 0.4  # the player stops an answer after so long
LOOK_S = 1.0
GIVE_UP_S = 300.0  # for one answer: beside a training that uses every core, the player alone takes a minute to start
COMMAND = (sys.executable, "-m", "quintet.dashboard.arena.player")
ROOT = Path(__file__).absolute().parents[3]


@dataclass(frozen=True, slots=True)
class Frames:
    """An answer to a browser: frames `first`, `first` + 1 ... of one session."""

    epoch: str  # another one means another session: forget what you have
    first: int
    frames: list[bytes]  # JSON
    made: int  # how many there are so far
    done: bool


@dataclass(slots=True)
class _Session:
    """What was asked for, while it is on: all who ask for the same share it."""

    setting: bytes
    epoch: str
    frames: deque[bytes]
    made: int = 0
    done: bool = False
    asked_at: float = field(default_factory=time.monotonic)

    @property
    def oldest(self) -> int:
        return self.made - len(self.frames)


class StreamServer:
    """All viewers of one dashboard share it, and its one player."""

    def __init__(self, *, command: tuple[str, ...] = COMMAND, idle_s: float = IDLE_S) -> None:
        self.command, self.idle_s = command, idle_s
        self._sessions: dict[str, _Session] = {}
        self._process: Process | None = None
        self._turn = asyncio.Lock()  # the player answers one question at a time
        self._asked_at = time.monotonic()
        self._watchdog: asyncio.Task[None] | None = None

    @property
    def playing(self) -> bool:
        """Whether there is a player now."""
        return self._process is not None and self._process.returncode is None

    async def open(self, request: StreamRequest) -> tuple[bytes, str]:
        """The session's setting as JSON and its epoch; begins it if it is not on.

        Raises:
            ArenaError: it cannot be shown, and why.
        """
        async with self._turn:
            session = await self._session(request)
            return session.setting, session.epoch

    async def frames(self, request: StreamRequest, *, after: int, most: int) -> Frames:
        """Frames after number `after`; -1 means from the beginning of what is there, and for a live game from now.

        Plays on only when there are none yet. `most` 0 plays nothing: it says that somebody still watches.

        Raises:
            ArenaError: it cannot be shown, and why.
        """
        async with self._turn:
            session = await self._session(request)
            live = not request.replay
            if after < 0 and live:
                after = session.made - 2  # the newest frame, so that there is something to look at
            start = max(after + 1, session.oldest)
            if start >= session.made and not session.done and most > 0:
                await self._play_on(request, session, most)
                start = max(after + 1, session.oldest)
            begin = start - session.oldest
            chosen = list(session.frames)[begin : begin + most] if begin < len(session.frames) else []
            return Frames(epoch=session.epoch, first=start, frames=chosen, made=session.made, done=session.done)

    async def close(self) -> None:
        """End the player."""
        async with self._turn:
            await self._stop()
        if self._watchdog is not None:
            self._watchdog.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._watchdog

    async def _session(self, request: StreamRequest) -> _Session:
        self._asked_at = time.monotonic()
        session = self._sessions.get(request.key) if self.playing else None
        if session is None:
            await self._make_room()
            answer = await self._ask({"ask": "open", "show": asdict(request)})
            frames: deque[bytes] = deque(maxlen=None if request.replay else RING_FRAMES)
            session = _Session(answer["setting"], secrets.token_hex(4), frames)
            self._sessions[request.key] = session
        session.asked_at = time.monotonic()
        return session

    async def _make_room(self) -> None:
        while len(self._sessions) >= MOST_SESSIONS:
            key = min(self._sessions, key=lambda key: self._sessions[key].asked_at)
            await self._ask({"ask": "drop", "show": _fields(key)})
            self._sessions.pop(key, None)

    async def _play_on(self, request: StreamRequest, session: _Session, most: int) -> None:
        answer = await self._ask({"ask": "more", "show": asdict(request), "most": most, "for_s": ANSWER_S})
        session.frames.extend(answer["frames"])
        session.made += len(answer["frames"])
        session.done = answer["done"]

    async def _ask(self, question: dict[str, Any]) -> dict[str, Any]:
        """One question, one answer; starts the player if there is none.

        Raises:
            ArenaError: the player says why not, or it has ended.
        """
        process = await self._started()
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(packed(question))
            await process.stdin.drain()
            answer = await asyncio.wait_for(receive_async(process.stdout), GIVE_UP_S)
        except (OSError, EOFError, BrokenTalkError, TimeoutError) as error:
            # Also on a cancelled question the answer would stay in the pipe, for the next one to be confused with.
            await self._stop()
            raise ArenaError(
                f"the Arena's player stopped ({type(error).__name__}); ask again to start another"
            ) from error
        except asyncio.CancelledError:
            await self._stop()
            raise
        self._asked_at = time.monotonic()  # whoever waited that long is still there
        if "error" in answer:
            raise ArenaError(answer["error"])
        return answer

    async def _started(self) -> Process:
        if self._process is None or self._process.returncode is not None:
            self._sessions.clear()
            self._process = await asyncio.create_subprocess_exec(
                *self.command, stdin=PIPE, stdout=PIPE, env=_environment(), start_new_session=True
            )
            if self._watchdog is None or self._watchdog.done():
                self._watchdog = asyncio.create_task(self._watch())
        return self._process

    async def _watch(self) -> None:
        """End the player when nobody has asked for a while."""
        while self.playing:
            await asyncio.sleep(min(LOOK_S, self.idle_s))
            if time.monotonic() - self._asked_at >= self.idle_s:
                async with self._turn:
                    if time.monotonic() - self._asked_at >= self.idle_s:
                        await self._stop()

    async def _stop(self) -> None:
        process, self._process = self._process, None
        self._sessions.clear()
        if process is not None and process.returncode is None:
            process.kill()
            await process.wait()


def _environment() -> dict[str, str]:
    """Our own, in which the player finds this code wherever it was started."""
    places = [str(ROOT), os.environ.get("PYTHONPATH", "")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, places))}


def _fields(key: str) -> dict[str, Any]:
    fields: dict[str, Any] = json.loads(key)
    return fields
