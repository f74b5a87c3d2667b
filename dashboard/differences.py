"""Where the configurations of several runs differ: one line for each key, in words that a person would type."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any

from control.config import RunConfig
from control.config_reader import SCALAR_FIELD
from control.live_settings import shown


def flat(config: Any, prefix: str = "") -> dict[str, str]:
    """Every key of a configuration with its value as text; sections are gone into, Ramps are not."""
    found: dict[str, str] = {}
    for entry in fields(config):
        value = getattr(config, entry.name)
        key = f"{prefix}{entry.name}"
        is_section = is_dataclass(value) and all(inner.name != SCALAR_FIELD for inner in fields(value))
        found |= flat(value, f"{key}.") if is_section else {key: shown(value)}
    return found


def differences(configs: Mapping[str, RunConfig]) -> dict[str, tuple[str, ...]]:
    """Key -> its value in each configuration, for every key that is not the same in all of them."""
    texts = [flat(config) for config in configs.values()]
    keys = dict.fromkeys(key for text in texts for key in text)
    found = {key: tuple(text.get(key, "–") for text in texts) for key in keys}
    return {key: values for key, values in found.items() if len(set(values)) > 1}


def value_text(config: RunConfig, key: str) -> str:
    """One key's value in a configuration, as text."""
    value: Any = config
    for part in key.split("."):
        value = getattr(value, part)
    return shown(value)
