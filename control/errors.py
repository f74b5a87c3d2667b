"""What goes wrong, as a person meets it: one line on stderr and an exit code. Tracebacks go to the run's logs."""

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


class RunFailedError(Exception):
    """A run that cannot go on; its last good checkpoint stays."""


def one_line(error: BaseException) -> str:
    """An error's message without line breaks; its type where it has none."""
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        where = f" at {error.filename}" if error.filename else ""
        return f"the disk is full{where}: free some space and go on with --resume; the last good checkpoint stays"
    text = " ".join(str(error).split())
    return text or type(error).__name__


# Whose errors a person can act on: (module, class, exit code, how many such ends of its workers a run bears within
# FAULTS_WITHIN_S; None: see `cluster.processes.restart_policy`). By name, because the modules take time to load, torch
# above all, and whoever raised one of them has loaded its module already. The first that fits counts.
KNOWN_ERRORS: tuple[tuple[str, str, int, int | None], ...] = (
    ("quintet.control.config_reader", "ConfigError", USAGE, 0),
    ("quintet.games.api", "GameDataError", FAILED, 0),
    ("quintet.games.api", "GameCodeError", FAILED, 1),  # it may have been one rare game: one worker is started again
    ("quintet.games.api", "GameError", USAGE, 0),
    ("quintet.wire.errors", "SpecMismatchError", USAGE, 0),
    ("quintet.wire.errors", "LinkAuthError", USAGE, 0),
    ("quintet.wire.errors", "LinkSetupError", USAGE, 0),
    ("quintet.wire.errors", "WeightsRefusedError", USAGE, 0),
    ("quintet.wire.errors", "WireError", FAILED, None),
    ("quintet.cluster.processes.redis_server", "EmbeddedRedisError", FAILED, None),
    ("quintet.optimizer.checkpoint", "CheckpointError", FAILED, None),
    ("quintet.optimizer.learner", "DeviceError", USAGE, None),
    ("quintet.optimizer.number_format", "NumberFormatError", USAGE, None),
    ("quintet.optimizer.loop", "TrainingDivergedError", FAILED, None),
    ("quintet.optimizer.rejections", "AllRejectedError", FAILED, None),
    ("quintet.optimizer.determinism", "EpochBrokenError", CRASHED, None),  # it goes on from its last checkpoint
)
FAULTS_WITHIN_S = 600.0
UNREACHABLE = (ConnectionError, TimeoutError, EOFError)  # causes: a simulator that a game talks to may come back


def exit_code(error: BaseException) -> int | None:
    """The exit code of an error that a person can act on, None for one that only a programmer can."""
    if isinstance(error, KeyboardInterrupt):
        return INTERRUPTED
    if isinstance(error, UsageError):
        return USAGE
    if (known := _known(error)) is not None:
        return known[0]
    return FAILED if isinstance(error, RunFailedError | OSError) else None


def faults_borne(error: BaseException) -> int | None:
    """After how many such ends of its workers a run is still worth going on with; None: as after any other death."""
    known = _known(error)
    return None if known is None or isinstance(error.__cause__, UNREACHABLE) else known[1]


def _known(error: BaseException) -> tuple[int, int | None] | None:
    """The exit code, and how many are borne."""
    for module, name, code, borne in KNOWN_ERRORS:
        if module in sys.modules and isinstance(error, getattr(sys.modules[module], name)):
            return code, borne
    return None


def last_words(error: BaseException) -> dict[str, str]:
    """How a worker ended that could not go on, as text that travels: `quintet.cluster.worker_supervisor` reads it."""
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
