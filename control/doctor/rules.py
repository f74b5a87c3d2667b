"""What is wrong with a run, why it matters and what to do about it: pure rules over `HealthSnapshot`, the worst first.

A finding is an `error` (the run does not do what it should), a `warning` (it will not for long, or wastes much), or a
`hint` (it is sound and could be faster). A run with hints alone is healthy.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from typing import Any

from quintet.control import metrics as names
from quintet.control.doctor.finding import ORDER, Finding, Severity
from quintet.control.doctor.health_snapshot import HealthSnapshot
from quintet.control.doctor.learning import not_learning
from quintet.control.journal import CRASHES, Event
from quintet.control.status import (
    SILENT_S,
    STARVES,
    RunStatus,
    conservation_line,
    mostly_rejected,
    phases_of,
    plays_slowly,
    wait_shares,
)
from quintet.wire.link import Heartbeat
from quintet.wire.redis_link.client import ServerHealth

RECENT_S = 600.0
"""Ends of processes within this time are worth a finding."""
FLAPPING = 3
"""So many ends of one process within RECENT_S are no accident."""
STUCK_S = 120.0
"""An optimizer that runs and has made no version for this long is stuck."""
NEARLY_FULL, FULL = 0.8, 0.97
"""Shares of a bound."""
MUCH = 0.05
"""More than this share of the steps stale, rejected or lost is worth a look."""
STALE_VERSIONS = 3.0
"""Mean staleness above this slows learning down."""
LOW_DISK_BYTES = 2**30
CHECKPOINTS_OF_ROOM = 3
"""While a checkpoint is written, the old ones are still there."""
START_S = 45.0
"""What a process that loads torch may take on a busy machine before it says something."""
GONE_S = 60.0
"""A process that has said nothing for this long is taken to be gone."""
LONG_CALL_S, STUCK_CALL_S = 15.0, 300.0
"""A single call of a game that takes so long is told of, or worth a warning."""
SILENT = (
    "its machine may be stopped, overloaded or cut off; if it is dead it is replaced by itself, and if it hangs while "
    "in no call of the game, kill it"
)
IN_A_CALL = (
    "it was inside a call of the game when it was last heard of, which may keep Python's lock: give it time, or fewer "
    "rollout.games_per_worker"
)
REASONS_SHOWN = 3
"""So many of the last reasons of rejected chunks."""
REJECTED_ADVICE = (
    # What a reason says -> what to do. The first that fits counts; `wire.codec` and `optimizer.batcher` word reasons.
    (
        "NaN, infinite or beyond",
        "numbers like that come out of a game (quintet check plays it and names the row) or out of a network that "
        "diverged (a smaller ppo.learning_rate)",
    ),
    ("wire version", "update the workers' code: another version of this program sent it"),
    ("chunk spec", "a worker plays another game or has another network: give it the run's own configuration"),
    ("damaged on its way", "look at the network and the memory of that machine, and update the workers' code"),
)
REJECTED_OTHERWISE = "look at whoever sent it: the reason says what was found and what was expected"


def diagnose(snapshot: HealthSnapshot) -> tuple[Finding, ...]:
    """All findings, the worst first; none, or hints alone, mean that the run is healthy."""
    found = [finding for check in CHECKS for finding in check(snapshot)]
    return tuple(sorted(found, key=lambda finding: ORDER.index(finding.severity)))


def is_healthy(findings: Sequence[Finding]) -> bool:
    """Whether there is nothing but hints."""
    return all(finding.severity == "hint" for finding in findings)


def diagnosis_json(snapshot: HealthSnapshot, findings: Sequence[Finding]) -> dict[str, Any]:
    """The diagnosis as plain data, for `quintet doctor --json`."""
    beats = snapshot.status.heartbeats if snapshot.status else ()
    return {
        "run": snapshot.run,
        "healthy": is_healthy(findings),
        "findings": [asdict(finding) for finding in findings],
        "last_heard_s": {beat.process: round(beat.age_s, 1) for beat in beats},
    }


def _reachable(snapshot: HealthSnapshot) -> Iterator[Finding]:
    if not snapshot.live:
        last = next((e for e in reversed(snapshot.events) if e.kind in ("started", "failed", "stopped")), None)
        ended = last if last is not None and last.kind != "started" else None
        seen = f"nobody trains run {snapshot.run} now" + (f"; it ended: {ended.kind}, {ended.text}" if ended else "")
        advice = f"go on with: quintet train --run {snapshot.run} --resume"
        severity: Severity = "hint" if ended is not None and ended.kind == "stopped" else "error"
        if ended is None:
            seen += "; it said no last word, so it was killed or crashed"
        yield Finding(severity=severity, about="run", seen=seen, why="it makes no steps", advice=advice)
    elif snapshot.status is None:
        yield Finding(
            severity="error",
            about="Redis",
            seen=f"it gives no answer: {snapshot.trouble}",
            why="everything passes through it: nobody plays or learns while it is away",
            advice="see whether the server runs, and runs/<run>/redis/redis.log; all goes on by itself once it is back",
        )


def _processes(snapshot: HealthSnapshot, status: RunStatus) -> Iterator[Finding]:
    """Those that should be there: controller, optimizer, and as many workers as are wanted."""
    heard = {beat.process: beat for beat in status.heartbeats}
    starting = _is_starting(snapshot)
    yield from _process(heard, "controller", "nobody replaces what dies, and workers leave after a minute", starting)
    yield from _process(heard, names.OPTIMIZER, "nobody learns, and the stream fills up", starting)
    wanted = [f"{names.WORKER}/{worker}" for worker in range(status.wanted_workers)]
    for process in wanted:
        if process in heard:
            yield from _process(heard, process, "its core makes no steps", starting)
    yield from _slow_games(status, [heard[process] for process in wanted if process in heard])
    absent = [process for process in wanted if process not in heard]
    if absent:
        yield Finding(
            severity="hint" if _is_starting(snapshot) else "warning",
            about="workers",
            seen=f"{len(wanted) - len(absent)} of {len(wanted)} workers have registered; missing: {_some(absent)}",
            why="fewer steps arrive than were asked for",
            advice="they may still be starting (some seconds), wait for cores (quintet status), or die at the start: "
            "see their tracebacks below or in runs/<run>/logs/",
        )


def _is_starting(snapshot: HealthSnapshot) -> bool:
    """Whether processes were started so lately that they may still be loading."""
    starts = (e.time_s for e in snapshot.events if e.kind in ("started", "resumed", "scaled", "restarted", *CRASHES))
    return snapshot.now_s - max(starts, default=float("-inf")) <= START_S


def _process(heard: dict[str, Heartbeat], process: str, why: str, starting: bool) -> Iterator[Finding]:
    beat = heard.get(process)
    if beat is None:
        seen = "has said nothing yet: it is starting, or it never came up"
        yield Finding(
            severity="hint" if starting else "warning",
            about=process,
            seen=seen,
            why=why,
            advice="see its log in runs/<run>/logs/",
        )
    elif beat.age_s > SILENT_S:
        yield Finding(
            severity="error" if beat.age_s > GONE_S else "warning",
            about=process,
            seen=f"last heard of {beat.age_s:.0f} s ago",
            why=why,
            advice=IN_A_CALL if "in" in beat.data else SILENT,
        )


def _slow_games(status: RunStatus, workers: Sequence[Heartbeat]) -> Iterator[Finding]:
    """Workers that are well, and whose games take their time."""
    games = status.config.rollout.games_per_worker
    fewer = f"fewer rollout.games_per_worker: {games} games are played one after another for every row"
    for beat in workers:
        in_s, row_s = float(beat.data.get("in_s", 0.0)), float(beat.data.get("row_s", 0.0))
        if beat.age_s > SILENT_S or not plays_slowly(beat):
            continue
        if in_s > max(LONG_CALL_S, 2 * row_s):
            seen = f"has been inside the game's {beat.data.get('in')} for {in_s:.0f} s"
            advice = f"see what the game waits for; the worker itself is well. If that is its pace, {fewer}"
        else:
            rows = status.config.rollout.bptt_steps
            seen, advice = (
                f"plays a slow game: {row_s:.0f} s a row, {row_s * rows:.0f} s a window of {rows} rows",
                fewer,
            )
        severity: Severity = "warning" if in_s > STUCK_CALL_S else "hint"
        yield Finding(severity=severity, about=beat.process, seen=seen, why="few steps arrive", advice=advice)


def _some(processes: Sequence[str]) -> str:
    return ", ".join(processes[:5]) + (f" and {len(processes) - 5} more" if len(processes) > 5 else "")


def _crashes(snapshot: HealthSnapshot) -> Iterator[Finding]:
    crashed: dict[str, list[Event]] = {}
    for event in snapshot.events:
        is_crash = event.kind in CRASHES or (event.kind == "restarted" and event.process in ("redis", "ray"))
        if is_crash and snapshot.now_s - event.time_s <= RECENT_S:
            crashed.setdefault(event.process, []).append(event)
    for process, events in crashed.items():
        ago_s = snapshot.now_s - events[-1].time_s
        yield Finding(
            severity="error" if len(events) >= FLAPPING else "warning",
            about=process,
            seen=f"died {_times(len(events))} in the last {RECENT_S / 60:.0f} minutes, {ago_s:.0f} s ago the last "
            f"time: {events[-1].text}",
            why="each death costs what it had not handed on; one that keeps dying will end the run",
            advice="was it killed from outside (memory, a person)? else its traceback says why",
            details=snapshot.tracebacks.get(process, ""),
        )


def _times(n: int) -> str:
    return "once" if n == 1 else f"{n} times"


def _conservation(snapshot: HealthSnapshot, status: RunStatus) -> Iterator[Finding]:
    if status.counters.unaccounted:
        yield Finding(
            severity="error",
            about="steps",
            seen=conservation_line(status.counters),
            why="steps were counted twice or vanished: no number of this run can be trusted",
            advice="this is a bug of Quintet, or somebody wrote into this run's keys: keep runs/<run>/ and report it",
        )


def _flow(snapshot: HealthSnapshot, status: RunStatus) -> Iterator[Finding]:
    """Which stage starves, and whether anything moves at all."""
    if status.wanted_workers == 0:
        seen, advice = "no worker is wanted", "quintet scale N lets N workers play"
        yield Finding(severity="hint", about="workers", seen=seen, why="the run is paused", advice=advice)
        return
    if (row_s := status.metrics.get(names.TIME_S)) and snapshot.now_s - row_s > STUCK_S:
        yield Finding(
            severity="error",
            about=names.OPTIMIZER,
            seen=f"no version for {snapshot.now_s - row_s:.0f} s",
            why="nothing is learned",
            advice="see who is silent; a full Redis, a stopped optimizer or workers that cannot play look like this",
        )
        return
    yield from _starving(status)


def _starving(status: RunStatus) -> Iterator[Finding]:
    if mostly_rejected(status.counters):
        return  # more of the same would help nobody
    optimizer, workers = wait_shares(phases_of(status.metrics))
    slow = any(map(plays_slowly, status.heartbeats))
    if optimizer >= max(workers, STARVES):
        yield Finding(
            severity="hint",
            about=names.OPTIMIZER,
            seen=f"it starves: it waits for chunks {optimizer:.0%} of the time",
            why="it could learn from more steps than the workers make",
            advice="more workers (quintet scale N, or scale --auto 1:N), "
            + ("or a faster game" if slow else "more games per worker, or a faster game"),
        )
    elif workers >= STARVES:
        yield Finding(
            severity="hint",
            about="workers",
            seen=f"they wait for room in the stream {workers:.0%} of the time",
            why="the optimizer is slower than they are: their cores do nothing meanwhile",
            advice="fewer workers, a GPU or more threads for the optimizer, fewer epochs, or a smaller network",
        )


def _rejections(snapshot: HealthSnapshot) -> Iterator[Finding]:
    """Of a run that goes on, or of one that has ended."""
    reasons = [event.text for event in snapshot.events if event.kind == "rejected"]
    counters = None if snapshot.status is None else snapshot.status.counters
    if not reasons and not (counters and counters.rejected):
        return
    shown = reasons[-REASONS_SHOWN:]
    count = f"{counters.rejected:,} of {counters.produced:,} steps" if counters else "chunks"
    yield Finding(
        severity="error" if counters and mostly_rejected(counters) else "warning",
        about="steps",
        seen=f"{count} were rejected: {shown[-1] if shown else 'batches gave no finite loss'}",
        why="they were played for nothing, and whoever plays nothing else never learns",
        advice=advice_for(shown[-1]) if shown else "see the journal, and the batches kept in runs/<run>/logs/",
        details="\n".join(shown[:-1]),
    )


def advice_for(reason: str) -> str:
    """What to do about a chunk that was rejected for this reason."""
    return next((advice for part, advice in REJECTED_ADVICE if part in reason), REJECTED_OTHERWISE)


def _steps(snapshot: HealthSnapshot, status: RunStatus) -> Iterator[Finding]:
    """Steps that were played for nothing."""
    counters, config = status.counters, status.config
    # The first batches only feed the normalisers, and are settled as stale.
    warm_up = config.optimizer.normalizer_warmup_steps + config.optimizer.batch_steps if counters.stale else 0
    stale = max(0, counters.stale - warm_up)
    settled = counters.trained + stale + counters.rejected
    mean = status.metrics.get(names.STALENESS_MEAN) or 0.0
    if mean > STALE_VERSIONS or stale > MUCH * max(settled, 1):
        yield Finding(
            severity="warning",
            about="staleness",
            seen=f"{mean:.1f} versions in the mean, and {stale:,} steps of {settled:,} were too old to train on "
            f"(older than {config.optimizer.max_staleness} versions)",
            why="the policy learns from what an older one did, and what is too old was played for nothing",
            advice="fewer rollout.games_per_worker or workers, shorter rollout.chunk_steps, a larger "
            "optimizer.batch_steps, or a smaller wire.max_queued_batches",
        )
    if counters.lost > MUCH * max(counters.produced, 1):
        yield Finding(
            severity="warning",
            about="steps",
            seen=f"{counters.lost:,} of {counters.produced:,} steps were lost with workers that died",
            why="they were played for nothing",
            advice="see why workers die",
        )


def _finite(snapshot: HealthSnapshot, status: RunStatus) -> Iterator[Finding]:
    losses = [n for n in (names.POLICY_LOSS, names.VALUE_LOSS, names.ENTROPY) if n in status.metrics]
    if broken := [name for name in losses if status.metrics[name] is None]:
        yield Finding(
            severity="error",
            about=names.OPTIMIZER,
            seen=f"{', '.join(broken)} is not a finite number",
            why="updates like that are thrown away, and three in a row end the run",
            advice="a smaller ppo.learning_rate, or look at the batch that was kept in runs/<run>/logs/",
        )


def _redis(snapshot: HealthSnapshot) -> Iterator[Finding]:
    server = snapshot.server
    if server is None:
        return
    yield from _redis_memory(server)
    if not server.aof_enabled:
        yield Finding(
            severity="warning",
            about="Redis",
            seen="it keeps no append-only file",
            why="when it dies, every queued step and every counter is gone",
            advice="start it with --appendonly yes --appendfsync everysec",
        )
    elif not (server.aof_write_ok and server.aof_rewrite_ok):
        failed = "append to" if not server.aof_write_ok else "rewrite"
        yield Finding(
            severity="error" if not server.aof_write_ok else "warning",
            about="Redis",
            seen=f"it could not {failed} its append-only file",
            why="it takes nothing more while it cannot write, and workers wait",
            advice="is its disk full? it goes on by itself once there is room",
        )


def _redis_memory(server: ServerHealth) -> Iterator[Finding]:
    if server.maxmemory_bytes and server.maxmemory_policy != "noeviction":
        yield Finding(
            severity="error",
            about="Redis",
            seen=f"its maxmemory-policy is {server.maxmemory_policy}",
            why="when it is full it throws chunks and counters away",
            advice="CONFIG SET maxmemory-policy noeviction",
        )
    share = server.used_bytes / server.maxmemory_bytes if server.maxmemory_bytes else 0.0
    if share >= NEARLY_FULL:
        yield Finding(
            severity="error" if share >= FULL else "warning",
            about="Redis",
            seen=f"{server.used_bytes / 2**20:.0f} of {server.maxmemory_bytes / 2**20:.0f} MiB are used",
            why="a full Redis takes no chunks: workers wait until the optimizer has made room",
            advice="raise maxmemory, or lower wire.max_queue_bytes; is somebody else's data in it?",
        )


def _stream(snapshot: HealthSnapshot, status: RunStatus) -> Iterator[Finding]:
    """The bound in steps is there to be reached; the one in bytes only protects Redis."""
    queued, bound = status.counters.queued_bytes, status.config.wire.max_queue_bytes
    if queued >= NEARLY_FULL * bound:
        yield Finding(
            severity="warning",
            about="stream",
            seen=f"{queued / 2**20:.0f} of {bound / 2**20:.0f} MiB are queued",
            why="workers wait for bytes, though the bound in steps would let them go on",
            advice="raise wire.max_queue_bytes (and maxmemory), or set wire.compress",
        )


def _disk(snapshot: HealthSnapshot) -> Iterator[Finding]:
    disk = snapshot.disk
    if disk is None:
        return
    needed = CHECKPOINTS_OF_ROOM * disk.checkpoint_bytes
    if disk.free_bytes < max(needed, LOW_DISK_BYTES):
        yield Finding(
            severity="error" if disk.free_bytes < max(disk.checkpoint_bytes, LOW_DISK_BYTES // 16) else "warning",
            about="disk",
            seen=f"{disk.free_bytes / 2**20:,.0f} MiB are free at {disk.path}, a checkpoint takes "
            f"{disk.checkpoint_bytes / 2**20:,.1f}",
            why="without room no checkpoint is written, and Redis stops",
            advice="free some space; lower optimizer.keep_checkpoints",
        )
    last = next((e for e in reversed(snapshot.events) if e.kind in ("checkpoint", "checkpoint failed")), None)
    if last is not None and last.kind == "checkpoint failed":
        yield Finding(
            severity="error",
            about="disk",
            seen=f"the last checkpoint could not be written: {last.text}",
            why="what was learned since the one before it would be lost with the optimizer",
            advice="free some space; the next checkpoint is tried by itself",
        )


Rule = Callable[[HealthSnapshot], Iterator[Finding]]


def _of_status(rule: Callable[[HealthSnapshot, RunStatus], Iterator[Finding]]) -> Rule:
    """A rule about what the run's link says; where that is silent, nothing is found."""
    return lambda snapshot: iter(()) if snapshot.status is None else rule(snapshot, snapshot.status)


CHECKS: tuple[Rule, ...] = (
    _reachable,
    _of_status(_conservation),
    _of_status(_processes),
    _crashes,
    _of_status(_flow),
    _of_status(_finite),
    not_learning,
    _rejections,
    _of_status(_steps),
    _redis,
    _of_status(_stream),
    _disk,
)
