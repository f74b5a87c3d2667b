"""A benchmark's dataclass of settings as its command line: one option per field, with the field's default."""

from __future__ import annotations

import argparse
from dataclasses import MISSING, fields
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

Settings = TypeVar("Settings")


def from_command_line(kind: type[Settings], description: str | None, argv: list[str] | None = None) -> Settings:
    """Read settings from `argv`, by default the process's own; a tuple takes several values, a boolean has --no-."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    hints = get_type_hints(kind)
    for field in fields(kind):  # type: ignore[arg-type]
        default = None if field.default is MISSING else field.default
        option = "--" + field.name.replace("_", "-")
        parser.add_argument(option, default=default, help=f"default: {default}", **_reading(hints[field.name]))
    values = vars(parser.parse_args(argv))
    return kind(**{name: tuple(value) if isinstance(value, list) else value for name, value in values.items()})


def _reading(hint: Any) -> dict[str, Any]:
    if hint is bool:
        return {"action": argparse.BooleanOptionalAction}
    if get_origin(hint) is Literal:
        return {"choices": get_args(hint)}
    if get_origin(hint) is tuple:
        return {"type": get_args(hint)[0], "nargs": "+"}
    return {"type": hint}
