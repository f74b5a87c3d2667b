"""Runs what a page shows: its Python from top to bottom, the files that it names, and the checks of their games."""

from __future__ import annotations

import re
import sys
from pathlib import Path

from quintet.cluster.__main__ import run
from tests.docs.pages import Piece, pieces


def examples(text: str) -> list[Piece]:
    """The blocks of a page that are run: Python, and files that the reader is to write."""
    return [piece for piece in pieces(text) if piece.kind == "block" and (piece.language == "python" or piece.title)]


def run_examples(text: str, folder: Path) -> None:
    """Run a page's examples in an empty folder, which is the current one and where modules are found.

    A block with a title is written as that file; Python without one is run, each block after the ones above it.
    Then every `quintet check` of a module that the page wrote is carried out.

    Raises:
        AssertionError: a check failed; anything else that an example raises.
    """
    names: dict[str, object] = {"__name__": "__page__"}
    known = set(sys.modules)
    try:
        for block in examples(text):
            if block.title:
                (folder / block.title).write_text(block.text, encoding="utf-8")
            else:
                exec(compile(block.text, f"line {block.line}", "exec"), names)
        for module, name in sorted(set(re.findall(r"^\s*quintet check (\w+):(\w+)", text, flags=re.MULTILINE))):
            if (folder / f"{module}.py").is_file():
                code = run(["check", f"{module}:{name}"])
                assert code == 0, f"quintet check {module}:{name} ended with {code}"
    finally:
        for module in set(sys.modules) - known:
            if (folder / f"{module}.py").is_file():
                del sys.modules[module]
