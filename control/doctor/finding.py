"""One thing that somebody should know about a run: how bad it is, what was seen, why it matters, what to do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Severity = Literal["error", "warning", "hint"]
ORDER: tuple[Severity, ...] = ("error", "warning", "hint")


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """One thing that somebody should know."""

    severity: Severity
    about: str  # "optimizer", "worker/3", "Redis", "disk", "steps" ...
    seen: str
    why: str  # it matters
    advice: str
    details: str = ""  # a traceback, numbers
