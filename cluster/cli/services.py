"""The commands of a cluster whose services somebody keeps up, for example docker compose: controller, node, secrets."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from tyro.conf import arg

from quintet.cluster.request import ControllerRequest
from quintet.control.errors import DONE
from quintet.control.output import say


def controller(request: Annotated[ControllerRequest, arg(name="")]) -> int:
    """Drive a run on a Redis, a Ray cluster and an optimizer (`quintet optimizer --service`) that run already.

    A run that exists goes on with its own configuration. Ctrl-C or SIGTERM ends it in order: workers finish their
    windows, the optimizer saves a checkpoint. Killed without a word, workers and optimizer go on for a minute, and the
    next controller takes them over. It needs a Ray node on its own machine, for example the head.
    """
    from quintet.cluster.service import serve_controller

    return serve_controller(request)


def node(address: str, cores: int | None = None) -> int:
    """Offer this machine's cores to a Ray cluster until SIGTERM or Ctrl-C; then its workers leave without a step lost.

    Args:
        address: host:port of the Ray head. RAY_AUTH_MODE=token and RAY_AUTH_TOKEN let this machine in.
        cores: How many; all that this process may use if left out.
    """
    from quintet.cluster.processes.spawn import usable_cores
    from quintet.cluster.ray_cluster.node import serve_node

    return serve_node(address, usable_cores() if cores is None else cores)


def secrets(out: Path = Path(".env"), force: bool = False, show: bool = False) -> int:
    """Write the secrets of `docker compose` with fresh random values into .env, readable by this user alone.

    Args:
        out: The file.
        force: Replace the one there is.
        show: Print them instead of writing a file.
    """
    from quintet.cluster.compose_env import EXAMPLE, fresh_env, write_env

    say(fresh_env(EXAMPLE.read_text()).rstrip("\n") if show else write_env(out, force=force))
    return DONE
