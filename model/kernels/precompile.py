"""`compile_kernels`: the network's kernels, compiled before anybody waits for them, by one process of a machine."""

from __future__ import annotations

import fcntl
import hashlib
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor

from quintet.model.kernels import lstm_window
from quintet.model.kernels.entity_embedding import RelativePosition, embed_slots_compiled, kernels, pointed


def compile_kernels() -> None:
    """Run every kernel once on arrays of a few numbers, for playing and for training.

    Processes that start together take turns: the first compiles and caches, some 10 s on a slow core; the others load.
    """
    with _in_turn(), torch.random.fork_rng(devices=[]):
        _lstm()
        if kernels() is not None:
            _entity_set()


def _lstm() -> None:
    shapes = ((2, 1, 1), (4, 2), (4,), (1, 2, 1))
    x, weight, bias, state = (torch.zeros(shape, requires_grad=True) for shape in shapes)
    first = torch.zeros(2, 1, dtype=torch.bool)
    with torch.no_grad():
        lstm_window.run(x, weight, bias, state, first)
    out, _ = lstm_window.run(x, weight, bias, state, first)
    out.sum().backward()  # type: ignore[no-untyped-call]


def _entity_set() -> None:
    weight = torch.zeros(1, 3, requires_grad=True)
    relative = RelativePosition(position=torch.zeros(1, 1, 1, 2), agent=torch.zeros(1, 1, 2), weight=weight, scale=1.0)
    x, there = torch.zeros(1, 1, 1, 1, requires_grad=True), torch.ones(1, 1, 1, dtype=torch.bool)
    keys, pooled, own = embed_slots_compiled(lambda slots: slots, x, there, relative, torch.zeros(1, dtype=torch.long))
    assert own is not None
    logits = pointed(keys, torch.zeros(1, 1, 1, requires_grad=True))
    total: Tensor = logits.sum() + pooled.sum() + own.sum()
    total.backward()  # type: ignore[no-untyped-call]


@contextmanager
def _in_turn() -> Iterator[None]:
    """One process of this user at a time, for this copy of the code."""
    copy = hashlib.sha256(str(Path(__file__).resolve()).encode()).hexdigest()[:16]
    path = Path(tempfile.gettempdir()) / f"quintet-kernels-{os.getuid()}-{copy}.lock"
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
