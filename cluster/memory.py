"""`keep_freed_memory`: malloc holds on to what one update or window frees, because the next one wants as much again."""

from __future__ import annotations

import ctypes

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # of glibc's malloc.h
KEPT_BYTES = 2**30


def keep_freed_memory() -> None:
    """Keep freed memory, up to 1 GiB, and take every array from it.

    By default the buffers of every update go back to the system and come again as new pages, zeroed one by one. A
    higher M_MMAP_THRESHOLD is not enough: it cannot pass 32 MiB, and the gates of one large update do. Does nothing
    where malloc is not glibc's.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return
    mallopt(M_MMAP_MAX, 0)
    mallopt(M_TRIM_THRESHOLD, KEPT_BYTES)
