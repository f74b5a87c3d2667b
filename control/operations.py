"""Commands for a run that goes on: what it does (`quintet status`) and how many workers it has (`quintet scale`)."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from quintet.control.autoscale import Bounds, parse_bounds
from quintet.control.config import RunConfig, parse_config
from quintet.control.errors import UsageError
from quintet.control.live_settings import changed, check_changes, in_force, live_keys, setting_text, who_asks
from quintet.control.output import answer, stdout
from quintet.control.run_folder import RUNS, RunFolder, checked, open_live, open_run
from quintet.control.sinks import last_jsonl
from quintet.control.status import RunStatus, status_json, status_table
from quintet.wire.link import ControlChannel
from quintet.wire.redis_link.link import RedisLink, connect
from quintet.wire.settings import BEFORE_ALL, SettingsChannel

WAIT_S = 2.0


def print_status(run: str | None, redis_url: str | None, *, as_json: bool) -> None:
    """Print a run's status.

    Raises:
        UsageError: there is no such run, or it is not being trained.
        LinkError: its Redis does not answer.
    """
    folder, link = connect_to(run, redis_url)
    with link:
        status = read_status(folder, link)
    if as_json:
        answer(json.dumps(status_json(status)))
    else:
        Console(file=stdout()).print(status_table(status))


def read_status(folder: RunFolder, link: RedisLink) -> RunStatus:
    """All that a run's link knows of it now.

    Raises:
        UsageError: the run is not open there.
        LinkError: its Redis does not answer.
    """
    text = link.run_config()
    if not text:
        raise UsageError(f"no run {folder.run} is open at {link.location}")
    return RunStatus(
        run=folder.run,
        config=in_force(parse_config(text, source=f"the configuration of run {folder.run}"), link.settings(BEFORE_ALL)),
        counters=link.counters(),
        wanted_workers=link.wanted_workers(),
        heartbeats=link.heartbeats(),
        metrics=finite(link.latest_row()) or last_jsonl(folder.metrics),
    )


def finite(row: Mapping[str, float]) -> dict[str, Any]:
    """A row as metrics.jsonl has it: None for what is no finite number."""
    return {name: value if math.isfinite(value) else None for name, value in row.items()}


def scale_bounds(text: str) -> Bounds:
    """`MIN:MAX` of an option.

    Raises:
        UsageError: it is not that.
    """
    try:
        return parse_bounds(text)
    except ValueError as error:
        raise UsageError(str(error)) from error


def scale(wish: int | Bounds, run: str | None, redis_url: str | None) -> str:
    """Want another number of workers, or have the run choose it within bounds; returns what to tell the person.

    A number ends an earlier choosing.

    Raises:
        UsageError: a number that cannot be, or more than there are cores for.
        LinkError: the run's Redis does not answer.
    """
    most_wanted = wish.high if isinstance(wish, Bounds) else wish
    if most_wanted < 0:
        raise UsageError(f"{most_wanted} workers are not possible; 0 pauses the run")
    folder, link = connect_to(run, redis_url)
    with link:
        told = {beat.process: beat.data for beat in link.heartbeats()}.get("controller", {})
        most = int(told.get("capacity", -1))
        if 0 <= most < most_wanted:
            raise UsageError(
                f"{most_wanted} workers do not fit: run {folder.run} has cores for {most}, at "
                f"{told['cores_per_worker']} cores each (quintet train's --cores-per-worker)"
            )
        if most_wanted > 1 and parse_config(link.run_config()).deterministic:
            raise UsageError(f"run {folder.run} is deterministic: such a run has one worker")
        before = link.wanted_workers()
        if isinstance(wish, Bounds):
            link.set_autoscale(str(wish))
            return f"run {folder.run}: {before} workers now, from here on {wish} as its optimizer needs them"
        was_auto = bool(link.autoscale())
        link.set_autoscale("")
        link.set_wanted_workers(wish)
    return f"run {folder.run}: {before} -> {wish} workers" + (" and no more autoscaling" if was_auto else "")


def locate(run: str | None, redis_url: str | None) -> tuple[RunFolder, str]:
    """The run's folder and the URL of its Redis. With a URL, the run may be on another machine, and needs a name.

    Raises:
        UsageError: there is no such run, or it is not being trained.
    """
    if redis_url is None:
        folder = open_live(run)
        return folder, folder.read_redis_url()
    return open_run(None) if run is None else RunFolder(RUNS / checked(run)), redis_url


def connect_to(run: str | None, redis_url: str | None) -> tuple[RunFolder, RedisLink]:
    """The run's folder and a link to it; raises as `locate`, and LinkError where its Redis does not answer."""
    folder, url = locate(run, redis_url)
    return folder, connect(url, folder.run, wait_s=WAIT_S)


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


class RequestError(ValueError):
    """What was asked for cannot be done; the message says why and what to do."""


def workers_wanted(text: str, status: RunStatus) -> int:
    """The number of workers that a person typed, if the run has room for it.

    Raises:
        RequestError: no whole number, more than there are cores for, or several of a deterministic run.
    """
    try:
        workers = int(text)
    except ValueError:
        raise RequestError(f"{text!r} is no whole number") from None
    if workers < 0:
        raise RequestError(f"{workers} workers are not possible; 0 pauses the run")
    if workers > 1 and status.config.deterministic:
        raise RequestError(f"run {status.run} is deterministic: such a run has one worker")
    told = {beat.process: beat.data for beat in status.heartbeats}.get("controller", {})
    most = int(told.get("capacity", -1))
    if 0 <= most < workers:
        raise RequestError(
            f"{workers} workers do not fit: the run has cores for {most}, at {told.get('cores_per_worker')} cores each"
        )
    return workers


def want_workers(link: ControlChannel, workers: int) -> str:
    """Want so many workers, and end an earlier autoscaling; returns what to tell the person."""
    before, was_auto = link.wanted_workers(), bool(link.autoscale())
    if was_auto:
        link.set_autoscale("")
    link.set_wanted_workers(workers)
    return f"{before} → {workers} workers asked for" + ("; autoscaling is off" if was_auto else "")


def change_settings(link: SettingsChannel, config: RunConfig, changes: Mapping[str, str], by: str) -> str:
    """Ask for other settings; returns what to tell the person.

    Raises:
        quintet.control.config.ConfigError: one of them cannot be; none is asked for.
    """
    checked = check_changes(config, changes)
    link.request_settings(checked, by)
    asked = ", ".join(f"{key} = {text}" for key, text in checked.items())
    return f"{asked}: asked for, in force at the optimizer's next update"
