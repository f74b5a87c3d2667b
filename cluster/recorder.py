"""Turns what the processes of a run report into its files, the terminal board, and the verdict that it is finished."""

from __future__ import annotations

import resource
import sys
import time
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Protocol

from quintet.cluster.board import Board, BoardState
from quintet.control import metrics as names
from quintet.control.config import RunConfig
from quintet.control.doctor.health_check import HealthCheck
from quintet.control.errors import RunFailedError, one_line
from quintet.control.journal import Event, EventKind, Journal
from quintet.control.live_settings import SettingsWatch
from quintet.control.metrics import MetricsAggregator, MetricsRow, parse_until, phase_row
from quintet.control.run_folder import RunFolder
from quintet.control.sinks import JsonlSink, MetricsSink, TensorBoardSink, last_jsonl
from quintet.control.status import AT_THE_START, STARTING, TRAINING, RunStatus, stage_at_the_start
from quintet.control.summary import Summary, build_summary, write_summary
from quintet.wire.errors import LinkError
from quintet.wire.link import ControlChannel, Counters, Heartbeat, Report

EVENTS_KEPT = 20
SHARE_S = 1.0
"""Least seconds between two writings of the latest row for readers on other machines."""

# What the processes call an event -> what the journal calls it. Anything else is a note.
JOURNAL_KINDS: dict[str, EventKind] = {
    "checkpoint": "checkpoint",
    "checkpoint_failed": "checkpoint failed",
    "resumed": "resumed",
    "rejected": "rejected",
}


class RunChannel(ControlChannel, Protocol):
    """What controller and recorder need of a link."""

    def counters(self) -> Counters:
        """See `quintet.wire.link.ChunkSource`."""
        ...

    def beat(self, process: str, data: dict[str, float | int | str]) -> None:
        """See `quintet.wire.link.ProcessRegistry`."""
        ...


