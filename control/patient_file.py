"""A file that is appended to and outlasts a full disk: what has no room waits in memory and is written later."""

from __future__ import annotations

import errno
import os
from pathlib import Path

WAITING_BYTES = 2**26  # beyond that, what is new is dropped
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class PatientFile:
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
