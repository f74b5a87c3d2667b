"""Turns what the processes of a run report into its files, the terminal board, and the verdict that it is finished."""

from __future__ import annotations

import resource
import sys
import time
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Protocol

from cluster.board import Board, BoardState
from cluster.failure import one_line
from cluster.run_folder import RunFolder
from control import metrics as names
from control.config import RunConfig
from control.journal import EventKind, Journal
from control.metrics import MetricsAggregator, parse_until
from control.sinks import JsonlSink, MetricsSink, TensorBoardSink, last_jsonl
from control.summary import Summary, build_summary, write_summary
from wire.errors import LinkError
from wire.link import Counters, Heartbeat, Report

EVENTS_KEPT = 20

# What the processes call an event -> what the journal calls it. Anything else is a note.
JOURNAL_KINDS: dict[str, EventKind] = {"checkpoint": "checkpoint", "resumed": "resumed"}


class ReportDesk(Protocol):
    """What the recorder needs of a link."""

    def read_reports(self, after: str, timeout_s: float) -> tuple[str, list[Report]]:
        """See `wire.link.ControllerDesk`."""
        ...

    def heartbeats(self) -> list[Heartbeat]:
        """See `wire.link.ControllerDesk`."""
        ...

    def counters(self) -> Counters:
        """See `wire.link.ChunkSource`."""
        ...


class Recorder:
    """The only writer of metrics.jsonl, tensorboard/, journal.jsonl and summary.json."""

    def __init__(
        self, *, folder: RunFolder, config: RunConfig, link: ReportDesk, board: Board, started_s: float
    ) -> None:
        """`started_s` is the `time.monotonic()` of the command's start."""
        self.folder, self.config, self.link, self.board, self.started_s = folder, config, link, board, started_s
        self.metrics = MetricsAggregator()
        self.counters = Counters()
        self.first_agent_steps = int(folder.checkpoint_info().get("agent_steps", 0))
        self.stage = "starting"
        self.until = parse_until(config.until) if config.until else None
        self.until_reached = False
        self.peak_rss_bytes = 0
        self.events: deque[str] = deque(maxlen=EVENTS_KEPT)
        self._learning = False
        self._after = "0"
        self._recorded_until_s = float(last_jsonl(folder.metrics).get(names.TIME_S) or 0.0)
        self._journal = Journal(folder.journal)
        self._sinks: list[MetricsSink] = [JsonlSink(folder.metrics)]

    @property
    def wall_s(self) -> float:
        """Seconds since the command's start."""
        return time.monotonic() - self.started_s

    def tick(self, *, wanted: int, live: int, timeout_s: float = 0.0) -> int:
        """Take in what was reported since the last tick, waiting up to `timeout_s` for something, and show it.

        Returns how many reports there were.

        Raises:
            LinkDownError: nobody answers; nothing is lost, call again.
        """
        self._after, reports = self.link.read_reports(self._after, timeout_s)
        # After a restart of this process the stream still holds what the last one wrote down.
        self._take(report for report in reports if report.time_s > self._recorded_until_s)
        self.counters = self.link.counters()
        self.metrics.observe(self.counters, workers_wanted=wanted, workers_live=live)
        self._note_memory(self.link.heartbeats())
        self.show()
        return len(reports)

    def show(self, stage: str | None = None) -> None:
        """Show the board, with a new stage if one is given."""
        self.stage = stage or self.stage
        self.board.update(
            BoardState(
                run=self.folder.run,
                game=self.config.game,
                stage=self.stage,
                wall_s=self.wall_s,
                agent_steps_budget=self.config.agent_steps,
                minutes_budget=self.config.minutes,
                until=self.config.until,
                row=self.metrics.latest,
                counters=self.counters,
                phases=self.metrics.phases(time.time()),
                events=tuple(self.events),
            )
        )

    def note(self, kind: EventKind, *, process: str = "", text: str = "", time_s: float | None = None) -> None:
        """Write one event into the journal and onto the board."""
        agent_steps = int(self.metrics.latest.get(names.AGENT_STEPS, self.first_agent_steps))
        event = self._journal.add(kind, agent_steps=agent_steps, process=process, text=text, time_s=time_s)
        self.events.append(str(event))

    def finished(self) -> str | None:
        """Why the run is at its end by minutes or by `until`; None while it is not. agent_steps ends the optimizer."""
        if self.until_reached:
            return f"reached {self.config.until}"
        if self.config.minutes is not None and self.wall_s >= 60 * self.config.minutes:
            return f"{self.config.minutes:g} minutes are over"
        return None

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
                for sink in self._sinks:
                    sink.write(row)
                self.until_reached |= self.until is not None and self.until.reached(row)

    def _event(self, report: Report) -> None:
        data = dict(report.data)
        name = str(data.pop("event", "note"))
        message = str(data.pop("message", "") or data.pop("text", ""))
        details = ", ".join(f"{key} {value}" for key, value in data.items())
        kind = JOURNAL_KINDS.get(name, "note")
        text = message or details or name
        self.note(kind, process=report.process, text=text, time_s=report.time_s)

    def _first_update(self, row: dict[str, float]) -> None:
        """TensorBoard's library takes half a second to load: not before the run learns."""
        if self._learning or names.POLICY_LOSS not in row:
            return
        self._learning = True
        self.note("note", text=f"first gradient step {self.wall_s:.1f} s after the start")
        self.stage = "training"
        self._sinks.append(TensorBoardSink(self.folder.tensorboard))

    def _note_memory(self, heartbeats: Iterable[Heartbeat]) -> None:
        resident = [int(beat.data["rss_bytes"]) for beat in heartbeats if "rss_bytes" in beat.data]
        self.peak_rss_bytes = max([self.peak_rss_bytes, *resident])


def own_peak_rss_bytes() -> int:
    """The largest resident set that this process has had."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
