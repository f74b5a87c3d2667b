"""What untouched defaults learn: `quintet train --game G --agent-steps N` beside Stable-Baselines3 with its own.

    python benchmarks/defaults.py --results table.jsonl                           every task, 3 seeds, both sides
    python benchmarks/defaults.py --tasks cartpole acrobot --seeds 1 2 --who ours --set ppo.epochs=4
    python benchmarks/defaults.py --random                                        what random legal actions score

    ours    `quintet train` with the game, its budget and the seed, nothing else; then `quintet eval`, greedy and drawn
    sb3     PPO, or RecurrentPPO where memory is needed, for as many steps, on one core; its own environment, made once
    score   the greedy policy's mean return over fresh episodes, or its win rate over both seats
    all     interquartile means of (score - random) / (solved - random), stratified bootstrap intervals (2108.13264)

Every run that ends is a line of --results; the same command again does only what is missing. A run that fails is such a
line too (--retry-failed does it again), and counts as a random player's.
"""

from __future__ import annotations

import json
import shutil
import signal
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from common.arguments import from_command_line
from common.machine import cores, describe
from learning import ours, sb3
from learning.children import ChildError, Children
from learning.random_player import as_toml, measure
from learning.report import Table, printed
from learning.results import OURS, SB3, Key, Result, append, read
from learning.tasks import TASKS, Task
from rich.console import Console
from rich.progress import Progress

UNIT = "interquartile mean of our normalised scores per SB3's, both with untouched defaults"
WIDTH = 100
USUAL = tuple(name for name, task in TASKS.items() if task.usual)

console = Console(stderr=True, log_path=False)


@dataclass(frozen=True, kw_only=True, slots=True)
class Args:
    """What is played, by whom, and where the results are kept."""

    tasks: tuple[str, ...] = USUAL
    """Names of tasks."""
    seeds: tuple[int, ...] = (1, 2, 3)
    """Of the training."""
    who: tuple[str, ...] = (OURS, SB3)
    """Sides: ours, sb3."""
    set: tuple[str, ...] = ()
    """KEY=VALUE of our configuration, for a search over settings; none: untouched."""
    in_process: bool = False
    """Our runs in one process and one thread each, so that two seeds share two cores without fighting."""
    share: float = 1.0
    """Of each task's agent steps and minutes, to try things out."""
    games: int = 100
    """Fresh episodes that judge a final policy, where the task has no number of its own."""
    jobs: int = 0
    """Runs at the same time; 0 is one a core. Tasks by the clock always run alone."""
    limit_minutes: float = 0.0
    """A run that takes longer has failed; 0 is no limit."""
    results: str = ""
    """A JSONL file that keeps what is done; none: nothing is kept."""
    retry_failed: bool = False
    """Do again what failed."""
    runs: str = ""
    """A folder that keeps every run's files; none: they are removed."""
    sb3_python: str = ""
    """A Python that has SB3 and the games; none: an environment is made in the cache."""
    random: bool = False
    """Measure what random legal actions score, print it as TOML, and run nothing."""
    json: bool = False
    """Print one object with ratio, unit and config as the last line of stdout."""


def wanted(args: Args) -> list[Key]:
    """Every run of the table, in the order in which they are done: those by the clock at the end."""
    keys = [
        _key(TASKS[name], seed, who, args)
        for name in args.tasks
        for seed in args.seeds
        for who in args.who
        if who == OURS or TASKS[name].sb3
    ]
    return sorted(keys, key=lambda key: key.timed)


def _key(task: Task, seed: int, who: str, args: Args) -> Key:
    ours = who == OURS
    return Key(
        task=task.name,
        seed=seed,
        who=who,
        agent_steps=int(task.agent_steps * args.share),
        minutes=None if task.minutes is None else task.minutes * args.share,
        settings=args.set if ours else (),
        in_process=ours and args.in_process,
    )


def missing(keys: Sequence[Key], done: Sequence[Result], *, retry_failed: bool) -> list[Key]:
    """The runs that have no result yet."""
    there = {result.key for result in done if not (retry_failed and result.error)}
    return [key for key in keys if key not in there]


