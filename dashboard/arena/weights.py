"""Whose weights play in the Arena: the newest that the run has published, a checkpoint's, or none yet."""

from __future__ import annotations

import time
from pathlib import Path

import torch

from quintet.control.config import RunConfig, parse_config
from quintet.dashboard.arena.request import NEWEST, ArenaError, StreamRequest
from quintet.games.api import GameSpec
from quintet.model.policy import Policy
from quintet.model.weights import load_masters, load_weights
from quintet.optimizer.checkpoint import CheckpointError, check_spec_is, find_checkpoint, read_info, read_policy
from quintet.wire.chunk import ChunkSpec
from quintet.wire.errors import DecodeError, LinkError
from quintet.wire.redis_link.link import RedisLink, connect

POLL_S = 1.0  # between two looks for newer weights
RETRY_S = 15.0  # after Redis did not answer
CONNECT_S = 1.0
UNTRAINED = 0  # the version of a network that has learned nothing


def run_config(folder: Path) -> RunConfig:
    """The configuration of a run's folder.

    Raises:
        ArenaError: there is none.
    """
    path = folder / "config.toml"
    try:
        text = path.read_text()
    except OSError as error:
        raise ArenaError(f"{path} cannot be read: {error.strerror or error}") from error
    return parse_config(text, source=str(path))


def new_policy(game: GameSpec, config: RunConfig) -> Policy:
    """An untrained policy of a run's network, the same for the same run."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        return Policy(game, config.model).use_device(torch.device("cpu"))


def load_checkpoint(policy: Policy, spec: ChunkSpec, folder: Path, name: str) -> int:
    """Put a checkpoint of a run's folder into a policy; returns its version. NEWEST takes the newest one.

    Raises:
        ArenaError: it is of another game or network than the run as it is now.
        CheckpointError: there is none of that name, or it is damaged.
    """
    where = find_checkpoint(folder if name == NEWEST else folder / "checkpoints" / name)
    info = read_info(where)
    try:
        check_spec_is(where, info, spec)
    except CheckpointError as error:  # this one is there: its place is not taken by an untrained network
        raise ArenaError(str(error)) from error
    try:
        load_masters(policy, read_policy(where, info), info.precision)
    except DecodeError as error:
        raise ArenaError(
            f"checkpoint {where.name} is of another network than the run's configuration: {error}"
        ) from error
    return info.version


class Weights:
    """Keeps one policy as new as the run, or as its checkpoint is."""

    def __init__(self, policy: Policy, request: StreamRequest, spec: ChunkSpec) -> None:
        self.policy, self.request, self.spec = policy, request, spec
        self.spec_hash = spec.hash
        self.version = UNTRAINED
        self.origin = "untrained"  # for people: "live", "checkpoint 000123"
        self._link: RedisLink | None = None
        self._next_look = 0.0
        if request.player == NEWEST:
            self.refresh()
        if self.version == UNTRAINED:
            self._read_checkpoint()

    def refresh(self) -> None:
        """Take what the run has published since, if it goes on; at most every POLL_S.

        Raises:
            ArenaError: it is of another network or number format than the run's configuration.
        """
        now = time.monotonic()
        if self.request.player != NEWEST or not self.request.redis_url or now < self._next_look:
            return
        self._next_look = now + POLL_S
        try:
            self._link = self._link or connect(self.request.redis_url, self.request.path.name, wait_s=CONNECT_S)
            found = self._link.latest(self.version)
        except (LinkError, DecodeError):
            # The run has ended, or its Redis is down for a while: what plays goes on with the weights that it has.
            self.close()
            self._next_look = now + RETRY_S
            return
        if found is None or found.spec_hash != self.spec_hash:
            return
        try:
            load_weights(self.policy, found)
        except DecodeError as error:
            raise ArenaError(f"the run's weights do not fit its configuration: {error}") from error
        self.version, self.origin = found.version, "live"

    def close(self) -> None:
        """Leave Redis."""
        if self._link is not None:
            self._link.close()
            self._link = None

    def _read_checkpoint(self) -> None:
        try:
            self.version = load_checkpoint(self.policy, self.spec, self.request.path, self.request.player)
        except CheckpointError:
            if self.request.player != NEWEST:
                raise
            return  # a run that has written none yet
        self.origin = f"checkpoint {self.version:06d}"
