"""Weights & Biases as one more place where rows go (`--track`); nothing here is imported unless it is asked for."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import wandb

from quintet.control.config import RunConfig, flat_config
from quintet.control.metrics import AGENT_STEPS

PATIENCE_S = 30.0
"""For so long its server may keep the controller waiting, once; all later sending is done by a process of its own."""
PROJECT = "quintet"


class TrackingError(Exception):
    """The tracker does not take this run; the message says why."""


class WandbSink:
    """One run there per run here; a resumed run goes on under its name. The horizontal axis is agent_steps."""

    def __init__(self, folder: Path, config: RunConfig) -> None:
        """`folder` is the run's; its name becomes the run's name there, and what wandb writes goes into it.

        Raises:
            TrackingError: it cannot be reached, or wants a login.
        """
        try:
            self._run = wandb.init(
                project=os.environ.get("WANDB_PROJECT", PROJECT),
                id=folder.name,
                name=folder.name,
                dir=folder,
                resume="allow",
                config=flat_config(config),
                settings=wandb.Settings(console="off", silent=True, init_timeout=PATIENCE_S),
            )
        except (wandb.Error, OSError) as error:
            raise TrackingError(" ".join(str(error).split()) or type(error).__name__) from error
        self._run.define_metric("*", step_metric=AGENT_STEPS)
        self._marks = 0

    def write(self, row: Mapping[str, float]) -> None:
        """Send one row; this only hands it to wandb's own process."""
        self._run.log(dict(row))

    def mark(self, text: str, *, agent_steps: int, time_s: float) -> None:
        """Keep what happened in the run's summary there, in order."""
        self._run.summary[f"journal/{self._marks:05d}"] = f"{agent_steps:,} agent steps: {text}"
        self._marks += 1

    def close(self) -> None:
        """Say that it is over, and wait until all is sent."""
        self._run.finish()
