"""Reports survive the wire or are refused, and phases add up to the wall time."""

from __future__ import annotations

import time
from contextlib import suppress

import msgpack
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quintet.wire.chunk import WIRE_VERSION
from quintet.wire.errors import DecodeError
from quintet.wire.link import Report
from quintet.wire.reports import (
    MAX_REPORT_BYTES,
    PhaseTimer,
    decode_beat,
    decode_report,
    encode_beat,
    encode_report,
)

GOOD = Report(process="optimizer", kind="metrics", time_s=1.5, data={"losses/entropy": 0.5, "list": [1, "a", None]})


def test_a_report_survives_the_wire() -> None:
    assert decode_report(encode_report(GOOD)) == GOOD


def test_numpy_numbers_become_plain_ones() -> None:
    data: dict[str, object] = {
        "a": np.float32(0.5),
        "b": np.int64(3),
        "c": np.array([True, False]),
        "d": np.bool_(True),
    }
    found = decode_report(encode_report(Report(process="p", kind="k", time_s=0.0, data=data)))
    assert found.data == {"a": 0.5, "b": 3, "c": [True, False], "d": True}


def test_what_cannot_travel_is_refused_at_the_sender() -> None:
    with pytest.raises(TypeError, match="cannot carry a set"):
        encode_report(Report(process="p", kind="k", time_s=0.0, data={"a": {1}}))
    with pytest.raises(ValueError, match=f"at most {MAX_REPORT_BYTES}"):
        encode_report(Report(process="p", kind="k", time_s=0.0, data={"a": "x" * MAX_REPORT_BYTES}))


@pytest.mark.parametrize(
    ("payload", "says"),
    [
        (b"", "not msgpack"),
        (b"x" * (MAX_REPORT_BYTES + 1), f"expected at most {MAX_REPORT_BYTES}"),
        (msgpack.packb([1, 2]), r"found \[1, 2\], expected a list of 5"),
        (msgpack.packb([1, "p", "k", 1.0, {}]), f"wire version: found 1, expected {WIRE_VERSION}"),
        (msgpack.packb([WIRE_VERSION, 7, "k", 1.0, {}]), "process: found 7, expected str"),
        (msgpack.packb([WIRE_VERSION, "p", "k", 1, {}]), "time_s: found 1, expected float"),
        (msgpack.packb([WIRE_VERSION, "p", "k", 1.0, []]), r"data: found \[\], expected a dict"),
        (msgpack.packb([WIRE_VERSION, "p", "k", 1.0, {b"a": 1}]), "name b'a', expected text"),
    ],
)
def test_a_refusal_names_what_was_found_and_what_was_expected(payload: bytes, says: str) -> None:
    with pytest.raises(DecodeError, match=says):
        decode_report(payload)


@settings(max_examples=300, deadline=None)
@given(at=st.integers(0, len(encode_report(GOOD)) - 1), cut=st.integers(0, 9), new=st.binary(max_size=9))
def test_a_mutated_report_is_decoded_or_refused_and_nothing_else(at: int, cut: int, new: bytes) -> None:
    bad = bytearray(encode_report(GOOD))
    bad[at : at + cut] = new
    for decode in (decode_report, decode_beat):
        with suppress(DecodeError):
            decode(bytes(bad))


def test_a_heartbeats_data_survives_the_wire_and_holds_numbers_and_text_only() -> None:
    data: dict[str, float | int | str] = {"rss_bytes": 2**40, "load": 0.5, "host": "ü"}
    assert decode_beat(encode_beat(data)) == data
    with pytest.raises(DecodeError, match=r"'a': found \[1\], expected a number or text"):
        decode_beat(msgpack.packb({"a": [1]}))


class Clock:
    """Time that passes only when told to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now_s = 100.0
        monkeypatch.setattr(time, "perf_counter", lambda: self.now_s)

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds


def test_every_second_belongs_to_a_phase(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    timer = PhaseTimer()
    clock.sleep(1)
    with timer.phase("play"):
        clock.sleep(2)
    with timer.phase("push"):
        clock.sleep(4)
    with timer.phase("play"):
        clock.sleep(8)
    assert timer.drain() == {"other": 1.0, "play": 10.0, "push": 4.0}
    assert timer.drain() == {"other": 0.0}


def test_a_phase_inside_another_takes_its_time_from_it(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    timer = PhaseTimer()
    with timer.phase("play"):
        clock.sleep(1)
        with timer.phase("infer"):
            clock.sleep(2)
        clock.sleep(4)
    assert timer.drain() == {"other": 0.0, "play": 5.0, "infer": 2.0}


def test_a_phase_that_fails_or_is_drained_midway_ends_properly(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    timer = PhaseTimer()
    with suppress(KeyError), timer.phase("play"):
        clock.sleep(1)
        assert timer.drain() == {"other": 0.0, "play": 1.0}
        clock.sleep(2)
        raise KeyError
    clock.sleep(4)
    assert timer.drain() == {"play": 2.0, "other": 4.0}
