"""Pages of Markdown in pieces: code in a line, blocks of code, links and headings, each with its line."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

from markdown_it import MarkdownIt
from markdown_it.token import Token

from docs.generate import PAGES

ROOT = Path(__file__).resolve().parents[2]
MARKDOWN = MarkdownIt("commonmark").enable("table")


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of a page that can be wrong."""

    kind: Literal["code", "block", "link", "image", "heading"]
    text: str
    line: int
    language: str = ""  # of a block: the first word behind its fence
    title: str = ""  # of a block: the file that it is


@cache
def pages() -> tuple[Path, ...]:
    """Every page that somebody writes for readers. Decisions and the changelog say what was."""
    found = [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("deploy/*.md")]
    return tuple(sorted(path for path in found if path.name not in {*PAGES, "CHANGELOG.md"}))


def pieces(text: str) -> Iterator[Piece]:
    """A page's pieces, from top to bottom."""
    tokens = MARKDOWN.parse(text)
    line = 1
    for index, token in enumerate(tokens):
        line = token.map[0] + 1 if token.map else line
        if token.type in ("fence", "code_block"):
            title = re.search(r'title="([^"]+)"', token.info)
            yield Piece("block", token.content, line, token.info.partition(" ")[0], title[1] if title else "")
        elif token.type == "heading_open":
            yield Piece("heading", _words(tokens[index + 1]), line)
        for child in token.children or ():
            yield from _inline(child, line)


def _inline(token: Token, line: int) -> Iterator[Piece]:
    if token.type == "code_inline":
        yield Piece("code", token.content, line)
    elif token.type == "link_open":
        yield Piece("link", str(token.attrs["href"]), line)
    elif token.type == "image":
        yield Piece("image", str(token.attrs["src"]), line)


def _words(token: Token) -> str:
    return "".join(child.content for child in token.children or ())


def anchors(text: str) -> set[str]:
    """The anchors of a page's headings, as both the site and a forge make them."""
    return {_anchor(piece.text) for piece in pieces(text) if piece.kind == "heading"}


def _anchor(heading: str) -> str:
    plain = unicodedata.normalize("NFKD", heading).encode("ascii", "ignore").decode()
    return re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", plain).strip().lower())
