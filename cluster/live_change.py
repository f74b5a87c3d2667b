"""Asks a run that goes on for other settings (`quintet set`), or lists those that can be changed with what they are."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from cluster.failure import UsageError
from cluster.live import connect_to
from control.config import RunConfig, parse_config
from control.live_settings import changed, check_changes, in_force, live_keys, setting_text, who_asks
from control.output import stdout
from wire.redis_link import RedisLink
from wire.settings import BEFORE_ALL


def request_changes(changes: Sequence[str], run: str | None, redis_url: str | None) -> str:
    """Have `KEY=VALUE` changes put into force; returns what to tell the person.

    Raises:
        UsageError: no such run, or something that is no change.
        ConfigError: a change that cannot be made, and why.
        LinkError: the run's Redis does not answer.
    """
    wanted = dict(_split(change) for change in changes)
    folder, link = connect_to(run, redis_url)
    with link:
        before = _in_force(link, folder.run)
        full = check_changes(before, wanted)
        after = changed(before, full)
        link.request_settings(full, by=who_asks())
    lines = [f"  {key}: {setting_text(before, key)} -> {setting_text(after, key)}" for key in full]
    return "\n".join([f"run {folder.run}, from its next update on:", *lines])


def list_settings(run: str | None, redis_url: str | None) -> None:
    """Print every setting that can change while a run goes on, with its value. Raises as `request_changes` does."""
    folder, link = connect_to(run, redis_url)
    with link:
        config = _in_force(link, folder.run)
    table = Table("setting", "now", "range", "meaning", title=f"run {folder.run}", title_justify="left")
    for known in live_keys():
        table.add_row(known.key, setting_text(config, known.key), known.range or known.type, known.doc)
    Console(file=stdout()).print(table)


def _in_force(link: RedisLink, run: str) -> RunConfig:
    text = link.run_config()
    if not text:
        raise UsageError(f"no run {run} is open at {link.location}")
    return in_force(parse_config(text, source=f"the configuration of run {run}"), link.settings(BEFORE_ALL))


def _split(change: str) -> tuple[str, str]:
    key, equals, text = change.partition("=")
    if not equals or not key.strip() or not text.strip():
        raise UsageError(f"quintet set takes KEY=VALUE, for example ppo.learning_rate=1e-4; found {change!r}")
    return key.strip(), text.strip()
