"""Every metric's name and meaning, and `MetricsAggregator`: reports of all processes in, a row per version out.

    reports (episodes, phases, metrics) ─┐
    counters, workers ───────────────────┴► MetricsAggregator ─► row {name: number} ─► sinks, board, status, summary

A row begins with `time_s`, `version` and `agent_steps`; every other key is a metric's name. The same names appear on
the terminal board, in metrics.jsonl and in TensorBoard.
"""

from __future__ import annotations

import math
import re
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from difflib import get_close_matches
from typing import Any, Literal, cast

from quintet.wire.link import Counters, Report

MetricsRow = dict[str, float]

OPTIMIZER = "optimizer"
"""The process whose metrics make rows."""
WORKER = "worker"
"""Workers are called worker/0, worker/1 ...; their phases are shown as one."""
WAIT = "wait"
"""The phase of a loop that waits for another process."""

HELP: dict[str, str] = {}
"""Every metric with what it means, in one line with its unit: for Prometheus, Grafana, the web page and the docs."""


def _metric(name: str, meaning: str) -> str:
    HELP[name] = meaning
    return name


TIME_S = _metric("time_s", "Unix time at which the newest version was made, in seconds.")
WALL_S = _metric("wall_s", "Seconds since the training command was started.")
VERSION = _metric("version", "Newest version of the weights.")
AGENT_STEPS = _metric("agent_steps", "Valid rows x agents of learning teams that the newest weights were trained on.")
AGENT_STEPS_PER_S = _metric("charts/agent_steps_per_s", "Agent steps trained per second, over the last 20 s.")
EPISODIC_RETURN = _metric("charts/episodic_return", "Mean return of the last 100 episodes, over teams and agents.")
EPISODIC_RETURN_STD = _metric(
    "charts/episodic_return_std", "Standard deviation of the return over the last 100 episodes."
)
EPISODIC_LENGTH = _metric("charts/episodic_length", "Mean length of the last 100 episodes, in steps.")
EPISODES = _metric("charts/episodes", "Episodes finished since the training command was started.")
LEARNING_RATE = _metric("losses/learning_rate", "Adam's learning rate in force.")
GRADIENT_NORM = _metric("losses/gradient_norm", "Norm of the whole gradient before it is clipped.")
POLICY_LOSS = _metric("losses/policy_loss", "PPO's clipped surrogate loss.")
VALUE_LOSS = _metric("losses/value_loss", "Half the mean squared error of the value, in units of the return's scale.")
ENTROPY = _metric("losses/entropy", "Mean entropy of a whole action, in nats.")
APPROX_KL = _metric(
    "losses/approx_kl", "Estimate of the KL divergence from the policy that played to the one just trained, in nats."
)
CLIPFRAC = _metric("losses/clipfrac", "Share of the ratios that PPO's clip held back.")
# The next two: what a ratio of whole actions clips, and one for each head, whichever is in use.
CLIPFRAC_JOINT = _metric(
    "losses/clipfrac_joint", "Share of rows whose ratio of the whole action leaves the clip range."
)
CLIPFRAC_PER_HEAD = _metric("losses/clipfrac_per_head", "Share of read heads whose own ratio leaves the clip range.")
DUAL_CLIPFRAC = _metric(
    "losses/dual_clipfrac", "Share of ratios that the second bound, for negative advantages, held back."
)
EXPLAINED_VARIANCE = _metric(
    "losses/explained_variance",
    "Share of the returns' variance that the value explains; 1 is perfect, 0 is a constant.",
)
GRADIENT_STEPS = _metric("learning/gradient_steps", "Gradient steps that the newest version took.")
INPUTS_THAT_VARY = _metric(
    "learning/inputs_that_vary", "Share of the observation's numbers that differ between rows of a batch."
)
REWARD_MEAN = _metric("learning/reward_mean", "Mean reward of a step in the batch, in reward units.")
REWARD_STD = _metric("learning/reward_std", "Standard deviation of a step's reward in the batch, in reward units.")
EPISODES_ENDED = _metric("learning/episodes_ended", "Games that ended in the batch, counted for every agent.")
ENTROPY_SHARE = _metric(
    "learning/entropy_share", "Entropy over that of a policy that has learned nothing, where that is known."
)
ACTION_EFFECT = _metric(
    "learning/action_effect",
    "Largest effect of an action found so far, in standard errors; below 5 it is chance.",
)
ACTION_ROWS = _metric("learning/action_rows", "Rows that learning/action_effect was found in.")
VALUE_GRADIENT_SHARE = _metric(
    "learning/value_gradient_share", "The value loss's share of the gradient in the layers shared with the policy."
)
STALENESS_MEAN = _metric("lag/staleness_mean", "Mean age of the trained windows, in versions.")
STALENESS_P95 = _metric("lag/staleness_p95", "95th percentile of the trained windows' age, in versions.")
SAMPLE_REUSE = _metric("lag/sample_reuse", "Steps trained (times epochs) over steps produced.")
QUEUE_BYTES = _metric("queue/bytes", "Bytes of the chunks in the stream.")
QUEUE_CHUNKS = _metric("queue/chunks", "Chunks in the stream.")
QUEUE_WAIT_S = _metric(
    "queue/wait_s", "Seconds per second that workers wait for room in the stream, over their last 15 s."
)
STEPS_PRODUCED = _metric("steps/produced", "Steps (rows x agents) that workers produced.")
STEPS_TRAINED = _metric("steps/trained", "Steps in batches of finished updates.")
STEPS_STALE = _metric(
    "steps/stale", "Steps that were too old to be trained on, those of the normalisers' warm-up included."
)
STEPS_REJECTED = _metric("steps/rejected", "Steps that could not be decoded or whose update was not finite.")
STEPS_LOST = _metric("steps/lost", "Steps that were played but never arrived.")
STEPS_IN_FLIGHT = _metric("steps/in_flight", "Steps in the stream that nobody has settled.")
STEPS_UNDONE = _metric("steps/undone", "Trained steps whose updates a resume threw away; they stay counted as trained.")
REPLAY_ERROR = _metric(
    "recurrent/replay_error", "Largest difference of log-probability when a window is replayed with the very weights."
)
DRAW_RATE = _metric("game/draw_rate", "Share of the last 100 games that nobody won.")
WIN_RATE = "game/win_rate"  # followed by _<team>: the share of games, draws included, that this team won
WORKERS_WANTED = _metric("workers/wanted", "Rollout workers that should play.")
WORKERS_LIVE = _metric("workers/live", "Rollout workers that play.")
_metric("losses/total", "The whole loss that is minimised: policy, value, entropy and auxiliary parts.")
_metric("losses/entropy_coefficient", "Weight of the entropy in the loss, in force.")
_metric("recurrent/replay_value_error", "Largest difference of value in such a replay, in units of the return's scale.")

