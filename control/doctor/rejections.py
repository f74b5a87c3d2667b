"""What the doctor says of chunks that were rejected: the last reasons, who sent them, how many there were."""

from __future__ import annotations

from collections.abc import Iterator

from quintet.control.doctor.finding import Finding
from quintet.control.doctor.health_snapshot import HealthSnapshot
from quintet.control.status import mostly_rejected

SHOWN = 3
"""So many of the last reasons."""
ADVICE = (
    # What a reason says -> what to do. The first that fits counts; `wire.codec` and `optimizer.batcher` word reasons.
    (
        "NaN, infinite or beyond",
        "numbers like that come out of a game (quintet check plays it and names the row) or out of a network that "
        "diverged (a smaller ppo.learning_rate)",
    ),
    ("wire version", "update the workers' code: another version of this program sent it"),
    ("chunk spec", "a worker plays another game or has another network: give it the run's own configuration"),
    ("damaged on its way", "look at the network and the memory of that machine, and update the workers' code"),
)
OTHERWISE = "look at whoever sent it: the reason says what was found and what was expected"


def rejections(vitals: HealthSnapshot) -> Iterator[Finding]:
    """Of a run that goes on, or of one that has ended."""
    reasons = [event.text for event in vitals.events if event.kind == "rejected"]
    counters = None if vitals.status is None else vitals.status.counters
    if not reasons and not (counters and counters.rejected):
        return
    shown = reasons[-SHOWN:]
    count = f"{counters.rejected:,} of {counters.produced:,} steps" if counters else "chunks"
    yield Finding(
        severity="error" if counters and mostly_rejected(counters) else "warning",
        about="steps",
        seen=f"{count} were rejected: {shown[-1] if shown else 'batches gave no finite loss'}",
        why="they were played for nothing, and whoever plays nothing else never learns",
        advice=advice_for(shown[-1]) if shown else "see the journal, and the batches kept in runs/<run>/logs/",
        details="\n".join(shown[:-1]),
    )


def advice_for(reason: str) -> str:
    """What to do about a chunk that was rejected for this reason."""
    return next((advice for part, advice in ADVICE if part in reason), OTHERWISE)
