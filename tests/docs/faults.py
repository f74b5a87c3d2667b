"""What a page says and the project has not: commands, options, files, settings, metrics, names, links."""

from __future__ import annotations

import ast
import builtins
import importlib.util
import re
import textwrap
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

from quintet.control.config import config_keys, parse_config
from quintet.control.config_reader import ConfigError
from quintet.games.registry import FAMILIES, OWN_GAMES
from tests.docs.commands import PROGRAMS, faults_of_line, faults_of_options, faults_of_overrides, is_shell
from tests.docs.pages import ROOT, Piece, anchors, pieces
from tests.docs.tree import OURS, is_metric, tree

# Names in the examples' own code, and of programs and packages that pages speak of.
EXAMPLES = re.compile(r"my_\w+|My[A-Z]\w*")
FOREIGN = {
    "crossword", "nfg_game", "noeviction", "admin", "inner",  # of packages, of Redis, of Grafana; of nobody
    "nohup", "kuhn_poker", "nn.LSTMCell", "blue_0", "red_0", "win_rate_0",
    "CUDA out of memory", "CONFIG SET maxmemory-policy noeviction", "CLIENT KILL USER worker",
    "TimeLimit", "ParallelEnv", "Dict", "Tuple", "Box", "Discrete", "MultiDiscrete", "MultiBinary", "parallel_env",
}  # fmt: skip
FILE = r"[\w.*<>-]+\.(py|md|toml|json|jsonl|yml|yaml|txt|acl|conf|svg|png|gif|lua|sh|safetensors)"


def faults(text: str, page: Path) -> list[str]:
    """Every fault of a page, each with its line."""
    return [f"{page.name}:{piece.line}: {fault}" for piece in pieces(text) for fault in _of_piece(piece, text, page)]


def _of_piece(piece: Piece, text: str, page: Path) -> Iterator[str]:
    if piece.kind == "code":
        yield from faults_of_code(piece.text)
    elif piece.kind == "block":
        yield from _of_block(piece)
    elif piece.kind in ("link", "image"):
        yield from _of_link(piece.text, text, page)


def _of_link(target: str, text: str, page: Path) -> Iterator[str]:
    path, _, anchor = target.partition("#")
    if re.match(r"[a-z]+:", target):
        return
    found = (page.parent / path) if path else page
    if path and not found.exists():
        yield f"there is no {path}"
    elif page.is_relative_to(ROOT / "docs") and not found.resolve().is_relative_to(ROOT / "docs"):
        yield f"{path} is outside docs/, where the site cannot show it: name it in backticks"
    elif anchor and anchor not in anchors(text if found == page else found.read_text(encoding="utf-8")):
        yield f"{path or page.name} has no heading #{anchor}"


def _of_block(block: Piece) -> Iterator[str]:
    if block.language in ("bash", "sh", "console", "shell") or (not block.language and is_shell(block.text)):
        for line in re.sub(r"\\\n", " ", block.text).splitlines():
            prompt = line.lstrip().startswith("$ ")
            if block.language != "console" or prompt:
                yield from faults_of_line(line.lstrip().removeprefix("$ "))
    elif block.language == "toml" or (not block.language and re.match(r"(\w+ = |\[\w)", block.text)):
        yield from _of_toml(block.text)
    elif block.language == "python" or (not block.language and re.match(r"(def|class|import|from) ", block.text)):
        yield from _of_python(block.text)
    elif not block.language and block.text.startswith("--"):
        for line in block.text.splitlines():
            yield from faults_of_options(line.partition("        #")[0])
    elif not block.language:
        yield "say what this block holds: fence it as bash, toml, python or text"


def _of_toml(text: str) -> Iterator[str]:
    try:
        parse_config(text)
    except ConfigError as error:
        yield str(error)


def _of_python(text: str) -> Iterator[str]:
    """Only what can be seen without running it: test_examples.py runs it."""
    try:
        code = ast.parse(textwrap.dedent(text))
    except SyntaxError as error:
        yield f"no Python: {error}"
        return
    for node in ast.walk(code):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("quintet"):
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            yield from (f"there is no {name}" for name in names if not tree().has_dotted(name))


