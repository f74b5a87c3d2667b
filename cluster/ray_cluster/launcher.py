"""Ray: runs each rollout worker as an actor, on a private node or on a cluster that it joins."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from quintet.cluster.ray_cluster.private_node import NAMESPACE, ONE_THREAD, load_ray
from quintet.cluster.worker_supervisor import ADOPTED_AND_GONE
from quintet.control.errors import REDIS_URL, UsageError, error_report, one_line

LINGER_S = 2.0


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
        """Bring Ray back if it exited; True if it had to, and then all actors are gone."""
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
        """Bring Ray back if it exited; True if it had to. Its workers are gone with it."""
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
        actor_class: Any = load_ray().remote(RolloutActor)
        actor = actor_class.options(name=self._name(worker), **self._options).remote(*self._arguments, worker)
        self._actors[worker], self._ends[worker] = actor, actor.run.remote()

    def poll(self, worker: int) -> dict[str, str] | None:
        """None while it plays, then what `RolloutActor.run` returned; a process that was killed comes as an `error`."""
        ray = load_ray()
        if worker not in self._actors:
            return {"error": "its Ray node died"}
        if worker not in self._ends:
            return None if self._find(worker) is not None else {"reason": ADOPTED_AND_GONE}
        if not ray.wait([self._ends[worker]], timeout=0)[0]:
            return None
        try:
            end: dict[str, str] = ray.get(self._ends[worker])
        except ray.exceptions.RayError as error:
            end = {"error": _why_it_is_gone(error), "traceback": str(error)}
        self.kill(worker)
        return end

    def kill(self, worker: int) -> None:
        """End a worker's process at once."""
        self._ends.pop(worker, None)
        actor = self._actors.pop(worker, None)
        if actor is not None:
            load_ray().kill(actor, no_restart=True)

    def _find(self, worker: int) -> Any | None:
        try:
            return load_ray().get_actor(self._name(worker), namespace=NAMESPACE)
        except ValueError:
            return None

    def _name(self, worker: int) -> str:
        return f"{self._run}/worker/{worker}"


def _why_it_is_gone(error: Exception) -> str:
    """Ray's long text about an actor that is gone, in one line."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if "creation task" in lines[0]:  # most likely Quintet or the game is not installed there
        return f"it could not start on its node: {lines[-1]}"
    text = " ".join(lines)
    if "because its node has died" in text:
        return f"its node died: {lines[-1]}"
    if "connection error code" in text:  # Ray saw its socket close; a process that leaves says so before
        return "its process was killed or crashed"
    return text.rpartition("The actor is dead because ")[2][:200]


class JoinedRay:
    """The connection to a cluster that somebody else started, and looks after."""

    def __init__(self, address: str) -> None:
        """Connect.

        Raises:
            UsageError: nobody answers at that address.
        """
        os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
        try:
            load_ray().init(address=address, namespace=NAMESPACE, log_to_driver=False, configure_logging=False)
        except (ConnectionError, ValueError, RuntimeError) as error:
            raise UsageError(f"no Ray cluster answers at --ray-address {address}: {one_line(error)}") from error

    def ensure(self) -> bool:
        """Not ours to bring back."""
        return False

    def close(self, *, keep_logs_in: Path) -> None:
        """Disconnect; the cluster keeps its own logs."""
        load_ray().shutdown()

    def cores(self) -> float:
        """Cores that the cluster's nodes offer to workers now; a node that is about to leave offers none."""
        ray = load_ray()
        leaving = ray._private.state.state.get_draining_nodes()
        nodes = [node for node in ray.nodes() if node["Alive"] and node["NodeID"] not in leaving]
        return float(sum(node["Resources"].get("CPU", 0.0) for node in nodes))
