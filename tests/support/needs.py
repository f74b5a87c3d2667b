"""What a test needs that may not be there: it is skipped with the words that say how to get it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), "")
CHROMIUM_ARGUMENTS = (
    "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run",
    "--disable-component-update", "--disable-sync",
)  # fmt: skip
IN_CHROMIUM = [
    pytest.mark.browser,
    pytest.mark.slow,
    pytest.mark.skipif(not CHROMIUM, reason="there is no chromium on PATH (Debian: apt-get install chromium)"),
]
NOBODY = 65534  # the user of that name, nearly everywhere


def extra(module: str, name: str = "") -> Any:
    """A module that one of the project's extras brings, of the same name unless it is said."""
    return pytest.importorskip(module, reason=f"{module} is not installed: pip install -e '.[{name or module}]'")


def needs_prometheus(program: str) -> pytest.MarkDecorator:
    """For a test that runs one of Prometheus's programs."""
    why = f"there is no {program} on PATH (Debian: apt-get install prometheus)"
    return pytest.mark.skipif(shutil.which(program) is None, reason=why)


@contextmanager
def no_root() -> Iterator[None]:
    """Where tests run as root, who may write everywhere, this part runs as nobody."""
    root = os.geteuid() == 0
    if root:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)
