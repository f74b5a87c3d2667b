"""A chunk survives the wire, and bytes that are no chunk of this run never do anything but DecodeError."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import fields, replace
from typing import Any

import msgpack
import numpy as np
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from quintet.games.checks.data import LARGEST_NUMBER
from quintet.wire.chunk import WIRE_VERSION, ArraySpec, ChunkSpec, TrajectoryChunk, chunk_spec
from quintet.wire.codec import decode_chunk, encode_chunk, max_message_bytes, seal
from quintet.wire.errors import DecodeError
from tests.envs.full_spec_game import outpost_spec
from tests.support.chunk_factory import RUN, make_chunk, make_spec

DTYPES = ("bool", "uint8", "int16", "int32", "float16", "float32")
SPEC = make_spec(
    teams=2,
    agents=3,
    observation={
        "vector": ArraySpec(shape=(5,), dtype="float32"),
        "table": ArraySpec(shape=(4, 3), dtype="float16", per_agent=False),
        "table_mask": ArraySpec(shape=(4,), dtype="bool", per_agent=False),
        "image": ArraySpec(shape=(3, 5, 5), dtype="uint8"),
        "card": ArraySpec(shape=(), dtype="int16"),
        "action_mask/kind": ArraySpec(shape=(7,), dtype="bool"),
        "action_mask/at": ArraySpec(shape=(7, 4), dtype="bool"),
    },
    heads={"kind": ArraySpec(shape=(), dtype="int16"), "aim": ArraySpec(shape=(2,), dtype="float32")},
    auxiliary={"win": ArraySpec(shape=(1,), dtype="float32"), "rank": ArraySpec(shape=(5,), dtype="float32")},
)
#: Where the items of a message stand.
RUN_AT, SPEC_AT, WORKER_AT, SEQUENCE_AT, CUMULATIVE_AT, TEAM_AT, ROWS_AT, COMPRESSED_AT, BLOB_AT = (
    2,
    3,
    4,
    6,
    7,
    9,
    10,
    11,
    12,
)

array_specs = st.builds(
    ArraySpec,
    shape=st.lists(st.integers(1, 4), max_size=3).map(tuple),
    dtype=st.sampled_from(DTYPES),
    per_agent=st.booleans(),
)
head_specs = st.one_of(
    st.sampled_from(["int16", "int32"]).map(lambda dtype: ArraySpec(shape=(), dtype=dtype)),
    st.integers(1, 4).map(lambda n: ArraySpec(shape=(n,), dtype="float32")),
)
label_specs = st.integers(1, 3).map(lambda k: ArraySpec(shape=(k,), dtype="float32"))
names = st.text("abcde/_", min_size=1, max_size=6)


@st.composite
def specs(draw: st.DrawFn) -> ChunkSpec:
    bptt_steps = draw(st.integers(1, 8))
    return make_spec(
        agents=draw(st.integers(1, 4)),
        lstm_units=draw(st.integers(1, 9)),
        bptt_steps=bptt_steps,
        chunk_steps=bptt_steps * draw(st.integers(1, 4)),
        observation=draw(st.dictionaries(names, array_specs, max_size=4)),
        heads=draw(st.dictionaries(names, head_specs, min_size=1, max_size=3)),
        auxiliary=draw(st.dictionaries(names, label_specs, max_size=2)),
    )


def assert_same(found: TrajectoryChunk, expected: TrajectoryChunk) -> None:
    for field in fields(TrajectoryChunk):
        left, right = getattr(found, field.name), getattr(expected, field.name)
        if isinstance(right, dict):
            assert left.keys() == right.keys()
        pairs = [(left[name], right[name]) for name in right] if isinstance(right, dict) else [(left, right)]
        for a, b in pairs:
            if isinstance(b, np.ndarray):
                assert a.dtype == b.dtype
            np.testing.assert_array_equal(a, b)


def message(**changes: Any) -> list[Any]:
    """An encoded chunk's items."""
    items: list[Any] = msgpack.unpackb(encode_chunk(make_chunk(SPEC, **changes), SPEC, compress=False)[:-4])
    return items


def changed(position: int, value: object) -> bytes:
    items = message()
    items[position] = value
    return seal(msgpack.packb(items))


@settings(max_examples=60, deadline=None)
@given(spec=specs(), windows=st.integers(1, 4), compress=st.booleans(), seed=st.integers(0, 2**32 - 1))
def test_every_chunk_of_every_spec_survives_the_wire(spec: ChunkSpec, windows: int, compress: bool, seed: int) -> None:
    rows = min(windows * spec.bptt_steps, spec.chunk_steps)
    chunk = make_chunk(spec, rows=rows, rng=np.random.default_rng(seed))
    assert_same(decode_chunk(encode_chunk(chunk, spec, compress=compress), spec, run=RUN), chunk)


