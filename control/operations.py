"""What a person asks of a run that goes on: how it is, another number of workers, other settings.

`status_of`, `scale` and `change_settings` work on a link, for the web page; the rest is what the commands `quintet
status`, `scale` and `set` say of them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.table import Table

from quintet.control.autoscale import Bounds, parse_bounds
from quintet.control.config import RunConfig, parse_config
from quintet.control.errors import UsageError
from quintet.control.live_settings import changed, check_changes, in_force, live_keys, setting_text, who_asks
from quintet.control.output import answer, stdout
from quintet.control.run_folder import RUNS, RunFolder, checked, open_live, open_run
from quintet.control.sinks import finite, last_jsonl
from quintet.control.status import RunStatus, status_json, status_table
from quintet.wire.link import ControlChannel
from quintet.wire.redis_link.link import RedisLink, connect
from quintet.wire.settings import BEFORE_ALL, SettingsChannel

WAIT_S = 2.0


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


def config_in_force(link: ControlChannel, run: str) -> RunConfig | None:
    """The configuration that a run goes by now; None where the run is not open at the link."""
    text = link.run_config()
    if not text:
        return None
    return in_force(parse_config(text, source=f"the configuration of run {run}"), link.settings(BEFORE_ALL))


def status_of(link: RedisLink, run: str, metrics: Mapping[str, float]) -> RunStatus | None:
    """All that a run's link knows of it now, beside the newest row of its file (empty where that is not here).

    None where the run is not open at the link.
    """
    config = config_in_force(link, run)
    if config is None:
        return None
    return RunStatus(
        run=run,
        config=config,
        counters=link.counters(),
        wanted_workers=link.wanted_workers(),
        heartbeats=link.heartbeats(),
        metrics=metrics or link.latest_row(),
    )


def read_status(folder: RunFolder, link: RedisLink) -> RunStatus:
    """The same for a command, which prefers the link's row: it is newer than the file's.

    Raises:
        UsageError: the run is not open there.
        LinkError: its Redis does not answer.
    """
    status = status_of(link, folder.run, finite(link.latest_row()) or last_jsonl(folder.metrics))
    if status is None:
        raise _not_open(link, folder.run)
    return status


def print_status(run: str | None, redis_url: str | None, *, as_json: bool) -> None:
    """Print a run's status. Raises as `connect_to` and `read_status` do."""
    folder, link = connect_to(run, redis_url)
    with link:
        status = read_status(folder, link)
    if as_json:
        answer(json.dumps(status_json(status)))
    else:
        Console(file=stdout()).print(status_table(status))


def scale_bounds(text: str) -> Bounds:
    """`MIN:MAX` of an option.

    Raises:
        UsageError: it is not that.
    """
    try:
        return parse_bounds(text)
    except ValueError as error:
        raise UsageError(str(error)) from error


def scale(link: ControlChannel, run: str, wish: int | Bounds) -> tuple[int, bool]:
    """Want another number of workers, or have the run choose it within bounds; a number ends an earlier choosing.

    Returns how many were wanted before, and whether the run chose that itself.

    Raises:
        UsageError: a number that cannot be, or more than there are cores for.
        LinkError: the run's Redis does not answer.
    """
    most_wanted = wish.high if isinstance(wish, Bounds) else wish
    if most_wanted < 0:
        raise UsageError(f"{most_wanted} workers are not possible; 0 pauses the run")
    told = {beat.process: beat.data for beat in link.heartbeats()}.get("controller", {})
    most = int(told.get("capacity", -1))
    if 0 <= most < most_wanted:
        raise UsageError(
            f"{most_wanted} workers do not fit: run {run} has cores for {most}, at {told['cores_per_worker']} cores "
            "each (quintet train's --cores-per-worker)"
        )
    if most_wanted > 1 and parse_config(link.run_config()).deterministic:
        raise UsageError(f"run {run} is deterministic: such a run has one worker")
    before, was_auto = link.wanted_workers(), bool(link.autoscale())
    if isinstance(wish, Bounds):
        link.set_autoscale(str(wish))
    else:
        link.set_autoscale("")
        link.set_wanted_workers(wish)
    return before, was_auto


def scale_run(wish: int | Bounds, run: str | None, redis_url: str | None) -> str:
    """`quintet scale`: returns what to tell the person. Raises as `connect_to` and `scale` do."""
    folder, link = connect_to(run, redis_url)
    with link:
        before, was_auto = scale(link, folder.run, wish)
    if isinstance(wish, Bounds):
        return f"run {folder.run}: {before} workers now, from here on {wish} as its optimizer needs them"
    return f"run {folder.run}: {before} -> {wish} workers" + (" and no more autoscaling" if was_auto else "")


def change_settings(
    link: SettingsChannel, config: RunConfig, changes: Mapping[str, str], by: str
) -> dict[str, tuple[str, str]]:
    """Ask for other settings, all of them or none; returns each one's full key with its old and its new value.

    Raises:
        quintet.control.config.ConfigError: one of them cannot be, and why; none is asked for.
        LinkError: the run's Redis does not answer.
    """
    full = check_changes(config, changes)
    after = changed(config, full)
    link.request_settings(full, by)
    return {key: (setting_text(config, key), setting_text(after, key)) for key in full}


def change_run_settings(changes: Sequence[str], run: str | None, redis_url: str | None) -> str:
    """`quintet set KEY=VALUE`: returns what to tell the person.

    Raises as `connect_to` and `change_settings` do, and UsageError at something that is no change.
    """
    wanted = dict(_split(change) for change in changes)
    folder, link = connect_to(run, redis_url)
    with link:
        told = change_settings(link, _config(link, folder.run), wanted, who_asks())
    lines = [f"  {key}: {old} -> {new}" for key, (old, new) in told.items()]
    return "\n".join([f"run {folder.run}, from its next update on:", *lines])


def list_settings(run: str | None, redis_url: str | None) -> None:
    """Print every setting that can change while a run goes on, with its value. Raises as `connect_to` does."""
    folder, link = connect_to(run, redis_url)
    with link:
        config = _config(link, folder.run)
    table = Table("setting", "now", "range", "meaning", title=f"run {folder.run}", title_justify="left")
    for known in live_keys():
        table.add_row(known.key, setting_text(config, known.key), known.range or known.type, known.doc)
    Console(file=stdout()).print(table)


def _config(link: RedisLink, run: str) -> RunConfig:
    config = config_in_force(link, run)
    if config is None:
        raise _not_open(link, run)
    return config


def _not_open(link: RedisLink, run: str) -> UsageError:
    return UsageError(f"no run {run} is open at {link.location}")


def _split(change: str) -> tuple[str, str]:
    key, equals, text = change.partition("=")
    if not equals or not key.strip() or not text.strip():
        raise UsageError(f"quintet set takes KEY=VALUE, for example ppo.learning_rate=1e-4; found {change!r}")
    return key.strip(), text.strip()
