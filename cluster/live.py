"""Commands for a run that goes on: what it does (`quintet status`) and how many workers it has (`quintet scale`)."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from rich.console import Console

from cluster.failure import UsageError
from cluster.run_folder import RUNS, RunFolder, checked, open_live, open_run
from control.autoscale import Bounds, parse_bounds
from control.config import parse_config
from control.live_settings import in_force
from control.output import answer, stdout
from control.sinks import last_jsonl
from control.status import RunStatus, status_json, status_table
from wire.redis_link import RedisLink, connect
from wire.settings import BEFORE_ALL

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
