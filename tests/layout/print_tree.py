"""Prints the tree, each file with its first line; `python -m tests.layout.print_tree --write` writes docs/tree.md."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "tree.md"
PACKAGES = (
    "quintet", "games", "wire", "model", "rollout_workers", "optimizer", "control", "evaluation", "explain",
    "dashboard", "cluster",
)  # fmt: skip
FOLDERS = (*PACKAGES, "configs", "examples", "benchmarks")
WITHOUT_INIT = {
    "configs": "Configurations that ship",
    "examples": "Programs that use Quintet",
    "benchmarks": "One script per claim about speed and learning",
    "common": "What they share",
}
BEGIN, END = "<!-- tree: python -m tests.layout.print_tree --write -->\n```text\n", "```\n<!-- end of tree -->"


def tree() -> str:
    """One line per file, folders in the order in which data flows through them."""
    lines: list[tuple[str, str]] = []
    for folder in FOLDERS:
        lines += _folder_lines(ROOT / folder, depth=0)
    lines.append(("tests/", "one folder per package, one file per file; each test's name is a sentence"))
    width = max(len(name) for name, _ in lines) + 2
    return "".join(f"{name:<{width}}{text}".rstrip() + "\n" for name, text in lines)


def first_line(path: Path) -> str:
    """What a file says it is: the first line of its docstring, or of its opening comment, without the full stop."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".py":
        docstring = ast.get_docstring(ast.parse(text)) or ""
        return docstring.partition("\n")[0].rstrip(".")
    line = text.partition("\n")[0]
    return line.removeprefix("#").strip().rstrip(".") if line.startswith("#") else ""


def written_tree() -> str:
    """The tree as docs/tree.md has it."""
    _, found, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    if not found:
        raise ValueError(f"{PAGE} has no line {BEGIN.splitlines()[0]!r}")
    return rest.partition(END)[0]


def write() -> None:
    """Put the tree of the files into docs/tree.md."""
    text = PAGE.read_text(encoding="utf-8")
    PAGE.write_text(text.replace(BEGIN + written_tree() + END, BEGIN + tree() + END), encoding="utf-8")


def _folder_lines(folder: Path, depth: int) -> Iterator[tuple[str, str]]:
    init = folder / "__init__.py"
    yield "  " * depth + f"{folder.name}/", first_line(init) if init.exists() else WITHOUT_INIT.get(folder.name, "")
    for path in sorted(folder.iterdir()):
        if path.is_symlink():
            continue
        if path.is_dir() and any(path.glob("*.py")):
            yield from _folder_lines(path, depth + 1)
        elif path.suffix in (".py", ".toml", ".lua") and path.name != "__init__.py":
            yield "  " * (depth + 1) + path.name, first_line(path)


if __name__ == "__main__":
    if "--write" in sys.argv[1:]:
        write()
    sys.stdout.write(tree())
