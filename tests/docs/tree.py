"""What exists: files, modules, classes and their members, metrics, and every word of the code outside its comments."""

from __future__ import annotations

import ast
import os
import re
from collections import defaultdict
from collections.abc import Iterator
from functools import cache, cached_property
from pathlib import Path

from quintet.control.metrics import FAMILIES, HELP
from quintet.control.run_folder import RunFolder
from tests.docs.pages import ROOT

OURS = sorted(path.name for path in (ROOT / "quintet").iterdir() if path.is_dir() and path.name != "__pycache__")
NOT_OURS = {"site", "build", "dist", "runs", "node_modules"}
RUN = re.compile(r"runs/[^/]+/")
_A_RUN = RunFolder(Path("/run"))
RUN_FOLDERS = {
    *(path.name for path in vars(_A_RUN).values() if isinstance(path, Path) and _A_RUN.path in path.parents),
    *("league", "replays"),
}
FOREIGN_MESSAGES = "Connection refused|CUDA out of memory"


class Tree:
    """The project's files and the names that its code defines."""

    def __init__(self) -> None:
        self.files = set(_files())
        self.names = {Path(path).name for path in self.files}
        self.modules: dict[str, set[str]] = {}  # without `quintet.`: the names that each defines
        self.classes: dict[str, set[str]] = defaultdict(set)  # their members, inherited ones included
        self.functions: set[str] = set()
        self.words: set[str] = set()  # of the product's code, its texts included, without docstrings and comments
        self.texts: set[str] = set()  # the product's constants, whole
        self._bases: dict[str, set[str]] = defaultdict(set)
        for path in sorted(self.files):
            top = path.partition("/")[0]
            if path.endswith(".py") and not path.startswith("tests/docs/"):
                (self._read if top in {*OURS, "quintet", "examples"} else self._skim)(path)
            elif top not in ("tests", "docs") and Path(path).suffix in (".toml", ".yml", ".lua", ".acl", ".conf", ""):
                text = (ROOT / path).read_text(encoding="utf-8", errors="replace")
                self.texts.add(text)
                self.words |= set(re.findall(r"\w+", text))
        for name in list(self.classes):
            self.classes[name] = self._with_inherited(name, set())
        self.words |= {part for module in self.modules for part in module.split(".")}

    def _skim(self, path: str) -> None:
        """The names that a test or a benchmark defines, which pages may name, but whose words prove nothing."""
        found = re.findall(
            r"^(class|def|async def) (\w+)", (ROOT / path).read_text(encoding="utf-8"), flags=re.MULTILINE
        )
        self.modules[_module(path)] = {name for _, name in found}
        self.functions |= {name for kind, name in found if kind != "class"}
        self.classes |= {name: self.classes[name] for kind, name in found if kind == "class"}

    def _read(self, path: str) -> None:
        code = ast.parse((ROOT / path).read_text(encoding="utf-8"))
        self.modules[_module(path)] = set(_bound(code.body))
        docstrings: set[int] = set()
        for node in ast.walk(code):
            if isinstance(node, ast.Expr):
                docstrings.add(id(node.value))
            elif isinstance(node, ast.ClassDef):
                self.classes[node.name] |= set(_members(node))
                self._bases[node.name] |= {ast.unparse(base).rpartition(".")[2] for base in node.bases}
            elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                self.functions.add(node.name)
            self._words(node, docstrings)

    def _words(self, node: ast.AST, docstrings: set[int]) -> None:
        for field in ("id", "attr", "arg", "name"):
            if isinstance(word := getattr(node, field, None), str):
                self.words |= set(word.split("."))
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings:
            self.texts.add(node.value)
            self.words |= set(re.findall(r"\w+", node.value))

    def _with_inherited(self, name: str, seen: set[str]) -> set[str]:
        members = set(self.classes.get(name, ()))
        for base in self._bases[name] - seen:
            members |= self._with_inherited(base, {*seen, name})
        return members

    def has_path(self, path: str) -> bool:
        """Whether a file, a folder or a pattern of them is there, or made in a run's folder."""
        if RUN.match(path) or path.partition("/")[0] in RUN_FOLDERS:
            parts = [part for part in RUN.sub("", path).split("/") if part]
            return all(piece in self.texts for part in parts for piece in re.split(r"\d+|NUMBER", part) if piece)
        places = ("", "docs/", "configs/", "deploy/", "quintet/")
        return any(next(iter(ROOT.glob(place + path.rstrip("/"))), None) for place in places)

    def sources(self) -> list[str]:
        """The product's code, and what starts and watches it."""
        ends = (".py", ".lua", ".yml", ".toml", ".conf", ".acl")
        return sorted(
            path for path in self.files if path.startswith((*OURS, "deploy/", "configs/")) and path.endswith(ends)
        )

    def says(self, message: str) -> bool:
        """Whether the product has a text with these words, `...`, capitals and numbers standing for anything."""
        pieces = re.split(rf"\.\.\.|'[^']*'|\b[A-Z]+\b|[\d.]*\d|{FOREIGN_MESSAGES}", message)
        long = [piece for piece in (piece.strip(" :,;") for piece in pieces) if len(piece) > 3]
        return any(" " in piece for piece in long) and all(piece in self._all_texts for piece in long)

    @cached_property
    def _all_texts(self) -> str:
        return "\n".join(self.texts)

    def has_dotted(self, name: str) -> bool:
        """Whether `module.name`, `Class.member`, a module or a package is there."""
        head, _, last = name.removeprefix("quintet.").rpartition(".")
        if name.removeprefix("quintet.") in self.modules or (ROOT / name.replace(".", "/")).is_dir():
            return True
        if head in self.modules or not head:
            return last in self.modules[head or "quintet"]
        inner, _, owner = head.rpartition(".")
        return owner in self.classes and last in self.classes[owner] and (not inner or inner in self.modules)


@cache
def tree() -> Tree:
    """The project's, read once."""
    return Tree()


def is_metric(name: str) -> bool:
    """Whether a metric has this name, as its own or as one of a family; `...`, `*` and `<x>` stand for any."""
    if name.startswith("quintet_"):
        return any(name == "quintet_" + known.replace("/", "_") for known in HELP)
    if name in HELP:
        return True
    if name.endswith(("*", "...")):
        return any(known.startswith(name.rstrip("*.")) for known in (*HELP, *(form for form, _ in FAMILIES)))
    plain = re.sub(r"<\w+>|NAME", "x", name)
    return any(re.fullmatch(form, plain) for form, _ in FAMILIES if not form.endswith(".+"))


def _module(path: str) -> str:
    return path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def _files() -> Iterator[str]:
    for folder, folders, files in os.walk(ROOT):
        folders[:] = [name for name in folders if name not in NOT_OURS and name != "__pycache__" and name[0] != "."]
        yield from (str((Path(folder) / file).relative_to(ROOT)) for file in files)


def _bound(body: list[ast.stmt]) -> Iterator[str]:
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            yield from (inner.id for target in targets for inner in ast.walk(target) if isinstance(inner, ast.Name))
        elif isinstance(node, ast.Import | ast.ImportFrom):
            yield from (alias.asname or alias.name for alias in node.names)
        elif isinstance(node, ast.If | ast.Try):
            yield from _bound(node.body)


def _members(node: ast.ClassDef) -> Iterator[str]:
    yield from _bound(node.body)
    for inner in ast.walk(node):
        if isinstance(inner, ast.Attribute) and isinstance(inner.value, ast.Name) and inner.value.id == "self":
            yield inner.attr
