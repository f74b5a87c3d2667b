"""Requests to change settings of a run that goes on: what they say, and as bytes.

A request is a few keys of the configuration with their new values as text. The configuration in force is the one that
the run was opened with, and every request since, in order; whoever needs it reads both.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import msgpack

from quintet.wire.errors import DecodeError, LinkError

MAX_REQUEST_BYTES = 8 * 1024
REQUESTS_KEPT = 1000  # since the run was opened; the next is refused, so that none is ever lost without a word
BEFORE_ALL = "0-0"
_MS = 1000.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Setting:
    """One request, as the link keeps it."""

    id: str  # "<milliseconds>-<number>", ascending
    by: str  # who asked for it: user@host
    changes: dict[str, str]  # key -> new value as text, in the order given

    @property
    def time_s(self) -> float:
        """When the link got it: Unix time by the link's own clock."""
        return int(self.id.partition("-")[0]) / _MS


class SettingsChannel(Protocol):
    """Where changes are asked for, and read by whoever they concern."""

    def request_settings(self, changes: Mapping[str, str], by: str) -> str:
        """Ask for changes, all of them or none; returns the request's id.

        Nothing is checked here but the size: `quintet.control.live_settings.check_changes` is for whoever asks.

        Raises:
            ValueError: nothing to change, or more text than `MAX_REQUEST_BYTES`.
            LinkError: `REQUESTS_KEPT` requests are there already.
        """
        ...

    def settings(self, after: str) -> list[Setting]:
        """The requests after this id (`BEFORE_ALL` for every one), oldest first. One that is garbage is left out."""
        ...

    def drop_settings(self, through: str) -> None:
        """Forget the requests up to this id: the configuration that the run is opened with holds them."""
        ...


def encode_request(changes: Mapping[str, str], by: str) -> bytes:
    """A msgpack list [by, key, value, key, value ...].

    Raises:
        ValueError: no changes, or more than `MAX_REQUEST_BYTES`.
    """
    if not changes:
        raise ValueError("a request for no changes; expected at least one key and its value")
    payload: bytes = msgpack.packb([by, *(text for change in changes.items() for text in change)])
    if len(payload) > MAX_REQUEST_BYTES:
        raise ValueError(f"a request of {len(payload)} bytes; at most {MAX_REQUEST_BYTES} may travel")
    return payload


def decode_request(entry_id: str, payload: bytes) -> Setting:
    """Undo `encode_request`.

    Raises:
        DecodeError: the bytes are no request.
    """
    if len(payload) > MAX_REQUEST_BYTES:
        raise DecodeError(f"settings request: found {len(payload)} bytes, expected at most {MAX_REQUEST_BYTES}")
    try:
        texts = msgpack.unpackb(payload, max_map_len=0, max_ext_len=0)
    except (ValueError, TypeError, OverflowError, msgpack.exceptions.UnpackException) as error:
        raise DecodeError(f"settings request: found bytes that are not msgpack ({error})") from error
    if not isinstance(texts, list) or len(texts) < 3 or len(texts) % 2 == 0 or not all(type(t) is str for t in texts):
        raise DecodeError("settings request: expected a list of who asks, and keys with their values, all of them text")
    by, *words = texts
    return Setting(id=entry_id, by=by, changes=dict(zip(words[::2], words[1::2], strict=True)))


def too_many_requests() -> LinkError:
    """What both links say when `REQUESTS_KEPT` is reached."""
    return LinkError(f"{REQUESTS_KEPT} changes were asked for since this run was started: stop it, and --resume")


def in_order(entry_id: str) -> tuple[int, int]:
    """An id as numbers, which compare as the ids do."""
    milliseconds, _, number = entry_id.partition("-")
    return int(milliseconds), int(number)
