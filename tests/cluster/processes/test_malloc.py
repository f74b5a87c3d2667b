"""Freed memory is kept: arrays that come and go with every update cost new pages once, not each time."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

FAULTS = """
import resource, sys
import numpy as np
from quintet.cluster.processes.malloc import keep_freed_memory
if sys.argv[1] == "kept":
    keep_freed_memory()

def update():
    buffers = [np.ones(2_500_000, np.float64) for _ in range(3)]  # of 20 MB each, as of a large update

for _ in range(3):
    update()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    update()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""
PAGES = 10 * 3 * 20_000_000 // 4096


@pytest.mark.skipif(sys.platform != "linux", reason="malloc is glibc's on Linux only")
def test_what_an_update_frees_serves_the_next_one() -> None:
    def faults(how: str) -> int:
        small_pages = os.environ | {"NUMPY_MADVISE_HUGEPAGE": "0"}
        done = subprocess.run(
            [sys.executable, "-c", FAULTS, how], capture_output=True, text=True, check=True, env=small_pages
        )
        return int(done.stdout)

    assert faults("kept") < 0.02 * PAGES
    assert faults("plain") > 0.5 * PAGES, "malloc does this by itself: cluster/processes/malloc.py has lost its purpose"