NAMES = (*(name for name in HELP if "/" in name), WIN_RATE)
OPEN_FAMILIES = ("auxiliary/", "game/", "heads/", "league/", "phase/", "recurrent/")
"""Families whose names games, heads and processes bring along."""
OTHER_FAMILIES = ("charts/", "losses/", "learning/", "lag/", "queue/")
"""Families that may get more names, but where one much like a name of NAMES is a slip of the pen."""

FAMILIES: tuple[tuple[str, str], ...] = (
    (
        r"phase/(?P<process>.+)/(?P<phase>[^/]+)_s",
        "Seconds per second in this phase, over what the newest reports of the process cover: 15 s or an update.",
    ),
    (r"heads/(?P<head>.+)/entropy", "Mean entropy of this action head where it was read, in nats."),
    (r"heads/(?P<head>.+)/kl", "KL divergence of this head from the policy that played, in nats."),
    (r"heads/(?P<head>.+)/clipfrac", "Share of this head's own ratios that leave the clip range."),
    (r"auxiliary/(?P<target>.+)/loss", "Loss of this auxiliary prediction."),
    (r"auxiliary/(?P<target>.+)/error", "Error of this auxiliary prediction."),
    (r"game/(?P<component>.+)", "Mean over the last 100 games of what the game reports under this name."),
    (r"events/(?P<event>.+)", "How often this event has happened since the controller was started."),
    (r"league/.+", "What the league says of the run."),
    (
        r"recurrent/gradient_norm_by_step/(?P<rows>\d+)",
        "Norm of the gradient that reaches the LSTM's state so many rows back, in units of the norm one row back.",
    ),
    (r"recurrent/.+", "What the recurrent state shows of itself."),
)
"""Families whose names games, heads and processes bring along: a pattern whose groups are what varies, and a help."""

