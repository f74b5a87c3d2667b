"""The thread that plays gives way; nobody else does."""

from __future__ import annotations

import os
import sys
import threading

import pytest

from quintet.cluster.processes.spawn import usable_cores
from quintet.cluster.processes.worker import PLAYING_NICE, give_way


@pytest.mark.skipif(sys.platform != "linux", reason="threads have priorities of their own on Linux only")
def test_where_cores_are_short_a_thread_gives_way_once_with_those_it_starts_and_not_those_beside_it() -> None:
    found: list[int] = []

    def note() -> None:
        found.append(os.getpriority(os.PRIO_PROCESS, threading.get_native_id()))

    def play() -> None:
        give_way(usable_cores())
        note()
        for _ in range(2):
            give_way(usable_cores() + 1)
            note()
        fetching = threading.Thread(target=note)
        fetching.start()
        fetching.join()

    before = os.getpriority(os.PRIO_PROCESS, 0)
    thread = threading.Thread(target=play)
    thread.start()
    thread.join()
    assert found == [before, *[max(before, PLAYING_NICE)] * 3]
    assert os.getpriority(os.PRIO_PROCESS, 0) == before
