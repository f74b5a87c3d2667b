"""summary.json: what a finished run was, in one object whose fields never change their meaning."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

from quintet.control import metrics as names
from quintet.control.config import RunConfig
from quintet.control.metrics import MetricsAggregator
from quintet.control.sinks import finite
from quintet.wire.link import Counters

STEP_PARTS = ("produced", "trained", "stale", "rejected", "lost", "in_flight", "undone")


@dataclass(frozen=True, kw_only=True, slots=True)
class Summary:
    """One run's outcome. A field that this run cannot know is None, which is null in the file."""

    agent_steps: int
    """Valid rows x agents of learning teams that the newest weights were trained on."""
    agent_steps_per_s: float
    """Agent steps made in this start of the run, by its wall time."""
    wall_s: float
    """Seconds from the start of the command, set-up included."""
    versions: int
    """The newest version."""
    steps_produced: int
    steps_trained: int
    steps_stale: int
    steps_rejected: int
    steps_lost: int
    steps_in_flight: int
    steps_undone: int
    staleness_mean: float | None
    """Mean over the versions of this start of a batch's mean staleness."""
    staleness_p95: float | None
    """Mean over the versions of this start of a batch's 95th percentile."""
    sample_reuse: float | None
    episode_return_mean: float | None
    """Over the last 100 episodes."""
    episodes: int
    """Games finished in this start of the run."""
    win_rate: dict[str, float] | None
    """Share of games won, per opponent; None where nobody but the latest version was played against."""
    rating: float | None
    """None until the run is rated."""
    lstm_units: int
    peak_rss_bytes: int
    """The largest resident set of any one process of the run."""


def build_summary(
    config: RunConfig,
    metrics: MetricsAggregator,
    counters: Counters,
    *,
    wall_s: float,
    first_agent_steps: int,
    peak_rss_bytes: int,
) -> Summary:
    """Put a run's last numbers together.

    Args:
        config: the run's configuration.
        metrics: the aggregator that saw this start of the run.
        counters: the step counters as they were when every process had left.
        wall_s: seconds since the command began.
        first_agent_steps: where this start of the run began: 0, or the checkpoint's agent_steps.
        peak_rss_bytes: the largest resident set of any one process.
    """
    row = metrics.latest
    agent_steps = int(row.get(names.AGENT_STEPS, first_agent_steps))
    staleness_mean, staleness_p95 = metrics.staleness
    return Summary(
        agent_steps=agent_steps,
        agent_steps_per_s=(agent_steps - first_agent_steps) / wall_s if wall_s > 0 else 0.0,
        wall_s=wall_s,
        versions=int(row.get(names.VERSION, 0)),
        **{f"steps_{part}": getattr(counters, part) for part in STEP_PARTS},
        staleness_mean=staleness_mean,
        staleness_p95=staleness_p95,
        sample_reuse=row.get(names.SAMPLE_REUSE),
        episode_return_mean=row.get(names.EPISODIC_RETURN),
        episodes=metrics.episodes_total,
        win_rate=None,
        rating=None,
        lstm_units=config.model.lstm_units,
        peak_rss_bytes=peak_rss_bytes,
    )


def summary_json(summary: Summary) -> str:
    """The summary as one line of JSON; what is not finite is null."""
    return json.dumps(finite(asdict(summary)), allow_nan=False)


def write_summary(path: Path, summary: Summary) -> None:
    """Write summary.json, replacing an older one in one step."""
    temporary = path.with_name(f"{path.name}.tmp")
    temporary.write_text(json.dumps(json.loads(summary_json(summary)), indent=2) + "\n", encoding="utf-8")
    os.replace(temporary, path)
