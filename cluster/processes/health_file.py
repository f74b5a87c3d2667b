"""The file that a container's health check looks at: a service touches it while all is well, and while it waits."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

Answer = TypeVar("Answer")
HEALTH_FILE = "QUINTET_ALIVE_FILE"  # the environment variable that names it; nothing is touched where it is not set
TELL_S = 15.0
RETRY_S = 1.0


def touch_health_file() -> None:
    """Say that this service does its work; `deploy/bin/alive` wants to hear it every 20 s."""
    name = os.environ.get(HEALTH_FILE)
    if name:
        Path(name).touch()


def wait_for(
    call: Callable[[], Answer],
    passing: type[Exception] | tuple[type[Exception], ...],
    tell: Callable[[Exception], object],
    *,
    stopped: threading.Event | None = None,
    retry_s: float = RETRY_S,
    tell_s: float = TELL_S,
    healthy: bool = True,
) -> Answer | None:
    """Repeat a call until it does not fail in a passing way, telling now and then what is waited for.

    Args:
        call: what is tried; it raises one of `passing` as long as there is something to wait for.
        passing: the errors that pass by themselves; any other is raised.
        tell: gets the error, every `tell_s` seconds.
        stopped: once it is set nothing is waited for, and the answer is None.
        retry_s: pause between two tries.
        tell_s: least seconds between two tellings.
        healthy: whether a service that waits for this is well, and touches its file.
    """
    stopped, told_s = stopped or threading.Event(), float("-inf")
    while not stopped.is_set():
        try:
            return call()
        except passing as error:
            if time.monotonic() - told_s >= tell_s:
                tell(error)
                told_s = time.monotonic()
        if healthy:
            touch_health_file()
        stopped.wait(retry_s)
    return None
