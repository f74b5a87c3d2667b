"""A private Ray node on this machine, put together from Ray's own parts.

An embedded run wants none of what surrounds Ray's core (dashboard, autoscaler, log monitor, agents), and all of that
takes longer to start than the rest of Quintet.
"""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

from quintet.cluster.processes.restart_policy import server_policy
from quintet.cluster.processes.spawn import end_all, family, spawn, usable_cores
from quintet.control.errors import RunFailedError, UsageError

NAMESPACE = "quintet"
OBJECT_STORE_BYTES = 80 * 2**20  # Ray's minimum is 75 MiB; no object ever lies in it
TEMP_PREFIX = "quintet-ray-"
LONGEST_TEMP = 40  # characters; Ray adds 55 to it, and the path of a Unix socket holds 107
AGENT = Path(__file__).with_name("agent_stub.py")

SETTINGS = {
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # the name misleads: 0 makes every server of Ray bind to loopback
    "RAY_AUTH_MODE": "token",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_enable_metrics_collection": "0",
    "RAY_task_events_report_interval_ms": "0",
    "RAY_worker_niceness": "0",  # 15 would starve workers beside an optimizer that computes on the same cores
    "RAY_memory_monitor_refresh_ms": "0",  # other programs' memory is no reason to end a worker
}
_TOKEN = secrets.token_hex(32)  # one for a process: Ray reads it once and keeps it
ONE_THREAD = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"}


def load_ray() -> Any:
    """Ray takes half a second to load, and reads its environment while it does."""
    import ray

    return ray


class LocalRay:
    """A private Ray node on the loopback interface, and the connection to it. Make it in the main thread."""

    def __init__(self, *, workers: int) -> None:
        """`workers` processes are made ready beforehand."""
        self._workers, self._restarts = workers, server_policy()
        remove_stale_folders()
        os.environ.update(SETTINGS, RAY_AUTH_TOKEN=_TOKEN)  # before the import
        self._start()

    def ensure(self) -> bool:
        """Start the node again if a part of it exited; True if it had to.

        Raises:
            RunFailedError: it exited too often.
        """
        if all(process.poll() is None for process in self._roots()):
            return False
        self._restarts.exited(time.monotonic(), useful=False)
        if self._restarts.too_many:
            raise RunFailedError(f"the Ray node died {self._restarts.in_a_row} times in a row")
        self._stop()
        self._start()
        return True

    def close(self, *, keep_logs_in: Path) -> None:
        """End the node with every process below it, and remove what it left on disk but for what workers wrote."""
        _keep_logs(self._folder, keep_logs_in)
        self._stop()

    @property
    def address(self) -> str:
        """Where other processes of this machine can join the node; RAY_AUTH_TOKEN lets them in."""
        address: str = self._node.address
        return address

    def processes(self) -> list[psutil.Process]:
        """Every process of the node, agents and workers included."""
        return [member for process in self._roots() for member in family(process.pid)]

    def _start(self) -> None:
        self._restarts.started_s = time.monotonic()
        ray = load_ray()
        self._folder = _short_folder()
        try:
            node = _lean_node(self._folder, self._workers)
            where = {"address": node.address}
        except (ImportError, AttributeError, TypeError):
            node = None  # another version of Ray has other parts: take it as it comes
            where = {"num_cpus": usable_cores(), "include_dashboard": False, "object_store_memory": OBJECT_STORE_BYTES}
        ray.init(
            **where,
            namespace=NAMESPACE,
            log_to_driver=False,
            configure_logging=False,
            _node_ip_address="127.0.0.1",
            _temp_dir=str(self._folder),
        )
        self._node = node or ray._private.worker._global_node

    def _stop(self) -> None:
        members = self.processes()
        load_ray().shutdown()
        self._node.kill_all_processes(check_alive=False, allow_graceful=False, wait=True)
        end_all(members, grace_s=3.0)
        shutil.rmtree(self._folder, ignore_errors=True)

    def _roots(self) -> list[subprocess.Popen[bytes]]:
        return [info.process for infos in self._node.all_processes.values() for info in infos]