def test_the_largest_numbers_survive_the_wire() -> None:
    chunk = make_chunk(
        SPEC, worker=2**32 - 1, incarnation=2**32 - 1, sequence=2**64 - 1, cumulative_steps=2**64 - 1, team=1
    )
    assert_same(decode_chunk(encode_chunk(chunk, SPEC, compress=False), SPEC, run=RUN), chunk)


def test_arrays_that_do_not_lie_in_one_piece_survive_the_wire() -> None:
    chunk = make_chunk(SPEC)
    strided = np.repeat(chunk.reward, 2, axis=0)[::2]
    flags = np.asfortranarray(chunk.valid)
    sent = encode_chunk(replace(chunk, reward=strided, valid=flags), SPEC, compress=False)
    assert_same(decode_chunk(sent, SPEC, run=RUN), chunk)


def test_bool_arrays_travel_as_bits() -> None:
    wide = make_spec(observation={"mask": ArraySpec(shape=(8000,), dtype="bool")})
    assert len(encode_chunk(make_chunk(wide, rows=16), wide, compress=False)) < 16 * 8000 / 8 + 2000


@pytest.mark.slow
@pytest.mark.parametrize("compress", [False, True])
def test_a_mutated_message_is_decoded_or_refused_and_nothing_else(compress: bool) -> None:
    good = encode_chunk(make_chunk(SPEC), SPEC, compress=compress)

    @settings(max_examples=400, deadline=None)
    @given(st.data())
    def mutate(data: st.DataObject) -> None:
        bad = bytearray(good)
        for _ in range(data.draw(st.integers(1, 4))):
            at = data.draw(st.integers(0, len(bad) - 1) | st.integers(0, min(120, len(bad) - 1)))
            cut = data.draw(st.integers(0, 3))
            bad[at : at + cut] = data.draw(st.binary(max_size=4))
            bad = bad or bytearray(b"\0")
        with suppress(DecodeError):  # sealed anew: what somebody sends who knows the format
            assert decode_chunk(seal(bytes(bad[:-4])), SPEC, run=RUN).rows % SPEC.bptt_steps == 0
        if bytes(bad) != good:
            with pytest.raises(DecodeError, match="chunk message"):
                decode_chunk(bytes(bad), SPEC, run=RUN)

    mutate()


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=300))
def test_random_bytes_are_refused(payload: bytes) -> None:
    with pytest.raises(DecodeError):
        decode_chunk(payload, SPEC, run=RUN)


values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats()
    | st.text(max_size=9)
    | st.binary(max_size=9),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)


@pytest.mark.slow
@settings(max_examples=300, deadline=None)
@given(position=st.integers(0, BLOB_AT), value=values)
def test_an_item_of_any_other_type_is_refused_or_harmless(position: int, value: object) -> None:
    with suppress(DecodeError):
        assert decode_chunk(changed(position, value), SPEC, run=RUN).run == RUN


@pytest.mark.parametrize(
    ("payload", "says"),
    [
        (b"", "found 0 bytes, expected a list and its checksum"),
        (seal(b""), "found 4 bytes, expected a list and its checksum"),
        (seal(b"\xc1"), "not msgpack"),
        (seal(msgpack.packb({"a": 1})), "not msgpack"),
        (msgpack.packb(message()), "checksum [0-9a-f]{8}, expected [0-9a-f]{8}: it was damaged on its way, or another"),
        (seal(msgpack.packb([1, 2])), "begins with 'quintet-chunk'"),
        (changed(1, WIRE_VERSION + 1), rf"wire version: found \[{WIRE_VERSION + 1}\], expected \[{WIRE_VERSION}\]"),
        (changed(RUN_AT, "other-run"), "found 'other-run', expected 'test-run'"),
        (changed(SPEC_AT, "0" * 16), f"expected '{SPEC.hash}'"),
        (changed(WORKER_AT, 2**32), "worker: found 4294967296, expected 0 to 4294967295"),
        (changed(WORKER_AT, True), "worker: found True, expected int"),
        (changed(SEQUENCE_AT, 0), "sequence: found 0, expected 1"),
        (changed(CUMULATIVE_AT, 47), "found 47, expected at least its own 48"),
        (changed(TEAM_AT, 2), "team: found 2, expected 0 to 1"),
        (changed(ROWS_AT, 0), "rows: found 0, expected a multiple of 4 from 1 to 16"),
        (changed(ROWS_AT, 20), "rows: found 20"),
        (changed(ROWS_AT, 6), "rows: found 6"),
        (changed(ROWS_AT, 8), "bytes, expected .* for 8 rows"),
        (changed(BLOB_AT, b""), "found 0 bytes"),
        (changed(BLOB_AT, "text"), "found 'text', expected bytes"),
        (changed(COMPRESSED_AT, True), "found no zstd frame"),
        (seal(msgpack.packb([*message(), 1])), "found 14 items, expected 13"),
        (seal(msgpack.packb(message()) + b"\0"), "not msgpack"),
    ],
)
def test_a_refusal_names_what_was_found_and_what_was_expected(payload: bytes, says: str) -> None:
    with pytest.raises(DecodeError, match=says):
        decode_chunk(payload, SPEC, run=RUN)


