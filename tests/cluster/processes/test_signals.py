"""Ctrl-C, SIGTERM and a closed terminal end a run in order; what was ignored when the command came stays ignored."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from quintet.cluster.processes.signals import SIGNALS, Interrupts, on_signals
from quintet.cluster.processes.spawn import spawn


@pytest.fixture(params=SIGNALS, ids=lambda number: signal.Signals(number).name)
def ignored(request: pytest.FixtureRequest) -> Iterator[int]:
    """One of the signals, ignored as `nohup` or a shell without job control leaves it."""
    before = signal.signal(request.param, signal.SIG_IGN)
    yield request.param
    signal.signal(request.param, before)


@pytest.fixture(params=SIGNALS, ids=lambda number: signal.Signals(number).name)
def heard(request: pytest.FixtureRequest) -> Iterator[int]:
    """One of the signals, which the tests themselves may have been started without."""
    before = signal.signal(request.param, signal.SIG_DFL)
    yield request.param
    signal.signal(request.param, before)


def test_a_signal_interrupts_the_start_and_is_a_request_later(heard: int) -> None:
    number, before = heard, signal.getsignal(heard)
    with Interrupts() as interrupts, pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), number)
    assert interrupts.requested.is_set()
    with Interrupts() as interrupts:
        interrupts.defer()
        os.kill(os.getpid(), number)
        assert interrupts.requested.wait(5.0)
    assert signal.getsignal(number) is before


def test_a_signal_that_came_ignored_stays_ignored(ignored: int) -> None:
    with Interrupts() as interrupts:
        interrupts.install()  # as after Ray
        on_signals([ignored], lambda *_: interrupts.requested.set())
        os.kill(os.getpid(), ignored)
        assert not interrupts.requested.wait(0.05)
    assert signal.getsignal(ignored) is signal.SIG_IGN


def test_children_ignore_it_too(ignored: int, tmp_path: Path) -> None:
    log = tmp_path / "log"
    code = f"import signal; print(signal.getsignal({int(ignored)}) is signal.SIG_IGN)"
    assert spawn([sys.executable, "-I", "-S", "-c", code], log=log).wait(60.0) == 0
    assert log.read_text() == "True\n"
