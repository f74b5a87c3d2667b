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


# Whose errors a person can act on: (module, class, exit code). By name, because the modules take time to load, torch
# above all, and whoever raised one of them has loaded its module already. The first that fits counts.
KNOWN_ERRORS = (
    ("control.config_reader", "ConfigError", USAGE),
    ("games.api", "GameError", USAGE),
    ("wire.errors", "SpecMismatchError", USAGE),
    ("wire.errors", "LinkAuthError", USAGE),
    ("wire.errors", "LinkSetupError", USAGE),
    ("wire.errors", "WireError", FAILED),
    ("cluster.embedded_redis", "EmbeddedRedisError", FAILED),
    ("optimizer.checkpoint", "CheckpointError", FAILED),
    ("optimizer.device", "DeviceError", USAGE),
    ("optimizer.service", "TrainingDivergedError", FAILED),
    ("optimizer.era", "EraBrokenError", CRASHED),  # it goes on from its last checkpoint
)


def exit_code(error: BaseException) -> int | None:
    """The exit code of an error that a person can act on, None for one that only a programmer can."""
    if isinstance(error, KeyboardInterrupt):
        return INTERRUPTED
    if isinstance(error, UsageError):
        return USAGE
    for module, name, code in KNOWN_ERRORS:
        if module in sys.modules and isinstance(error, getattr(sys.modules[module], name)):
            return code
    return FAILED if isinstance(error, RunFailedError | OSError) else None


def report(error: BaseException, logs: Path | None) -> int:
    """Say in one line on stderr what went wrong; a bug's traceback goes to a file. Returns the exit code."""
    code = exit_code(error)
    text = one_line(error)
    if code is None:
        code = FAILED
        text = f"unexpected {type(error).__name__}: {text}; the traceback is in {_keep_traceback(error, logs)}"
    print(f"quintet: {text}", file=sys.stderr, flush=True)
    return code


def _keep_traceback(error: BaseException, logs: Path | None) -> Path:
    folder = Path(tempfile.gettempdir()) if logs is None else logs
    path = folder / f"quintet-traceback-{os.getpid()}.txt"
    folder.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(traceback.format_exception(error)))
    return path
