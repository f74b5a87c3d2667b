"""What the doctor says of the processes of a run: who is missing, silent, or busy with one thing for long."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from quintet.control import metrics as names
from quintet.control.doctor.finding import Finding, Severity
from quintet.control.doctor.health_snapshot import HealthSnapshot
from quintet.control.journal import DEATHS
from quintet.control.status import SILENT_S, plays_slowly
from quintet.wire.link import Heartbeat

START_S = 45.0
"""What a process that loads torch may take on a busy machine before it says something."""
DEAD_S = 60.0
"""A process that has said nothing for this long is taken for dead."""
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


def processes(vitals: HealthSnapshot) -> Iterator[Finding]:
    """Those that should be there: controller, optimizer, and as many workers as are wanted."""
    status = vitals.status
    if status is None:
        return
    heard = {beat.process: beat for beat in status.heartbeats}
    starting = _is_starting(vitals)
    yield from _process(heard, "controller", "nobody replaces what dies, and workers leave after a minute", starting)
    yield from _process(heard, names.OPTIMIZER, "nobody learns, and the stream fills up", starting)
    wanted = [f"{names.WORKER}/{worker}" for worker in range(status.wanted_workers)]
    for process in wanted:
        if process in heard:
            yield from _process(heard, process, "its core makes no steps", starting)
    yield from _slow_games(vitals, [heard[process] for process in wanted if process in heard])
    absent = [process for process in wanted if process not in heard]
    if absent:
        yield Finding(
            severity="hint" if _is_starting(vitals) else "warning",
            about="workers",
            seen=f"{len(wanted) - len(absent)} of {len(wanted)} workers have registered; missing: {_some(absent)}",
            why="fewer steps arrive than were asked for",
            advice="they may still be starting (some seconds), wait for cores (quintet status), or die at the start: "
            "see their tracebacks below or in runs/<run>/logs/",
        )


def _is_starting(vitals: HealthSnapshot) -> bool:
    """Whether processes were started so lately that they may still be loading."""
    starts = (e.time_s for e in vitals.events if e.kind in ("started", "resumed", "scaled", "restarted", *DEATHS))
    return vitals.now_s - max(starts, default=float("-inf")) <= START_S


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
            severity="error" if beat.age_s > DEAD_S else "warning",
            about=process,
            seen=f"last heard of {beat.age_s:.0f} s ago",
            why=why,
            advice=IN_A_CALL if "in" in beat.data else SILENT,
        )


def _slow_games(vitals: HealthSnapshot, workers: Sequence[Heartbeat]) -> Iterator[Finding]:
    """Workers that are well, and whose games take their time."""
    assert vitals.status is not None
    games = vitals.status.config.rollout.games_per_worker
    fewer = f"fewer rollout.games_per_worker: {games} games are played one after another for every row"
    for beat in workers:
        in_s, row_s = float(beat.data.get("in_s", 0.0)), float(beat.data.get("row_s", 0.0))
        if beat.age_s > SILENT_S or not plays_slowly(beat):
            continue
        if in_s > max(LONG_CALL_S, 2 * row_s):
            seen = f"has been inside the game's {beat.data.get('in')} for {in_s:.0f} s"
            advice = f"see what the game waits for; the worker itself is well. If that is its pace, {fewer}"
        else:
            rows = vitals.status.config.rollout.bptt_steps
            seen, advice = (
                f"plays a slow game: {row_s:.0f} s a row, {row_s * rows:.0f} s a window of {rows} rows",
                fewer,
            )
        severity: Severity = "warning" if in_s > STUCK_CALL_S else "hint"
        yield Finding(severity=severity, about=beat.process, seen=seen, why="few steps arrive", advice=advice)


def _some(processes: Sequence[str]) -> str:
    return ", ".join(processes[:5]) + (f" and {len(processes) - 5} more" if len(processes) > 5 else "")
