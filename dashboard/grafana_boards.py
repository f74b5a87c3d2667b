"""The Grafana boards: which panels there are, what each one asks of Prometheus, and why one would look at it."""

from __future__ import annotations

from control import metrics as names
from dashboard.grafana_panels import (
    BAD_BATCHES,
    EVENTS,
    Board,
    Panel,
    Row,
    family,
    lines,
    metric,
    number,
    own,
    phases,
    queries_of,
    rate,
)

TRAINING = Board(
    uid="quintet-training",
    title="Quintet / Training",
    help="Is it learning?",
    rows=(
        Row(
            title="In one glance",
            panels=(
                number("Return", "short", "Mean over the last 100 episodes.", metric(names.EPISODIC_RETURN)),
                number("Agent steps", "short", "What the newest weights were trained on.", metric("agent_steps")),
                number("Agent steps/s", "short", "Over the last 20 s.", metric(names.AGENT_STEPS_PER_S)),
                number("Version", "none", "Of the weights.", metric("version")),
            ),
        ),
        Row(
            title="What it can do",
            panels=(
                lines(
                    "Return",
                    "short",
                    "Mean over the last 100 episodes. Noisy at first; it should rise.",
                    metric(names.EPISODIC_RETURN),
                ),
                lines(
                    "Length of an episode",
                    "short",
                    "Mean over the last 100 episodes, in steps.",
                    metric(names.EPISODIC_LENGTH),
                ),
                lines(
                    "What the game reports",
                    "short",
                    "Win rates, and the parts of the reward, over the last 100 games.",
                    (family("game_.+"), "{{component}}"),
                ),
            ),
        ),
        Row(
            title="How it learns",
            panels=(
                lines(
                    "Policy loss",
                    "short",
                    "Small and about zero: the surrogate is zero before the first gradient step of a batch.",
                    metric(names.POLICY_LOSS),
                ),
                lines(
                    "Value loss",
                    "short",
                    "In units of the return's scale. It rises when the policy finds something new.",
                    metric(names.VALUE_LOSS),
                ),
                lines(
                    "Explained variance",
                    "percentunit",
                    "Near 1 the value knows what is coming; at 0 it knows no more than a constant.",
                    metric(names.EXPLAINED_VARIANCE),
                ),
                lines(
                    "Entropy",
                    "short",
                    "In nats. A sudden fall to zero is a policy that has stopped trying.",
                    metric(names.ENTROPY),
                ),
                lines(
                    "Entropy of each head",
                    "short",
                    "In nats, where the head was read.",
                    (family("heads_.+_entropy"), "{{head}}"),
                ),
                lines(
                    "KL divergence",
                    "short",
                    "How far an update moves the policy, in nats; the heads of it below.",
                    metric(names.APPROX_KL),
                    (family("heads_.+_kl"), "{{head}}"),
                ),
                lines(
                    "Clipped",
                    "percentunit",
                    "Share of the ratios that PPO's clip held back; above a third the steps are too large.",
                    metric(names.CLIPFRAC),
                ),
                lines("Gradient norm", "short", "Before clipping.", metric(names.GRADIENT_NORM)),
                lines(
                    "Learning rate",
                    "sci",
                    "In force now; a ramp or a live change shows here.",
                    metric(names.LEARNING_RATE),
                ),
            ),
        ),
    ),
)

THROUGHPUT = Board(
    uid="quintet-throughput",
    title="Quintet / Throughput",
    help="How fast is it, and who waits for whom?",
    rows=(
        Row(
            title="Speed",
            panels=(
                lines(
                    "Agent steps/s",
                    "short",
                    "Trained, over the last 20 s.",
                    (metric(names.AGENT_STEPS_PER_S), "trained, {{run}}"),
                ),
                lines(
                    "Steps/s of all workers",
                    "short",
                    "Played, over at least 10 s.",
                    (own("workers_steps_per_s"), "played, {{run}}"),
                ),
                lines(
                    "Versions/s",
                    "short",
                    "New weights per second, over the last minute.",
                    f"deriv({metric('version')}[1m])",
                ),
            ),
        ),
        Row(
            title="Where the time goes",
            panels=(
                phases(
                    "optimizer", "Optimizer", "`wait` is waiting for chunks: above a third, more workers would help."
                ),
                phases(
                    "worker",
                    "Workers, on average",
                    "`wait` is waiting for room in the stream: the optimizer is the bottleneck.",
                ),
                phases(
                    "optimizer/prefetch",
                    "The optimizer's prefetch thread",
                    "It decodes chunks while the optimizer learns.",
                ),
            ),
        ),
        Row(
            title="The stream",
            panels=(
                lines(
                    "Chunks under way",
                    "short",
                    "A stream that is full most of the time is a slow optimizer, and no fault.",
                    metric(names.QUEUE_CHUNKS),
                ),
                lines(
                    "Bytes under way",
                    "bytes",
                    "The bound protects Redis.",
                    (metric(names.QUEUE_BYTES), "under way, {{run}}"),
                    (own("limit_queue_bytes"), "bound, {{run}}"),
                ),
                lines(
                    "Workers' waiting time",
                    "s",
                    "Seconds of the last second that a worker waited for room.",
                    metric(names.QUEUE_WAIT_S),
                ),
            ),
        ),
        Row(
            title="Workers",
            panels=(
                lines(
                    "Wanted and live",
                    "short",
                    "They differ while workers start, leave or die.",
                    (metric(names.WORKERS_WANTED), "wanted, {{run}}"),
                    (metric(names.WORKERS_LIVE), "live, {{run}}"),
                ),
                lines(
                    "The slowest ten",
                    "short",
                    "Steps per second of each, over at least 10 s.",
                    (own("worker_steps_per_s"), "{{process}}"),
                ),
                lines(
                    "Versions behind",
                    "short",
                    "Of the worker that is furthest behind.",
                    own("workers_versions_behind_max"),
                ),
            ),
        ),
    ),
)

