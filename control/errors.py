"""What goes wrong, as a person meets it: one line on stderr and an exit code. Tracebacks go to the run's logs.

An error class that a person can act on says itself what a run does about it:

* `ends_run_with`: the exit code of the command that it ends;
* `run_bears`: how many of its workers a run may lose to it within FAULTS_WITHIN_S; None or missing: as many as to any
  other failure, see `quintet.cluster.processes.restart_policy`.

Everything else is a bug: its traceback goes into a file.
"""

from __future__ import annotations

import errno
import os
import sys
import tempfile
import traceback
from pathlib import Path

DONE, FAILED, USAGE, INTERRUPTED = 0, 1, 2, 130
REDIS_URL = "QUINTET_REDIS_URL"  # the environment variable: a password must not stand on a command line
CRASHED = 70  # of the optimizer process: a bug; worth starting again, until it happens at once
LINK_DOWN = 75  # of the optimizer process: Redis was away for too long; worth starting again


class UsageError(Exception):
    """A command that cannot be carried out as it was given."""

    ends_run_with = USAGE


class RunFailedError(Exception):
    """A run that cannot go on; its last good checkpoint stays."""

    ends_run_with = FAILED


def one_line(error: BaseException) -> str:
    """An error's message without line breaks; its type where it has none."""
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        where = f" at {error.filename}" if error.filename else ""
        return f"the disk is full{where}: free some space and go on with --resume; the last good checkpoint stays"
    text = " ".join(str(error).split())
    return text or type(error).__name__


FAULTS_WITHIN_S = 600.0
UNREACHABLE = (ConnectionError, TimeoutError, EOFError)  # causes: a simulator that a game talks to may come back


def exit_code(error: BaseException) -> int | None:
    """The exit code of an error that a person can act on, None for one that only a programmer can."""
    if isinstance(error, KeyboardInterrupt):
        return INTERRUPTED
    code: int | None = getattr(type(error), "ends_run_with", None)
    return FAILED if code is None and isinstance(error, OSError) else code


def faults_borne(error: BaseException) -> int | None:
    """How many of its workers a run may lose to this within FAULTS_WITHIN_S; None: as to any other failure."""
    borne: int | None = getattr(type(error), "run_bears", None)
    return None if isinstance(error.__cause__, UNREACHABLE) else borne


def error_report(error: BaseException) -> dict[str, str]:
    """Why a worker could not go on, as text that travels: `quintet.cluster.worker_supervisor` reads it."""
    borne = faults_borne(error)
    return {
        "error": one_line(error),
        "traceback": "".join(traceback.format_exception(error)),
        "exit_code": str(exit_code(error)),
        "borne": "" if borne is None else str(borne),
    }


def fault(said: str, code: int | None, log: Path | str | None) -> Exception:
    """What ends the run when its game, or a worker for good, said this; the line names where the traceback is."""
    kind = UsageError if code == USAGE else RunFailedError
    return kind(said + (f"; the whole traceback is in {log}" if log else ""))


def report(error: BaseException, logs: Path | None) -> int:
    """Say in one line on stderr what went wrong; a bug's traceback goes to a file. Returns the exit code."""
    code = exit_code(error)
    text = one_line(error)
    if code is None:
        code = FAILED
        text = f"unexpected {type(error).__name__}: {text}; the traceback is in {keep_traceback(error, logs)}"
    elif code == INTERRUPTED:
        text = "interrupted" + _in_a_game(error)
    print(f"quintet: {text}", file=sys.stderr, flush=True)
    return code


def _in_a_game(error: BaseException) -> str:
    """Where a game was that may never have come back; nothing where none was at it."""
    blame = sys.modules.get("quintet.games.checks.blame")
    line = blame.raised_at(error, packages=False) if blame else None
    return f" at {line}" if line else ""


def keep_traceback(error: BaseException, logs: Path | None) -> str:
    """Write an error's whole traceback to a file in `logs`, or in the folder for temporary files; returns where it is.

    Where there is no room it is printed.
    """
    folder = Path(tempfile.gettempdir()) if logs is None else logs
    path = folder / f"quintet-traceback-{os.getpid()}.txt"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # A name of a file that is no UTF-8 may stand in it.
        path.write_text("".join(traceback.format_exception(error)), encoding="utf-8", errors="backslashreplace")
    except OSError:
        traceback.print_exception(error)
        return "the lines above"
    return str(path)
