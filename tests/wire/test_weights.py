"""Weights arrive whole or not at all, and once per node."""

from __future__ import annotations

import os
import struct
import threading
import time
from contextlib import suppress
from pathlib import Path

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quintet.wire.chunk import WIRE_VERSION
from quintet.wire.errors import DecodeError, LinkDownError
from quintet.wire.link import EncodedWeights
from quintet.wire.redis_link import weights_cache
from quintet.wire.redis_link.weights_cache import WeightsCache, clear_weights_cache
from quintet.wire.weights import pack_weights, unpack_weights
from tests.support.chunk_factory import make_weights

GOOD = make_weights(12, agent_steps=3456)


def with_header(items: object, payload: bytes = GOOD.payload) -> bytes:
    header: bytes = msgpack.packb(items)
    return b"quintet-weights\n" + struct.pack("<I", len(header)) + header + payload


def test_weights_survive_the_wire() -> None:
    assert unpack_weights(pack_weights(GOOD)) == GOOD
    empty = make_weights(1, b"")
    assert unpack_weights(pack_weights(empty)) == empty


@settings(max_examples=300, deadline=None)
@given(at=st.integers(0, len(pack_weights(GOOD)) - 1), cut=st.integers(0, 200), new=st.binary(max_size=5))
def test_mutated_weights_are_refused_or_the_same(at: int, cut: int, new: bytes) -> None:
    bad = bytearray(pack_weights(GOOD))
    bad[at : at + cut] = new
    with suppress(DecodeError):
        # A header's version or step count may read otherwise; the payload cannot.
        assert unpack_weights(bytes(bad)).payload == GOOD.payload


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "expected bytes that begin with"),
        (b"quintet-weights\n" + struct.pack("<I", 10**6), "expected a header of 1000000 bytes"),
        (with_header({"a": 1}), "not msgpack"),
        (with_header([99, 1, 2, "a", "b", 3]), r"wire version: found \[99\], expected"),
        (with_header([WIRE_VERSION, 2]), "found 2 items, expected 9"),
        (with_header([WIRE_VERSION, -1, 2, "a", "b", 3, 0, 0, "float32"]), "version: found -1"),
        (with_header([WIRE_VERSION, 5, 2, "a", b"b", 3, 0, 0, "float32"]), "sha256: found b'b', expected str"),
        (
            with_header([WIRE_VERSION, 5, 2, "a", "b", 3, 0, 0, "fp8"]),
            "number format: found 'fp8', expected float32 or bfloat16",
        ),
        (pack_weights(GOOD)[:-1], "version 12: found 21 bytes, expected 22"),
        (pack_weights(GOOD)[:-1] + b"!", "version 12: found sha256"),
    ],
)
def test_a_refusal_names_what_was_found_and_what_was_expected(data: bytes, says: str) -> None:
    with pytest.raises(DecodeError, match=says):
        unpack_weights(data)


# ---- one fetch per node ----


class Store:
    """Weights as Redis would hold them; counts how often they were fetched."""

    def __init__(self, weights: EncodedWeights | None) -> None:
        self.weights = weights
        self.n_fetches = 0

    def fetch(self) -> EncodedWeights | None:
        self.n_fetches += 1
        time.sleep(0.02)
        return self.weights


def version(number: int) -> EncodedWeights:
    return make_weights(number, b"weights" * number)


def get(cache: WeightsCache, weights: EncodedWeights, store: Store) -> EncodedWeights | None:
    return cache.get(weights.version, weights.sha256, store.fetch)


def files(run: str) -> list[Path]:
    return sorted(weights_cache._run_folder(run).glob("*.weights"))


def test_several_workers_of_a_node_fetch_once(run_name: str) -> None:
    store = Store(version(1))
    found: list[EncodedWeights | None] = []
    workers = [
        threading.Thread(target=lambda: found.append(get(WeightsCache(run_name), version(1), store))) for _ in range(6)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert found == [version(1)] * 6
    assert store.n_fetches == 1


def test_a_new_version_replaces_the_old_file(run_name: str) -> None:
    cache = WeightsCache(run_name)
    for number in (1, 2, 3):
        assert get(cache, version(number), Store(version(number))) == version(number)
    assert [path.name.partition("-")[0] for path in files(run_name)] == ["3"]
    assert files(run_name)[0].stat().st_mode & 0o777 == 0o600
    clear_weights_cache(run_name)
    assert not weights_cache._run_folder(run_name).exists()
    clear_weights_cache(run_name)


def test_a_newer_version_than_was_asked_for_is_kept_under_its_own_name(run_name: str) -> None:
    cache, store = WeightsCache(run_name), Store(version(2))
    assert get(cache, version(1), store) == version(2)
    assert get(cache, version(2), store) == version(2)
    assert store.n_fetches == 1


def test_a_damaged_file_is_fetched_again(run_name: str) -> None:
    cache, store = WeightsCache(run_name), Store(version(1))
    get(cache, version(1), store)
    (path,) = files(run_name)
    for damage in (b"", path.read_bytes()[:-1], path.read_bytes()[:-1] + b"!"):
        path.write_bytes(damage)
        assert get(cache, version(1), store) == version(1)
        assert path.read_bytes() == pack_weights(version(1))
    assert store.n_fetches == 4


def test_weights_that_are_gone_are_not_there(run_name: str) -> None:
    assert get(WeightsCache(run_name), version(1), Store(None)) is None
    assert files(run_name) == []


def test_an_error_of_the_fetch_reaches_the_caller_and_frees_the_others(run_name: str) -> None:
    def fail() -> EncodedWeights | None:
        raise LinkDownError("gone")

    cache = WeightsCache(run_name)
    with pytest.raises(LinkDownError):
        cache.get(1, version(1).sha256, fail)
    assert get(cache, version(1), Store(version(1))) == version(1)


def test_a_folder_that_others_may_write_to_is_not_used(
    run_name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    shared = tmp_path / "shared"
    folder = shared / run_name
    folder.mkdir(parents=True)
    monkeypatch.setattr(weights_cache, "_run_folder", lambda run: shared / run)
    planted = make_weights(1, b"planted")
    (folder / f"1-{planted.sha256[:16]}.weights").write_bytes(pack_weights(planted))
    os.chmod(shared, 0o777)
    cache, store = WeightsCache(run_name), Store(version(1))
    for _ in range(2):
        assert cache.get(1, planted.sha256, store.fetch) == version(1)
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    os.chmod(shared, 0o700)
    assert cache.get(1, planted.sha256, store.fetch) == planted
