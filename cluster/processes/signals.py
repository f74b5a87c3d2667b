"""Ctrl-C: once ends the run in order, twice ends it at once. SIGTERM and a closed terminal count as Ctrl-C.

A signal that is ignored when a command starts stays ignored: `nohup` says so of SIGHUP, and a shell without job control
of the SIGINT of what it starts in the background.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterable
from types import FrameType
from typing import Self

from quintet.control.errors import INTERRUPTED

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def on_signals(numbers: Iterable[int], handler: Callable[[int, FrameType | None], object]) -> None:
    """Have these signals call a handler, but for those that are ignored."""
    for number in numbers:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, handler)


class Interrupts:
    """Signal handlers of `quintet train`, as a context manager; Python runs them in the main thread.

    While the run is being set up the first signal raises KeyboardInterrupt; after `defer` it sets `requested`, which
    others may set as well. In another thread no signal is handled.
    """

    def __init__(self, requested: threading.Event | None = None) -> None:
        self.requested = requested or threading.Event()
        self._deferred = False
        self._before: dict[int, object] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            self._before = {
                number: handler for number in SIGNALS if (handler := signal.getsignal(number)) is not signal.SIG_IGN
            }
        self.install()
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def install(self) -> None:
        """(Re)place the handlers of what is not ignored: Ray brings one of its own for SIGTERM."""
        for number in self._before:
            signal.signal(number, self._on_signal)

    def defer(self) -> None:
        """From now on the first signal is a request, which the loop looks at."""
        self._deferred = True

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        if self.requested.is_set():
            os._exit(INTERRUPTED)  # the kernel ends every child that `quintet.cluster.processes.spawn.spawn` started
        self.requested.set()
        if not self._deferred:
            raise KeyboardInterrupt
