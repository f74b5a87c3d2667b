"""Where rows of metrics go: metrics.jsonl and TensorBoard's event files."""

from __future__ import annotations

import errno
import json
import math
import os
import socket
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

from quintet.control.config import RunConfig, dump_config, flat_config
from quintet.control.metrics import AGENT_STEPS, TIME_S, VERSION

WAITING_BYTES = 2**26  # beyond that, what is new is dropped
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class BufferedFile:
    """As much of a binary file object as its writers need: `write`, `flush`, `close`."""

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        self._waiting = bytearray()
        self.dropped_bytes = 0

    def write(self, data: bytes) -> int:
        """Take bytes; `flush` hands them to the operating system."""
        if len(self._waiting) + len(data) > WAITING_BYTES:
            self.dropped_bytes += len(data)
        else:
            self._waiting += data
        return len(data)

    def flush(self) -> None:
        """Write what waits, as far as there is room.

        Raises:
            OSError: anything but a disk that is full.
        """
        try:
            self._flush()
        except OSError as error:
            if error.errno not in NO_ROOM:
                raise

    def close(self) -> None:
        """Write what waits and close. Doing it again does nothing.

        Raises:
            OSError: there is still no room, and what waits is lost.
        """
        if self._descriptor < 0:
            return
        try:
            self._flush()
        finally:
            os.close(self._descriptor)
            self._descriptor = -1

    def _flush(self) -> None:
        while self._waiting:
            written = os.write(self._descriptor, self._waiting)
            del self._waiting[:written]


class MetricsSink(Protocol):
    """Something that keeps rows, and marks where something happened."""

    def write(self, row: Mapping[str, float]) -> None:
        """Keep one row."""
        ...

    def mark(self, text: str, *, agent_steps: int, time_s: float) -> None:
        """Note what happened when the run was so far."""
        ...

    def close(self) -> None:
        """Finish; nothing is written after it."""
        ...


class JsonlFile:
    """A file of one JSON object per line, appended to. However the writer ends, at most the last line is lost."""

    def __init__(self, path: Path) -> None:
        torn = _ends_torn(path)
        self._file = BufferedFile(path)
        if torn:
            self._file.write(b"\n")  # so that the torn line stays alone and the next one is whole

    def append(self, record: Mapping[str, Any]) -> None:
        """Write one line and hand it to the operating system."""
        self._file.write(json.dumps(record, allow_nan=False).encode() + b"\n")
        self._file.flush()

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def read_jsonl(path: Path) -> Iterator[dict[str, Any]]:
    """The objects of a `JsonlFile`, oldest first; torn lines are skipped, a missing file is empty."""
    if not path.exists():
        return
    with path.open("rb") as file:
        yield from (record for line in file if (record := read_line(line)) is not None)


def last_jsonl(path: Path, tail_bytes: int = 65_536) -> dict[str, Any]:
    """The last whole object of a `JsonlFile`, without reading all of it; empty where there is none."""
    if not path.exists():
        return {}
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - tail_bytes))
        lines = file.read().splitlines()
    return next(filter(None, map(read_line, reversed(lines))), {})


def read_line(line: bytes) -> dict[str, Any] | None:
    """The object that a line of JSON holds; None where it holds none."""
    try:
        record = json.loads(line)
    except ValueError:
        return None
    return record if isinstance(record, dict) else None


def finite(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row as JSON can hold it: None for a number that is not finite."""
    return {name: None if isinstance(x, float) and not math.isfinite(x) else x for name, x in row.items()}


def _ends_torn(path: Path) -> bool:
    if not path.exists() or path.stat().st_size == 0:
        return False
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read(1) != b"\n"


class JsonlSink:
    """metrics.jsonl: one row per line. What is not finite is written as null."""

    def __init__(self, path: Path) -> None:
        self._lines = JsonlFile(path)

    def write(self, row: Mapping[str, float]) -> None:
        """Append one row."""
        self._lines.append(finite(row))

    def mark(self, text: str, *, agent_steps: int, time_s: float) -> None:
        """Nothing: journal.jsonl lies beside this file and has all of it."""

    def close(self) -> None:
        """Close the file."""
        self._lines.close()


class TensorBoardSink:
    """One TensorBoard event file per start; the horizontal axis is agent_steps.

    Rows are scalars. The configuration is a text, and a trial of the HParams page, where runs are compared by what they
    were set to. Marks are texts at the step where something happened.

    Written record by record with TensorBoard's own record writer: it needs neither TensorFlow nor a thread, and however
    it ends, at most the last record is lost.
    """

    def __init__(self, folder: Path, config: RunConfig | None = None) -> None:
        # Imported here: protobuf is slow to load, and readers of metrics do not need it.
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.compat.proto.summary_pb2 import Summary
        from tensorboard.plugins.hparams import summary_v2 as hparams
        from tensorboard.plugins.text.metadata import create_summary_metadata
        from tensorboard.summary.writer.record_writer import RecordWriter
        from tensorboard.util.tensor_util import make_tensor_proto

        folder.mkdir(parents=True, exist_ok=True)
        self._event, self._summary = Event, Summary
        self._tensor, self._text_metadata = make_tensor_proto, create_summary_metadata("", "")
        name = f"events.out.tfevents.{int(time.time())}.{socket.gethostname()}.{os.getpid()}"
        self._file = BufferedFile(folder / name)
        self._records = RecordWriter(self._file)
        self._put(Event(wall_time=time.time(), file_version="brain.Event:2"))
        if config is not None:
            self._put(Event(wall_time=time.time(), summary=hparams.hparams_pb(flat_config(config))))
            self._text("config", f"```toml\n{dump_config(config)}```", step=0, time_s=time.time())

    def write(self, row: Mapping[str, float]) -> None:
        """Add one row's numbers at its agent_steps."""
        values = [
            self._summary.Value(tag=name, simple_value=value)
            for name, value in row.items()
            if name not in (TIME_S, AGENT_STEPS, VERSION)
        ]
        step = int(row.get(AGENT_STEPS, 0))
        self._put(self._event(wall_time=row.get(TIME_S, 0.0), step=step, summary=self._summary(value=values)))

    def mark(self, text: str, *, agent_steps: int, time_s: float) -> None:
        """Add one text under `journal`."""
        self._text("journal", text, step=agent_steps, time_s=time_s)

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _text(self, tag: str, text: str, *, step: int, time_s: float) -> None:
        value = self._summary.Value(tag=tag, metadata=self._text_metadata, tensor=self._tensor([text.encode()]))
        self._put(self._event(wall_time=time_s, step=step, summary=self._summary(value=[value])))

    def _put(self, event: Any) -> None:
        self._records.write(event.SerializeToString())
        self._file.flush()
