"""Writes the pages of docs/ that say what the code says: commands, settings, metrics, decisions. `make docs` runs it.

python -m docs.generate            # writes them
"""

from __future__ import annotations

import argparse
import json
import re
import warnings
from collections.abc import Callable, Iterable
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, cast

import tyro
from tyro.conf import FlagCreatePairsOff

from quintet.cluster.__main__ import COMMANDS
from quintet.control.config import RunConfig
from quintet.control.config_reader import SCALAR_FIELD
from quintet.control.derivation import RULES
from quintet.control.live_settings import SettingInfo, setting_keys, shown
from quintet.control.metrics import FAMILIES, HELP
from quintet.optimizer.config import Ramp

DOCS = Path(__file__).resolve().parent
WRITTEN_BY = "<!-- Written by `python -m docs.generate`: change the code that it reads, not this page. -->\n"


def cli_page() -> str:
    """Every command of `quintet` with its options, as its parser knows them."""
    commands = [_command(name, parser_of(command)) for name, command in COMMANDS.items()]
    return _page(
        "The command line",
        "`quintet COMMAND --help` says the same in a terminal; `python -m quintet` is the same program. Exit codes: 0 "
        "done, 1 failed, 2 bad usage or configuration, 130 interrupted (a checkpoint is saved, `--resume` goes on).",
        *commands,
    )


def configuration_page() -> str:
    """Every setting: its type, default, range, when it can change, and what it means."""
    defaults = RunConfig()
    sections = [entry.name for entry in fields(RunConfig) if is_dataclass(getattr(defaults, entry.name))]
    return _page(
        "Configuration",
        "A configuration is one TOML file; every setting has a default, and `--set KEY=VALUE` sets any of them on the "
        "command line. `configs/` holds the configurations that ship, which `--config NAME` finds by their name.",
        "Where the default is *derived*, it comes of the game and of what else was set, unless it was set itself. The "
        "run says at its start what was derived and why, and so does the beginning of its `config.toml`; "
        "`quintet train --game GAME --dry-run` says it without a run. A program that makes a `RunConfig` by itself "
        "chooses what differs from the defaults of its classes.",
        "The column *changes* says when a setting may change: **live** by `quintet set` while the run goes on, **at a "
        "resume** by `quintet train --resume --set KEY=VALUE`, or only **in a new run**. A ramp is a number or a "
        "table: see [Ramps](#ramps).",
        "## The run\n\n" + _settings(defaults, ""),
        *(
            f"## `[{name}]`\n\n{_first_paragraph(type(getattr(defaults, name)))}\n\n{_settings(defaults, f'{name}.')}"
            for name in sections
        ),
        f"## Ramps\n\n{_docstring(Ramp)}",
    )


def metrics_page() -> str:
    """Every metric and what it means."""
    families = [(re.sub(r"\(\?P<(\w+)>[^)]*\)", r"<\1>", form).replace(".+", "..."), text) for form, text in FAMILIES]
    return _page(
        "Metrics",
        "A metric has one name, and the same name everywhere: on the board, in `metrics.jsonl`, in TensorBoard, on the "
        "web page and, with `quintet_` before it and `_` for `/`, in Prometheus and Grafana.",
        _table(("metric", "meaning"), [(_code(name), _plain(text)) for name, text in (*HELP.items(), *families)]),
    )


def decisions_page() -> str:
    """Every note of docs/decisions by its title."""
    notes = sorted((DOCS / "decisions").glob("[0-9]*.md"))
    return _page(
        "Decisions",
        "Choices that were not obvious, each with what speaks for it and what was tried and left.",
        _table(("", "decision", "status"), [_decision(path) for path in notes]),
    )


PAGES: dict[str, Callable[[], str]] = {
    "cli.md": cli_page,
    "configuration.md": configuration_page,
    "metrics.md": metrics_page,
    "decisions/index.md": decisions_page,
}


