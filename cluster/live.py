"""Commands for a run that goes on: what it does (`quintet status`) and how many workers it has (`quintet scale`)."""

from __future__ import annotations

import json

from rich.console import Console

from cluster.failure import UsageError
from cluster.run_folder import RUNS, RunFolder, checked, open_live, open_run
from control.config import parse_config
from control.sinks import last_jsonl
from control.status import RunStatus, status_json, status_table
from wire.redis_link import RedisLink, connect

WAIT_S = 2.0


def print_status(run: str | None, redis_url: str | None, *, as_json: bool) -> None:
    """Print a run's status.

    Raises:
        UsageError: there is no such run, or it is not being trained.
        LinkError: its Redis does not answer.
    """
    folder, link = _connect(run, redis_url)
    with link:
        text = link.run_config()
        if not text:
            raise UsageError(f"no run {folder.run} is open at {link.location}")
        status = RunStatus(
            run=folder.run,
            config=parse_config(text, source=f"the configuration of run {folder.run}"),
            counters=link.counters(),
            wanted_workers=link.wanted_workers(),
            heartbeats=link.heartbeats(),
            metrics=last_jsonl(folder.metrics),
        )
    if as_json:
        print(json.dumps(status_json(status)))
    else:
        Console().print(status_table(status))


def scale(workers: int, run: str | None, redis_url: str | None) -> str:
    """Want another number of workers; returns what to tell the person.

    Raises:
        UsageError: a number that cannot be, or more than there are cores for.
        LinkError: the run's Redis does not answer.
    """
    if workers < 0:
        raise UsageError(f"{workers} workers are not possible; 0 pauses the run")
    folder, link = _connect(run, redis_url)
    with link:
        told = {beat.process: beat.data for beat in link.heartbeats()}.get("controller", {})
        most = int(told.get("capacity", -1))
        if 0 <= most < workers:
            raise UsageError(
                f"{workers} workers do not fit: run {folder.run} has cores for {most}, at "
                f"{told['cores_per_worker']} cores each (quintet train's --cores-per-worker)"
            )
        before = link.wanted_workers()
        link.set_wanted_workers(workers)
    return f"run {folder.run}: {before} -> {workers} workers"


def _connect(run: str | None, redis_url: str | None) -> tuple[RunFolder, RedisLink]:
    """The run's folder and a link to it. With a URL, the run may be on another machine, and needs a name."""
    if redis_url is None:
        folder = open_live(run)
        return folder, connect(folder.read_redis_url(), folder.run, wait_s=WAIT_S)
    folder = open_run(None) if run is None else RunFolder(RUNS / checked(run))
    return folder, connect(redis_url, folder.run, wait_s=WAIT_S)