EVENTS = "events/"
"""Followed by an event's name: how often it happened. Stands in the latest row that the controller shares alone."""
COUNTED_EVENTS = (
    "worker died", "optimizer died", "restarted", "scaled", "checkpoint", "resumed", "failed",
    "set", "checkpoint failed", "bad_batch", "bad_report", "rejected",
)  # fmt: skip
"""Events that are counted: kinds of the journal, and what processes report under these names."""

EPISODE_WINDOW = 100
"""Episodes that the running means are taken over."""
RATE_WINDOW_S = 20.0
"""Seconds that agent_steps_per_s looks back."""
PHASE_AGE_S = 15.0
"""A worker that reported last so long ago no longer counts; an optimizer may be in one update for longer."""
COVERED_S = 15.0
"""Reports older than those that cover this much no longer count."""
MOST_REPORTS = 100


class RecentPhases:
    """Reports of phases by process; see `quintet.wire.reports.PhaseTimer` for where they come from."""

    def __init__(self) -> None:
        self._reports: dict[str, deque[Mapping[str, float]]] = {}
        self._shares: dict[str, dict[str, float]] = {}  # worked out once per report: rows and pages ask more often
        self._heard_s: dict[str, float] = {}

    def add(self, process: str, seconds: Mapping[str, float], time_s: float) -> None:
        """Take in one report: seconds by phase, sent at `time_s`."""
        self._heard_s[process] = time_s
        kept = self._reports.setdefault(process, deque(maxlen=MOST_REPORTS))
        kept.append(seconds)
        covered_s = sum(sum(report.values()) for report in kept)
        while covered_s - sum(kept[0].values()) >= COVERED_S:
            covered_s -= sum(kept.popleft().values())
        self._shares[process] = _shares(kept)

    def shares(self) -> dict[str, dict[str, float]]:
        """By process and phase: seconds per second, of what the newest reports cover."""
        return dict(self._shares)

    def silent_s(self, process: str, now_s: float) -> float:
        """How long ago a process reported last; infinite if it never did."""
        return now_s - self._heard_s.get(process, float("-inf"))


def _shares(reports: deque[Mapping[str, float]]) -> dict[str, float]:
    names = sorted(set().union(*reports))
    covered_s = sum(sum(report.values()) for report in reports)
    return {name: sum(r.get(name, 0.0) for r in reports) / covered_s for name in names} if covered_s > 0 else {}


@dataclass(frozen=True, slots=True)
class _Episode:
    """What the running means keep of one finished game."""

    mean_return: float
    length: float
    outcome: tuple[float, ...]  # per team; empty where the game has no winner
    components: Mapping[str, float]