def _lean_node(folder: Path, workers: int) -> Any:
    """A Ray head node of two processes (gcs_server, raylet) and two stand-ins, out of Ray's own parts."""
    from ray._private.node import Node
    from ray._private.parameter import RayParams
    from ray._private.resource_isolation_config import ResourceIsolationConfig
    from ray._raylet import (
        DASHBOARD_AGENT_LISTEN_PORT_NAME,
        METRICS_AGENT_PORT_NAME,
        METRICS_EXPORT_PORT_NAME,
        RUNTIME_ENV_AGENT_PORT_NAME,
        persist_port,
    )

    ports = (
        DASHBOARD_AGENT_LISTEN_PORT_NAME,
        METRICS_AGENT_PORT_NAME,
        METRICS_EXPORT_PORT_NAME,
        RUNTIME_ENV_AGENT_PORT_NAME,
    )

    class LeanNode(Node):  # type: ignore[misc]
        def start_api_server(self, **_: Any) -> None:
            """No dashboard."""

        def start_ray_processes(self) -> None:
            """The raylet waits for its agents' ports; -1 is Ray's own word for a service that is not there."""
            for name in ports:
                persist_port(self._session_dir, self._node_id, name, -1)
            super().start_ray_processes()

    parameters = RayParams(
        node_ip_address="127.0.0.1",
        num_cpus=usable_cores(),
        num_gpus=0,
        object_store_memory=OBJECT_STORE_BYTES,
        temp_dir=str(folder),
        include_log_monitor=False,
        include_dashboard=False,
        no_monitor=True,
        dashboard_host="127.0.0.1",
        env_vars=ONE_THREAD,
        resource_isolation_config=ResourceIsolationConfig(),
        _system_config={},
    )
    with _children_of_ours(workers):
        return LeanNode(parameters, head=True, shutdown_at_exit=False, spawn_reaper=True)


@contextmanager
def _children_of_ours(workers: int) -> Iterator[None]:
    """Meanwhile Ray's processes start through `spawn`, which ends them with this process, and with stand-in agents."""
    from ray._private import services

    original = services.start_ray_process

    def start(command: Sequence[str], process_type: str, **options: Any) -> Any:
        process = spawn(_leaner(command, workers), env=options.get("env_updates"))
        return services.ProcessInfo(process, os.devnull, os.devnull, False, False, False, False, False)

    services.start_ray_process = start
    try:
        yield
    finally:
        services.start_ray_process = original


def _leaner(command: Sequence[str], workers: int) -> list[str]:
    """The raylet's command with other values for some of its flags."""
    agent = subprocess.list2cmdline([sys.executable, "-I", "-S", str(AGENT)])
    values: Mapping[str, str] = {
        "--dashboard_agent_command": agent,
        "--runtime_env_agent_command": agent,
        "--num_prestart_python_workers": str(workers),
    }
    words = [word.partition("=") for word in command]
    return [f"{name}={values[name]}" if name in values else name + equals + rest for name, equals, rest in words]


def _short_folder() -> Path:
    parents = [tempfile.gettempdir(), "/tmp", "/var/tmp"]
    for parent in parents:
        if len(parent) + len(TEMP_PREFIX) + 16 <= LONGEST_TEMP and os.access(parent, os.W_OK):
            return Path(tempfile.mkdtemp(prefix=f"{TEMP_PREFIX}{os.getpid()}-", dir=parent))
    raise UsageError(f"Ray's sockets need a short writable folder; none of {', '.join(parents)} will do: set TMPDIR")


def remove_stale_folders() -> None:
    """Remove the folders of nodes whose `quintet train` was killed before it could."""
    for parent in {tempfile.gettempdir(), "/tmp", "/var/tmp"}:
        for folder in Path(parent).glob(f"{TEMP_PREFIX}*-*"):
            pid = folder.name.removeprefix(TEMP_PREFIX).partition("-")[0]
            if pid.isdigit() and not psutil.pid_exists(int(pid)):
                shutil.rmtree(folder, ignore_errors=True)


def _keep_logs(folder: Path, target: Path) -> None:
    """Copy what workers wrote: Ray gives each process a file, and puts lines of its own into it that begin with `:`."""
    for source in folder.glob("session_2*/logs/worker-*"):
        lines = source.read_bytes().splitlines(keepends=True)
        said = b"".join(line for line in lines if not line.startswith(b":"))
        if said:
            target.mkdir(parents=True, exist_ok=True)
            (target / source.name).write_bytes(said)
