"""`quintet node`: offers this machine's cores to a Ray cluster, and leaves it again without a step lost."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Mapping, Sequence

import psutil

from quintet.cluster.processes.health_file import touch_health_file, wait_for
from quintet.cluster.processes.signals import on_signals
from quintet.cluster.processes.spawn import end_all, family, living, stop
from quintet.control.errors import DONE, FAILED, UsageError
from quintet.control.output import say

RAY = (sys.executable, "-m", "ray.scripts.scripts")  # the program `ray`; nothing here imports it
ACTOR = "ray::RolloutActor"  # how Ray names the process of a worker
OBJECT_STORE_BYTES = 80 * 2**20  # near Ray's minimum; no object ever lies in it
LOOK_S = 2.0
DRAIN_S = 15.0  # for Ray to hear of it
LEAVE_S = 40.0  # for workers to finish a window and push their chunks, which they try for 30 s
STOP_S = 5.0


def serve_node(address: str, cores: int) -> int:
    """Join the cluster at `address` and stay until a signal says to leave; returns the exit code.

    waits for: the head. unblocked by: SIGTERM, SIGINT, or the end of the node's Ray (the head is gone).
    On a signal: no new worker is placed here, those that play finish their window, push their chunks and deregister.

    Args:
        address: host:port of the Ray head.
        cores: how many of this machine's cores rollout workers may use.
    """
    host, port = split_address(address)
    leaving = threading.Event()
    on_signals((signal.SIGTERM, signal.SIGINT), lambda *_: leaving.set())
    if not wait_for_port(host, port, leaving):
        return DONE
    options: dict[str, str | int] = {
        "address": f"{host}:{port}",
        "num-cpus": cores,
        "num-gpus": 0,
        "object-store-memory": OBJECT_STORE_BYTES,
        "include-log-monitor": "false",
    }
    # In a session of its own: the terminal's Ctrl-C is for this process, which leaves in order.
    ray = subprocess.Popen(
        [*RAY, "start", "--block", "--disable-usage-stats", *_flags(options)], start_new_session=True
    )
    _say(f"offers {cores} cores to the Ray cluster at {address}")
    while not leaving.wait(LOOK_S):
        if ray.poll() is not None:
            _say("its part of Ray ended: the head is gone, or refused it (see above)")
            return FAILED
        if _raylet(ray.pid) is not None:
            touch_health_file()
    _leave(f"{host}:{port}", ray)
    return DONE


def split_address(address: str) -> tuple[str, int]:
    """Host and port.

    Raises:
        UsageError: it is not host:port.
    """
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit():
        raise UsageError(f"--address is {address!r}; expected host:port of the Ray head, for example ray-head:6379")
    return host, int(port)


def wait_for_port(host: str, port: int, leaving: threading.Event) -> bool:
    """Wait until somebody listens there, saying so now and then; False if told to leave before."""
    found = wait_for(
        lambda: socket.create_connection((host, port), timeout=2.0),
        OSError,
        lambda error: _say(f"waiting for the Ray head at {host}:{port} ({error})"),
        stopped=leaving,
        healthy=False,
    )
    if found is not None:
        found.close()
    return found is not None


def _leave(address: str, ray: subprocess.Popen[bytes]) -> None:
    """Have no worker placed here any more, let those that play go in order, then end Ray on this machine."""
    drain = _drain(address, ray.pid)
    with contextlib.suppress(subprocess.TimeoutExpired):
        drain.wait(DRAIN_S)  # or whoever left would be started here again
    told: set[int] = set()
    deadline_s = time.monotonic() + LEAVE_S
    while time.monotonic() < deadline_s and (workers := living(rollout_workers(family(ray.pid)))):
        for process in workers:
            if process.pid not in told:
                _say(f"leaving: process {process.pid} finishes its window")
                told.add(process.pid)
                process.send_signal(signal.SIGTERM)
        time.sleep(0.1)
    members = family(ray.pid)
    stop(drain, grace_s=0.0)
    stop(ray, grace_s=STOP_S)
    end_all(members, grace_s=0.0)
    _say(f"left; {len(told)} workers played here")


def _drain(address: str, pid: int) -> subprocess.Popen[bytes]:
    """Have Ray place nobody on this node any more; the program takes some seconds to load."""
    options: dict[str, str | int] = {
        "address": address,
        "node-id": _node_id(_raylet(pid)),
        "reason": "DRAIN_NODE_REASON_PREEMPTION",
        "reason-message": "the machine leaves",
        "deadline-remaining-seconds": int(DRAIN_S + LEAVE_S + STOP_S),
    }
    return subprocess.Popen([*RAY, "drain-node", *_flags(options)], start_new_session=True)


def rollout_workers(processes: Iterable[psutil.Process]) -> list[psutil.Process]:
    """Those of them that play."""
    return [process for process in processes if _command(process)[:1] and _command(process)[0].startswith(ACTOR)]


def _raylet(pid: int) -> psutil.Process | None:
    return next((process for process in family(pid) if _runs(process, "raylet")), None)


def _runs(process: psutil.Process, program: str) -> bool:
    return os.path.basename((_command(process) or [""])[0]) == program


def _node_id(raylet: psutil.Process | None) -> str:
    """The node's id, as it stands on the raylet's command line; empty where there is none."""
    words: Sequence[str] = [] if raylet is None else _command(raylet)
    return next((word.partition("=")[2] for word in words if word.startswith("--node_id=")), "")


def _command(process: psutil.Process) -> list[str]:
    try:
        words: list[str] = process.cmdline()
    except psutil.Error:
        return []
    return words


def _flags(options: Mapping[str, str | int]) -> list[str]:
    return [f"--{name}={value}" for name, value in options.items()]


def _say(text: str) -> None:
    say(f"quintet node: {text}")
