"""Our side: a real `quintet train` with nothing set but the game, its budget and the seed, then `quintet eval`."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from common.quintet_run import ROOT, environment
from learning.children import Children
from learning.results import Judged, Key, Result, thinned
from learning.tasks import Task

from quintet.control.metrics import AGENT_STEPS, EPISODIC_RETURN
from quintet.control.sinks import read_jsonl
from quintet.evaluation.results import Z

RUN = "run"
EVAL_SEED = 1001  # no training's


def train_and_judge(
    task: Task, key: Key, folder: Path, children: Children, *, games: int, limit_s: float | None
) -> Result:
    """Train the task once and have its final policy judged, drawn and greedy.

    Raises:
        ChildError: a command failed.
    """
    env, start_s = child_environment(one_thread=key.in_process), time.monotonic()
    summary = children.run(train_words(task, key), folder=folder, env=env, limit_s=limit_s)
    seconds = time.monotonic() - start_s
    judging = child_environment(one_thread=True)
    greedy, sampled = (
        judged(children.run(eval_words(task, games, greedy=way), folder=folder, env=judging)) for way in (True, False)
    )
    rows = read_jsonl(folder / "runs" / RUN / "metrics.jsonl")
    points = [(row[AGENT_STEPS], row[EPISODIC_RETURN]) for row in rows if EPISODIC_RETURN in row]
    return Result(
        key=key,
        curve=thinned(points),
        steps_played=int(summary["agent_steps"]),
        seconds=seconds,
        facts={"revision": revision()},
        greedy=greedy,
        sampled=sampled,
    )


def train_words(task: Task, key: Key) -> list[str]:
    """The command that trains a task; what is beside the game's own is said where it is reported, or handed on."""
    words = [sys.executable, "-m", "quintet", "train", "--game", task.game]
    for option, value in task.options.items():
        words += ["--set", f"game_options.{option}={inline_toml(value)}"]
    words += ["--seed", str(key.seed)]
    words += ["--agent-steps", str(key.agent_steps)] if key.minutes is None else ["--minutes", str(key.minutes)]
    for setting in key.settings:
        words += ["--set", setting]
    words += ["--in-process"] if key.in_process else []
    return [*words, "--run", RUN, "--json", "--quiet", "--no-dashboard"]


def eval_words(task: Task, games: int, *, greedy: bool) -> list[str]:
    """The command that judges the final policy."""
    words = [sys.executable, "-m", "quintet", "eval", f"runs/{RUN}", "--games", str(task.games or games)]
    words += ["--seed", str(EVAL_SEED), "--json"]
    words += ["--opponent", task.opponent] if task.opponent else []
    return words + (["--greedy"] if greedy else [])


def judged(found: Mapping[str, Any]) -> Judged:
    """What `quintet eval --json` prints."""
    with_winner = found.get("win_rate") is not None
    return Judged(
        games=found["games"],
        return_mean=found["return_mean"],
        return_error=(found["return_high"] - found["return_low"]) / (2 * Z),
        win_rate=found["win_rate"] if with_winner else None,
        losses=found["losses"] if with_winner else None,
    )


def child_environment(*, one_thread: bool) -> dict[str, str]:
    """This checkout's code; in one process also one thread, so that two seeds share two cores without fighting."""
    return {**environment(), **({"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"} if one_thread else {})}


def inline_toml(value: Any) -> str:
    """A game option as --set takes it: strings, numbers, lists and tables."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{name} = {inline_toml(item)}" for name, item in value.items()) + "}"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return "[" + ", ".join(map(inline_toml, value)) + "]"
    return json.dumps(value)


def revision() -> str:
    """The commit that is checked out, with a + where files differ from it; empty outside a repository."""
    words = ["git", "-C", str(ROOT), "describe", "--always", "--dirty=+", "--exclude=*"]
    return subprocess.run(words, capture_output=True, text=True, check=False).stdout.strip()
