"""Specs, chunks, pending chunks and weights, for every test that needs something to send."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np

from quintet.wire.chunk import MIRROR, Array, ArraySpec, ChunkSpec, TrajectoryChunk
from quintet.wire.codec import encode_chunk
from quintet.wire.link import EncodedWeights, PendingChunk, Registration

RUN = "test-run"


def make_spec(**changes: Any) -> ChunkSpec:
    """A small spec of one team of one agent: a float vector in, one head of two choices out."""
    fields: dict[str, Any] = {
        "game": "test-game",
        "teams": 1,
        "agents": 1,
        "lstm_units": 8,
        "bptt_steps": 4,
        "chunk_steps": 16,
        "observation": {"observation": ArraySpec(shape=(4,), dtype="float32")},
        "heads": {"action": ArraySpec(shape=(), dtype="int16")},
    }
    return ChunkSpec(**(fields | changes))


def make_chunk(
    spec: ChunkSpec,
    *,
    rows: int | None = None,
    rng: np.random.Generator | None = None,
    run: str = RUN,
    worker: int = 0,
    incarnation: int = 1,
    sequence: int = 1,
    cumulative_steps: int | None = None,
    slot: int = 0,
    team: int = 0,
    version: int = 1,
) -> TrajectoryChunk:
    """A chunk that fits `spec`, with random finite contents; `rows` defaults to the spec's chunk_steps."""
    rng = rng or np.random.default_rng(0)
    t = spec.chunk_steps if rows is None else rows
    a, windows = spec.agents, t // spec.bptt_steps
    return TrajectoryChunk(
        run=run,
        spec_hash=spec.hash,
        worker=worker,
        incarnation=incarnation,
        sequence=sequence,
        cumulative_steps=sequence * t * a if cumulative_steps is None else cumulative_steps,
        slot=slot,
        team=team,
        observation={
            name: _random(rng, ((t, a) if entry.per_agent else (t,)) + entry.shape, entry.dtype)
            for name, entry in spec.observation.items()
        },
        first=_random(rng, (t,), "bool"),
        action={name: _random(rng, (t + 1, a, *head.shape), head.dtype) for name, head in spec.heads.items()},
        log_prob={name: -np.abs(_random(rng, (t, a), "float32")) for name in spec.heads},
        value=_random(rng, (t + 1, a), "float32"),
        reward=_random(rng, (t, a), "float32"),
        terminated=_random(rng, (t, a), "bool"),
        truncated=_random(rng, (t, a), "bool"),
        acting=_random(rng, (t, a), "bool"),
        valid=_random(rng, (t, a), "bool"),
        opponent_version=np.full(t, MIRROR, np.int32),
        auxiliary={name: rng.random((a, *entry.shape), np.float32) for name, entry in spec.auxiliary.items()},
        lstm_state=_random(rng, (windows, a, 2, spec.lstm_units), "float16"),
        version=np.full(windows, version, np.uint32),
    )


def make_pending_chunk(
    registration: Registration,
    sequence: int,
    *,
    steps: int = 16,
    cumulative_steps: int | None = None,
    n_bytes: int = 10,
) -> PendingChunk:
    """A chunk for tests of links, which never look into a payload; no gaps if all chunks have these steps."""
    return PendingChunk(
        worker=registration.worker,
        incarnation=registration.incarnation,
        sequence=sequence,
        cumulative_steps=sequence * steps if cumulative_steps is None else cumulative_steps,
        steps=steps,
        payload=f"{registration.incarnation}:{sequence}:".encode().ljust(n_bytes, b"x"),
    )


def pending_chunk(chunk: TrajectoryChunk, spec: ChunkSpec, *, compress: bool = False) -> PendingChunk:
    """The chunk as a worker would push it."""
    return PendingChunk(
        worker=chunk.worker,
        incarnation=chunk.incarnation,
        sequence=chunk.sequence,
        cumulative_steps=chunk.cumulative_steps,
        steps=chunk.steps,
        payload=encode_chunk(chunk, spec, compress=compress),
    )


def make_weights(
    version: int,
    payload: bytes = b"some safetensors bytes",
    *,
    agent_steps: int = 0,
    spec_hash: str = "0123456789abcdef",
) -> EncodedWeights:
    """Weights under their right hash, for tests of links, which never look into a payload."""
    return EncodedWeights(
        version=version,
        agent_steps=agent_steps,
        spec_hash=spec_hash,
        precision="float32",
        sha256=hashlib.sha256(payload).hexdigest(),
        payload=payload,
    )


def _random(rng: np.random.Generator, shape: tuple[int, ...], dtype: str) -> Array:
    kind = np.dtype(dtype).kind
    if kind == "b":
        return rng.random(shape) < 0.5
    if kind == "f":
        return rng.standard_normal(shape).astype(dtype)
    return rng.integers(0, 2, shape).astype(dtype)
