"""journal.jsonl: what happened to a run, one event per line, never rewritten."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from quintet.control.sinks import JsonlFile, read_jsonl

EventKind = Literal[
    "started", "resumed", "checkpoint", "checkpoint failed", "worker started", "worker died", "optimizer died",
    "restarted", "scaled", "set", "rejected", "stopped", "failed", "note",
]  # fmt: skip
CRASHES: tuple[EventKind, ...] = ("worker died", "optimizer died")


@dataclass(frozen=True, kw_only=True, slots=True)
class Event:
    """One event of a run."""

    time_s: float  # Unix time
    agent_steps: int  # how far the run was
    kind: EventKind
    process: str = ""  # whom it happened to: "worker/3", "optimizer"; empty for the run itself
    text: str = ""  # for people: a reason, a number
    data: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        """One line for the board: `12:03:55  worker/3 worker died: signal 9`."""
        clock = time.strftime("%H:%M:%S", time.localtime(self.time_s))
        who = f"{self.process}: " if self.process else ""
        return f"{clock}  {who}{self.kind}" + (f" ({self.text})" if self.text else "")


class Journal:
    """The writer's end; there is one writer, the controller."""

    def __init__(self, path: Path) -> None:
        self._lines = JsonlFile(path)

    def add(
        self,
        kind: EventKind,
        *,
        agent_steps: int,
        process: str = "",
        text: str = "",
        time_s: float | None = None,
        **data: Any,
    ) -> Event:
        """Append one event, by default of this moment, and return it."""
        event = Event(
            time_s=time.time() if time_s is None else time_s,
            agent_steps=agent_steps,
            kind=kind,
            process=process,
            text=text,
            data=data,
        )
        self._lines.append(asdict(event))
        return event

    def close(self) -> None:
        """Close the file."""
        self._lines.close()


def read_journal(path: Path) -> Iterator[Event]:
    """The events of a journal, oldest first; lines that are no event (a torn one) are skipped."""
    for record in read_jsonl(path):
        if (event := event_of(record)) is not None:
            yield event


def event_of(record: dict[str, Any]) -> Event | None:
    """The event that one line of a journal holds; None where it holds none."""
    if record.get("kind") in get_args(EventKind) and record.keys() <= set(Event.__dataclass_fields__):
        return Event(**record)
    return None