def run_one(key: Key, args: Args, children: Children, program: Path | None) -> Result:
    """One run; one that fails is a result too."""
    task, limit_s = TASKS[key.task], args.limit_minutes * 60 or None
    with tempfile.TemporaryDirectory(prefix="quintet-defaults-") as scratch:
        folder = Path(scratch)
        if args.runs:
            folder = Path(args.runs).resolve() / f"{key.task}-{key.who}-{key.seed}"
            shutil.rmtree(folder, ignore_errors=True)  # of a run that was broken off, or of code that is another now
            folder.mkdir(parents=True)
        try:
            if key.who == OURS:
                return ours.train_and_judge(task, key, folder, children, games=args.games, limit_s=limit_s)
            assert program is not None
            return sb3.train_and_judge(task, key, folder, children, program=program, games=args.games, limit_s=limit_s)
        except ChildError as error:
            return Result(key=key, error=str(error))


def run_all(keys: Sequence[Key], args: Args) -> list[Result]:
    """The runs, side by side where they are not by the clock; each is kept as soon as it ends."""
    if not keys:
        return []
    program = sb3.python(args.sb3_python) if any(key.who == SB3 for key in keys) else None
    results: list[Result] = []
    with Progress(console=console, disable=not console.is_terminal) as progress:
        bar = progress.add_task(f"{len(keys)} runs", total=len(keys))
        for timed, jobs in ((False, args.jobs or cores()), (True, 1)):
            # Left early, it ends what runs, and then what waits for that; nothing else begins.
            with ThreadPoolExecutor(jobs) as pool, Children() as children:
                run = partial(run_one, args=args, children=children, program=program)
                for future in as_completed([pool.submit(run, key) for key in keys if key.timed == timed]):
                    results.append(future.result())
                    if args.results:
                        append(Path(args.results), results[-1])
                    console.log(said(results[-1]), markup=False, highlight=False)
                    progress.advance(bar)
    return results


def said(result: Result) -> str:
    """A result as one line."""
    key = result.key
    head = f"{key.task}, {key.who}, seed {key.seed}:"
    if result.error or result.greedy is None or result.sampled is None:
        return f"{head} failed: {result.error}"
    ways = f"{result.greedy.score:.4g} greedy, {result.sampled.score:.4g} drawn"
    return f"{head} {ways} after {result.steps_played:,} steps, {result.seconds:.0f} s"


def check(args: Args) -> None:
    """Refuse names that do not exist.

    Raises:
        SystemExit: with one line that says what there is.
    """
    for option, given, known in (("tasks", args.tasks, tuple(TASKS)), ("who", args.who, (OURS, SB3))):
        if unknown := [name for name in given if name not in known]:
            raise SystemExit(f"--{option}: there is no {', '.join(unknown)}; there are {', '.join(known)}")
    if not 0 < args.share <= 1:
        raise SystemExit(f"--share is {args.share:g}; it must be above 0 and at most 1")


def main(args: Args) -> None:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what was started is stopped on the way out
    check(args)
    if args.random:
        for name in args.tasks:
            print(as_toml(TASKS[name], measure(TASKS[name], args.games)), flush=True)
        return
    done = list(read(Path(args.results))) if args.results else []
    keys = wanted(args)
    try:
        done += run_all(missing(keys, done, retry_failed=args.retry_failed), args)
    except sb3.NoSb3Error as error:
        raise SystemExit(f"no environment for SB3: {error}") from None
    latest = {result.key: result for result in done}
    table = Table.of([latest[key] for key in keys])
    out = Console(file=sys.stderr if args.json else sys.stdout)
    out.width = max(out.width, WIDTH)  # a file has 80 columns if it is not told
    out.print(*printed(table), sep="\n", highlight=False)
    if args.json:
        config: dict[str, Any] = {"machine": describe(), "settings": args.set, "share": args.share, **table.as_json()}
        print(
            json.dumps(
                {
                    "ratio": config["interquartile_mean"]["ratio"] and config["interquartile_mean"]["ratio"]["value"],
                    "unit": UNIT,
                    "config": config,
                }
            )
        )


if __name__ == "__main__":
    main(from_command_line(Args, __doc__))
