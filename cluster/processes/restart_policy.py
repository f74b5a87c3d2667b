"""When to give up on a process that keeps exiting: soon if it never gets anywhere, late if it worked in between."""

from __future__ import annotations

from dataclasses import dataclass

QUICK_EXIT_S = 30.0  # after its start
MOST_QUICK_EXITS = 12  # in a row; then it is given up even if it did some work each time
SERVER_QUICK_EXIT_S = 60.0  # of a private server (Redis, the Ray node), which may take long to load what it kept
MOST_SERVER_EXITS = 6


@dataclass
class RestartPolicy:
    """How often one process has exited soon after its start, its successors included."""

    most_useless: int  # quick exits in a row of one that never got anywhere
    quick_exit_s: float = QUICK_EXIT_S
    started_s: float = 0.0
    useless: int = 0
    in_a_row: int = 0  # quick exits

    def exited(self, now_s: float, *, useful: bool) -> None:
        """It exited by a fault at `now_s`; `useful` when it had done some of its work since it was started."""
        is_quick = now_s - self.started_s < self.quick_exit_s
        self.in_a_row = self.in_a_row + 1 if is_quick else 0
        self.useless = self.useless + 1 if is_quick and not useful else 0

    def left(self) -> None:
        """It exited as it should."""
        self.in_a_row = self.useless = 0

    @property
    def too_many(self) -> bool:
        """Whether starting it again is pointless."""
        return self.useless >= self.most_useless or self.in_a_row >= MOST_QUICK_EXITS


def server_policy() -> RestartPolicy:
    """The policy of a private server."""
    return RestartPolicy(MOST_SERVER_EXITS, SERVER_QUICK_EXIT_S)
