"""`keep_freed_memory`: malloc holds on to what one update or window frees, because the next one wants as much again."""

from __future__ import annotations

import ctypes

# Of glibc's malloc.h. The second may be at most half of the largest heap of a thread: 32 MiB on machines of 64 bits.
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
LARGEST_FROM_THE_HEAP_BYTES = 32 * 2**20
KEPT_BYTES = 2**30


def keep_freed_memory() -> None:
    """Keep freed memory, up to 1 GiB, and take arrays of up to 32 MiB from it.

    By default the buffers of every update go back to the system and come again as new pages, zeroed one by one. Larger
    arrays still do. Does nothing where malloc is not glibc's.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return
    mallopt(M_MMAP_THRESHOLD, LARGEST_FROM_THE_HEAP_BYTES)
    mallopt(M_TRIM_THRESHOLD, KEPT_BYTES)