def test_a_chunk_of_another_spec_is_refused() -> None:
    other = make_spec(lstm_units=16)
    payload = encode_chunk(make_chunk(other), other, compress=False)
    with pytest.raises(DecodeError, match=f"found '{other.hash}', expected '{SPEC.hash}'"):
        decode_chunk(payload, SPEC, run=RUN)


def test_a_message_over_the_limit_is_refused_before_it_is_unpacked() -> None:
    payload = encode_chunk(make_chunk(SPEC), SPEC, compress=False)
    with pytest.raises(DecodeError, match=f"found {len(payload)} bytes, expected at most 100"):
        decode_chunk(payload, SPEC, run=RUN, max_bytes=100)


def test_no_message_may_be_larger_than_a_chunk_of_its_spec_can_be() -> None:
    most = max_message_bytes(SPEC)
    assert len(encode_chunk(make_chunk(SPEC), SPEC, compress=True)) < most < 20_000
    with pytest.raises(DecodeError, match=f"found 104857600 bytes, expected at most {most}"):
        decode_chunk(bytes(100 * 2**20), SPEC, run=RUN)


def test_numbers_whose_squares_would_soon_be_infinite_are_refused_like_infinite_ones() -> None:
    chunk = make_chunk(SPEC)
    chunk.reward[0, 0] = -LARGEST_NUMBER
    decode_chunk(encode_chunk(chunk, SPEC, compress=False), SPEC, run=RUN)
    chunk.reward[0, 0] = -2 * LARGEST_NUMBER
    with pytest.raises(DecodeError, match="chunk reward: found 1 of 48 numbers NaN, infinite or beyond 1e"):
        decode_chunk(encode_chunk(chunk, SPEC, compress=False), SPEC, run=RUN)


def test_a_compressed_bomb_is_refused_before_it_is_decompressed() -> None:
    # 32 MiB of zeros in a few kilobytes; one frame that declares its size, and one that does not.
    megabyte, n_megabytes = bytes(2**20), 32
    declared = zstandard.ZstdCompressor(level=1).compressobj(size=n_megabytes * 2**20)
    undeclared = zstandard.ZstdCompressor(level=1).compressobj()
    for compressor, found in ((declared, str(n_megabytes * 2**20)), (undeclared, "-1")):
        bomb = b"".join([*(compressor.compress(megabyte) for _ in range(n_megabytes)), compressor.flush()])
        items = message()
        items[COMPRESSED_AT:] = [True, bomb]
        with pytest.raises(DecodeError, match=f"found a frame of {found} bytes"):
            decode_chunk(seal(msgpack.packb(items)), SPEC, run=RUN)


def test_a_compressed_chunk_over_the_limit_is_refused() -> None:
    still = replace(
        make_chunk(SPEC), observation={k: np.zeros_like(v) for k, v in make_chunk(SPEC).observation.items()}
    )
    payload = encode_chunk(still, SPEC, compress=True)
    with pytest.raises(DecodeError, match="after decompression"):
        decode_chunk(payload, SPEC, run=RUN, max_bytes=len(payload) + 10)


