"""What an attacker, or an accident, makes of real chunks: every kind must be refused, each for a reason of its own."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import msgpack
import numpy as np
import zstandard

from quintet.games.checks.data import LARGEST_NUMBER
from quintet.wire.chunk import ChunkSpec, TrajectoryChunk
from quintet.wire.codec import decode_chunk, encode_chunk, seal

SEAL_BYTES = 4
#: Where the message's items stand, behind magic and wire version.
RUN_AT, SPEC_AT, WORKER_AT, INCARNATION_AT, SEQUENCE_AT, CUMULATIVE_AT, ROWS_AT = 2, 3, 4, 5, 6, 7, 10
COMPRESSED_AT, BLOB_AT = 11, 12
BOMB_BYTES = 2**24


@dataclass(frozen=True, kw_only=True, slots=True)
class Identity:
    """What the link will know of the next chunk, for an attacker who hides his lie elsewhere."""

    worker: int
    incarnation: int
    sequence: int
    cumulative_steps: int


class Forger:
    """Makes hostile messages of real ones."""

    def __init__(self, payloads: Sequence[bytes], spec: ChunkSpec, run: str, seed: int) -> None:
        self.rng = random.Random(seed)
        self._payloads, self._spec, self._run = payloads, spec, run
        self._chunks = [decode_chunk(payload, spec, run=run) for payload in payloads]
        self._bomb = zstandard.ZstdCompressor(level=1).compress(bytes(BOMB_BYTES))
        self.kinds: dict[str, Callable[[Identity], bytes]] = {
            "bits flipped": self._flipped,
            "truncated": self._truncated,
            "extended": lambda _: self._real() + self.rng.randbytes(self.rng.randint(1, 64)),
            "bytes replaced": self._spliced,
            "random bytes": lambda _: self.rng.randbytes(self.rng.randint(0, 2000)),
            "random bytes, sealed": lambda _: seal(self.rng.randbytes(self.rng.randint(0, 2000))),
            "random msgpack, sealed": lambda _: seal(msgpack.packb(self._anything(4))),
            "bits of the header flipped, sealed": self._header_flipped,
            "an item of another type, sealed": self._retyped,
            "another run, spec or size, sealed": self._misdirected,
            "not finite, or absurd, sealed": self._not_finite,
            "zstd bomb, sealed": self._exploding,
            "id of another worker, sealed": self._forged,
            "replay": lambda _: self._real(),
        }

    def make(self, identity: Identity) -> tuple[str, bytes]:
        """A kind, and a message of it."""
        kind = self.rng.choice(list(self.kinds))
        return kind, self.kinds[kind](identity)

    def _real(self) -> bytes:
        return self.rng.choice(self._payloads)

    def _items(self, identity: Identity) -> list[Any]:
        """A real message's items, with the sender's own id in them."""
        items: list[Any] = msgpack.unpackb(self._real()[:-SEAL_BYTES])
        items[WORKER_AT], items[INCARNATION_AT] = identity.worker, identity.incarnation
        items[SEQUENCE_AT], items[CUMULATIVE_AT] = identity.sequence, identity.cumulative_steps
        return items

    def _flipped(self, _: Identity) -> bytes:
        data = bytearray(self._real())
        for _n in range(self.rng.randint(1, 8)):
            data[self.rng.randrange(len(data))] ^= 1 << self.rng.randrange(8)
        return bytes(data)

    def _truncated(self, _: Identity) -> bytes:
        data = self._real()
        return data[: self.rng.randrange(len(data))]

    def _spliced(self, _: Identity) -> bytes:
        data = bytearray(self._real())
        at = self.rng.randrange(len(data))
        data[at : at + self.rng.randint(0, 16)] = self.rng.randbytes(self.rng.randint(1, 16))
        return bytes(data)

    def _header_flipped(self, identity: Identity) -> bytes:
        """Anything in the first bytes, with an incarnation that is wrong in more bits than are flipped."""
        items = self._items(identity)
        items[INCARNATION_AT] = 2**31 - 1
        data = bytearray(msgpack.packb(items))
        for _n in range(self.rng.randint(1, 8)):
            data[self.rng.randrange(min(110, len(data)))] ^= 1 << self.rng.randrange(8)
        return seal(bytes(data))

    def _retyped(self, identity: Identity) -> bytes:
        items = self._items(identity)
        items[self.rng.randrange(len(items))] = self.rng.choice([None, 1.5, -1, "x" * 2000, [], [[]], "", b"", 2**63])
        items[INCARNATION_AT] = 2**31  # and an incarnation that nobody was given, lest a right type came of it
        return seal(msgpack.packb(items))

    def _misdirected(self, identity: Identity) -> bytes:
        items = self._items(identity)
        at = self.rng.choice([RUN_AT, SPEC_AT, ROWS_AT, BLOB_AT])
        more_rows = items[ROWS_AT] + self._spec.bptt_steps
        items[at] = {RUN_AT: "another-run", SPEC_AT: "0" * 16, ROWS_AT: more_rows, BLOB_AT: b"\0"}[at]
        return seal(msgpack.packb(items))

    def _not_finite(self, identity: Identity) -> bytes:
        chunk = self.rng.choice(self._chunks)
        fields = {name: getattr(chunk, name) for name in TrajectoryChunk.__dataclass_fields__}
        name = self.rng.choice(["reward", "value", "lstm_state"])
        array = fields[name].copy()
        bad = [np.nan, np.inf, -np.inf]
        if name != "lstm_state":  # a float16 that large is infinite
            bad += [2 * LARGEST_NUMBER, -3e38]
        array.reshape(-1)[self.rng.randrange(array.size)] = self.rng.choice(bad)
        fields |= {name: array, **_id_fields(identity)}
        return encode_chunk(TrajectoryChunk(**fields), self._spec, compress=False)

    def _exploding(self, identity: Identity) -> bytes:
        items = self._items(identity)
        items[COMPRESSED_AT:] = [True, self._bomb]
        return seal(msgpack.packb(items))

    def _forged(self, identity: Identity) -> bytes:
        items = self._items(identity)
        at, most = self.rng.choice([(WORKER_AT, 2**32), (INCARNATION_AT, 2**32), (SEQUENCE_AT, 2**63)])
        items[at] = (items[at] + self.rng.randrange(1, most - 1)) % most
        return seal(msgpack.packb(items))

    def _anything(self, depth: int) -> Any:
        if depth == 0 or self.rng.random() < 0.3:
            return self.rng.choice([None, True, 7, -7, 2.5, "text", b"bytes", 2**64 - 1])
        if self.rng.random() < 0.3:
            return {str(k): self._anything(depth - 1) for k in range(3)}
        return [self._anything(depth - 1) for _ in range(self.rng.randint(0, 4))]


def _id_fields(identity: Identity) -> dict[str, int]:
    return {
        "worker": identity.worker,
        "incarnation": identity.incarnation,
        "sequence": identity.sequence,
        "cumulative_steps": identity.cumulative_steps,
    }
