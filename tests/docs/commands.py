"""Command lines that pages show: split as a shell splits them, then read by the command line's own parser."""

from __future__ import annotations

import contextlib
import io
import json
import re
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from functools import cache, wraps
from itertools import takewhile
from typing import Any
from unittest.mock import patch

from docs.generate import parser_of
from quintet.cluster.__main__ import COMMANDS, run
from quintet.control.config import RunConfig, check_alone, config_keys, load_config
from quintet.control.config_reader import ConfigError
from quintet.control.live_settings import check_changes
from tests.docs.pages import ROOT
from tests.docs.tree import tree

FOREIGN = {
    "apt", "cd", "cp", "curl", "docker", "export", "git", "grep", "mkdir", "nvidia-smi", "pip", "promtool", "ray",
    "redis-cli", "rm", "source", "tensorboard", "umask", "uv",
}  # fmt: skip
PROGRAMS = {"quintet", "make", "python", *FOREIGN}
# What a command needs before options alone can be read: `--greedy` is an option of eval, which wants a checkpoint.
NEEDED = {
    "eval": ["NAME"], "watch": ["NAME"], "explain": ["model"], "check": ["counting"], "node": ["--address", "host:1"],
    "controller": ["--run", "NAME"], "optimizer": ["--run-folder", "runs/NAME"],
}  # fmt: skip


def faults_of_line(line: str) -> Iterator[str]:
    """What is wrong with one line of a shell."""
    try:
        words = shlex.split(line, comments=True)
    except ValueError as error:
        yield f"not a line that a shell can read ({error})"
        return
    for part in _parts(words):
        yield from _faults_of_part(part)


def is_shell(text: str) -> bool:
    """Whether a block without a language holds command lines."""
    return re.search(rf"^((\S*/)?({'|'.join(PROGRAMS)})( |$)|QUINTET_\w+=)", text, flags=re.MULTILINE) is not None


def faults_of_options(text: str) -> Iterator[str]:
    """What is wrong with options that stand alone, as in `--greedy` or `--set a=1`."""
    words = shlex.split(text)
    names = [word.partition("=")[0] for word in words if word.startswith("--")]
    unknown = [name for name in names if not any(name in known for known in options().values())]
    if unknown:
        yield f"no command has an option {unknown[0]}"
        return
    commands = [command for command, known in options().items() if known.issuperset(names)]
    if not commands:
        yield f"no command has all of {' '.join(names)}"
    elif len(words) > 1:
        complaints = (next(_faults_of_command([name, *NEEDED.get(name, []), *words]), "") for name in commands)
        wrong = list(takewhile(bool, complaints))
        yield from wrong[:1] if len(wrong) == len(commands) else ()


@cache
def options() -> dict[str, frozenset[str]]:
    """Every command's options."""
    return {
        name: frozenset(word for action in parser_of(command)._actions for word in action.option_strings)
        for name, command in COMMANDS.items()
    }


def _parts(words: list[str]) -> Iterator[list[str]]:
    part: list[str] = []
    for word in [*words, ";"]:
        if word in (";", "&&", "||", "|", "&"):
            yield part
            part = []
        else:
            part.append(word.strip("()") if word.startswith("(") or word.endswith(");") else word)


def _faults_of_part(words: list[str]) -> Iterator[str]:
    while words and re.match(r"[A-Z_]+=", words[0]):
        if words[0].startswith("QUINTET_") and words[0].partition("=")[0] not in tree().words:
            yield f"nothing reads {words[0].partition('=')[0]}"
        words = words[1:]
    if not words or words[0] == "$":
        return
    program, rest = words[0].rpartition("/")[2], words[1:]
    if program == "quintet" or (program == "python" and rest[:2] == ["-m", "quintet"]):
        yield from _faults_of_command(rest if program == "quintet" else rest[2:])
    elif program in ("python", "python3"):
        yield from _faults_of_python(rest)
    elif program == "make":
        yield from (f"make has no target {word}" for word in rest if "=" not in word and word not in _targets())
    elif program == "docker" and "quintet" in rest:
        yield from _faults_of_docker(rest)
    elif program == "pip":
        wanted = [extra for word in rest for extra in re.findall(r"quintet\[(.+)\]|^\.\[(.+)\]", word)]
        yield from (f"there is no extra {name}" for pair in wanted for name in _extras_missing("".join(pair)))
    elif program not in FOREIGN and program != "test":
        yield f"{program!r} is no program that these pages use"


def _faults_of_command(words: list[str]) -> Iterator[str]:
    """What is wrong with what follows `quintet`."""
    words = [word for word in (_bare(word) for word in words) if word]
    if not words or words[0] in ("--help", "COMMAND"):
        return
    if words[0] not in COMMANDS:
        yield f"there is no command quintet {words[0]}"
        return
    if len(words) == 1:  # the command as a name
        return
    parsed, complaint = _parse(words)
    if parsed is None:  # `quintet scale N`; or options that are named without what the command needs beside them
        examples = [words[0], *(_example(word) for word in words[1:])]
        parsed = _parse(examples)[0] or _parse([words[0], *NEEDED.get(words[0], []), *examples[1:]])[0]
    if parsed is None:
        yield f"quintet {' '.join(words)}: {complaint}"
    else:
        yield from _faults_of_values(words[0], parsed)


