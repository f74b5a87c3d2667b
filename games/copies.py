"""The copies of an environment that a game is built of: each can know its worker and slot, and none is left open.

What must not be there twice on a machine (a port, a file) is named by two environment variables, which a constructor
may read; they hold for the time of the building:

QUINTET_WORKER  0, 1 ... in a run's rollout workers; negative elsewhere: -1 in the look at a game before its run, in
                `quintet eval` and the Arena; -1, -2, -3 for the copies that `quintet.games.contract` plays side by side
QUINTET_SLOT    0, 1 ... of the worker's `games_per_worker`; 0 for a game that steps all of its slots itself
"""

from __future__ import annotations

import os
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, TypeVar

from quintet.games.checks.blame import described_error, place, raised_at

WORKER, SLOT = "QUINTET_WORKER", "QUINTET_SLOT"
NO_WORKER = -1
Copy = TypeVar("Copy", bound=Any)

_building = threading.RLock()  # the environment belongs to all threads


@contextmanager
def built_for(worker: int | None) -> Iterator[None]:
    """What is built in this block is for this worker; None: for the one of the block around, if there is any."""
    number = os.environ.get(WORKER, NO_WORKER) if worker is None else worker
    with _building, _variables({WORKER: str(number), SLOT: "0"}):
        yield


@contextmanager
def copies(n: int, make: Callable[[], Copy]) -> Iterator[list[Copy]]:
    """`n` copies, made one after the other; they are closed where one of them, or this block, fails."""
    made: list[Copy] = []
    try:
        for slot in range(n):
            with _building, _variables({SLOT: str(slot)}):
                made.append(make())
        yield made
    except BaseException:
        close_all(made)
        raise


@contextmanager
def closing(thing: Copy) -> Iterator[Copy]:
    """Close it at the end of this block; see `close_all`."""
    try:
        yield thing
    finally:
        close_all([thing])


def close_all(things: Iterable[Any]) -> None:
    """Close environments, or games, each of them; what one raises in it is a warning, since nothing hangs on it."""
    for thing in things:
        try:
            thing.close()
        except (Exception, SystemExit) as error:  # noqa: BLE001  (whatever it is)
            where = raised_at(error) or place(thing, "close")
            warnings.warn(f"{where}: closing it raised {described_error(error)}", RuntimeWarning, stacklevel=3)


def same_place() -> Callable[[], AbstractContextManager[None]]:
    """For who builds its environment anew later: blocks that are for the worker and slot of this moment."""
    values = {name: os.environ.get(name, "") for name in (WORKER, SLOT)}
    return lambda: _variables(values)


@contextmanager
def _variables(values: dict[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
