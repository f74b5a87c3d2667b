"""Ray: starts a private node or joins a cluster, and runs each rollout worker as an actor. Nothing else imports Ray.

An embedded run wants none of what surrounds Ray's core (dashboard, autoscaler, log monitor, agents), and all of that
takes longer to start than the rest of Quintet. So its node is put together from Ray's own parts, without the extras.
"""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import psutil

from quintet.cluster.processes.spawn import end_all, family, spawn, usable_cores
from quintet.cluster.worker_supervisor import ADOPTED_AND_GONE
from quintet.control.errors import REDIS_URL, RunFailedError, UsageError, error_report, one_line

NAMESPACE = "quintet"
OBJECT_STORE_BYTES = 80 * 2**20  # Ray's minimum is 75 MiB; no object ever lies in it
MAX_RESTARTS = 5  # in a row, each of which lived no longer than this:
QUICK_DEATH_S = 60.0
LINGER_S = 2.0
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
    "RAY_memory_monitor_refresh_ms": "0",  # other programs' memory is no reason to kill a worker
}
_TOKEN = secrets.token_hex(32)  # one for the life of a process: Ray reads it once and keeps it
ONE_THREAD = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"}


class RolloutActor:
    """One rollout worker. It is told everything else through Redis."""

    def __init__(self, redis_url: str, run: str, worker: int) -> None:
        """Without a URL it takes that of its node: its own user of Redis, who may do less than the controller's."""
        self.redis_url, self.run_name, self.worker = redis_url or os.environ.get(REDIS_URL, ""), run, worker

    def run(self) -> dict[str, str]:
        """Play until told to leave: `reason`, or what `quintet.control.errors.error_report` says of an error."""
        os.environ.update(ONE_THREAD)
        try:
            from quintet.cluster.processes.worker import run_worker

            return {"reason": run_worker(self.redis_url, self.run_name, self.worker)}
        except Exception as error:  # noqa: BLE001  (a process border: it travels on as text)
            return error_report(error)
        finally:
            # Whoever called this hears the answer and ends the process; a controller that adopted it cannot hear it.
            leave = threading.Timer(LINGER_S, os._exit, (0,))
            leave.daemon = True
            leave.start()


class Session(Protocol):
    """This process's connection to Ray."""

    def ensure(self) -> bool:
        """Bring Ray back if it died; True if it had to, and then all actors are gone."""
        ...

    def close(self, *, keep_logs_in: Path) -> None:
        """Disconnect; what workers of a private node wrote to stdout and stderr goes into that folder."""
        ...


class RayLauncher:
    """Starts, watches and kills the actors of one run; see `quintet.cluster.worker_supervisor.Launcher`."""

    def __init__(self, session: Session, *, redis_url: str, run: str, cores_per_worker: float, detached: bool) -> None:
        self._session, self._arguments, self._run = session, (redis_url, run), run
        self._options: dict[str, Any] = {"num_cpus": cores_per_worker, "max_restarts": 0, "namespace": NAMESPACE}
        if detached:
            self._options["lifetime"] = "detached"
        self._actors: dict[int, Any] = {}
        self._ends: dict[int, Any] = {}  # what run() will return; missing where another controller called it

    def ensure(self) -> bool:
        """Bring Ray back if it died; True if it had to. Its workers died with it."""
        if not self._session.ensure():
            return False
        self._actors.clear()
        self._ends.clear()
        return True

    def adopt(self, workers: Sequence[int]) -> list[int]:
        """Take over actors that an earlier controller left playing; returns which of these there are."""
        for worker in workers:
            actor = self._find(worker)
            if actor is not None:
                self._actors[worker] = actor
        return sorted(self._actors)

    def start(self, worker: int) -> None:
        """Start a worker; it plays as soon as Ray has a core for it."""
        actor_class: Any = _ray().remote(RolloutActor)
        actor = actor_class.options(name=self._name(worker), **self._options).remote(*self._arguments, worker)
        self._actors[worker], self._ends[worker] = actor, actor.run.remote()

    def poll(self, worker: int) -> dict[str, str] | None:
        """None while it plays, then what `RolloutActor.run` returned; a process that died comes as an `error`."""
        ray = _ray()
        if worker not in self._actors:
            return {"error": "its Ray node died"}
        if worker not in self._ends:
            return None if self._find(worker) is not None else {"reason": ADOPTED_AND_GONE}
        if not ray.wait([self._ends[worker]], timeout=0)[0]:
            return None
        try:
            end: dict[str, str] = ray.get(self._ends[worker])
        except ray.exceptions.RayError as error:
            end = {"error": _why_it_died(error), "traceback": str(error)}
        self.kill(worker)
        return end

    def kill(self, worker: int) -> None:
        """End a worker's process at once."""
        self._ends.pop(worker, None)
        actor = self._actors.pop(worker, None)
        if actor is not None:
            _ray().kill(actor, no_restart=True)

    def _find(self, worker: int) -> Any | None:
        try:
            return _ray().get_actor(self._name(worker), namespace=NAMESPACE)
        except ValueError:
            return None

    def _name(self, worker: int) -> str:
        return f"{self._run}/worker/{worker}"