def test_bytes_behind_the_compressed_frame_are_refused() -> None:
    items = msgpack.unpackb(encode_chunk(make_chunk(SPEC), SPEC, compress=True)[:-4])
    items[BLOB_AT] += b"more"
    with pytest.raises(DecodeError, match="zstd"):
        decode_chunk(seal(msgpack.packb(items)), SPEC, run=RUN)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize(
    "label", ["value", "reward", "lstm_state", "log_prob/aim", "action/aim", "observation/vector", "auxiliary/rank"]
)
def test_a_number_that_is_not_finite_is_refused_by_name(label: str, bad: float) -> None:
    chunk = make_chunk(SPEC)
    group, _, name = label.partition("/")
    array = getattr(chunk, group)[name] if name else getattr(chunk, group)
    array.reshape(-1)[-1] = bad
    with pytest.raises(DecodeError, match=f"chunk {label}: found 1 of {array.size} numbers NaN, infinite or beyond 1e"):
        decode_chunk(encode_chunk(chunk, SPEC, compress=False), SPEC, run=RUN)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"reward": np.zeros((16, 3), np.float64)}, r"reward: found float64 \[16, 3\], expected float32 \[16, 3\]"),
        ({"reward": np.zeros((15, 3), np.float32)}, r"reward: found float32 \[15, 3\]"),
        ({"valid": np.zeros((16, 3), np.uint8)}, r"valid: found uint8"),
        ({"observation": {}}, "observation: found entries"),
        ({"action": {"kind": np.zeros((17, 3), np.int16)}}, r"action: found entries \['kind'\]"),
        ({"auxiliary": {"win": np.zeros((3, 1), np.float32)}}, r"auxiliary: found entries \['win'\]"),
        ({"lstm_state": np.zeros((4, 3, 2, 9), np.float16)}, r"lstm_state: found float16 \[4, 3, 2, 9\]"),
    ],
)
def test_a_chunk_that_does_not_fit_its_spec_is_not_sent(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        encode_chunk(replace(make_chunk(SPEC), **changes), SPEC, compress=False)


@pytest.mark.parametrize(
    ("group", "name", "bad"), [("action", "action", 2), ("action", "action", -2), ("observation", "seat", 3)]
)
def test_a_category_that_does_not_exist_is_refused_by_name(group: str, name: str, bad: int) -> None:
    spec = make_spec(
        observation={"seat": ArraySpec(shape=(2,), dtype="int16", choices=(5, 3))},
        heads={"action": ArraySpec(shape=(), dtype="int16", choices=(2,))},
    )
    chunk = make_chunk(spec)
    chunk.action["action"][:] = -1
    chunk.observation["seat"][:] = (4, 2)
    decode_chunk(encode_chunk(chunk, spec, compress=False), spec, run=RUN)
    getattr(chunk, group)[name][-1] = bad
    with pytest.raises(DecodeError, match=f"{group}/{name}: found .* expected"):
        decode_chunk(encode_chunk(chunk, spec, compress=False), spec, run=RUN)


@pytest.mark.parametrize("bad", [-1.0, 3.0, 0.5])
def test_a_category_of_a_column_that_does_not_exist_is_refused_by_name(bad: float) -> None:
    spec = make_spec(observation={"units": ArraySpec(shape=(4, 2), dtype="float16", categories=((1, 3),))})
    chunk = make_chunk(spec)
    chunk.observation["units"][..., 1] = 2
    decode_chunk(encode_chunk(chunk, spec, compress=False), spec, run=RUN)
    chunk.observation["units"][3, 0, 2, 1] = bad
    with pytest.raises(DecodeError, match=r"observation/units, column 1: found .* whole numbers from 0 to 2"):
        decode_chunk(encode_chunk(chunk, spec, compress=False), spec, run=RUN)


@pytest.mark.parametrize("bad", [-0.1, 1.1])
def test_a_prediction_that_is_no_probability_is_refused_by_name(bad: float) -> None:
    chunk = make_chunk(SPEC)
    chunk.auxiliary["rank"][1, 2] = bad
    with pytest.raises(DecodeError, match=r"auxiliary/rank: found .* expected 0 to 1"):
        decode_chunk(encode_chunk(chunk, SPEC, compress=False), SPEC, run=RUN)


def test_the_arrays_of_a_game_follow_from_its_spec() -> None:
    spec = chunk_spec(outpost_spec(), lstm_units=8, bptt_steps=4, chunk_steps=8)
    assert spec.observation["action_mask/target"] == ArraySpec(shape=(5, 4), dtype="bool")
    assert spec.observation["action_mask/act"] == ArraySpec(shape=(5,), dtype="bool")
    assert spec.observation["units"].categories == ((2, 2),)
    assert spec.observation["won"] == ArraySpec(shape=(1,), dtype="float32")
    assert spec.auxiliary == {
        "win": ArraySpec(shape=(1,), dtype="float32"),
        "strongest": ArraySpec(shape=(2,), dtype="float32"),
    }
