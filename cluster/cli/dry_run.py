"""`quintet train --dry-run`: the whole configuration as TOML, and as comments below it what to expect of a run."""

from __future__ import annotations

import json as json_module
from collections.abc import Iterator
from dataclasses import asdict

from quintet.cluster.assembly import FirstLook, check_game
from quintet.cluster.board import duration
from quintet.cluster.calibration import Expected, expect
from quintet.cluster.cli.check import refused
from quintet.control.config import RunConfig, dump_config, found_in
from quintet.control.config_reader import plain
from quintet.control.derivation import with_reasons
from quintet.control.output import answer, say


def dry_run(config: RunConfig, *, in_turns: bool, json: bool, quiet: bool) -> None:
    """Print it; `in_turns` where one process would play and learn by turns. No run folder is made, no process started.

    Raises:
        UsageError, RunFailedError: the game's own, as before a run.
        ConfigError: numbers that do not go together.
    """
    look = check_game(config)
    if not (json or quiet):
        say(with_reasons(dump_config(look.config), look.derived))
    with refused(None):
        expected = expect(look.config, in_turns=in_turns)
    if json:
        answer(json_module.dumps(_as_data(look, expected)))
    elif not quiet:
        for line in (*look.notes, *_lines(look.config, expected, in_turns=in_turns)):
            say(f"# {line}")


def _as_data(look: FirstLook, expected: Expected) -> dict[str, object]:
    values = plain(look.config)
    return {
        "game": look.config.game,
        "config": values,
        "derived": [
            {"key": line.key, "value": found_in(values, line.key), "because": line.because} for line in look.derived
        ],
        "notes": look.notes,
        "expected": asdict(expected),
    }


def _lines(config: RunConfig, expected: Expected, *, in_turns: bool) -> Iterator[str]:
    """What a run can expect, in words."""
    measured, workers = expected.measured, config.rollout.workers
    yield (
        f"What to expect, by {measured.played_steps:,} agent steps that were played and {measured.gradient_steps:,} "
        "gradient steps that were made in this process just now:"
    )
    how, epochs = "in turns" if in_turns else "side by side", config.ppo.epochs
    yield (
        f"  {expected.agent_steps_per_s:,.0f} agent steps/s, {how}: {workers} x {measured.play_steps_per_s:,.0f} are "
        f"played, {expected.learn_steps_per_s:,.0f} learned from in {epochs} pass{'es' * (epochs != 1)}"
    )
    if expected.agent_steps is None or expected.duration_s is None:
        yield f"  no budget to count by; {expected.gradient_steps_per_version:,} gradient steps a version"
    else:
        yield f"  {expected.agent_steps:,} agent steps in {duration(expected.duration_s)}, without the start"
        yield f"  {expected.versions:,} versions, {expected.gradient_steps:,} gradient steps"
        if not expected.versions:
            batch = config.optimizer.batch_steps
            yield f"  nothing is learned: a batch has {batch:,} steps (optimizer.batch_steps); give a larger budget"
    yield (
        f"  staleness about {expected.staleness_mean:.1f} versions; what is older than "
        f"{config.optimizer.max_staleness} is left out"
    )
    redis = f"Redis {_mib(expected.redis_bytes)} at most, " if expected.redis_bytes else ""
    yield f"  memory: {redis}a worker and the optimizer up to {_mib(expected.process_bytes)} each, as this process has"


def _mib(n_bytes: int) -> str:
    return f"{n_bytes / 2**20:,.0f} MiB"
