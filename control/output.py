"""What a command prints: its stdout is its own whatever games print, and a terminal or disk that fails ends nothing."""

from __future__ import annotations

import errno
import io
import os
import sys
from typing import TextIO

_NO_READER = (errno.EPIPE, errno.EIO)  # `| head` has seen enough; the terminal is closed
_own: list[BufferedText] = []  # a command's own stdout, once it is kept


class OutputError(OSError):
    """What a command was asked to print could not be written."""


class BufferedText(io.TextIOWrapper):
    """Text to an open file that never raises: what its encoding lacks is replaced, and after a failure all is dropped.

    `failure` is why it dropped something; None where all was written.
    """

    def __init__(self, descriptor: int, encoding: str, failure: OSError | None = None) -> None:
        super().__init__(os.fdopen(descriptor, "wb"), encoding=encoding, errors="replace", line_buffering=True)
        self.failure = failure

    def write(self, text: str) -> int:
        """Write it, or drop it."""
        try:
            return super().write(text)
        except OSError as error:
            self._give_up(error)
            return len(text)

    def flush(self) -> None:
        """Hand it all to the operating system, or drop it."""
        try:
            super().flush()
        except OSError as error:
            self._give_up(error)

    def _give_up(self, error: OSError) -> None:
        """What still waits, and all that comes, goes nowhere, so that nothing fails again: not even Python's exit."""
        self.failure = error
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self.fileno())
        os.close(nowhere)
        if error.errno not in _NO_READER and self is not sys.stderr:
            print(f"quintet: nothing more is printed, all else goes on: {error.strerror}", file=sys.stderr)


def keep_stdout() -> None:
    """From now on only `stdout()` writes to this process's stdout; what else is printed goes to stderr.

    On the level of file descriptors, so that it holds for games, for the C libraries below them and for children, too.
    Call it once, at a command's start.
    """
    said_in = sys.stdout.encoding if sys.stdout else "utf-8"
    for stream in (sys.stdout, sys.stderr):
        if stream:
            stream.flush()
    sys.stderr = BufferedText(os.dup(2) if sys.stderr else _nowhere(), sys.stderr.encoding if sys.stderr else "utf-8")
    if sys.stdout is None:  # closed: then 1 is no descriptor, or by now that of some other file
        _own.append(BufferedText(_nowhere(), said_in, OSError(errno.EBADF, "stdout is closed")))
        sys.stdout = sys.stderr
        return
    _own.append(BufferedText(os.dup(1), said_in))
    os.dup2(sys.stderr.fileno(), 1)
    sys.stdout = BufferedText(1, said_in)


def stdout() -> TextIO:
    """Where a command's own words go."""
    return _own[0] if _own else sys.stdout


def say(text: str) -> None:
    """Print one line of a command's own."""
    print(text, file=stdout(), flush=True)


def answer(text: str) -> None:
    """Print what a command was asked for and somebody's program waits for.

    Raises:
        OutputError: it could not be written.
    """
    say(text)
    failure = _failure()
    if failure is not None:
        raise OutputError(f"what --json asks for could not be written to stdout: {failure.strerror}")


def nobody_reads() -> bool:
    """Whether a command that does nothing but print may as well end."""
    return _failure() is not None


def _failure() -> OSError | None:
    return _own[0].failure if _own else None


def _nowhere() -> int:
    return os.open(os.devnull, os.O_WRONLY)
