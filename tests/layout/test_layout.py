"""The project's shape: the printed tree, sizes of files and functions, what may be imported, what is pinned."""

from __future__ import annotations

import ast
import graphlib
import re
import subprocess
import sys
import tomllib
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from tests.layout.print_tree import ROOT, first_line, tree, written_tree

MAX_FILE_LINES = 600
MAX_FOLDER_FILES = 18
MAX_FUNCTION_LINES = 60
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())
PACKAGES: list[str] = PROJECT["tool"]["setuptools"]["packages"]
TOPS = sorted({package.split(".")[1] for package in PACKAGES if "." in package})
FOLDERS = ["quintet", *TOPS, "tests", "benchmarks", "examples", "docs"]
FILES = sorted(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py"))


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def lines_of_code(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """A function's lines without its docstring: help for a command's twenty options makes it no harder to follow."""
    lines = (function.end_lineno or 0) - function.lineno + 1
    head = function.body[0]
    documented = ast.get_docstring(function) is not None
    return lines - ((head.end_lineno or 0) - head.lineno + 1 if documented else 0)


def imports(path: Path) -> Iterator[str]:
    """The top-level packages that a file imports anywhere."""
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module.partition(".")[0]


def declared() -> list[str]:
    """Every package that pyproject.toml names, extras included."""
    project = PROJECT["project"]
    lines: list[str] = sum(project["optional-dependencies"].values(), list(project["dependencies"]))
    return [re.split(r"[\s<>=;\[]", line)[0] for line in lines]


def modules(pattern: str) -> list[str]:
    paths = [name(path) for path in FILES if re.fullmatch(pattern, name(path))]
    return ["quintet." + path.removesuffix(".py").replace("/", ".") for path in paths]


def test_the_printed_tree_is_the_tree_of_the_files() -> None:
    assert written_tree() == tree(), "run: python -m tests.layout.print_tree --write"


def test_every_file_opens_with_one_line_that_says_its_idea() -> None:
    silent = [name(path) for path in FILES if len(first_line(path)) < 15]
    assert silent == []


def test_no_file_is_longer_than_one_idea() -> None:
    lengths = {name(path): len(path.read_text().splitlines()) for path in FILES}
    assert {path: lines for path, lines in lengths.items() if lines >= MAX_FILE_LINES} == {}


@pytest.mark.slow
def test_no_function_is_longer_than_a_screen() -> None:
    long = {
        f"{name(path)}:{function.name}": lines
        for path in FILES
        for function in functions(path)
        if (lines := lines_of_code(function)) >= MAX_FUNCTION_LINES
    }
    assert long == {}


def test_an_init_file_holds_one_docstring_and_nothing_else() -> None:
    for path in [path for path in FILES if path.name == "__init__.py" and path.parent != ROOT / "quintet"]:
        body = parsed(path).body
        assert len(body) == 1, name(path)
        assert ast.get_docstring(parsed(path)), name(path)


def test_every_package_is_listed_for_installation() -> None:
    found = {
        ".".join(("quintet", *path.parent.relative_to(ROOT).parts)) for path in FILES if path.name == "__init__.py"
    }
    assert found - {"quintet.quintet"} | {"quintet"} == set(PACKAGES)


def test_every_package_is_reached_through_the_one_name_and_the_configurations_lie_beside_them() -> None:
    links = {path.name: path.readlink() for path in (ROOT / "quintet").iterdir() if path.is_symlink()}
    assert links == {top: Path("..") / top for top in (*TOPS, "configs")}


def test_no_folder_holds_more_files_than_one_can_overlook() -> None:
    counts = Counter(name(path.parent) for path in FILES)
    assert {folder: files for folder, files in counts.items() if files > MAX_FOLDER_FILES} == {}


def test_no_folder_of_source_is_left_out_of_the_checks() -> None:
    folders = {path.parent.name for path in ROOT.glob("*/*.py") if not path.parent.name.startswith(".")}
    folders |= {path.parent.name for top in TOPS for path in [ROOT / top / "__init__.py"] if path.exists()}
    assert folders == set(FOLDERS)
    assert set(PROJECT["tool"]["mypy"]["files"]) == {"quintet", "tests", "benchmarks", "examples", "docs"}
    assert PROJECT["tool"]["importlinter"]["root_packages"] == ["quintet"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("pattern", "heavy"),
    [
        (r"\w+/config\.py", ["torch", "ray", "numba", "gymnasium"]),
        (
            r"control/(?!wandb_sink)[\w/]+\.py",
            ["torch", "ray", "numba"],
        ),  # wandb_sink needs an extra, and loads when asked for
        (r"(games|wire)/(?!\w*/?__)[\w/]+\.py", ["torch", "ray"]),
        (r"cluster/(__main__|board)\.py", ["torch", "ray", "numba"]),
    ],
    ids=["config.py files", "control", "games and wire", "the command line"],
)
def test_what_must_load_at_once_loads_nothing_heavy(pattern: str, heavy: list[str]) -> None:
    names = modules(pattern)
    assert names
    code = (
        f"import importlib, sys\nfor name in {names!r}: importlib.import_module(name)\n"
        f"print([name for name in {heavy!r} if name in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (result.stdout.strip(), result.stderr) == ("[]", "")


def test_no_import_leads_back_to_where_it_began_not_even_one_for_types() -> None:
    files = [path for path in FILES if not name(path).startswith(("tests/", "benchmarks/"))]
    product = {"quintet." + name(path).removesuffix(".py").replace("/", "."): path for path in files}
    graph: dict[str, set[str]] = {module: set() for module in product}
    for module, path in product.items():
        for node in ast.walk(parsed(path)):
            if isinstance(node, ast.ImportFrom):
                found = {str(node.module), *(f"{node.module}.{alias.name}" for alias in node.names)}
                graph[module] |= found & graph.keys()
    assert sum(map(len, graph.values())) > 1000
    graphlib.TopologicalSorter(graph).prepare()


def test_everything_that_is_imported_is_a_declared_dependency() -> None:
    imported = {top for path in FILES for top in imports(path)}
    own = (
        {folder.partition(".")[0] for folder in FOLDERS} | {path.stem for path in FILES} | {"common", "learning"}
    )  # benchmarks: bare names
    foreign = imported - set(sys.stdlib_module_names) - own
    assert {_normal(package) for package in foreign} <= {_normal(package) for package in declared()}


def test_every_dependency_is_pinned() -> None:
    pins = dict(re.findall(r"^([\w.-]+)==(\S+)$", (ROOT / "constraints.txt").read_text(), flags=re.MULTILINE))
    pinned = {_normal(key) for key in pins}
    assert {_normal(package) for package in declared()} <= pinned
    assert pins["torch"] in (ROOT / "Makefile").read_text()


def _normal(package: str) -> str:
    """A package as pyproject.toml names it, from that or from what is imported."""
    return {"pil": "pillow", "markdown_it": "markdown-it-py"}.get(
        package.lower(), re.sub(r"[-_.]+", "-", package).lower()
    )
