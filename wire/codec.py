"""A `TrajectoryChunk` as bytes and back: a msgpack header and one blob that holds every array.

The message is a flat msgpack list (`_HEADER` names its items). The last item is the blob: the raw little-endian bytes
of all arrays, one after another, in an order, dtype and shape that follow from the run's `ChunkSpec` and the number of
rows alone. So nothing about an array is believed because the sender said so. Bool arrays share one run of packed bits
at the end. With `compress` the blob is one zstd frame. Behind the list stand four bytes: the CRC-32 of all before
them, so that a chunk which was damaged on its way is not trained on, whatever it happens to say.
"""

from __future__ import annotations

import math
import struct
import sys
import zlib
from dataclasses import dataclass
from typing import Any, cast

import msgpack
import numpy as np
import zstandard

from quintet.games.checks.data import LARGEST_NUMBER
from quintet.wire.chunk import NO_ACTION, WIRE_VERSION, Array, ArraySpec, ChunkSpec, TrajectoryChunk
from quintet.wire.errors import DecodeError

MAX_CHUNK_BYTES = 64 * 2**20  # of a message, and of its blob once decompressed
_MAGIC = "quintet-chunk"
_HEADER_BYTES = 4096  # more than any header takes: names have at most 1 KiB
_SEAL = struct.Struct("<I")
_U32, _U64 = 2**32 - 1, 2**64 - 1
#: The message's items between magic, wire version and the blob: name -> type, and the largest value of an integer.
_HEADER: tuple[tuple[str, type, int], ...] = (
    ("run", str, 0),
    ("spec_hash", str, 0),
    ("worker", int, _U32),
    ("incarnation", int, _U32),
    ("sequence", int, _U64),
    ("cumulative_steps", int, _U64),
    ("slot", int, _U32),
    ("team", int, _U32),
    ("rows", int, _U32),
    ("compressed", bool, 1),
)
_BAD_MESSAGE = (ValueError, TypeError, OverflowError, msgpack.exceptions.UnpackException)  # all that unpackb may raise

if sys.byteorder != "little":  # pragma: no cover
    raise ImportError("the wire carries little-endian arrays as they lie in memory; this machine is big-endian")


@dataclass(frozen=True, kw_only=True, slots=True)
class _Field:
    """One array of the blob."""

    group: str  # the chunk's dict that holds it, "" for a field of the chunk itself
    name: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    offset: int  # bytes from the blob's start; for bool arrays, bits from the start of the packed bits

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    @property
    def label(self) -> str:
        return f"{self.group}/{self.name}" if self.group else self.name


@dataclass(frozen=True, kw_only=True, slots=True)
class _Layout:
    """Where every array of a chunk of this spec and this many rows lies."""

    spec: ChunkSpec
    spec_hash: str
    numbers: tuple[_Field, ...]  # widest items first, so that every array is aligned
    bits: tuple[_Field, ...]
    n_float32: int  # the float32 items come first, together
    float16_offset: int
    n_float16: int
    bits_offset: int
    n_bits: int
    n_bytes: int


def encode_chunk(chunk: TrajectoryChunk, spec: ChunkSpec, *, compress: bool) -> bytes:
    """The message that carries `chunk`.

    Raises:
        ValueError: an array's dtype or shape is not what the spec and the chunk's rows say, or the chunk is too large.
    """
    layout = _layout(spec, chunk.rows)
    for group, arrays in _groups(spec).items():
        _check_names(group, getattr(chunk, group), arrays)
    parts = [_checked(chunk, field).tobytes() for field in layout.numbers]
    flags = np.concatenate([_checked(chunk, field).reshape(-1) for field in layout.bits])
    parts.append(np.packbits(flags).tobytes())
    blob = b"".join(parts)
    if len(blob) > MAX_CHUNK_BYTES:
        raise ValueError(f"a chunk of {len(blob)} bytes; at most {MAX_CHUNK_BYTES} may travel: lower chunk_steps")
    if compress:
        blob = zstandard.ZstdCompressor(level=1).compress(blob)
    header = [getattr(chunk, name) for name, _, _ in _HEADER[:-1]]
    return seal(cast(bytes, msgpack.packb([_MAGIC, WIRE_VERSION, *header, compress, blob])))


def seal(message: bytes) -> bytes:
    """The message with its checksum behind it. It guards against accidents; whoever may push can seal anything."""
    return message + _SEAL.pack(zlib.crc32(message))