class MetricsAggregator:
    """Keeps the latest value of every metric and the running means over the last 100 episodes."""

    def __init__(self) -> None:
        self.latest: MetricsRow = {}
        self.episodes_total = 0
        self._staleness_sums = (0, 0.0, 0.0)  # how many, of the means, of the 95th percentiles
        self._episodes: deque[_Episode] = deque(maxlen=EPISODE_WINDOW)
        self._progress: deque[tuple[float, float]] = deque()
        self._phases = RecentPhases()

    def consume(self, reports: Iterable[Report]) -> list[MetricsRow]:
        """Take in reports in order; returns one row for every "metrics" report of the optimizer: one per version.

        Metrics of other processes are merged into the rows that follow. Events are left to the journal.
        """
        rows: list[MetricsRow] = []
        for report in reports:
            if report.kind == "metrics" and report.process == OPTIMIZER:
                rows.append(self._version_row(report))
            elif report.kind == "metrics":
                self.latest |= _numbers(report.data)
            elif report.kind == "episodes":
                self._finished_episodes(report)
            elif report.kind == "phases":
                self._phases.add(report.process, _numbers(report.data), report.time_s)
        return rows

    def observe(self, counters: Counters, *, workers_wanted: int, workers_live: int) -> None:
        """Note the step counters and the workers as they are now."""
        self.latest |= counter_row(counters) | {WORKERS_WANTED: workers_wanted, WORKERS_LIVE: workers_live}

    def phases(self, now_s: float) -> dict[str, dict[str, float]]:
        """Seconds per second by process and phase, all workers as one: a mean over those that reported lately."""
        groups: dict[str, list[dict[str, float]]] = {}
        for process, phases in self._phases.shares().items():
            is_worker = process.startswith(f"{WORKER}/")
            if not is_worker or self._phases.silent_s(process, now_s) <= PHASE_AGE_S:
                groups.setdefault(WORKER if is_worker else process, []).append(phases)
        return {
            group: {
                name: sum(p.get(name, 0.0) for p in members) / len(members) for name in sorted(set().union(*members))
            }
            for group, members in groups.items()
        }

    @property
    def staleness(self) -> tuple[float | None, float | None]:
        """The means over all versions of a batch's mean and of its 95th percentile; None before the first version."""
        versions, mean, p95 = self._staleness_sums
        return (mean / versions, p95 / versions) if versions else (None, None)

    def _version_row(self, report: Report) -> MetricsRow:
        numbers = _numbers(report.data)
        self.latest |= numbers
        if STALENESS_MEAN in numbers and STALENESS_P95 in numbers:
            versions, mean, p95 = self._staleness_sums
            self._staleness_sums = (versions + 1, mean + numbers[STALENESS_MEAN], p95 + numbers[STALENESS_P95])
        self._note_progress(report.time_s, numbers.get(AGENT_STEPS))
        self.latest |= phase_row(self.phases(report.time_s))
        head = {TIME_S: report.time_s, VERSION: self.latest.get(VERSION, 0.0), AGENT_STEPS: self._agent_steps()}
        return head | {name: value for name, value in self.latest.items() if name not in head}

    def _agent_steps(self) -> float:
        return self.latest.get(AGENT_STEPS, 0.0)

    def _note_progress(self, time_s: float, agent_steps: float | None) -> None:
        if agent_steps is None:
            return
        if self._progress and agent_steps < self._progress[-1][1]:
            self._progress.clear()  # a resume went back to its checkpoint: a rate across it would mean nothing
        self._progress.append((time_s, agent_steps))
        while len(self._progress) > 2 and time_s - self._progress[1][0] > RATE_WINDOW_S:
            self._progress.popleft()
        (start_s, start_steps), (end_s, end_steps) = self._progress[0], self._progress[-1]
        if end_s > start_s:
            self.latest[AGENT_STEPS_PER_S] = (end_steps - start_steps) / (end_s - start_s)

    def _finished_episodes(self, report: Report) -> None:
        episodes = cast(Sequence[Mapping[str, Any]], report.data.get("episodes", ()))
        for episode in episodes:
            self._episodes.append(_episode(episode))
        self.episodes_total += len(episodes)
        if self._episodes:
            self.latest |= self._episode_means()

    def _episode_means(self) -> MetricsRow:
        episodes = self._episodes
        row: MetricsRow = {
            EPISODES: self.episodes_total,
            EPISODIC_RETURN: _mean([e.mean_return for e in episodes]),
            EPISODIC_RETURN_STD: _std([e.mean_return for e in episodes]),
            EPISODIC_LENGTH: _mean([e.length for e in episodes]),
        }
        outcomes = [e.outcome for e in episodes if e.outcome]
        if outcomes:
            row[DRAW_RATE] = _mean([float(not any(outcome)) for outcome in outcomes])
            for team in range(len(outcomes[0])):
                row[f"{WIN_RATE}_{team}"] = _mean([float(outcome[team] > 0) for outcome in outcomes])
        for name in sorted({name for e in episodes for name in e.components}):
            row[f"game/{name}"] = _mean([e.components[name] for e in episodes if name in e.components])
        return row


def counter_row(counters: Counters) -> MetricsRow:
    """The run's counters as metrics."""
    plain = asdict(counters)
    queue = {QUEUE_BYTES: plain.pop("queued_bytes"), QUEUE_CHUNKS: plain.pop("queued_chunks")}
    return {f"steps/{name}": value for name, value in plain.items()} | queue


