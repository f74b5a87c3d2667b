"""Explanations for the web page, computed in a process of their own at the lowest priority, one at a time.

The child is given one question on stdin and gives one answer on stdout; it ends when its stdin does, so that it never
outlives the dashboard, however that ends.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from quintet.control.output import keep_stdout, say

if TYPE_CHECKING:
    from quintet.explain.subject import Subject

NICENESS = 19
ENVIRONMENT = {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
MOST_KEPT = 32
MOST_TRIES = 5
ROOT = Path(__file__).absolute().parents[2]
Answer = dict[str, Any]  # {"svg", "paragraphs", "subject"} or {"error"}

_one_at_a_time = ThreadPoolExecutor(1, thread_name_prefix="explain")
_kept: dict[tuple[str, str], tuple[str, Answer]] = {}  # (topic, folder) -> the checkpoint's name, what it said
_running: set[subprocess.Popen[str]] = set()


def newest_checkpoint(folder: Path) -> str:
    """The name of a run's newest checkpoint; empty where it has none yet."""
    try:
        return (folder / "checkpoints" / "latest").read_text().strip()
    except OSError:
        return ""


def known_answer(topic: str, folder: Path) -> Answer | None:
    """What was found out last, perhaps for an older checkpoint: it says which; None: nobody has asked yet."""
    _, found = _kept.get((topic, str(folder)), ("", None))
    return found


async def answered(topic: str, folder: Path, config: str) -> Answer:
    """`ask` without holding anybody up; who asks while another one waits is answered after it."""
    return await asyncio.wrap_future(_one_at_a_time.submit(ask, topic, folder, config))


def ask(topic: str, folder: Path, config: str) -> Answer:
    """Have a topic explained by a run's newest checkpoint, or by an untrained policy where it has none. Takes long.

    Args:
        topic: one of `quintet.explain.topics.TOPICS`.
        folder: of the run.
        config: the run's configuration as TOML, for a run without a checkpoint.
    """
    # A network's drawing is the same whatever it has learned.
    name = "" if topic == "model" else newest_checkpoint(folder)
    key = topic, str(folder)
    if key in _kept and _kept[key][0] == name:
        return _kept[key][1]
    checkpoint = str(folder / "checkpoints" / name) if name else ""
    answer = _in_child({"topic": topic, "checkpoint": checkpoint, "config": config, "niceness": str(NICENESS)})
    if "error" not in answer:
        _kept.pop(key, None)
        while len(_kept) >= MOST_KEPT:
            _kept.pop(next(iter(_kept)))
        _kept[key] = name, answer
    return answer


def end_children() -> None:
    """For the end of the dashboard."""
    _one_at_a_time.shutdown(wait=False, cancel_futures=True)
    for child in list(_running):
        with suppress(ProcessLookupError):
            child.kill()


def _in_child(question: dict[str, str]) -> Answer:
    # What this process was given, so that the child finds a user's own games too.
    places = [str(ROOT), *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    with tempfile.TemporaryFile("w+") as complaints:
        child = subprocess.Popen(
            [sys.executable, "-m", "quintet.explain.process"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=complaints,
            text=True,
            env={**os.environ, **ENVIRONMENT, "PYTHONPATH": os.pathsep.join(places)},
            start_new_session=True,
        )
        said = _answer_of(child, question)
        try:
            answer: Answer = json.loads(said)
        except ValueError:
            complaints.seek(0)
            last = (complaints.read().strip().splitlines() or ["it said nothing"])[-1]
            return {"error": f"the process that computes it ended with code {child.returncode}: {last}"}
        return answer


def _answer_of(child: subprocess.Popen[str], question: dict[str, str]) -> str:
    """What a child says until it ends. Its stdin stays open meanwhile: it ends when that does."""
    _running.add(child)
    try:
        assert child.stdin is not None
        assert child.stdout is not None
        child.stdin.write(json.dumps(question) + "\n")
        child.stdin.flush()
        said = child.stdout.read()
        child.wait()
    except BrokenPipeError:
        said = ""
    finally:
        _running.discard(child)
        with child:
            child.kill()
    return said


def answer(question: dict[str, str]) -> Answer:
    """What the child says; what cannot be explained is an answer too: its reason, in one line."""
    from quintet.control.config import ConfigError, parse_config
    from quintet.explain.plots.figure import svg
    from quintet.explain.subject import fresh_subject
    from quintet.explain.topics import explanation
    from quintet.games.api import GameError
    from quintet.optimizer.checkpoint import CheckpointError
    from quintet.wire.errors import DecodeError

    try:
        if question["checkpoint"]:
            subject = _newest_subject(Path(question["checkpoint"]))
        else:
            subject = fresh_subject(parse_config(question["config"]))
        found = explanation(question["topic"], subject, quick=True)
    except (CheckpointError, ConfigError, DecodeError, GameError, ValueError) as error:
        return {"error": str(error)}
    return {"svg": svg(found.figure), "paragraphs": list(found.paragraphs), "subject": found.subject}


def _newest_subject(path: Path) -> Subject:
    """The policy of a checkpoint, or of the newest where that one is gone: a live run keeps the last few alone."""
    from quintet.explain.subject import trained_subject
    from quintet.optimizer.checkpoint import CheckpointError

    for _ in range(MOST_TRIES):
        try:
            return trained_subject(path)
        except CheckpointError:
            newest = path.parent / newest_checkpoint(path.parent.parent)
            if newest in (path, path.parent):
                raise
            path = newest
    return trained_subject(path)


def _leave_with_stdin() -> None:
    sys.stdin.read()
    os._exit(1)


def main() -> None:
    """The child."""
    keep_stdout()  # games print
    question = json.loads(sys.stdin.readline())
    os.nice(int(question["niceness"]))
    threading.Thread(target=_leave_with_stdin, daemon=True).start()
    say(json.dumps(answer(question)))
    os._exit(0)  # past the thread that waits for stdin


if __name__ == "__main__":
    main()
