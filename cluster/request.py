"""What `quintet train` and `quintet controller` are told: their options, declared once; below each stands its help."""

from __future__ import annotations

import json as json_module
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import UseAppendAction, arg

from quintet.control.errors import REDIS_URL, UsageError

Overrides = Annotated[UseAppendAction[tuple[str, ...]], arg(name="set", metavar="KEY=VALUE")]
StartFrom = Annotated[Path | None, arg(name="from", metavar="CHECKPOINT")]


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainRequest:
    """The options of `quintet train`; by default everything is private and on this machine."""

    config: Path | None = None
    """A TOML file, or the name of one that ships with Quintet."""
    run: str | None = None
    """The run's name; its files are in runs/NAME/. Made of the game and the time if left out."""
    game: str | None = None
    """gymnasium:CartPole-v1, pettingzoo:pettingzoo.classic.tictactoe_v3, my_module:make ..."""
    agent_steps: int | None = None
    """Stop after so many agent steps. A budget given here replaces those of the configuration."""
    minutes: float | None = None
    """Stop after so many minutes."""
    until: str | None = None
    """Stop when a metric is reached, for example charts/episodic_return=475."""
    workers: int | None = None
    """Rollout workers at the start; `quintet scale` changes it later."""
    seed: int | None = None
    """Seeds the first weights, the games and the sampling of actions."""
    device: str | None = None
    """Where the optimizer computes: auto, cpu, cuda, cuda:1."""
    overrides: Overrides = ()
    """Any key of the configuration, for example --set ppo.learning_rate=1e-4. May be repeated."""
    resume: bool = False
    """Go on with the run named by --run, or with the newest. Short for --restart-behavior resume."""
    restart_behavior: Literal["resume", "restart", "overwrite"] | None = None
    """Of a run that is there: go on with it, begin it again under a new name, or in its place."""
    start_from: StartFrom = None
    """Start a new run with the weights of a checkpoint or of another run."""
    deterministic: bool = False
    """A run that can be repeated to the last bit: one worker, in turns with an optimizer of one thread."""
    dry_run: bool = False
    """Print the whole configuration, and what to expect by a few seconds of play and learning; do nothing else."""
    in_process: bool = False
    """Everything in this one process, without Redis and Ray: for debugging."""
    json: bool = False
    """Print the summary as the last line of stdout."""
    quiet: bool = False
    """Print nothing but errors, and what --json asks for."""
    track: bool = False
    """Log to Weights & Biases as well; needs the extra `track`."""
    redis_url: str | None = None
    """A Redis server to use instead of a private one: redis://:password@host:port"""
    redis_port: int = 0
    """Port of the private Redis; 0 takes any free one."""
    ray_address: str | None = None
    """A Ray cluster whose cores the workers use."""
    cores_per_worker: float = 1.0
    """What a worker claims; less than 1 lets workers share cores."""
    no_dashboard: bool = False
    """Start no web page beside the run; `quintet dashboard` shows it all the same."""
    autoscale: str | None = None
    """MIN:MAX workers, for example 1:4: the run itself keeps its optimizer fed, and no more than that."""

    @property
    def most_workers(self) -> int:
        """The upper bound of autoscaling; 0 without it."""
        from quintet.control.operations import scale_bounds

        return 0 if self.autoscale is None else scale_bounds(self.autoscale).high

    def spelled_out(self) -> TrainRequest:
        """The same without shorthands: all settings are in `overrides`, --resume in `restart_behavior`, and so on.

        Raises:
            UsageError: options that contradict each other, or a checkpoint that is not there.
        """
        from quintet.control.operations import scale_bounds
        from quintet.control.run_folder import checkpoint_path

        if self.resume and self.restart_behavior not in (None, "resume"):
            behavior = self.restart_behavior
            raise UsageError(f"--resume and --restart-behavior {behavior} say different things: take one of them")
        budget = {"agent_steps": self.agent_steps, "minutes": self.minutes, "until": self.until}
        wanted = {
            "game": self.game,
            "rollout.workers": 1 if self.deterministic and self.workers is None else self.workers,
            "seed": self.seed,
            "device": self.device,
            "track": self.track or None,
            "deterministic": self.deterministic or None,
        }
        return replace(
            self,
            overrides=(*_as_overrides(budget, wanted), *self.overrides),
            restart_behavior="resume" if self.resume else self.restart_behavior,
            start_from=None if self.start_from is None else checkpoint_path(self.start_from),
            redis_url=self.redis_url or (None if self.in_process else os.environ.get(REDIS_URL)),
            autoscale=None if self.autoscale is None else str(scale_bounds(self.autoscale)),
        )


def _as_overrides(budget: Mapping[str, object], wanted: Mapping[str, object]) -> list[str]:
    """The options that were given, as `--set` would have them; a budget replaces the other budgets, too."""
    if any(value is not None for value in budget.values()):
        budget = {key: "none" if value is None else value for key, value in budget.items()}
    return [f"{key}={_toml(value)}" for key, value in {**budget, **wanted}.items() if value is not None]


def _toml(value: object) -> str:
    """A value as `--set` reads it; a text in quotes, so that no text is mistaken for a number."""
    return json_module.dumps(value) if isinstance(value, str | bool) and value != "none" else str(value)


@dataclass(frozen=True, kw_only=True, slots=True)
class ControllerRequest:
    """The options of `quintet controller`."""

    run: str
    """The run's name; its files are in runs/NAME/, which the optimizer must reach, too."""
    config: Path | None = None
    """A TOML file, or the name of one that ships with Quintet; for a run that is new."""
    workers: int | None = None
    """Rollout workers; one for every core that the cluster offers if left out, as nodes come and go."""
    overrides: Overrides = ()
    """Any key of the configuration, for example --set minutes=none. May be repeated."""
    redis_url: str | None = None
    """The Redis server; QUINTET_REDIS_URL if left out."""
    ray_address: str = "127.0.0.1:6379"
    """host:port of the Ray head."""
    cores_per_worker: float = 1.0
    """What a worker claims; less than 1 lets workers share cores."""
    node_redis_url: bool = False
    """Workers use the QUINTET_REDIS_URL of their node, whose user may do less than the controller's."""

    @property
    def url(self) -> str:
        """The URL of the Redis server.

        Raises:
            UsageError: it is named nowhere.
        """
        url = self.redis_url or os.environ.get(REDIS_URL)
        if not url:
            raise UsageError(f"{REDIS_URL} is not set: the controller needs redis://user:password@host:port")
        return url
