"""A run's folder, `runs/<run>/`: its files by name, who may write to it, and which run is meant where none is named.

runs/<run>/  config.toml  summary.json  metrics.jsonl  journal.jsonl  checkpoints/{000123/, latest}  tensorboard/  logs/
             league/evaluations.jsonl (what `quintet eval` found)
             redis/ (the embedded server's)  redis_url (0600: it holds a password)  lock (held by the controller)
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

from quintet.control.config import with_comments_of
from quintet.control.errors import USAGE, UsageError, exit_code
from quintet.wire.redis_link.keys import check_run_name

RUNS = Path("runs")
LOCK_TRIES, LOCK_RETRY_S = 10, 0.02  # whoever only looks whether a run is live holds its lock for a moment


class RunFolder:
    """The files of one run. Every path is absolute: a game may change the current folder.

    Of two starts under one name the lock decides, and nobody deletes a folder that somebody else made.
    """

    def __init__(self, path: Path, *, is_new: bool = False, made_here: bool = False) -> None:
        """`is_new` is a run that begins now, `made_here` a folder that this process made for it."""
        self._is_new, self._made_here, self._here = is_new, made_here, Path.cwd()
        self._is_proposed = False
        self.path = path = path.absolute()
        self.run = path.name
        self.config = path / "config.toml"
        self.summary = path / "summary.json"
        self.metrics = path / "metrics.jsonl"
        self.journal = path / "journal.jsonl"
        self.checkpoints = path / "checkpoints"
        self.tensorboard = path / "tensorboard"
        self.logs = path / "logs"
        self.redis = path / "redis"
        self.evaluations = path / "league" / "evaluations.jsonl"
        self.redis_url = path / "redis_url"
        self.lock = path / "lock"

    def shown(self, path: Path) -> str:
        """A path as a person meets it: from the folder that was the current one before any game was built."""
        return shown(path, self._here)

    @property
    def where(self) -> str:
        """The folder itself, as a person meets it."""
        return self.shown(self.path)

    @property
    def has_checkpoint(self) -> bool:
        """Whether there is one to go on from."""
        return (self.checkpoints / "latest").is_file()

    def checkpoint_info(self) -> dict[str, Any]:
        """The newest checkpoint's JSON part; empty where there is none. Read here without torch, unchecked."""
        try:
            name = (self.checkpoints / "latest").read_text().strip()
            info: dict[str, Any] = json.loads((self.checkpoints / name / "checkpoint.json").read_text())
        except (OSError, ValueError):
            return {}
        return info

    @property
    def is_bare(self) -> bool:
        """Whether nobody has written anything into it yet."""
        return not any(path.is_file() and path != self.lock for path in self.path.rglob("*"))

    def propose_config(self, text: str) -> None:
        """What a new run begins with, so that others find it; a run that goes on keeps what it has.

        `write_config` follows once the optimizer has taken it: what was refused stays in no run's way.
        """
        if self._is_new:
            self.write_config(text)
            self._is_proposed = True

    def write_config(self, text: str) -> None:
        """Write config.toml at once: whoever reads it finds the old or the new text.

        Comments that it begins with stay where the text has none, except of values that are others now.
        """
        aside = self.config.with_suffix(".new")
        aside.write_text(with_comments_of(self.config.read_text() if self.config.exists() else "", text))
        aside.replace(self.config)
        self._is_proposed = False

    @contextmanager
    def free_if_refused(self) -> Iterator[None]:
        """Where nothing comes of a new run in this block, under its lock, its folder goes and its name is free again.

        A folder that was there before stays.
        """
        try:
            yield
        except (Exception, KeyboardInterrupt) as error:
            code = exit_code(error)  # none of a bug, whose traceback goes into the folder
            if code == USAGE and self._is_proposed:
                self.config.unlink()
            if (code == USAGE or (code is not None and self.is_bare)) and not self.config.exists() and self._made_here:
                shutil.rmtree(self.path)
            raise

    def write_redis_url(self, url: str) -> None:
        """Keep the URL for `quintet status` and `scale`; readable by this user alone."""
        with os.fdopen(os.open(self.redis_url, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            file.write(url)

    def read_redis_url(self) -> str:
        """Undo `write_redis_url`.

        Raises:
            UsageError: the run never had one.
        """
        try:
            return self.redis_url.read_text().strip()
        except OSError as error:
            raise UsageError(f"{self.path} holds no Redis URL; give --redis-url") from error

    @property
    def is_live(self) -> bool:
        """Whether a controller drives it now."""
        try:
            with self.lock.open() as file:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except OSError:
            return False
        return False

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Be the only one who drives this run; the lock goes with the process, however it ends.

        Raises:
            UsageError: somebody else does, deleted it meanwhile, or began this new run before us.
        """
        try:
            file = self.lock.open("a+")
        except FileNotFoundError:
            raise self._was_deleted() from None
        with file:
            if not _lock(file.fileno()):
                file.seek(0)
                raise UsageError(
                    f"run {self.run} is being trained already, by process {file.read().strip() or 'unknown'}; "
                    "see `quintet status`, or choose another --run name"
                )
            if not self.lock.exists() or self.lock.stat().st_ino != os.fstat(file.fileno()).st_ino:
                raise self._was_deleted()
            if self._is_new and self.config.exists():
                raise _is_taken(self)
            file.truncate(0)
            file.write(str(os.getpid()))
            file.flush()
            yield

    def _was_deleted(self) -> UsageError:
        return UsageError(f"run {self.run} was deleted by another process a moment ago; start it again")


def _lock(descriptor: int) -> bool:
    """Whether the lock of an open file could be taken."""
    for _ in range(LOCK_TRIES):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            time.sleep(LOCK_RETRY_S)
    return False


def shown(path: Path, here: Path) -> str:
    """A path as a person meets it: from the folder `here`, where it lies in that; else as it is."""
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)


def create_run(run: str | None, game: str, runs: Path = RUNS) -> RunFolder:
    """A new run's folder; a run without a name is named after its game and the time, and never shares a folder.

    Raises:
        UsageError: the name is taken or cannot be a name.
    """
    if run is None:
        return _first_free(default_names(game), runs)
    # It may be there already, from a start that came to nothing.
    folder = _make(runs / checked(run)) or RunFolder(runs / run, is_new=True)
    if folder.config.exists():
        raise _is_taken(folder)
    folder.logs.mkdir(exist_ok=True)
    return folder


def create_beside(run: str, runs: Path = RUNS) -> RunFolder:
    """The folder of a new run that is named after another one: `cartpole-2`, `cartpole-3` ..."""
    stem = re.sub(r"-\d{1,3}$", "", run)
    return _first_free((checked(f"{stem}-{k}") for k in count(2)), runs)


def _first_free(names: Iterator[str], runs: Path) -> RunFolder:
    return next(folder for name in names if (folder := _make(runs / name)) is not None)


def _make(path: Path) -> RunFolder | None:
    """The folder of a new run, made now; None if there is one already."""
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        path.mkdir()
    except FileExistsError:
        return None
    folder = RunFolder(path, is_new=True, made_here=True)
    folder.logs.mkdir()
    return folder


def _is_taken(folder: RunFolder) -> UsageError:
    return UsageError(
        f"run {folder.run} exists already in {folder.shown(folder.path.parent)}/; go on with it: --run {folder.run} "
        "--resume; or say what else to do with --restart-behavior restart (again, under a new name) or overwrite; or "
        "choose another --run name"
    )


def delete_run(folder: RunFolder, forget: Callable[[], None] = lambda: None) -> None:
    """Delete a run's folder with all that is in it, and have it forgotten elsewhere, while nobody else can begin it.

    Raises:
        UsageError: it is being trained, or the folder is not certainly a run's.
    """
    if folder.path.is_symlink() or not folder.lock.is_file():
        raise UsageError(
            f"{folder.where} was not made by `quintet train`; delete it yourself, or choose another --run name"
        )
    with folder.locked():
        forget()
        shutil.rmtree(folder.path)


def open_run(run: str | None, runs: Path = RUNS) -> RunFolder:
    """An existing run's folder, by default the newest one's.

    Raises:
        UsageError: there is none.
    """
    if run is not None:
        folder = RunFolder(runs / checked(run))
        if not folder.config.is_file():
            raise UsageError(f"there is no run {run} in {runs}/{_known(runs)}")
        return folder
    folders = list_runs(runs)
    if not folders:
        raise UsageError(f"there is no run in {runs}/ yet; start one with `quintet train`")
    return folders[0]


def open_live(run: str | None, runs: Path = RUNS) -> RunFolder:
    """The folder of a run that is being trained now, by default the newest.

    Raises:
        UsageError: none is.
    """
    if run is not None:
        folder = open_run(run, runs)
        if not folder.is_live:
            raise UsageError(f"run {run} is not being trained now; go on with it: quintet train --run {run} --resume")
        return folder
    for folder in list_runs(runs):
        if folder.is_live:
            return folder
    raise UsageError(f"no run in {runs}/ is being trained now; start one with `quintet train`")


def checkpoint_path(path: Path, runs: Path = RUNS) -> Path:
    """The absolute path of the checkpoint that a person means: itself, or the newest of a run folder or a run's name.

    Raises:
        UsageError: there is none.
    """
    places = path.absolute(), (runs / path).absolute()
    for folder in places:
        if (folder / "checkpoint.json").is_file():
            return folder
        if RunFolder(folder).has_checkpoint:
            return folder / "checkpoints" / (folder / "checkpoints" / "latest").read_text().strip()
    if any((folder / "journal.jsonl").is_file() for folder in places):
        raise UsageError(
            f"run {path} has no checkpoint yet: one is saved every optimizer.checkpoint_s seconds, and at the end"
        )
    raise UsageError(f"there is no checkpoint at {path}: name a checkpoint folder, a run folder or a run{_known(runs)}")


def list_runs(runs: Path = RUNS) -> list[RunFolder]:
    """Every run's folder, the newest first."""
    paths = [path.parent for path in runs.glob("*/config.toml")]
    return [RunFolder(path) for path in sorted(paths, key=lambda p: (p / "config.toml").stat().st_mtime, reverse=True)]


def default_names(game: str) -> Iterator[str]:
    """`cartpole-v1-20261121-003512`, and what to try where that is taken: a number behind it."""
    slug = re.sub(r"[^a-z0-9]+", "-", game.rpartition(":")[2].lower()).strip("-") or "run"
    stem = f"{slug[:60]}-{time.strftime('%Y%m%d-%H%M%S')}"
    yield stem
    yield from (f"{stem}-{k}" for k in count(1))


def checked(run: str) -> str:
    """The name, if it can be one.

    Raises:
        UsageError: it cannot.
    """
    try:
        return check_run_name(run)
    except ValueError as error:
        raise UsageError(str(error)) from error


def _known(runs: Path) -> str:
    names = [folder.run for folder in list_runs(runs)[:5]]
    return f"; the newest: {', '.join(names)}" if names else ""