class Recorder:
    """The only writer of metrics.jsonl, tensorboard/, journal.jsonl and summary.json."""

    def __init__(
        self, *, folder: RunFolder, config: RunConfig, link: RunChannel, board: Board, started_s: float
    ) -> None:
        """`started_s` is the `time.monotonic()` of the command's start."""
        self.folder, self.config, self.link, self.board, self.started_s = folder, config, link, board, started_s
        self.metrics = MetricsAggregator()
        self.counters = Counters()
        self.first_agent_steps = int(folder.checkpoint_info().get("agent_steps", 0))
        self.stage = STARTING
        self.until = parse_until(config.until) if config.until else None
        self.until_reached = False
        self.peak_rss_bytes = 0
        self._wanted, self._heartbeats = 0, list[Heartbeat]()
        self.playing = 0  # workers that said so in their last heartbeat
        self.events: deque[str] = deque(maxlen=EVENTS_KEPT)
        self.happened: Counter[str] = Counter()  # how often, by the event's name
        self.rejection = ""  # the last one that was an event
        self.address = ""  # of the web page, where there is one
        self._shared_s = self._version_s = float("-inf")
        self._health_check = HealthCheck(folder.path)
        self._learning = False
        self._after = "0"
        self._link_ahead_s = time.time() - time.monotonic()  # the link's clock is the one that reports are dated by
        self._recorded_until_s = float(last_jsonl(folder.metrics).get(names.TIME_S) or 0.0)
        self.settings = SettingsWatch(folder, config, link)
        self._journal = Journal(folder.journal)
        self._sinks: list[MetricsSink] = [JsonlSink(folder.metrics)]

    @property
    def wall_s(self) -> float:
        """Seconds since the command's start."""
        return time.monotonic() - self.started_s

    @property
    def phases(self) -> dict[str, dict[str, float]]:
        """Seconds by process and phase, of those that reported lately; all workers as one."""
        return self.metrics.phases(time.monotonic() + self._link_ahead_s)

    def tick(self, *, wanted: int, live: int, timeout_s: float = 0.0) -> int:
        """Take in what was reported since the last tick, waiting up to `timeout_s` for something, and show it.

        Returns how many reports there were.

        Raises:
            LinkDownError: nobody answers; nothing is lost, call again.
        """
        if self.settings.look():
            self._go_by(self.settings.config)
        self._after, reports = self.link.read_reports(self._after, timeout_s)
        if reports:
            self._link_ahead_s = reports[-1].time_s - time.monotonic()
        # After a restart of this process the stream still holds what the last one wrote down.
        self._take(report for report in reports if report.time_s > self._recorded_until_s)
        self.counters = self.link.counters()
        self.metrics.observe(self.counters, workers_wanted=wanted, workers_live=live)
        self._wanted, self._heartbeats = wanted, self.link.heartbeats()
        heartbeats = self._heartbeats
        if self.settings.note_format(heartbeats):
            self._go_by(self.settings.config)
            self.note("note", process=names.OPTIMIZER, text=f"computes in {self.config.model.precision}")
        self.settings.look_for_optimizer(heartbeats)
        self._note_memory(heartbeats)
        self.playing = sum(b.process.startswith("worker/") and bool(b.data.get("version")) for b in heartbeats)
        if time.monotonic() - self._shared_s >= SHARE_S:
            self._shared_s = time.monotonic()
            self.link.keep_latest_row(self._latest_row())
        if self.stage in AT_THE_START:
            self.stage = stage_at_the_start(heartbeats, self.counters, self.metrics.latest)
        if self.stage == TRAINING:
            self._health_check.look(lambda: self._status)
        self.show()
        return len(reports)

    def show(self, stage: str | None = None) -> None:
        """Show the board, with a new stage if one is given."""
        self.stage = stage or self.stage
        findings = self._health_check.findings if self.stage == TRAINING else None
        self.board.update(
            BoardState.of(self._status, stage=self.stage, events=self.events, findings=findings, address=self.address)
        )

    def note(self, kind: EventKind, *, process: str = "", text: str = "", time_s: float | None = None) -> None:
        """Write one event into the journal and onto the board."""
        agent_steps = int(self.metrics.latest.get(names.AGENT_STEPS, self.first_agent_steps))
        event = self._journal.add(kind, agent_steps=agent_steps, process=process, text=text, time_s=time_s)
        self._remember(event)

    def finished(self) -> str | None:
        """Why the run is at its end by minutes or by `until`; None while it is not. agent_steps ends the optimizer."""
        if self.until_reached:
            return f"reached {self.config.until}"
        if self.config.minutes is not None and self.wall_s >= 60 * self.config.minutes:
            return f"{self.config.minutes:g} minutes are over"
        return None

    def check_learned(self) -> None:
        """Refuse to call a run done in which nothing was trained on, from its start on.

        Raises:
            RunFailedError: that is so; says where the steps went.
        """
        if not self.counters.trained and not self.first_agent_steps:
            raise RunFailedError(f"nothing was learned: {where_all_went(self.counters, self.config, self.rejection)}")

    def _go_by(self, config: RunConfig) -> None:
        """`quintet set` changed something: it may be when the run ends."""
        if config.until != self.config.until:
            self.until = parse_until(config.until) if config.until else None
            self.until_reached = False
        self.config = config

    @contextmanager
    def failing(self) -> Iterator[None]:
        """Write down what makes this block fail, and the summary of what there was until then."""
        try:
            yield
        except BaseException as error:
            self.last_look()
            self.note("failed", text=one_line(error))
            self.close()
            raise

    def last_look(self) -> None:
        """Take in what was reported while processes left."""
        try:
            while self.tick(wanted=0, live=0):
                pass
        except LinkError as error:
            self.note("note", text=f"the last reports are missing: {error}")

    def close(self) -> Summary:
        """Write summary.json from what is known now and close every file."""
        summary = build_summary(
            self.config,
            self.metrics,
            self.counters,
            wall_s=self.wall_s,
            first_agent_steps=self.first_agent_steps,
            peak_rss_bytes=max(self.peak_rss_bytes, own_peak_rss_bytes()),
        )
        write_summary(self.folder.summary, summary)
        for sink in self._sinks:
            sink.close()
        self._journal.close()
        return summary

    def _take(self, reports: Iterable[Report]) -> None:
        for report in reports:
            if report.kind == "event":
                self._event(report)
                continue
            for row in self.metrics.consume([report]):
                self._first_update(row)
                self._version_s = row[names.TIME_S]
                for sink in self._sinks:
                    sink.write(row)
                self.until_reached |= self.until is not None and self.until.reached(row)

    def _event(self, report: Report) -> None:
        data = dict(report.data)
        name = str(data.pop("event", "note"))
        message = str(data.pop("message", "") or data.pop("text", ""))
        details = ", ".join(f"{key} {value}" for key, value in data.items())
        if name == "set":
            return self._changed(report.process, message, data)
        kind = JOURNAL_KINDS.get(name, "note")
        if kind == "note":
            self._count(name)
        text = message or details or name
        if kind == "rejected":
            self.rejection = text
        self.note(kind, process=report.process, text=text, time_s=report.time_s)

    def _changed(self, process: str, text: str, data: dict[str, object]) -> None:
        """A change took effect: when it was asked for, by whom, and from which agent step on it holds."""
        agent_steps, time_s = int(str(data["agent_steps"])), float(str(data["requested_s"]))
        details = {"by": data["by"], "changes": data["changes"]}
        event = self._journal.add("set", agent_steps=agent_steps, process=process, text=text, time_s=time_s, **details)
        self._remember(event)

    def _remember(self, event: Event) -> None:
        """For the board, for the doctor, and counted for Prometheus."""
        self.events.append(str(event))
        self._health_check.note(event)
        for sink in self._sinks:
            sink.mark(str(event), agent_steps=event.agent_steps, time_s=event.time_s)
        self._count(event.kind)

    def _count(self, event: str) -> None:
        if event in names.COUNTED_EVENTS:
            self.happened[event] += 1

    def _latest_row(self) -> MetricsRow:
        """The latest value of every metric, how often each event happened, and when the last version was made."""
        head = {names.WALL_S: self.wall_s} | ({names.TIME_S: self._version_s} if self._version_s > 0 else {})
        happened = {names.EVENTS + name: float(times) for name, times in self.happened.items()}
        return self.metrics.latest | phase_row(self.phases) | head | happened

    @property
    def _status(self) -> RunStatus:
        """The run as it was seen at the last tick."""
        return RunStatus(
            run=self.folder.run,
            config=self.config,
            counters=self.counters,
            wanted_workers=self._wanted,
            heartbeats=self._heartbeats,
            metrics=self._latest_row(),
        )

    def _first_update(self, row: dict[str, float]) -> None:
        """TensorBoard's library takes half a second to load: not before the run learns."""
        if self._learning or names.POLICY_LOSS not in row:
            return
        self._learning = True
        self.note("note", text=f"first gradient step {self.wall_s:.1f} s after the start")
        self.stage = TRAINING
        self._sinks.append(TensorBoardSink(self.folder.tensorboard, self.config))
        if self.config.track:
            self._track()

    def _track(self) -> None:
        """A run goes on without a tracker that cannot be reached."""
        from quintet.control.wandb_sink import TrackingError, WandbSink

        try:
            self._sinks.append(WandbSink(self.folder.path, self.config))
        except TrackingError as error:
            self.note("note", text=f"not tracked: {error}")

    def _note_memory(self, heartbeats: Iterable[Heartbeat]) -> None:
        resident = [int(beat.data["rss_bytes"]) for beat in heartbeats if "rss_bytes" in beat.data]
        self.peak_rss_bytes = max([self.peak_rss_bytes, *resident])


def where_all_went(counters: Counters, config: RunConfig, rejection: str) -> str:
    """Why no step was trained on, and what to do."""
    if counters.rejected:
        last = f"; the last because of {rejection}" if rejection else ": see the journal"
        return f"{counters.rejected:,} of {counters.produced:,} steps were rejected{last}"
    if counters.stale:
        return (
            f"all {counters.stale:,} steps that arrived warmed up the normalisers (optimizer.normalizer_warmup_steps "
            f"is {config.optimizer.normalizer_warmup_steps:,}) or were too old; give the run a larger budget"
        )
    if counters.produced:
        return (
            f"{counters.produced:,} steps arrived, and a batch has {config.optimizer.batch_steps:,} "
            "(optimizer.batch_steps); give the run a larger budget"
        )
    return "no step arrived before the end; give the run a larger budget, or see quintet doctor"


def own_peak_rss_bytes() -> int:
    """The largest resident set that this process has had."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
