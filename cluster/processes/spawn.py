"""Child processes that never outlast their parent, whatever kills it, and that the terminal's Ctrl-C does not reach."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import IO

import psutil

# Runs in the child, then becomes the program. A shim and no preexec_fn, which may deadlock if the parent has threads.
_SHIM = """
import ctypes, os, signal, sys
parent, orphan_signal, command = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]
PR_SET_PDEATHSIG = 1
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, orphan_signal)
    if os.getppid() != parent:  # it was gone before we asked to be told
        sys.exit(1)
signal.signal(signal.SIGINT, signal.SIG_IGN)
os.execv(command[0], command)
"""


def spawn(
    command: Sequence[str],
    *,
    env: Mapping[str, str] | None = None,
    log: Path | None = None,
    stdin: int = subprocess.DEVNULL,
    keep: Sequence[int] = (),
    cwd: Path | None = None,
    umask: int = -1,
    orphan_signal: int = signal.SIGKILL,
) -> subprocess.Popen[bytes]:
    """Start a child in a session of its own that ignores SIGINT and is killed the moment this process is gone.

    Call it from the main thread: the kernel sends the signal when the *thread* that started the child ends.

    Args:
        command: the program's path and its arguments; no secret may stand in it, since every user can read it.
        env: added to this process's environment.
        log: stdout and stderr are appended to this file; without it they are thrown away.
        stdin: as in `subprocess.Popen`.
        keep: open files that the child gets under the same numbers.
        cwd: where the child runs; by default in the current folder, which a game may have changed.
        umask: of the child; by default that of this process.
        orphan_signal: what the child gets when this process is gone.
    """
    output: int | IO[bytes] = subprocess.DEVNULL if log is None else log.open("ab")
    try:
        return subprocess.Popen(
            # -I -S: the shim needs nothing that is installed, and so takes a few milliseconds only.
            [sys.executable, "-I", "-S", "-c", _SHIM, str(os.getpid()), str(int(orphan_signal)), *command],
            env={**os.environ, **(env or {})},
            stdin=stdin,
            stdout=output,
            stderr=subprocess.DEVNULL if log is None else subprocess.STDOUT,
            start_new_session=True,
            pass_fds=keep,
            cwd=cwd,
            umask=umask,
        )
    finally:
        if not isinstance(output, int):
            output.close()


def stop(process: subprocess.Popen[bytes], *, grace_s: float) -> int:
    """Ask a child to leave (SIGTERM), kill it when it is still there after `grace_s`; returns its exit status."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(grace_s)
        except subprocess.TimeoutExpired:
            process.kill()
    return process.wait()


def family(pid: int) -> list[psutil.Process]:
    """A process and every process below it; empty where it is gone."""
    try:
        process = psutil.Process(pid)
        return [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def living(processes: Iterable[psutil.Process]) -> list[psutil.Process]:
    """Those of them that run. One that ended counts as gone, even if nobody has asked for its exit status yet."""
    return [process for process in processes if _is_living(process)]


def _is_living(process: psutil.Process) -> bool:
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def wait_gone(processes: Iterable[psutil.Process], *, timeout_s: float) -> list[psutil.Process]:
    """Wait until these processes are gone, at most `timeout_s`; returns those that are not."""
    deadline = time.monotonic() + timeout_s
    left = living(processes)
    while left and time.monotonic() < deadline:
        time.sleep(0.02)
        left = living(left)
    return left


def end_all(processes: Iterable[psutil.Process], *, grace_s: float) -> None:
    """Wait until these processes are gone, and kill those that are not after `grace_s`."""
    left = wait_gone(processes, timeout_s=grace_s)
    for process in left:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    wait_gone(left, timeout_s=5.0)


def usable_cores() -> int:
    """Cores that this process may use: its affinity, and its container's quota where there is one; at least 1."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)
    quota = _container_quota(Path("/sys/fs/cgroup/cpu.max"))
    return max(1, cores if quota is None else min(cores, int(quota)))


def _container_quota(path: Path) -> float | None:
    """Cores of cgroup v2's `cpu.max` ("200000 100000" is two), None where nothing is limited."""
    try:
        quota, period = path.read_text().split()
    except (OSError, ValueError):
        return None
    return None if quota == "max" else int(quota) / int(period)
