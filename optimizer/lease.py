"""The run's lease, as an optimizer holds it: taken before it touches the run, renewed by a thread, given back."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time

from quintet.wire.errors import LeaseHeldError, LeaseLostError, LinkDownError, LinkError
from quintet.wire.link import OptimizerLease

TTL_S = 5.0
PATIENCE_S = TTL_S + 2.0  # for one that exited without giving it back
LOOK_S = 0.1  # the pause between two tries


class Lease:
    """`take` it; `keep` renews it from then on, however long an update takes.

    A thread's renewals stop with the process, and a process that is paused loses the lease to the next one. The link
    refuses then whatever it still wants to publish or acknowledge; what it finds out here it need not find out there.
    """

    def __init__(self, link: OptimizerLease, *, ttl_s: float = TTL_S, patience_s: float = PATIENCE_S) -> None:
        """`patience_s`: how long `take` waits for a holder that no longer renews it."""
        self._link, self._ttl_s, self._patience_s = link, ttl_s, patience_s
        self._lost: LeaseLostError | None = None
        self._ending = threading.Event()
        self._thread: threading.Thread | None = None

    def take(self) -> None:
        """Become the run's optimizer; waits while the link is down.

        Raises:
            LeaseHeldError: another optimizer trains this run.
        """
        owner, deadline = f"{socket.gethostname()}, process {os.getpid()}", time.monotonic() + self._patience_s
        while True:
            try:
                self._link.take_optimizer_lease(owner, self._ttl_s)
                return
            except LeaseHeldError:
                if time.monotonic() >= deadline:
                    raise
            except LinkDownError:
                deadline = time.monotonic() + self._patience_s
            time.sleep(LOOK_S)

    def keep(self) -> None:
        """Renew it from now on, in a thread."""
        self._thread = threading.Thread(target=self._renew, name="lease", daemon=True)
        self._thread.start()

    def _renew(self) -> None:
        while not self._ending.wait(self._ttl_s / 4):
            try:
                self._link.keep_optimizer_lease(self._ttl_s)
            except LeaseLostError as error:
                self._lost = error
                return
            except LinkError:  # away: then nobody else can take it either
                continue

    def check(self) -> None:
        """Look whether it is still ours, as far as is known here.

        Raises:
            LeaseLostError: it is not.
        """
        if self._lost is not None:
            raise self._lost

    def confirm(self) -> None:
        """Ask the link, before something that no link can refuse: to move a checkpoint into its place.

        Raises:
            LeaseLostError: it is not ours any more.
        """
        self.check()
        with contextlib.suppress(LinkDownError):  # nobody can be asked; a checkpoint is worth more then
            self._link.keep_optimizer_lease(self._ttl_s)

    def release(self) -> None:
        """Give it back, so that the next optimizer need not wait."""
        self._ending.set()
        if self._thread is not None:
            self._thread.join(timeout=self._ttl_s)
        with contextlib.suppress(LinkError):
            self._link.release_optimizer_lease()
