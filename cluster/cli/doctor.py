"""`quintet doctor`: takes a snapshot of a run's health, live or not, and prints the diagnosis."""

from __future__ import annotations

import json

from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from quintet.control.doctor.finding import Finding
from quintet.control.doctor.health_snapshot import HealthSnapshot, read_health
from quintet.control.doctor.rules import diagnose, diagnosis_json, is_healthy
from quintet.control.errors import UsageError
from quintet.control.operations import read_status
from quintet.control.output import answer, stdout
from quintet.control.run_folder import RUNS, RunFolder, checked, open_live, open_run
from quintet.control.status import SILENT_S, conservation_line
from quintet.wire.errors import LinkError
from quintet.wire.redis_link.client import server_health
from quintet.wire.redis_link.link import connect

WAIT_S = 2.0
COLOURS = {"error": "bold red", "warning": "yellow", "hint": "cyan"}


def examine(run: str | None, redis_url: str | None, *, as_json: bool) -> bool:
    """Print what the doctor finds; returns whether the run is healthy.

    Raises:
        UsageError: there is no such run.
    """
    snapshot = take_health(run, redis_url)
    findings = diagnose(snapshot)
    if as_json:
        answer(json.dumps(diagnosis_json(snapshot, findings)))
    else:
        Console(file=stdout()).print(diagnosis(snapshot, findings))
    return is_healthy(findings)


def take_health(run: str | None, redis_url: str | None) -> HealthSnapshot:
    """Ask the run's link and its server, and read its folder; what does not answer is part of the picture.

    Raises:
        UsageError: there is no such run.
    """
    folder = _folder(run, redis_url)
    live = redis_url is not None or folder.is_live
    if not live:
        return read_health(folder.path, None, live=False)
    try:
        url = redis_url or folder.read_redis_url()
        with connect(url, folder.run, wait_s=WAIT_S) as link:
            status = read_status(folder, link)
        return read_health(folder.path, status, server=server_health(url))
    except LinkError as error:
        return read_health(folder.path, None, trouble=str(error))


def _folder(run: str | None, redis_url: str | None) -> RunFolder:
    """The run that is meant: with a URL it may be on another machine, and then only its name is known here."""
    if redis_url is not None and run is not None:
        return RunFolder(RUNS / checked(run))
    if run is not None:
        return open_run(run)
    try:
        return open_live(None)
    except UsageError:
        return open_run(None)


def diagnosis(snapshot: HealthSnapshot, findings: tuple[Finding, ...]) -> RenderableType:
    """The diagnosis for a terminal."""
    parts: list[RenderableType] = [_verdict(snapshot, findings)]
    for finding in findings:
        head = Text.assemble((f"{finding.severity}: ", COLOURS[finding.severity]), (finding.about, "bold"))
        facts = Table.grid(padding=(0, 2))
        facts.add_row("seen", finding.seen)
        facts.add_row("why it matters", finding.why)
        facts.add_row("what to do", finding.advice)
        parts += [Text(), head, Padding(facts, (0, 0, 0, 2))]
        if finding.details:
            parts.append(Padding(Text(finding.details, style="dim"), (0, 0, 0, 4)))
    if snapshot.status is not None:
        parts += [Text(), Text(f"steps: {conservation_line(snapshot.status.counters)}"), _heard(snapshot)]
    return Group(*parts)


def _verdict(snapshot: HealthSnapshot, findings: tuple[Finding, ...]) -> Text:
    if is_healthy(findings):
        hints = f"; {len(findings)} hint{'s' * (len(findings) > 1)}" if findings else ""
        state = "healthy" if snapshot.live else "ended"
        return Text.assemble(f"run {snapshot.run}: ", (state, "bold green"), hints)
    counts = {s: sum(f.severity == s for f in findings) for s in ("error", "warning")}
    words = ", ".join(f"{n} {severity}{'s' * (n > 1)}" for severity, n in counts.items() if n)
    return Text.assemble(f"run {snapshot.run}: ", (words, "bold red" if counts["error"] else "bold yellow"))


def _heard(snapshot: HealthSnapshot) -> RenderableType:
    """The clock of the last message from each process."""
    assert snapshot.status is not None
    beats = sorted(snapshot.status.heartbeats, key=lambda beat: beat.age_s)
    said = [f"{beat.process} {beat.age_s:.1f} s ago" + (" (silent)" * (beat.age_s > SILENT_S)) for beat in beats]
    return Text(f"last heard of: {', '.join(said) or 'nobody'}")