def _faults_of_values(command: str, given: Mapping[str, Any]) -> Iterator[str]:
    try:
        if command == "set":
            changes = [text.split("=", 1) for text in map(_example, given["changes"]) if re.match(r"[a-z._]+=", text)]
            check_changes(RunConfig(), dict(changes))
            return
        config = given.get("config")
        load_config(None if str(config).isupper() else config)
    except ConfigError as error:
        yield str(error)
    until = given.get("until") or ""
    yield from faults_of_overrides(
        [*given.get("overrides", ()), *([] if not until or until.isupper() else [f"until={json.dumps(until)}"])]
    )


def faults_of_overrides(overrides: Sequence[str]) -> Iterator[str]:
    """What is wrong with `a.b=c`; where c only stands for something, with `a.b`."""
    told = [text for text in overrides if text not in ("KEY=VALUE", "...")]
    keys = [text.partition("=")[0] for text in told if re.search(r"=([A-Z]+|\{?\.\.\.\}?)$", text)]
    yield from (f"there is no key {key}" for key in keys if key not in config_keys() and key[:5] != "game_")
    try:
        check_alone(load_config(None, [text for text in told if text.partition("=")[0] not in keys]))
    except ConfigError as error:
        yield str(error)


def _parse(words: list[str]) -> tuple[Mapping[str, Any] | None, str]:
    """The parameters that the command would be called with; None, and why, where the line cannot be read."""
    calls: list[Mapping[str, Any]] = []

    def noted(command: Callable[..., Any]) -> Callable[..., int]:
        @wraps(command)
        def note(**given: Any) -> int:
            calls.append(dict(_parameters(given)))
            return 0

        return note

    said = io.StringIO()
    with (
        patch.dict(COMMANDS, {name: noted(command) for name, command in COMMANDS.items()}),
        contextlib.redirect_stderr(said), contextlib.redirect_stdout(said), contextlib.suppress(SystemExit),
    ):  # fmt: skip
        run(words)
    return (calls[0], "") if calls else (None, " ".join(re.sub(r"[─│╭╮╰╯]+", " ", said.getvalue()).split()))


def _parameters(given: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Parameters by name, also of commands that take them together as a dataclass."""
    for name, value in given.items():
        if is_dataclass(value):
            yield from ((entry.name, getattr(value, entry.name)) for entry in fields(value))
        yield name, value


def _bare(word: str) -> str:
    """A word without the brackets that say that it may be left out."""
    if word.startswith("[") and "]" not in word[1:-1] and "=" not in word:
        word = word[1:]
    return word[:-1] if word.endswith("]") and "[" not in word else word


def _example(word: str) -> str:
    """Something that fits where a page says `N`, `MIN:MAX` or `TOPIC`."""
    if word == "TOPIC":
        return "model"
    return "1" if re.fullmatch(r"[A-Z][A-Z0-9_:]*", word) else re.sub(r"=(\.\.\.|[A-Z]+)$", "=1", word)


def _faults_of_python(words: list[str]) -> Iterator[str]:
    if words[:1] == ["-m"]:
        module = words[1]
        if module.partition(".")[0] not in ("pip", "pytest", "venv", "http") and not tree().has_dotted(module):
            yield f"there is no module {module}"
    elif words and words[0].endswith(".py"):
        if not tree().has_path(words[0]):
            yield f"there is no file {words[0]}"
            return
        source = (ROOT / words[0]).read_text(encoding="utf-8").replace("_", "-")
        for word in words[1:]:
            if word.startswith("--") and word[2:] not in source:
                yield f"{words[0]} has no option {word}"


def _faults_of_docker(words: list[str]) -> Iterator[str]:
    """Of `docker compose exec SERVICE quintet ...` and `docker run IMAGE quintet ...`."""
    place = len(words) - 1 - words[::-1].index("quintet")
    if "exec" in words and not re.search(rf"^  {words[place - 1]}:", _compose(), flags=re.MULTILINE):
        yield f"docker-compose.yml has no service {words[place - 1]}"
    if "build" not in words:
        yield from _faults_of_command([word for word in words[place + 1 :] if not word.startswith(">")])


def _targets() -> set[str]:
    return set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))


def _extras_missing(text: str) -> list[str]:
    project = (ROOT / "pyproject.toml").read_text()
    return [name for name in text.split(",") if not re.search(rf"^{name} = \[", project, flags=re.MULTILINE)]


@cache
def _compose() -> str:
    return (ROOT / "docker-compose.yml").read_text()
