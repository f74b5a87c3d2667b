"""SB3's side: an environment of its own, made once, and one process of it for each run."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
import tomllib
import venv
from pathlib import Path

from common.quintet_run import ROOT
from learning.children import Children
from learning.results import Judged, Key, Result, thinned
from learning.tasks import Task

SCRIPT = Path(__file__).with_name("sb3_run.py")
EXTRAS = ("sb3", "popgym", "tasks")
OURS_ALONE = ("mpe2", "scipy")  # of `tasks`, what SB3 plays nothing with


class NoSb3Error(RuntimeError):
    """The environment of SB3 could not be made."""


def requirements() -> list[str]:
    """What the environment holds: torch first, at constraints.txt's version, then what pyproject.toml's extras name."""
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    named = [line for extra in EXTRAS for line in extras[extra] if re.split(r"\W", line)[0] not in OURS_ALONE]
    pins = dict(re.findall(r"^([\w.-]+)==(\S+)$", (ROOT / "constraints.txt").read_text(), flags=re.MULTILINE))
    return [f"torch=={pins['torch']}", *named]


def python(given: str) -> Path:
    """The Python that has SB3: the one that is named, else that of an environment in the cache, made if need be.

    Raises:
        NoSb3Error: there is no such file, or pip failed.
    """
    if given:
        if not os.access(given, os.X_OK):
            raise NoSb3Error(f"--sb3-python is {given}; there is no program of this name")
        return Path(given)
    wanted = requirements()
    content = "\n".join(wanted) + (ROOT / "constraints.txt").read_text() + sys.version
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = cache / "quintet" / f"sb3-{hashlib.sha256(content.encode()).hexdigest()[:12]}"
    found, made = folder / "bin" / "python", folder / "made"
    if not made.exists():
        venv.create(folder, clear=True, with_pip=True)
        for names in (wanted[:1], wanted[1:]):
            words = [str(found), "-m", "pip", "install", "-q", "-c", str(ROOT / "constraints.txt"), *names]
            finished = subprocess.run(words, capture_output=True, text=True, check=False)
            if finished.returncode != 0:
                raise NoSb3Error(f"pip ended with {finished.returncode}: {finished.stderr.strip()[-500:]}")
        made.touch()
    return found


def train_and_judge(
    task: Task, key: Key, folder: Path, children: Children, *, program: Path, games: int, limit_s: float | None
) -> Result:
    """Train the task once with SB3's defaults and have its final policy judged, drawn and greedy.

    Raises:
        ChildError: the process failed.
    """
    assert task.sb3 is not None
    told = {
        "env": task.sb3.env or task.game.partition(":")[2],
        "wrappers": task.sb3.wrappers,
        "algorithm": task.sb3.algorithm,
        "policy": task.sb3.policy,
        "steps": key.agent_steps,
        "seed": key.seed,
        "games": task.games or games,
    }
    env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    env |= {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    found = children.run([str(program), str(SCRIPT), json.dumps(told)], folder=folder, env=env, limit_s=limit_s)
    return Result(
        key=key,
        greedy=Judged(**found["greedy"]),
        sampled=Judged(**found["sampled"]),
        curve=thinned([(steps, mean) for steps, mean in found["curve"]]),
        steps_played=found["steps_played"],
        seconds=found["seconds"],
        facts={"versions": found["versions"], "algorithm": task.sb3.algorithm, "policy": task.sb3.policy},
    )
