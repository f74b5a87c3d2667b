"""Says that a worker goes on while its loop is in one long call: a thread that only looks now and then."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from quintet.wire.errors import LinkError

PULSE_S = 1.0


@contextmanager
def pulsing(is_late: Callable[[], bool], beat: Callable[[], object]) -> Iterator[None]:
    """Meanwhile, whenever the loop is late with it, `beat` is called by another thread.

    A call of the game that keeps Python's lock keeps this thread waiting, too; nothing in the process can help that.
    """
    ended = threading.Event()

    def pulse() -> None:
        while not ended.wait(PULSE_S):
            if is_late():
                with suppress(LinkError):  # the loop hears of it when it comes back
                    beat()

    thread = threading.Thread(target=pulse, name="pulse", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
