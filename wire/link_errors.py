"""What both links say of the same mistake, in the same words."""

from __future__ import annotations

from collections.abc import Sequence

from quintet.wire.codec import MAX_CHUNK_BYTES
from quintet.wire.errors import LeaseHeldError, LeaseLostError, LinkError, SpecMismatchError
from quintet.wire.link import Ack, PendingChunk


def check_pending(chunks: Sequence[PendingChunk]) -> None:
    """Pending chunks that no link could count.

    Raises:
        ValueError: no steps, no sequence number, more steps than the incarnation closed in all, or too many bytes.
    """
    for chunk in chunks:
        if len(chunk.payload) > MAX_CHUNK_BYTES:
            raise ValueError(
                f"chunk of worker {chunk.worker}: found {len(chunk.payload)} bytes, expected at most "
                f"{MAX_CHUNK_BYTES}: lower chunk_steps"
            )
        if chunk.steps < 1 or chunk.sequence < 1 or chunk.cumulative_steps < chunk.steps:
            raise ValueError(
                f"chunk of worker {chunk.worker}: found sequence {chunk.sequence}, {chunk.steps} steps and "
                f"{chunk.cumulative_steps} cumulative steps; expected all from 1, and the last to hold the second"
            )


def run_not_open(run: str) -> LinkError:
    """Nobody called `open_run` here."""
    return LinkError(f"run {run!r} is not open here: start `quintet train` or `quintet controller` for it first")


def closed_incarnation(chunk: PendingChunk) -> LinkError:
    """A push by a worker that had been given up. Its steps were counted as lost."""
    return LinkError(
        f"worker {chunk.worker}: its incarnation {chunk.incarnation} was closed (it was silent for too long, "
        "deregistered, or another process took its place); register again"
    )


def unbalanced_ack(ack: Ack, steps: int) -> ValueError:
    """A ack that would break the conservation law."""
    found = ack.trained + ack.stale + ack.rejected
    return ValueError(f"settlement of {ack.id}: trained + stale + rejected is {found}, the message has {steps}")


def used_version(version: int, announced: int) -> LinkError:
    """A version that would go down or be used twice."""
    return LinkError(f"version {version} cannot be published: {announced} was announced already; go on from there")


def lease_held(run: str, *, owner: str, age_s: float) -> LeaseHeldError:
    """A second optimizer."""
    return LeaseHeldError(
        f"run {run!r} has an optimizer already: {owner}, heard {max(0.0, age_s):.1f} s ago. Stop that one first, or "
        "choose another --run name; if it has crashed, its lease ends by itself"
    )


def lease_lost(run: str, *, token: int, newest: int, owner: str) -> LeaseLostError:
    """An optimizer that was paused, and woke up after another one had taken over."""
    found = f"fencing token {token}" if token else "no lease"
    return LeaseLostError(
        f"run {run!r}: this process has {found}, but token {newest} was issued since"
        f"{f' (to {owner})' if owner else ''}: it must not publish or settle any more, and ends"
    )


def other_spec(run: str, *, found: str, expected: str) -> SpecMismatchError:
    """A process that plays another game or has another network size than the run."""
    return SpecMismatchError(
        f"run {run!r} was started with spec {expected}, this process has spec {found}: another game, other spaces or "
        "bounds of it, another LSTM size, bptt_steps, chunk_steps or version of Quintet. Use the run's own "
        "configuration, or another --run name."
    )
