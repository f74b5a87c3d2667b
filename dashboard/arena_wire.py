"""How the dashboard and the Arena's player talk: msgpack maps, each after its length, over the player's two pipes."""

from __future__ import annotations

import struct
from asyncio import StreamReader
from typing import IO, Any

import msgpack

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
