"""Dataclasses from TOML tables and `a.b=c` overrides, and back: every complaint names the place of what does not fit.

Generic over dataclasses: a field added to one of them is known at once. `quintet.control.config` says which they are.
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from difflib import get_close_matches
from types import NoneType, UnionType
from typing import Any, Literal, get_args, get_origin, get_type_hints

SCALAR_FIELD = "value"  # a dataclass with a field of this name may be written as that value alone


def settings_of(kind: Any) -> list[Field[Any]]:
    """A dataclass's settings: what is not compared is about a configuration (`RunConfig.given`), not in it."""
    return [entry for entry in fields(kind) if entry.compare]


class ConfigError(Exception):
    """A configuration that cannot be run; the message is one line that says where it stands and what to do."""

    ends_run_with = 2  # see `quintet.control.errors`
    run_bears = 0


def apply_override(raw: dict[str, Any], override: str, sources: dict[str, str]) -> None:
    """Write one `a.b=c` into the raw tables. What is no TOML value is a string, so quotes are optional; none unsets."""
    key, equals, text = override.partition("=")
    parts = key.strip().split(".")
    if not equals or not all(parts):
        raise ConfigError(f"--set takes KEY=VALUE, for example --set ppo.learning_rate=1e-4; found {override!r}")
    table = raw
    for part in parts[:-1]:
        inner = table.get(part)
        if inner is None or not isinstance(inner, dict):
            # `learning_rate = 3e-4` in the file, `learning_rate.end=1e-5` here: the number becomes the table's value.
            inner = {} if inner is None else {SCALAR_FIELD: inner}
            table[part] = inner
        table = inner
    sources[".".join(parts)] = f"--set {override}"
    text = text.strip()
    if text.lower() == "none":
        table.pop(parts[-1], None)
        return
    table[parts[-1]] = _toml_value(text)


def _toml_value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


class ConfigReader:
    """Turns raw tables into dataclasses, naming the place of whatever does not fit."""

    def __init__(self, root: type[Any], source: str, override_sources: Mapping[str, str]) -> None:
        """`root` is the whole configuration, `source` the text's name, and an override is known by its key."""
        self.root, self.source, self.override_sources = root, source, override_sources

    def dataclass(self, kind: type[Any], raw: Mapping[str, Any], default: Any, path: tuple[str, ...]) -> Any:
        """An instance of `kind` that differs from `default` in what `raw` names."""
        hints = get_type_hints(kind)
        known = [entry.name for entry in settings_of(kind)]
        for key in raw:
            if key not in known:
                raise ConfigError(self._unknown_key((*path, key), known))
        values = {name: getattr(default, name) for name in known}
        for key, value in raw.items():
            values[key] = self._value(hints[key], value, values[key], (*path, key))
        try:
            return kind(**values)
        except ValueError as error:
            raise ConfigError(f"{error} ({self._where(path)})") from error

    def _value(self, hint: Any, value: Any, default: Any, path: tuple[str, ...]) -> Any:
        if is_dataclass(hint) and isinstance(hint, type):
            if isinstance(value, Mapping):
                return self.dataclass(hint, value, default, path)
            if any(entry.name == SCALAR_FIELD for entry in fields(hint)):
                return hint(**{SCALAR_FIELD: self._value(get_type_hints(hint)[SCALAR_FIELD], value, None, path)})
        elif get_origin(hint) is UnionType:
            (inner,) = (option for option in get_args(hint) if option is not NoneType)
            return self._value(inner, value, default, path)
        elif _fits(hint, value):
            return float(value) if hint is float else value
        raise ConfigError(f"{'.'.join(path)} is {_describe(value)}; expected {_expected(hint)} ({self._where(path)})")

    def _where(self, path: tuple[str, ...]) -> str:
        """The override that set this key or something in it, else the file."""
        key = ".".join(path)
        for name, override in reversed(list(self.override_sources.items())):
            if name == key or name.startswith(f"{key}.") or key.startswith(f"{name}."):
                return f"in {override}"
        return f"in {self.source}"

    def _unknown_key(self, path: tuple[str, ...], siblings: list[str]) -> str:
        key = ".".join(path)
        near = get_close_matches(path[-1], siblings, n=1)
        if near:
            advice = f"did you mean {'.'.join((*path[:-1], near[0]))}?"
        else:
            everywhere = dotted_keys(self.root)
            same_name = [name for name in everywhere if name.rpartition(".")[2] == path[-1]]
            near = same_name[:1] or get_close_matches(key, everywhere, n=1)
            advice = f"did you mean {near[0]}?" if near else f"known here: {', '.join(siblings)}"
        return f"there is no key {key!r} ({self._where(path)}); {advice}"


def dotted_keys(kind: type[Any], prefix: str = "") -> list[str]:
    """Every dotted key of a configuration, sections and Ramps gone into."""
    keys: list[str] = []
    hints = get_type_hints(kind)
    for name in (entry.name for entry in settings_of(kind)):
        hint = hints[name]
        keys.append(prefix + name)
        if is_dataclass(hint) and isinstance(hint, type):
            keys += dotted_keys(hint, f"{prefix}{name}.")
    return keys


def _fits(hint: Any, value: Any) -> bool:
    if get_origin(hint) is Literal:
        return value in get_args(hint)
    if get_origin(hint) is dict:
        return isinstance(value, dict)
    if isinstance(value, bool):
        return hint is bool
    if hint is float:
        return isinstance(value, int | float) and math.isfinite(value)
    return isinstance(value, hint)


def _expected(hint: Any) -> str:
    if get_origin(hint) is Literal:
        return "one of " + ", ".join(map(str, get_args(hint)))
    if get_origin(hint) is dict:
        return "a table"
    if is_dataclass(hint):
        scalar = any(entry.name == SCALAR_FIELD for entry in fields(hint))
        return "a number or a table" if scalar else "a table"
    return {int: "a whole number", float: "a finite number", bool: "true or false", str: "a string"}[hint]


def _describe(value: Any) -> str:
    names = {bool: "a boolean", int: "a whole number", float: "a number", str: "a string", list: "a list"}
    shown = {True: "true", False: "false"}[value] if isinstance(value, bool) else repr(value)
    return f"{shown} ({names.get(type(value), 'a table' if isinstance(value, dict) else type(value).__name__)})"


def plain(instance: Any) -> dict[str, Any]:
    """A dataclass as tables: None is left out, and what equals its scalar form is written as that."""
    table: dict[str, Any] = {}
    for entry in settings_of(instance):
        value = getattr(instance, entry.name)
        if is_dataclass(value) and not isinstance(value, type):
            inner = plain(value)
            scalar = inner.get(SCALAR_FIELD)
            is_scalar = scalar is not None and value == type(value)(**{SCALAR_FIELD: scalar})
            table[entry.name] = scalar if is_scalar else inner
        elif value is not None:
            table[entry.name] = value
        elif _default(entry) is not None:
            raise TypeError(f"{type(instance).__name__}.{entry.name} is None but its default is not: TOML has no null")
    return table


def _default(entry: Field[Any]) -> Any:
    return None if entry.default is MISSING else entry.default