def parser_of(command: Callable[..., Any]) -> argparse.ArgumentParser:
    """The options of a command, as the command line reads them."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # tyro offers no other list of a command's options
        return cast(argparse.ArgumentParser, tyro.extras.get_parser(command, config=(FlagCreatePairsOff,)))


def main() -> None:
    """Write every page."""
    for name, page in PAGES.items():
        (DOCS / name).write_text(page(), encoding="utf-8")


def _command(name: str, parser: argparse.ArgumentParser) -> str:
    actions = [action for action in parser._actions if action.dest != "help"]
    given = [_words(action) for action in actions if not action.option_strings]
    options = ["[OPTIONS]"] if len(given) < len(actions) else []
    usage = " ".join(["quintet", name, *given, *options])
    rows = [(_code(_words(action)), *_help(action)) for action in actions]
    parts = [f"## {name}", _plain(parser.description or ""), f"```bash\n{usage}\n```"]
    return "\n\n".join([*parts, _table(("option", "default", "meaning"), rows)])


def _words(action: argparse.Action) -> str:
    """An option or argument as one types it: `--seed INT`, `[CHECKPOINT]`, `{model,lstm}`."""
    kind = re.sub(r"\{None\}\||None,", "", str(action.metavar or ""))
    if action.option_strings:
        return " ".join([action.option_strings[0], *([kind] if action.nargs != 0 else [])])
    word = kind if action.choices else action.dest.rpartition(".")[2].upper().replace("-", "_")
    repeated = " ..." if action.nargs == "*" else ""
    return word if action.required else f"[{word}{repeated}]"


def _help(action: argparse.Action) -> tuple[str, str]:
    """The default and the meaning, which tyro gives as one text; no default where the option may be left out."""
    text, _, end = " ".join((action.help or "").split()).rpartition(" (")
    default = end.removesuffix(")").removeprefix("default: ").replace("None", "").replace("False", "")
    return (_code(default) if end.startswith("default: ") and default else default), _plain(text)


def _settings(defaults: RunConfig, prefix: str) -> str:
    """One table of the settings directly under a prefix."""
    rows = [_setting(defaults, known, prefix) for known in setting_keys() if _is_directly_under(known.key, prefix)]
    return _table(("setting", "takes", "default", "changes", "meaning"), rows)


def _is_directly_under(key: str, prefix: str) -> bool:
    return key.startswith(prefix) and "." not in key.removeprefix(prefix)


def _setting(defaults: RunConfig, known: SettingInfo, prefix: str) -> tuple[str, ...]:
    value: Any = defaults
    for part in known.key.split("."):
        value = getattr(value, part)
    kind = known.type.replace(" | ", ", ") + (" or ramp" if hasattr(value, SCALAR_FIELD) else "")
    takes = f"{kind}, {known.range}" if known.range else kind
    default = _code(json.dumps(value) if isinstance(value, str | dict) else shown(value))
    if known.key in RULES:
        default = f"derived: {_plain(RULES[known.key].words)}"
    return _code(known.key.removeprefix(prefix)), takes, default, known.changes, _plain(known.doc)


def _decision(path: Path) -> tuple[str, str, str]:
    text = path.read_text(encoding="utf-8")
    title = re.sub(r"^# \d+[.:]? *", "", text.partition("\n")[0])
    status = re.search(r"^\**Status:?\** *:? *(.+?)\.?$", text, flags=re.MULTILINE)
    return path.name[:4], f"[{title}]({path.name})", status[1] if status else ""


def _docstring(kind: type[Any]) -> str:
    return "\n".join(line.strip() for line in (kind.__doc__ or "").strip().splitlines())


def _first_paragraph(kind: type[Any]) -> str:
    return _plain(_docstring(kind).partition("\n\n")[0])


def _page(title: str, *parts: str) -> str:
    return "\n\n".join([f"{WRITTEN_BY}\n# {title}", *parts]) + "\n"


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _code(text: str) -> str:
    return f"`{text}`"


def _plain(text: str) -> str:
    """Words as Markdown shows them unchanged, also in a table."""
    return re.sub(r"([<|*])", r"\\\1", text)


if __name__ == "__main__":
    main()
