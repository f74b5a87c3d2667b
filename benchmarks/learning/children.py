"""The processes that a table of runs consists of: each waited for, and all of them ended when the table ends."""

from __future__ import annotations

import json
import subprocess
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from common.quintet_run import last_lines, stop


class ChildError(RuntimeError):
    """A process failed or took too long; the message says how, and ends with its last lines."""


class Children:
    """Starts processes from any thread; leaving the block ends those that run."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: set[subprocess.Popen[bytes]] = set()
        self._ended = False

    def __enter__(self) -> Children:
        return self

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._ended = True
            running = list(self._running)
        for process in running:
            stop(process)

    def run(
        self, words: Sequence[str], *, folder: Path, env: Mapping[str, str], limit_s: float | None = None
    ) -> dict[str, Any]:
        """Run a command in a folder; the JSON object of its last line.

        Raises:
            ChildError: it failed, took longer than `limit_s`, printed no JSON, or the table has ended.
        """
        out, err = folder / "stdout.txt", folder / "stderr.txt"
        with out.open("wb") as stdout, err.open("wb") as stderr:
            process = self._start(words, folder, env, stdout, stderr)
            try:
                process.wait(limit_s)
            except subprocess.TimeoutExpired:
                raise ChildError(f"not done after {limit_s:g} s: {last_lines(err)}") from None
            finally:
                stop(process)
                with self._lock:
                    self._running.discard(process)
        if process.returncode != 0:
            raise ChildError(f"ended with {process.returncode}: {last_lines(err)}")
        try:
            found: dict[str, Any] = json.loads(out.read_text().strip().splitlines()[-1], parse_constant=_no_number)
        except (ValueError, IndexError):
            raise ChildError(f"printed no JSON: {last_lines(out)}") from None
        return found

    def _start(self, words: Sequence[str], folder: Path, env: Mapping[str, str], *files: Any) -> Any:
        with self._lock:
            if self._ended:
                raise ChildError("the table has ended")
            process = subprocess.Popen(
                list(words), cwd=folder, env=dict(env), stdout=files[0], stderr=files[1], start_new_session=True
            )
            self._running.add(process)
            return process


def _no_number(text: str) -> None:
    raise ValueError(f"{text} is no number that can be kept")