def max_message_bytes(spec: ChunkSpec) -> int:
    """More than any message of this run can have: arrays of the longest chunk as they are, or as zstd at its worst."""
    n_bytes = blob_bytes(spec)
    return min(MAX_CHUNK_BYTES, n_bytes + n_bytes // 128 + _HEADER_BYTES)


def blob_bytes(spec: ChunkSpec) -> int:
    """Of the arrays of a whole chunk, as they are."""
    return _layout(spec, spec.chunk_steps).n_bytes


def decode_chunk(payload: bytes, spec: ChunkSpec, *, run: str, max_bytes: int = MAX_CHUNK_BYTES) -> TrajectoryChunk:
    """The chunk that a message carries; its number arrays are read-only views of the message's blob.

    Raises:
        DecodeError: anything is not what this run's chunks are; the message names what was found and what was expected.
    """
    header, blob = _unpack(_unsealed(payload, min(max_bytes, max_message_bytes(spec))))
    layout = _check_header(header, spec, run)
    if header.pop("compressed"):
        blob = _decompress(blob, layout.n_bytes, max_bytes)
    if len(blob) != layout.n_bytes:
        raise DecodeError(f"chunk arrays: found {len(blob)} bytes, expected {layout.n_bytes} for {header['rows']} rows")
    _check_finite(blob, layout)
    groups: dict[str, dict[str, Array]] = {"": {}, **{group: {} for group in _groups(spec)}}
    for field in layout.numbers:
        groups[field.group][field.name] = np.ndarray(field.shape, field.dtype, blob, field.offset)
    packed = np.frombuffer(blob, np.uint8, offset=layout.bits_offset)
    flags = np.unpackbits(packed, count=layout.n_bits).view(np.bool_)
    for field in layout.bits:
        groups[field.group][field.name] = flags[field.offset : field.offset + field.size].reshape(field.shape)
    for name, entry in spec.observation.items():
        _check_choices(f"observation/{name}", groups["observation"][name], entry.choices, lowest=0)
        _check_categories(f"observation/{name}", groups["observation"][name], entry.categories)
    for name, head in spec.heads.items():
        _check_choices(f"action/{name}", groups["action"][name], head.choices, lowest=NO_ACTION)
    for name, prediction in groups["auxiliary"].items():
        if prediction.min(initial=0.0) < 0 or prediction.max(initial=0.0) > 1:
            raise DecodeError(
                f"chunk auxiliary/{name}: found {prediction.min()} to {prediction.max()}, expected 0 to 1"
            )
    del header["rows"]
    fields: dict[str, Any] = header | groups.pop("") | groups
    return TrajectoryChunk(**fields)


def _unsealed(payload: bytes, max_bytes: int) -> memoryview:
    """The message without its checksum, if it is no larger than it may be and nothing of it was changed."""
    if len(payload) > max_bytes:
        raise DecodeError(f"chunk message: found {len(payload)} bytes, expected at most {max_bytes}")
    if len(payload) <= _SEAL.size:
        raise DecodeError(f"chunk message: found {len(payload)} bytes, expected a list and its checksum")
    message = memoryview(payload)[: -_SEAL.size]
    (expected,) = _SEAL.unpack_from(payload, len(message))
    found = zlib.crc32(message)
    if found != expected:
        raise DecodeError(
            f"chunk message: found {len(payload)} bytes with checksum {found:08x}, expected {expected:08x}: it was "
            "damaged on its way, or another version of this program sent it"
        )
    return message


def _unpack(message: memoryview) -> tuple[dict[str, Any], bytes]:
    """Split a message into its header's items, of the right types and ranges, and its blob."""
    try:
        items = msgpack.unpackb(message, max_array_len=64, max_map_len=0, max_ext_len=0, max_str_len=1024)
    except _BAD_MESSAGE as error:
        raise DecodeError(f"chunk message: found bytes that are not msgpack ({error}), expected a list") from error
    if not isinstance(items, list) or not items or items[0] != _MAGIC:
        raise DecodeError(f"chunk message: found {_short(items)}, expected a list that begins with {_MAGIC!r}")
    if len(items) < 2 or items[1] != WIRE_VERSION:
        raise DecodeError(f"chunk wire version: found {_short(items[1:2])}, expected [{WIRE_VERSION}]")
    if len(items) != len(_HEADER) + 3:
        raise DecodeError(f"chunk message: found {len(items)} items, expected {len(_HEADER) + 3}")
    header: dict[str, Any] = {}
    for value, (name, kind, largest) in zip(items[2:-1], _HEADER, strict=True):
        if type(value) is not kind:  # isinstance would take True for a number
            raise DecodeError(f"chunk {name}: found {_short(value)}, expected {kind.__name__}")
        if isinstance(value, int) and not 0 <= value <= largest:
            raise DecodeError(f"chunk {name}: found {value}, expected 0 to {largest}")
        header[name] = value
    if type(items[-1]) is not bytes:
        raise DecodeError(f"chunk arrays: found {_short(items[-1])}, expected bytes")
    return header, items[-1]


def _check_header(header: dict[str, Any], spec: ChunkSpec, run: str) -> _Layout:
    """Compare the header with this run; returns the layout of its arrays."""
    if header["run"] != run:
        raise DecodeError(f"chunk run: found {_short(header['run'])}, expected {run!r}")
    rows = header["rows"]
    if not 1 <= rows <= spec.chunk_steps or rows % spec.bptt_steps:
        raise DecodeError(
            f"chunk rows: found {rows}, expected a multiple of {spec.bptt_steps} from 1 to {spec.chunk_steps}"
        )
    layout = _layout(spec, rows)
    if header["spec_hash"] != layout.spec_hash:
        raise DecodeError(
            f"chunk spec: found {_short(header['spec_hash'])}, expected {layout.spec_hash!r} "
            f"({spec.game}, {spec.agents} agents, {spec.lstm_units} LSTM units)"
        )
    if header["team"] >= spec.teams:
        raise DecodeError(f"chunk team: found {header['team']}, expected 0 to {spec.teams - 1}")
    if header["sequence"] < 1:
        raise DecodeError("chunk sequence: found 0, expected 1 for an incarnation's first chunk")
    if header["cumulative_steps"] < rows * spec.agents:
        raise DecodeError(
            f"chunk cumulative_steps: found {header['cumulative_steps']}, expected at least its own "
            f"{rows * spec.agents} steps"
        )
    return layout


def _decompress(blob: bytes, n_bytes: int, max_bytes: int) -> bytes:
    """Undo zstd, but only for a frame that declares the size that the arrays must have: no bomb is ever unpacked."""
    if n_bytes > max_bytes:
        raise DecodeError(f"chunk arrays: found {n_bytes} bytes after decompression, expected at most {max_bytes}")
    try:
        declared = zstandard.frame_content_size(blob)
        if declared != n_bytes:
            raise DecodeError(f"compressed chunk arrays: found a frame of {declared} bytes, expected {n_bytes}")
        # One frame and nothing after it; the declared size is all that is allocated.
        return zstandard.ZstdDecompressor().decompress(blob, max_output_size=n_bytes, allow_extra_data=False)
    except (zstandard.ZstdError, ValueError, MemoryError) as error:
        raise DecodeError(
            f"compressed chunk arrays: found no zstd frame ({error}), expected {n_bytes} bytes"
        ) from error


def _check_finite(blob: bytes, layout: _Layout) -> None:
    """All floats lie together, so one look at each width is enough; only a bad chunk is searched array by array."""
    singles = np.frombuffer(blob, np.float32, layout.n_float32)
    halves = np.frombuffer(blob, np.float16, layout.n_float16, layout.float16_offset)
    # A comparison with NaN is false. A float16 is never beyond the largest number, unless it is infinite.
    if bool((np.abs(singles) <= LARGEST_NUMBER).all()) and np.isfinite(halves).all():
        return
    for field in layout.numbers:
        if field.dtype.kind == "f":
            array = np.ndarray(field.shape, field.dtype, blob, field.offset)
            with np.errstate(invalid="ignore"):  # a NaN that signals does so when it is cast
                n_bad = field.size - int(np.count_nonzero(np.abs(array.astype(np.float64)) <= LARGEST_NUMBER))
            if n_bad:
                raise DecodeError(
                    f"chunk {field.label}: found {n_bad} of {field.size} numbers NaN, infinite or beyond "
                    f"{LARGEST_NUMBER:g}"
                )


def _check_choices(label: str, array: Array, choices: tuple[int, ...], *, lowest: int) -> None:
    """A category that does not exist would end the optimizer at an embedding table or a gather, again and again."""
    if not choices:
        return
    columns = array.reshape(-1, len(choices))
    if columns.min() < lowest or bool((columns.max(axis=0) >= choices).any()):
        expected = f"{lowest} to {max(choices) - 1}" if len(set(choices)) == 1 else f"fewer than {choices} by column"
        raise DecodeError(f"chunk {label}: found {columns.min()} to {columns.max()}, expected {expected}")


def _check_categories(label: str, array: Array, categories: tuple[tuple[int, int], ...]) -> None:
    """The same for categories that stand in columns of a float array."""
    for column, n in categories:
        values = array[..., column]
        if values.min() < 0 or values.max() >= n or bool((values != np.floor(values)).any()):
            raise DecodeError(
                f"chunk {label}, column {column}: found {values.min()} to {values.max()}, expected whole numbers from "
                f"0 to {n - 1}"
            )


def _groups(spec: ChunkSpec) -> dict[str, dict[str, ArraySpec]]:
    """The fields of a chunk that are dicts of arrays."""
    return {
        "observation": spec.observation,
        "action": spec.heads,
        "log_prob": spec.heads,
        "auxiliary": spec.auxiliary,
    }


def _check_names(group: str, found: dict[str, Array], expected: dict[str, ArraySpec]) -> None:
    if found.keys() != expected.keys():
        raise ValueError(f"chunk {group}: found entries {sorted(found)}, expected {sorted(expected)}")


def _checked(chunk: TrajectoryChunk, field: _Field) -> Array:
    """The chunk's array for this field, if it has the dtype and shape that the other side will assume."""
    array: Array = getattr(chunk, field.group)[field.name] if field.group else getattr(chunk, field.name)
    if array.shape != field.shape or array.dtype != field.dtype:
        raise ValueError(
            f"chunk {field.label}: found {array.dtype} {list(array.shape)}, expected {field.dtype} {list(field.shape)}"
        )
    return array


def _short(value: object) -> str:
    text = repr(value[:80] if isinstance(value, str | bytes) else value)
    return text if len(text) <= 80 else text[:77] + "..."


#: Layouts by (id of the spec, rows). A layout holds its spec, so an id in here cannot come to mean another one.
_layouts: dict[tuple[int, int], _Layout] = {}


def _layout(spec: ChunkSpec, rows: int) -> _Layout:
    """The layout of chunks of so many rows, computed once: the spec's hash alone takes longer than a chunk."""
    layout = _layouts.get((id(spec), rows))
    if layout is None:
        if len(_layouts) >= 256:
            _layouts.clear()
        layout = _layouts[id(spec), rows] = _new_layout(spec, rows)
    return layout


def _new_layout(spec: ChunkSpec, rows: int) -> _Layout:
    bits: list[_Field] = []
    numbers: list[_Field] = []
    n_bits = 0
    n_bytes = 0
    for group, name, dtype, shape in sorted(_arrays(spec, rows), key=_blob_order):
        if dtype.kind == "b":
            bits.append(_Field(group=group, name=name, dtype=dtype, shape=shape, offset=n_bits))
            n_bits += bits[-1].size
        else:
            numbers.append(_Field(group=group, name=name, dtype=dtype, shape=shape, offset=n_bytes))
            n_bytes += numbers[-1].size * dtype.itemsize
    float16 = [field for field in numbers if field.dtype == np.float16]
    return _Layout(
        spec=spec,
        spec_hash=spec.hash,
        numbers=tuple(numbers),
        bits=tuple(bits),
        n_float32=sum(field.size for field in numbers if field.dtype == np.float32),
        float16_offset=float16[0].offset,
        n_float16=sum(field.size for field in float16),
        bits_offset=n_bytes,
        n_bits=n_bits,
        n_bytes=n_bytes + -(-n_bits // 8),
    )


def _blob_order(array: tuple[str, str, np.dtype[Any], tuple[int, ...]]) -> tuple[int, bool, str, str, str]:
    """Widest items first, floats before integers of the same width, then by name: the same at both ends."""
    group, name, dtype, _ = array
    return -dtype.itemsize, dtype.kind != "f", dtype.str, group, name


def _arrays(spec: ChunkSpec, rows: int) -> list[tuple[str, str, np.dtype[Any], tuple[int, ...]]]:
    """Group, name, dtype and whole shape of every array of a chunk: the table of design and `TrajectoryChunk`."""
    t, a, windows = (rows,), spec.agents, rows // spec.bptt_steps
    arrays = [
        ("", "first", "bool", t),
        ("", "value", "float32", (rows + 1, a)),
        ("", "reward", "float32", (rows, a)),
        ("", "terminated", "bool", (rows, a)),
        ("", "truncated", "bool", (rows, a)),
        ("", "acting", "bool", (rows, a)),
        ("", "valid", "bool", (rows, a)),
        ("", "opponent_version", "int32", t),
        ("", "lstm_state", "float16", (windows, a, 2, spec.lstm_units)),
        ("", "version", "uint32", (windows,)),
    ]
    for name, entry in spec.observation.items():
        arrays.append(("observation", name, entry.dtype, ((*t, a) if entry.per_agent else t) + entry.shape))
    for name, head in spec.heads.items():
        arrays.append(("action", name, head.dtype, (rows + 1, a, *head.shape)))
        arrays.append(("log_prob", name, "float32", (rows, a)))
    for name, prediction in spec.auxiliary.items():
        arrays.append(("auxiliary", name, prediction.dtype, (a, *prediction.shape)))
    return [(group, name, np.dtype(dtype), shape) for group, name, dtype, shape in arrays]
