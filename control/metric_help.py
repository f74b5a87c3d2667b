"""What every metric means, in one line with its unit: help texts for Prometheus, Grafana and the web page."""

from __future__ import annotations

import re

from quintet.control import metrics as names

HELP: dict[str, str] = {
    names.TIME_S: "Unix time at which the newest version was made, in seconds.",
    names.WALL_S: "Seconds since the training command was started.",
    names.VERSION: "Newest version of the weights.",
    names.AGENT_STEPS: "Valid rows x agents of learning teams that the newest weights were trained on.",
    names.AGENT_STEPS_PER_S: "Agent steps trained per second, over the last 20 s.",
    names.EPISODIC_RETURN: "Mean return of the last 100 episodes, over teams and agents.",
    names.EPISODIC_LENGTH: "Mean length of the last 100 episodes, in steps.",
    names.EPISODES: "Episodes finished since the training command was started.",
    names.LEARNING_RATE: "Adam's learning rate in force.",
    names.GRADIENT_NORM: "Norm of the whole gradient before it is clipped.",
    names.POLICY_LOSS: "PPO's clipped surrogate loss.",
    names.VALUE_LOSS: "Half the mean squared error of the value, in units of the return's scale.",
    names.ENTROPY: "Mean entropy of a whole action, in nats.",
    names.APPROX_KL: "Estimate of the KL divergence from the policy that played to the one just trained, in nats.",
    names.CLIPFRAC: "Share of the ratios that PPO's clip held back.",
    names.CLIPFRAC_JOINT: "Share of rows whose ratio of the whole action leaves the clip range.",
    names.CLIPFRAC_PER_HEAD: "Share of read heads whose own ratio leaves the clip range.",
    names.DUAL_CLIPFRAC: "Share of ratios that the second bound, for negative advantages, held back.",
    names.EXPLAINED_VARIANCE: "Share of the returns' variance that the value explains; 1 is perfect, 0 is a constant.",
    names.STALENESS_MEAN: "Mean age of the trained windows, in versions.",
    names.STALENESS_P95: "95th percentile of the trained windows' age, in versions.",
    names.SAMPLE_REUSE: "Steps trained (times epochs) over steps produced.",
    names.QUEUE_BYTES: "Bytes of the chunks in the stream.",
    names.QUEUE_CHUNKS: "Chunks in the stream.",
    names.QUEUE_WAIT_S: "Seconds per second that workers wait for room in the stream, over their last 15 s.",
    names.STEPS_PRODUCED: "Steps (rows x agents) that workers produced.",
    names.STEPS_TRAINED: "Steps in batches of finished updates.",
    names.STEPS_STALE: "Steps that were too old to be trained on, those of the normalisers' warm-up included.",
    names.STEPS_REJECTED: "Steps that could not be decoded or whose update was not finite.",
    names.STEPS_LOST: "Steps that were played but never arrived.",
    names.STEPS_IN_FLIGHT: "Steps in the stream that nobody has settled.",
    names.STEPS_UNDONE: "Trained steps whose updates a resume threw away; they stay counted as trained.",
    names.REPLAY_ERROR: "Largest difference of log-probability when a window is replayed with the very weights.",
    names.DRAW_RATE: "Share of the last 100 games that nobody won.",
    names.WORKERS_WANTED: "Rollout workers that should play.",
    names.WORKERS_LIVE: "Rollout workers that play.",
    "losses/total": "The whole loss that is minimised: policy, value, entropy and auxiliary parts.",
    "losses/entropy_coefficient": "Weight of the entropy in the loss, in force.",
    "recurrent/replay_value_error": "Largest difference of value in such a replay, in units of the return's scale.",
}

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
