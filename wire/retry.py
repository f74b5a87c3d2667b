"""`until_up`: an idempotent call, repeated while the link is down."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from quintet.wire.errors import LinkDownError

RETRY_S = 0.2  # pause after a link that was down
Result = TypeVar("Result")


def until_up(call: Callable[[], Result], *, give_up: Callable[[], bool]) -> Result:
    """Repeat `call` until it is answered.

    Raises:
        LinkDownError: it was not, and `give_up` says so.
    """
    while True:
        try:
            return call()
        except LinkDownError:
            if give_up():
                raise
            time.sleep(RETRY_S)
