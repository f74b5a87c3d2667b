"""Requests to change settings on Redis: a stream that is read from one's own place in it."""

# ruff: noqa: D102  (what each method promises is said once, in the protocol of quintet.wire.settings)

from __future__ import annotations

from collections.abc import Mapping

from quintet.wire.errors import DecodeError
from quintet.wire.redis_link import scripts
from quintet.wire.redis_link.client import RedisServer, pairs
from quintet.wire.redis_link.keys import RunKeys
from quintet.wire.settings import (
    REQUESTS_KEPT,
    Setting,
    SettingsChannel,
    decode_request,
    encode_request,
    in_order,
    too_many_requests,
)


class RedisSettings(SettingsChannel):
    """Asked for by people, read by optimizer and controller."""

    def __init__(self, server: RedisServer, run: str) -> None:
        self._server = server
        self._keys = RunKeys(run)

    def request_settings(self, changes: Mapping[str, str], by: str) -> str:
        entry_id: bytes = self._server.run(
            scripts.REQUEST_SETTINGS, [self._keys.settings], [REQUESTS_KEPT, encode_request(changes, by)]
        )
        if not entry_id:
            raise too_many_requests()
        return entry_id.decode()

    def settings(self, after: str) -> list[Setting]:
        answer = self._server.command("XREAD", "COUNT", REQUESTS_KEPT, "STREAMS", self._keys.settings, after)
        found = []
        for entry_id, flat in answer[0][1] if answer else []:
            try:
                found.append(decode_request(entry_id.decode(), pairs(flat).get(b"request", b"")))
            except (DecodeError, UnicodeDecodeError):  # nobody of ours wrote it, and nobody can carry it out
                continue
        return found

    def drop_settings(self, through: str) -> None:
        milliseconds, number = in_order(through)
        self._server.command("XTRIM", self._keys.settings, "MINID", f"{milliseconds}-{number + 1}")