def faults_of_code(text: str) -> Iterator[str]:
    """What is wrong with words in backticks; what is no name of anything (a formula, a shape) is no fault."""
    text = text.strip()
    if text.count(" ") >= 2 and text.split()[0] not in PROGRAMS and tree().says(text):
        return
    forms: tuple[tuple[str, Callable[[str], Iterator[str]]], ...] = (
        (r"(quintet|make|python|docker|pip) .+", faults_of_line),
        (r"--.+", faults_of_options),
        (r"[\w.]+ ?= ?\S.*", _of_assignments),
        (r"[A-Z][A-Z0-9]*_[A-Z0-9_]+", _of_variable),
        (r"[A-Za-z_][\w.]*:[\w.<>][\w.<>:/-]*", _of_game),
        (rf"\.?[\w.*<>-]*/[\w./*<>-]*|(?!quintet\.){FILE}", _of_path),
        (r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*(\(.*\))?", _of_name),
        (r"[A-Za-z.][\w.,:;'’ -]*( [\w.,:;'’-]+){2,}", _of_message),
    )
    for form, find in forms:
        if re.fullmatch(form, text):
            yield from find(text)
            return


def _of_variable(name: str) -> Iterator[str]:
    if name.startswith("QUINTET_") and name not in tree().words:
        yield f"nothing reads {name}"


def _of_message(text: str) -> Iterator[str]:
    if text.split(maxsplit=1)[0] not in PROGRAMS and text not in FOREIGN:
        yield f"nothing says: {text}"


def faults_of_reference(text: str) -> Iterator[str]:
    """What is wrong with a name or path in backticks of the code itself, where variables may stand, too."""
    if re.fullmatch(rf"({'|'.join(OURS)})/[\w./]+", text):
        yield from _of_path(text)
    elif re.fullmatch(r"quintet(\.\w+)+|quintet_\w+", text):
        yield from _of_name(text)
    elif re.fullmatch(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*", text) and text not in FOREIGN:
        unknown = [part for part in text.split(".") if part not in tree().words]
        yield from (f"nothing is called {part}" for part in unknown[:1] if not _is_foreign(text.partition(".")[0]))


def _of_assignments(text: str) -> Iterator[str]:
    name = text.partition("=")[0].strip()
    if name.isupper():
        yield from _of_variable(name)
    elif name.partition(".")[0] in {entry.partition(".")[0] for entry in config_keys()}:
        yield from faults_of_overrides(re.split(r" (?=[\w.]+=)", re.sub(r" = ", "=", text)))
    elif name not in tree().words:
        yield f"nothing is called {name}"


def _of_game(text: str) -> Iterator[str]:
    """`gymnasium:CartPole-v1`, `bot:strong`, `my_module:MyEnv`, `tests.unit_envs:Aim`."""
    family, _, rest = text.partition(":")
    module = next((part for part in (family, rest.partition(":")[0]) if part.partition(".")[0] in {*OURS, "tests"}), "")
    if module and not tree().has_dotted(module):
        yield f"there is no module {module}"
    elif not module and family not in {*FAMILIES, "bot"} and not EXAMPLES.match(family) and not _is_foreign(family):
        yield f"{family!r} is no family of games and no module"


def _of_path(text: str) -> Iterator[str]:
    if text.startswith("/"):
        if text not in tree().texts and text != "/":
            yield f"nothing answers at {text}"
    elif "/" in text:
        if not (is_metric(text) or tree().has_path(text) or text.rstrip("/") in {"runs", ".venv", "site"}):
            yield f"there is no file, folder or metric {text}"
    elif "*" not in text and text not in tree().names | tree().texts and not EXAMPLES.match(text):
        yield f"there is no file {text}"


def _of_name(text: str) -> Iterator[str]:
    name, call, _ = text.partition("(")
    head = name.partition(".")[0]
    if EXAMPLES.fullmatch(head) or head in FOREIGN or OWN_GAMES.get(name):
        return
    if "." in name:
        known = name in _settings() or tree().has_dotted(name) or _is_foreign(head)
        known = known or re.sub(r"^game_options\.\w[\w.]*$", "game_options", name) in _settings()
    elif call:
        known = name in tree().functions or name in tree().classes or hasattr(builtins, name)
    elif name.startswith("quintet_"):
        known = is_metric(name) or name == "quintet_"
    else:
        known = name in tree().words | tree().names | _settings() or name in tree().classes or _is_foreign(name)
    if not known and len(name) > 2 and not re.fullmatch(r"[A-Z_0-9]+", name):  # RUN, N and T stand for something
        yield f"nothing is called {name}"


@cache
def _settings() -> frozenset[str]:
    return frozenset({*config_keys(), *(key.rpartition(".")[2] for key in config_keys())})


@cache
def _is_foreign(module: str) -> bool:
    """Whether it is a package of others that is installed here."""
    return (
        module.isidentifier()
        and module not in {*OURS, "quintet", "docs", "tests"}
        and importlib.util.find_spec(module) is not None
    )
