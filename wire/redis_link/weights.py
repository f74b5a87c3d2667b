"""The weights on Redis: one value per run, one fetch per node."""

# ruff: noqa: D102  (what each method promises is said once, in the protocols of quintet.wire.link)

from __future__ import annotations

import re
import time

from quintet.wire.errors import DecodeError
from quintet.wire.link import EncodedWeights, WeightSink, WeightSource
from quintet.wire.link_errors import used_version
from quintet.wire.redis_link import scripts
from quintet.wire.redis_link.base import RedisRun
from quintet.wire.redis_link.weights_cache import WeightsCache
from quintet.wire.weights import pack_weights, unpack_weights

_SHA256 = re.compile(rb"[0-9a-f]{64}")
_RUN_ID_POLL_S = 1.0  # the least time between two looks at Redis's run_id


class RedisWeights(RedisRun, WeightSink, WeightSource):
    """Publish from the optimizer; fetch from workers, in a thread of their own if they like."""

    def __init__(self, url: str, run: str) -> None:
        super().__init__(url, run)
        self._cache = WeightsCache(run)
        self._run_id = ""  # Redis's own, as last seen: another one after a restart
        self._run_id_read_s = 0.0
        self._published_run_id: str | None = None

    # ---- WeightSink ----

    def publish(self, weights: EncodedWeights) -> None:
        # The run_id seen *before*: if Redis is restarted in between, needs_republish says so once too often.
        run_id = self._run_id or self._read_run_id()
        answer = self._bulk.run(
            scripts.PUBLISH,
            [self._keys.announced, self._keys.weights, self._keys.optimizer_lease],
            [*self._proof(), weights.version, weights.sha256, pack_weights(weights)],
        )
        self._check_fence(answer)
        if answer[0] == b"used":
            raise used_version(weights.version, answer[1])
        self._published_run_id = run_id

    def announced_version(self) -> int:
        return int(self._server.command("HGET", self._keys.announced, "version") or 0)

    def needs_republish(self) -> bool:
        if self._published_run_id is None:
            return False
        if time.monotonic() - self._run_id_read_s >= _RUN_ID_POLL_S:
            self._read_run_id()
        return self._run_id != self._published_run_id

    def _read_run_id(self) -> str:
        self._run_id = str(self._server.info("server")["run_id"])
        self._run_id_read_s = time.monotonic()
        return self._run_id

    # ---- WeightSource ----

    def latest(self, newer_than: int) -> EncodedWeights | None:
        version, sha256 = self._server.command("HMGET", self._keys.announced, "version", "sha256")
        if version is None:
            return None
        if not version.isdigit() or not _SHA256.fullmatch(sha256 or b""):  # it becomes the name of a file
            raise DecodeError(f"announced weights: found version {version!r}, sha256 {sha256!r}; expected digits")
        if int(version) == newer_than:
            return None
        weights = self._cache.get(int(version), sha256.decode(), self._fetch)
        # An AOF rewrite keeps the weights of its moment; after a restart they may be older than what was announced.
        if weights is None or weights.version == newer_than or weights.version < int(version):
            return None
        return weights

    def _fetch(self) -> EncodedWeights | None:
        data = self._bulk.command("GET", self._keys.weights)
        return None if data is None else unpack_weights(data)
