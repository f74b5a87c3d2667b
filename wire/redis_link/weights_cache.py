"""Weights that several workers of one node share: the first to want a version fetches it, the others read its file.

The file lies in shared memory (`/dev/shm`, else the temporary folder) in a folder that only this user may enter. It is
named by version and hash, written aside and moved into place, and everybody who reads it checks its hash.
"""

from __future__ import annotations

import fcntl
import logging
import os
import stat
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from quintet.wire.errors import DecodeError
from quintet.wire.link import EncodedWeights
from quintet.wire.redis_link.keys import check_run_name
from quintet.wire.weights import pack_weights, read_weights

_log = logging.getLogger(__name__)
_SUFFIX = ".weights"


class WeightsCache:
    """The newest weights of one run, once per node."""

    def __init__(self, run: str) -> None:
        self._folder = _run_folder(run)
        self._warned = False

    def get(self, version: int, sha256: str, fetch: Callable[[], EncodedWeights | None]) -> EncodedWeights | None:
        """The weights of this version, from the node's file or else from `fetch`, which one process at a time calls.

        `fetch` may return a newer version than was asked for, or None if the weights are gone. Where the folder cannot
        be used (somebody else's, full), every process fetches for itself.

        Raises:
            DecodeError, LinkError: whatever `fetch` raises.
        """
        cached = self._read(version, sha256)
        if cached is not None:
            return cached
        try:
            with self._lock():
                if not self._path(version, sha256).exists():  # else another process has fetched it while we waited
                    fetched = fetch()
                    if fetched is not None:
                        self._write(fetched)
                    return fetched
            # Without the lock: all who waited read it at once. It may be gone already, or no good.
            return self._read(version, sha256) or fetch()
        except OSError as error:
            if not self._warned:
                self._warned = True
                _log.warning("weights cannot be shared through %s (%s); each worker fetches them", self._folder, error)
            return fetch()

    def _read(self, version: int, sha256: str) -> EncodedWeights | None:
        path = self._path(version, sha256)
        try:
            _check_private(self._folder.parent)
            with path.open("rb", buffering=0) as file:
                weights = read_weights(file, os.fstat(file.fileno()).st_size)
        except OSError:  # not there yet, or a folder that _lock will complain about
            return None
        except DecodeError as error:
            _log.warning("%s is of no use (%s); fetching the weights again", path, error)
            path.unlink(missing_ok=True)
            return None
        return weights if (weights.version, weights.sha256) == (version, sha256) else None

    def _write(self, weights: EncodedWeights) -> None:
        path = self._path(weights.version, weights.sha256)
        aside = path.with_suffix(f".{os.getpid()}.new")
        try:
            with open(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
                file.write(pack_weights(weights))
            os.replace(aside, path)
        except OSError as error:
            aside.unlink(missing_ok=True)
            _log.warning("%s cannot be written (%s); each worker fetches the weights", path, error)
            return
        for other in self._folder.iterdir():
            if other.suffix in (_SUFFIX, ".new") and other != path:
                other.unlink(missing_ok=True)

    def _path(self, version: int, sha256: str) -> Path:
        return self._folder / f"{version}-{sha256[:16]}{_SUFFIX}"

    @contextmanager
    def _lock(self) -> Iterator[None]:
        """Held by the one process of this node that fetches; given up by the system if it exits."""
        self._folder.parent.mkdir(mode=0o700, exist_ok=True)
        _check_private(self._folder.parent)
        self._folder.mkdir(mode=0o700, exist_ok=True)
        with open(os.open(self._folder / "lock", os.O_RDWR | os.O_CREAT, 0o600), "wb") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield


def clear_weights_cache(run: str) -> None:
    """Delete this node's files of a run; whoever still wants them fetches them again."""
    folder = _run_folder(run)
    if not folder.is_dir():
        return
    _check_private(folder.parent)
    for path in folder.iterdir():
        path.unlink(missing_ok=True)
    folder.rmdir()


def _run_folder(run: str) -> Path:
    shared_memory = Path("/dev/shm")
    base = shared_memory if os.access(shared_memory, os.W_OK) else Path(tempfile.gettempdir())
    return base / f"quintet-{os.getuid()}" / check_run_name(run)


def _check_private(folder: Path) -> None:
    """Only this user may have put anything here: another one could plant weights.

    Raises:
        OSError: it does not exist, or somebody else may write there.
    """
    found = os.lstat(folder)
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise PermissionError(f"{folder} is not a folder that only user {os.getuid()} may enter")
