"""What both links say of the same mistake, in the same words."""

from __future__ import annotations

from collections.abc import Sequence

from wire.errors import LinkError, SpecMismatchError
from wire.link import Parcel, Settlement


def check_parcels(parcels: Sequence[Parcel]) -> None:
    """Parcels that no link could count.

    Raises:
        ValueError: no steps, no sequence number, or more steps than the incarnation closed in all.
    """
    for parcel in parcels:
        if parcel.steps < 1 or parcel.sequence < 1 or parcel.cumulative_steps < parcel.steps:
            raise ValueError(
                f"parcel of worker {parcel.worker}: found sequence {parcel.sequence}, {parcel.steps} steps and "
                f"{parcel.cumulative_steps} cumulative steps; expected all from 1, and the last to hold the second"
            )


def run_not_open(run: str) -> LinkError:
    """Nobody called `open_run` here."""
    return LinkError(f"run {run!r} is not open here: start `quintet train` or `quintet controller` for it first")


def closed_incarnation(parcel: Parcel) -> LinkError:
    """A push by a worker that was given up for dead. Its steps were counted as lost."""
    return LinkError(
        f"worker {parcel.worker}: its incarnation {parcel.incarnation} was closed (it was silent for too long, said "
        "farewell, or another process took its place); register again"
    )


def unbalanced_settlement(settlement: Settlement, steps: int) -> ValueError:
    """A settlement that would break the conservation law."""
    found = settlement.trained + settlement.stale + settlement.rejected
    return ValueError(f"settlement of {settlement.id}: trained + stale + rejected is {found}, the delivery has {steps}")


def used_version(version: int, announced: int) -> LinkError:
    """A version that would go down or be used twice."""
    return LinkError(f"version {version} cannot be published: {announced} was announced already; go on from there")


def other_spec(run: str, *, found: str, expected: str) -> SpecMismatchError:
    """A process that plays another game or has another network size than the run."""
    return SpecMismatchError(
        f"run {run!r} was started with spec {expected}, this process has spec {found}: another game, LSTM size, "
        "bptt_steps or chunk_steps. Use the run's own configuration, or another --run name."
    )