def phase_row(phases: Mapping[str, Mapping[str, float]]) -> MetricsRow:
    """Seconds per second by process and phase as metrics."""
    row = {f"phase/{process}/{name}_s": s for process, seconds in phases.items() for name, s in seconds.items()}
    return row | {QUEUE_WAIT_S: phases[WORKER].get(WAIT, 0.0)} if WORKER in phases else row


def _episode(data: Mapping[str, Any]) -> _Episode:
    outcome = tuple(math.nan if value is None else float(value) for value in data.get("outcome", ()))
    return _Episode(
        mean_return=_mean([float(value) for value in data["return"]]),
        length=float(data["length"]),
        outcome=() if any(map(math.isnan, outcome)) else outcome,
        components={name: _mean([float(v) for v in values]) for name, values in data.get("components", {}).items()},
    )


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _std(values: Sequence[float]) -> float:
    mean = _mean(values)
    return math.sqrt(_mean([(value - mean) ** 2 for value in values]))


def _numbers(data: Mapping[str, object]) -> MetricsRow:
    """What of a report's data is a number: texts (a device's name) are for people, not for charts."""
    return {k: float(v) for k, v in data.items() if isinstance(v, int | float) and not isinstance(v, bool)}


def family_labels(name: str) -> dict[str, str]:
    """What varies within a metric's family: `phase/worker/play_s` -> `{"process": "worker", "phase": "play"}`."""
    for pattern, _ in FAMILIES:
        if found := re.fullmatch(pattern, name, re.DOTALL):
            return found.groupdict()
    return {}


def help_text(name: str) -> str:
    """One line that says what a metric means; an unknown one is named as what it is."""
    if name in HELP:
        return HELP[name]
    for pattern, text in FAMILIES:
        if re.fullmatch(pattern, name, re.DOTALL):
            return text
    return f"{name}, as the process that made it reports it."


@dataclass(frozen=True, slots=True)
class Until:
    """A metric's value that ends a run: `name=475` is reached from below, `name<0.1` and `name>3` say which way."""

    name: str
    sign: Literal["=", "<", ">"]
    value: float

    def reached(self, row: Mapping[str, float]) -> bool:
        """Whether this row ends the run. Means over episodes count once 100 of them are finished."""
        found = row.get(self.name)
        if found is None or (self._is_episode_mean and row.get(EPISODES, 0.0) < EPISODE_WINDOW):
            return False
        return {"=": found >= self.value, "<": found < self.value, ">": found > self.value}[self.sign]

    @property
    def _is_episode_mean(self) -> bool:
        return self.name in (EPISODIC_RETURN, EPISODIC_LENGTH) or self.name.startswith("game/")


def parse_until(text: str) -> Until:
    """Read `charts/episodic_return=475`, `losses/entropy<0.1` or `lag/staleness_mean>3`.

    Raises:
        ValueError: no such form, no number, or no metric of that name; one line.
    """
    parts = re.fullmatch(r"\s*([\w/.-]+)\s*(>=|=|<|>)\s*(\S+)\s*", text)
    if parts is None:
        raise ValueError(f"until is {text!r}; expected NAME=VALUE, for example {EPISODIC_RETURN}=475")
    name, sign, number = parts.groups()
    try:
        value = float(number)
    except ValueError:
        raise ValueError(f"until is {text!r}; {number!r} is no number") from None
    if near := _meant_instead(name):
        raise ValueError(f"until is {text!r}, but there is no metric {name!r}; did you mean {' or '.join(near)}?")
    return Until(name=name, sign=cast(Literal["=", "<", ">"], sign[-1] if sign == ">=" else sign), value=value)


def _meant_instead(name: str) -> list[str]:
    """The known names that were probably meant, by all of the name or by its last part; none where it may be one."""
    known = (*NAMES, VERSION, AGENT_STEPS)
    if name in known or name.startswith(OPEN_FAMILIES):
        return []
    if name.startswith(OTHER_FAMILIES):
        return get_close_matches(name, known, n=1, cutoff=0.75)
    by_last_part = {other.rpartition("/")[2]: other for other in reversed(known)}
    part = name.rpartition("/")[2]
    near = [part] if part in by_last_part else get_close_matches(part, by_last_part, n=3, cutoff=0.0)
    return [by_last_part[other] for other in near]
