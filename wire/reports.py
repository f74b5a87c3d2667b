"""Reports and heartbeats as bytes, and the timer that says where a loop's seconds go."""

from __future__ import annotations

import threading
import time
from typing import Any, cast

import msgpack
import numpy as np

from quintet.wire.chunk import WIRE_VERSION
from quintet.wire.errors import DecodeError
from quintet.wire.link import Report

MAX_REPORT_BYTES = 64 * 1024
OTHER = "other"  # the phase of all time outside named phases


def encode_report(report: Report) -> bytes:
    """A msgpack list [wire version, process, kind, time_s, data]. numpy numbers and arrays in `data` become plain.

    Raises:
        ValueError: more than `MAX_REPORT_BYTES`.
        TypeError: `data` holds something that is neither number, text, list nor dict.
    """
    return _pack([WIRE_VERSION, report.process, report.kind, float(report.time_s), report.data])


def decode_report(payload: bytes) -> Report:
    """Undo `encode_report`.

    Raises:
        DecodeError: the bytes are no report; names what was found and what was expected.
    """
    items = _unpack(payload, "report")
    if not isinstance(items, list) or len(items) != 5:
        raise DecodeError(f"report: found {_describe(items)}, expected a list of 5 items")
    version, process, kind, time_s, data = items
    if version != WIRE_VERSION:
        raise DecodeError(f"report wire version: found {_describe(version)}, expected {WIRE_VERSION}")
    for name, value, expected in (("process", process, str), ("kind", kind, str), ("time_s", time_s, float)):
        if type(value) is not expected:
            raise DecodeError(f"report {name}: found {_describe(value)}, expected {expected.__name__}")
    return Report(process=process, kind=kind, time_s=time_s, data=_checked_dict(data, "report data"))


def encode_beat(data: dict[str, float | int | str]) -> bytes:
    """The data of a heartbeat; raises as `encode_report` does."""
    return _pack(data)


def decode_beat(payload: bytes) -> dict[str, float | int | str]:
    """Undo `encode_beat`.

    Raises:
        DecodeError: the bytes are no heartbeat's data.
    """
    data = _checked_dict(_unpack(payload, "heartbeat"), "heartbeat data")
    for name, value in data.items():
        if not isinstance(value, int | float | str):
            raise DecodeError(f"heartbeat {name!r}: found {_describe(value)}, expected a number or text")
    return cast(dict[str, float | int | str], data)


def _pack(value: object) -> bytes:
    payload = cast(bytes, msgpack.packb(value, default=_plain))
    if len(payload) > MAX_REPORT_BYTES:
        raise ValueError(f"a report of {len(payload)} bytes; at most {MAX_REPORT_BYTES} may travel")
    return payload


def _unpack(payload: bytes, what: str) -> Any:
    if len(payload) > MAX_REPORT_BYTES:
        raise DecodeError(f"{what}: found {len(payload)} bytes, expected at most {MAX_REPORT_BYTES}")
    try:
        return msgpack.unpackb(payload, max_ext_len=0)
    except (ValueError, TypeError, OverflowError, msgpack.exceptions.UnpackException) as error:
        raise DecodeError(f"{what}: found bytes that are not msgpack ({error})") from error


def _plain(value: object) -> object:
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    raise TypeError(f"a report cannot carry a {type(value).__name__}; use numbers, text, lists and dicts")


def _checked_dict(data: Any, what: str) -> dict[str, object]:
    if not isinstance(data, dict):
        raise DecodeError(f"{what}: found {_describe(data)}, expected a dict")
    for name in data:
        if type(name) is not str:
            raise DecodeError(f"{what}: found the name {_describe(name)}, expected text")
    return data


def _describe(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{type(value).__name__} {text[:60]}..."


class PhaseTimer:
    """Attributes every second of one thread's loop to a named phase, or to `other`.

        timer = PhaseTimer()
        with timer.phase("play"):
            ...
        timer.drain()  # {"play": 0.81, "other": 0.02}

    A phase inside a phase takes its time from the outer one, so the phases always add up to the wall time. One thread
    is timed; any may drain. About 1 us per phase.
    """

    def __init__(self) -> None:
        self._seconds: dict[str, float] = {}
        self._open = [OTHER]  # the phases that are open, the innermost last
        self._since_s = time.perf_counter()
        self._lock = threading.Lock()

    def phase(self, name: str) -> _Phase:
        """A context manager that attributes its body's time to `name`."""
        return _Phase(self, name)

    def drain(self) -> dict[str, float]:
        """Seconds per phase since the last drain; a phase that is still open goes on with what follows."""
        with self._lock:
            self._charge()
            drained = {OTHER: 0.0} | self._seconds
            self._seconds = {}
        return drained

    def enter(self, name: str) -> None:
        """Begin a phase; `phase` does it for you."""
        with self._lock:
            self._charge()
            self._open.append(name)

    def leave(self) -> None:
        """End the innermost phase."""
        with self._lock:
            self._charge()
            self._open.pop()

    def _charge(self) -> None:
        now_s = time.perf_counter()
        name = self._open[-1]
        self._seconds[name] = self._seconds.get(name, 0.0) + now_s - self._since_s
        self._since_s = now_s


class _Phase:
    __slots__ = ("_name", "_timer")

    def __init__(self, timer: PhaseTimer, name: str) -> None:
        self._timer = timer
        self._name = name

    def __enter__(self) -> None:
        self._timer.enter(self._name)

    def __exit__(self, *_: object) -> None:
        self._timer.leave()
