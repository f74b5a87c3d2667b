"""The documentation as a site: it builds without a warning, and every page has its place in it."""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import quintet
from tests.docs.pages import ROOT

CONFIG: dict[str, Any] = tomllib.loads((ROOT / "zensical.toml").read_text(encoding="utf-8"))
NEEDS_ZENSICAL = pytest.mark.skipif(
    importlib.util.find_spec("zensical") is None, reason="needs the extra docs: pip install -e '.[docs]'"
)
COPIED = ["docs", "quintet", "zensical.toml"]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project's pages and code in a folder of their own, where a site can be built."""
    folder = tmp_path_factory.mktemp("site")
    for name in COPIED:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, folder / name)
    return folder


def build(folder: Path) -> tuple[int, str]:
    """The exit code of a strict build, and everything that it said but that it began and ended."""
    command = [sys.executable, "-m", "zensical", "build", "--strict", "--clean"]
    result = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    said = re.sub(r"\x1b\[[\d;]*m", "", result.stdout + result.stderr)
    quiet = re.sub(r"^(Build started|Build finished in .*|No issues found|\s*)$", "", said, flags=re.MULTILINE)
    return result.returncode, quiet.strip()


def places(entries: list[Any]) -> Iterator[str]:
    """Every page of a navigation."""
    for entry in entries:
        if isinstance(entry, str):
            yield entry
        elif isinstance(entry, dict):
            for inner in entry.values():
                yield from places(inner if isinstance(inner, list) else [inner])


def test_every_page_has_its_place_in_the_navigation() -> None:
    pages = {path.name for path in ROOT.glob("docs/*.md")} | {"decisions/index.md"}
    assert set(places(CONFIG["project"]["nav"])) == pages, "put it into nav of zensical.toml"


@pytest.mark.slow
@NEEDS_ZENSICAL
def test_the_site_builds_without_a_warning(source: Path) -> None:
    assert build(source) == (0, "")
    reference = (source / "site" / "reference" / "index.html").read_text(encoding="utf-8")
    missing = [name for name in getattr(quintet, "__all__", ()) if f'id="quintet.{name}"' not in reference]
    assert missing == []


@pytest.mark.slow
@NEEDS_ZENSICAL
def test_a_link_to_nowhere_and_a_wrong_docstring_are_found(tmp_path: Path) -> None:
    for folder in ("docs", "quintet"):
        (tmp_path / folder).mkdir()
    config = (ROOT / "zensical.toml").read_text(encoding="utf-8")
    (tmp_path / "zensical.toml").write_text(re.sub(r"^nav = \[.*?^\]", "", config, flags=re.MULTILINE | re.DOTALL))
    (tmp_path / "docs" / "index.md").write_text("# Start\n\n[nowhere](nowhere.md)\n\n::: quintet\n")
    (tmp_path / "quintet" / "__init__.py").write_text(
        'def half(x: int) -> int:\n    """Half.\n\n    Args:\n        y: what is not there.\n    """\n    return x\n'
    )
    code, said = build(tmp_path)
    assert code != 0
    assert "page does not exist" in said
    assert "Parameter 'y' does not appear" in said
