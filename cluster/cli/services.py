"""The commands of a cluster whose services somebody keeps up, for example docker compose: controller, node, secrets."""

from __future__ import annotations

import os
from pathlib import Path

from quintet.cluster.cli.run import Overrides
from quintet.control.errors import DONE, REDIS_URL, UsageError
from quintet.control.output import say


def controller(
    run: str,
    config: Path | None = None,
    workers: int | None = None,
    overrides: Overrides = (),
    redis_url: str | None = None,
    ray_address: str = "127.0.0.1:6379",
    cores_per_worker: float = 1.0,
    node_redis_url: bool = False,
) -> int:
    """Drive a run on a Redis, a Ray cluster and an optimizer (`quintet optimizer --service`) that run already.

    A run that exists goes on with its own configuration. Ctrl-C or SIGTERM ends it in order: workers finish their
    windows, the optimizer saves a checkpoint. Killed without a word, workers and optimizer go on for a minute, and the
    next controller takes them over. It needs a Ray node on its own machine, for example the head.

    Args:
        run: The run's name; its files are in runs/NAME/, which the optimizer must reach, too.
        config: A TOML file, or the name of one that ships with Quintet; for a run that is new.
        workers: Rollout workers; one for every core that the cluster offers if left out, as nodes come and go.
        overrides: Any key of the configuration, for example --set minutes=none. May be repeated.
        redis_url: The Redis server; QUINTET_REDIS_URL if left out.
        ray_address: host:port of the Ray head.
        cores_per_worker: What a worker claims; less than 1 lets workers share cores.
        node_redis_url: Workers use the QUINTET_REDIS_URL of their node, whose user may do less than the controller's.
    """
    from quintet.cluster.service import ControllerRequest, serve_controller

    url = redis_url or os.environ.get(REDIS_URL)
    if not url:
        raise UsageError(f"{REDIS_URL} is not set: the controller needs redis://user:password@host:port")
    return serve_controller(
        ControllerRequest(
            run=run,
            redis_url=url,
            ray_address=ray_address,
            config=config,
            overrides=overrides,
            workers=workers,
            cores_per_worker=cores_per_worker,
            node_redis_url=node_redis_url,
        )
    )


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