DATA_QUALITY = Board(
    uid="quintet-data-quality",
    title="Quintet / Data quality",
    help="Is what it learns from fresh, whole and counted once?",
    rows=(
        Row(
            title="The conservation law: produced = trained + stale + rejected + lost + in flight",
            panels=(
                Panel(
                    title="Where steps go",
                    help="Per second. Stale, rejected and lost should be thin lines.",
                    kind="stack",
                    queries=queries_of(
                        *((rate(f"steps/{part}"), part) for part in ("trained", "stale", "rejected", "lost"))
                    ),
                ),
                lines("In flight", "short", "In the stream and not settled.", metric(names.STEPS_IN_FLIGHT)),
                number("Unaccounted", "short", "0, always, whatever was killed.", own("steps_unaccounted")),
                number(
                    "Undone", "short", "Trained steps whose updates a resume threw away.", metric(names.STEPS_UNDONE)
                ),
            ),
        ),
        Row(
            title="Freshness",
            panels=(
                lines(
                    "Staleness",
                    "short",
                    "Versions between playing and training; windows beyond the bound are thrown away.",
                    (metric(names.STALENESS_MEAN), "mean, {{run}}"),
                    (metric(names.STALENESS_P95), "95th percentile, {{run}}"),
                    (own("limit_staleness"), "bound, {{run}}"),
                ),
                lines(
                    "Sample reuse",
                    "short",
                    "Steps trained, times epochs, over steps produced.",
                    metric(names.SAMPLE_REUSE),
                ),
                lines(
                    "Share that is trained on",
                    "percentunit",
                    "Over the last minute.",
                    f"{rate(names.STEPS_TRAINED)} / {rate(names.STEPS_PRODUCED)}",
                ),
            ),
        ),
        Row(
            title="Correctness",
            panels=(
                lines(
                    "Replay error",
                    "sci",
                    "Of a window replayed with the weights that played it: rounding alone stays far below 0.01",
                    (metric(names.REPLAY_ERROR), "log-probability, {{run}}"),
                    (metric("recurrent/replay_value_error"), "value, {{run}}"),
                ),
                lines(
                    "Batches that were not finite",
                    "short",
                    "In the last 10 minutes; three in a row end the run.",
                    f"increase({BAD_BATCHES}[10m])",
                ),
            ),
        ),
    ),
)

MACHINES = Board(
    uid="quintet-machines",
    title="Quintet / Machines",
    help="Does everybody live, and does everything fit?",
    rows=(
        Row(
            title="Life",
            panels=(
                number("Redis answers", "bool_yes_no", "As the exporter sees it.", own("up")),
                lines(
                    "Last heard of",
                    "s",
                    "Every process says something once a second; of the workers, the slowest ten.",
                    (own("process_heartbeat_age_s"), "{{process}}"),
                ),
                lines(
                    "The worker silent longest",
                    "s",
                    "Seconds since it was heard of.",
                    own("workers_heartbeat_age_max_s"),
                ),
                lines(
                    "Deaths, restarts, checkpoints",
                    "short",
                    "In the last 5 minutes.",
                    (f"sum by (event) (increase({EVENTS}[5m]))", "{{event}}"),
                ),
            ),
        ),
        Row(
            title="Memory",
            panels=(
                lines(
                    "Resident, by process",
                    "bytes",
                    "Of the workers, the slowest ten.",
                    (own("process_rss_bytes"), "{{process}}"),
                ),
                lines(
                    "Resident, all workers",
                    "bytes",
                    "Together, and the largest.",
                    (own("workers_rss_bytes"), "together, {{run}}"),
                    (own("workers_rss_max_bytes"), "the largest, {{run}}"),
                ),
                lines(
                    "Redis",
                    "bytes",
                    "Chunks, weights and everything else; at its bound it takes no more chunks, and workers wait.",
                    (own("redis_used_bytes"), "used, {{run}}"),
                    (own("redis_maxmemory_bytes"), "bound, {{run}}"),
                ),
                lines(
                    "The stream's share of its bound",
                    "percentunit",
                    "Near 1, workers wait so that Redis does not fill up.",
                    f"{metric(names.QUEUE_BYTES)} / {own('limit_queue_bytes')}",
                ),
            ),
        ),
        Row(
            title="The exporter",
            panels=(
                lines("Time to gather all this", "s", "Of one scrape.", own("exporter_seconds")),
                lines(
                    "Since the newest version",
                    "s",
                    "How long nothing new has been learned.",
                    f"time() - {metric('time_s')}",
                ),
            ),
        ),
    ),
)

BOARDS = (TRAINING, THROUGHPUT, DATA_QUALITY, MACHINES)
