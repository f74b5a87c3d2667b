r"""One version of the weights as bytes: a small header and the safetensors bytes behind it.

    b"quintet-weights\n" | header length, u32 little-endian | msgpack header | payload

The header is the list [wire version, version, agent_steps, spec hash, sha256 of the payload, payload length, epoch,
epoch seed, number format].
What the payload means is for `quintet.model.weights`; here it is bytes with a hash.
"""

from __future__ import annotations

import hashlib
import io
import struct
from typing import Any, BinaryIO

import msgpack

from quintet.wire.chunk import WIRE_VERSION
from quintet.wire.errors import DecodeError
from quintet.wire.link import PRECISIONS, EncodedWeights

MAX_WEIGHTS_BYTES = 512 * 2**20  # Redis takes no larger value
_MAGIC = b"quintet-weights\n"
_MAX_HEADER_BYTES = 1024
_PREFIX_BYTES = len(_MAGIC) + 4
_HEADER: tuple[tuple[str, type], ...] = (
    ("wire version", int),
    ("version", int),
    ("agent_steps", int),
    ("spec_hash", str),
    ("sha256", str),
    ("payload bytes", int),
    ("epoch", int),
    ("epoch seed", int),
    ("number format", str),
)


def pack_weights(weights: EncodedWeights) -> bytes:
    """Header and payload as one value.

    Raises:
        ValueError: more than `MAX_WEIGHTS_BYTES`.
    """
    header = msgpack.packb(
        [
            WIRE_VERSION,
            weights.version,
            weights.agent_steps,
            weights.spec_hash,
            weights.sha256,
            len(weights.payload),
            weights.epoch,
            weights.epoch_seed,
            weights.precision,
        ]
    )
    data = b"".join((_MAGIC, struct.pack("<I", len(header)), header, weights.payload))
    if len(data) > MAX_WEIGHTS_BYTES:
        raise ValueError(
            f"weights of {len(data)} bytes; at most {MAX_WEIGHTS_BYTES} travel: use bfloat16 or fewer units"
        )
    return data


def unpack_weights(data: bytes) -> EncodedWeights:
    """Undo `pack_weights` and check every promise of the header.

    Raises:
        DecodeError: no weights, a bad header, truncated bytes, or a payload that is not what its sha256 says.
    """
    return read_weights(io.BytesIO(data), len(data))


def read_weights(file: BinaryIO, n_bytes_found: int) -> EncodedWeights:
    """`unpack_weights` from a file of so many bytes; what is large is read once and not copied. Raises as it does."""
    header_bytes, payload = _split(file, n_bytes_found)
    try:
        header = msgpack.unpackb(header_bytes, max_array_len=16, max_map_len=0, max_ext_len=0)
    except (ValueError, TypeError, OverflowError, msgpack.exceptions.UnpackException) as error:
        raise DecodeError(f"weights header: found bytes that are not msgpack ({error}), expected a list") from error
    _, version, agent_steps, spec_hash, sha256, n_bytes, epoch, epoch_seed, precision = _checked_header(header)
    if len(payload) != n_bytes:
        raise DecodeError(f"weights of version {version}: found {len(payload)} bytes, expected {n_bytes}")
    weights = EncodedWeights(
        version=version,
        agent_steps=agent_steps,
        spec_hash=spec_hash,
        precision=precision,
        sha256=sha256,
        payload=payload,
        epoch=epoch,
        epoch_seed=epoch_seed,
    )
    verify_weights(weights)
    return weights


def verify_weights(weights: EncodedWeights) -> None:
    """Compare the payload with its hash.

    Raises:
        DecodeError: they differ.
    """
    found = hashlib.sha256(weights.payload).hexdigest()
    if found != weights.sha256:
        raise DecodeError(
            f"weights of version {weights.version}: found sha256 {found[:16]}..., expected {weights.sha256[:16]}..."
        )


def _split(file: BinaryIO, n_bytes: int) -> tuple[bytes, bytes]:
    if n_bytes > MAX_WEIGHTS_BYTES:
        raise DecodeError(f"weights: found {n_bytes} bytes, expected at most {MAX_WEIGHTS_BYTES}")
    prefix = file.read(_PREFIX_BYTES)
    if len(prefix) < _PREFIX_BYTES or not prefix.startswith(_MAGIC):
        raise DecodeError(f"weights: found {prefix[: len(_MAGIC)]!r}, expected bytes that begin with {_MAGIC!r}")
    (n_header,) = struct.unpack_from("<I", prefix, len(_MAGIC))
    if n_header > min(_MAX_HEADER_BYTES, n_bytes - _PREFIX_BYTES):
        raise DecodeError(f"weights: found {n_bytes} bytes, expected a header of {n_header} bytes and a payload")
    return file.read(n_header), file.read()


def _checked_header(header: Any) -> list[Any]:
    """The same list, once every item is of its type."""
    if not isinstance(header, list) or not header or header[0] != WIRE_VERSION:
        found = header[:1] if isinstance(header, list) else type(header).__name__
        raise DecodeError(f"weights wire version: found {found!r}, expected [{WIRE_VERSION}]")
    if len(header) != len(_HEADER):
        raise DecodeError(f"weights header: found {len(header)} items, expected {len(_HEADER)}")
    for value, (name, kind) in zip(header, _HEADER, strict=True):
        if type(value) is not kind:
            raise DecodeError(f"weights {name}: found {value!r}, expected {kind.__name__}")
        if type(value) is int and value < 0:
            raise DecodeError(f"weights {name}: found {value}, expected a number from 0")
    if header[-1] not in PRECISIONS:
        raise DecodeError(f"weights number format: found {header[-1]!r}, expected {' or '.join(PRECISIONS)}")
    return header