def _ray() -> Any:
    """Ray takes half a second to load, and reads its environment while it does."""
    import ray

    return ray


def _why_it_died(error: Exception) -> str:
    """Ray's long text about a dead actor, in one line."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if "creation task" in lines[0]:  # most likely Quintet or the game is not installed there
        return f"it could not start on its node: {lines[-1]}"
    text = " ".join(lines)
    if "because its node has died" in text:
        return f"its node died: {lines[-1]}"
    if "connection error code" in text:  # Ray saw its socket close; a process that leaves says so before
        return "its process was killed or crashed"
    return text.rpartition("The actor is dead because ")[2][:200]


class LocalRay:
    """A private Ray node on the loopback interface, and the connection to it. Make it in the main thread."""

    def __init__(self, *, workers: int) -> None:
        """`workers` processes are made ready beforehand."""
        self._workers, self._restarts = workers, 0
        remove_stale_folders()
        os.environ.update(SETTINGS, RAY_AUTH_TOKEN=_TOKEN)  # before the import
        self._start()

    def ensure(self) -> bool:
        """Start the node again if a part of it died; True if it had to.

        Raises:
            RunFailedError: it died too often.
        """
        if all(process.poll() is None for process in self._roots()):
            return False
        lived_s = time.monotonic() - self._started_s
        self._restarts = self._restarts + 1 if lived_s < QUICK_DEATH_S else 1
        if self._restarts > MAX_RESTARTS:
            raise RunFailedError(f"the Ray node died {self._restarts} times in a row")
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
        self._started_s = time.monotonic()
        ray = _ray()
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
        _ray().shutdown()
        self._node.kill_all_processes(check_alive=False, allow_graceful=False, wait=True)
        end_all(members, grace_s=3.0)
        shutil.rmtree(self._folder, ignore_errors=True)

    def _roots(self) -> list[subprocess.Popen[bytes]]:
        return [info.process for infos in self._node.all_processes.values() for info in infos]


class JoinedRay:
    """The connection to a cluster that somebody else started, and looks after."""

    def __init__(self, address: str) -> None:
        """Connect.

        Raises:
            UsageError: nobody answers at that address.
        """
        os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
        try:
            _ray().init(address=address, namespace=NAMESPACE, log_to_driver=False, configure_logging=False)
        except (ConnectionError, ValueError, RuntimeError) as error:
            raise UsageError(f"no Ray cluster answers at --ray-address {address}: {one_line(error)}") from error

    def ensure(self) -> bool:
        """Not ours to bring back."""
        return False

    def close(self, *, keep_logs_in: Path) -> None:
        """Disconnect; the cluster keeps its own logs."""
        _ray().shutdown()

    def cores(self) -> float:
        """Cores that the cluster's nodes offer to workers now; a node that is about to leave offers none."""
        ray = _ray()
        leaving = ray._private.state.state.get_draining_nodes()
        nodes = [node for node in ray.nodes() if node["Alive"] and node["NodeID"] not in leaving]
        return float(sum(node["Resources"].get("CPU", 0.0) for node in nodes))


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
    """Meanwhile Ray's processes start through `spawn`, which binds their lives to ours, and with stand-in agents."""
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
