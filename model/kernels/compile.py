"""`compiled`: numba's compiler as this folder uses it, with the result kept on disk where that is possible."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import cache, partial
from typing import ParamSpec, TypeVar

from numba import njit

P = ParamSpec("P")
R = TypeVar("R")


def compiled(*relaxed: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Compile a function at its first call, some seconds for a file, and keep the result.

    Args:
        relaxed: what floating point may do besides IEEE 754, as LLVM names it: "contract" fuses a product and a sum,
            "reassoc" reorders sums. Never more: NaN and infinity must stay what they are, they are how a broken update
            is noticed.
    """
    options = partial(njit, nogil=True, fastmath=set(relaxed), error_model="numpy")

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        try:
            kept: Callable[P, R] = options(cache=True)(function)
        except RuntimeError:  # numba found no folder that it may write to
            _say_that_nothing_is_kept()
            return options()(function)
        return kept

    return decorate


@cache
def _say_that_nothing_is_kept() -> None:
    """One line per process."""
    logging.getLogger(__name__).warning(
        "every process compiles the network's kernels anew, some 5 s: numba may write neither beside the source nor"
        " into the user's cache folder; set NUMBA_CACHE_DIR to a folder that it may write to"
    )
