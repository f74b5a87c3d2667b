"""When to give up on something that keeps dying: soon if it never gets anywhere, late if it worked in between."""

from __future__ import annotations

from dataclasses import dataclass

QUICK_DEATH_S = 30.0  # what lived no longer than this has died quickly
MOST_SHORT_LIVES = 12  # so many quick deaths in a row are given up even if each life was of some use


@dataclass
class RestartPolicy:
    """The lives of one process, its successors included."""

    most_useless: int  # quick deaths in a row of one that never got anywhere
    started_s: float = 0.0
    useless: int = 0
    short: int = 0

    def died(self, now_s: float, *, useful: bool) -> None:
        """It died at `now_s`; `useful` when it had done some of its work since it was started."""
        is_short = now_s - self.started_s < QUICK_DEATH_S
        self.short = self.short + 1 if is_short else 0
        self.useless = self.useless + 1 if is_short and not useful else 0

    def left(self) -> None:
        """It ended as it should."""
        self.short = self.useless = 0

    @property
    def too_many(self) -> bool:
        """Whether starting it again is pointless."""
        return self.useless >= self.most_useless or self.short >= MOST_SHORT_LIVES

    @property
    def in_a_row(self) -> int:
        """Quick deaths in a row."""
        return self.short
