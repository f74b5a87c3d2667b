"""A run that trains in a thread of one's own program: `quintet.train`."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Self

from quintet.cluster.board import Board, BoardState
from quintet.cluster.in_process import train_in_process
from quintet.control.config import RunConfig, as_complete, check_alone, load_config
from quintet.control.errors import UsageError
from quintet.control.run_folder import RunFolder, checkpoint_path, create_run, open_run
from quintet.control.summary import Summary


def train(
    config: RunConfig | str | Path | None = None,
    overrides: Sequence[str] = (),
    *,
    run: str | None = None,
    resume: bool = False,
    start_from: str | Path | None = None,
    quiet: bool = True,
) -> Training:
    """Begin a run in a thread of this process: one worker and the optimizer by turns, without Redis and Ray.

    Args:
        config: a configuration (`load_config`), a TOML file, or the name of one that ships with Quintet. What differs
            by game and was not given is derived from the game: of a `RunConfig` made by hand, what is as by default.
        overrides: of any key, as `--set` takes them: `"game=gymnasium:CartPole-v1"`, `"agent_steps=5000"`.
        run: its name; the game's and the time, if left out. Its files are in `runs/<run>/` of the current folder.
        resume: go on with the run of this name, or with the newest, by its own configuration.
        start_from: a checkpoint with whose weights a new run begins.
        quiet: print nothing; else the lines or the board of `quintet train`.

    Raises:
        ConfigError: the configuration cannot be read, or no run can have it.
        UsageError: arguments that do not go together, or a name that is taken.
    """
    if resume:
        if config is not None or start_from is not None:
            raise UsageError("resume goes on with the run's own configuration and checkpoint: leave out the others")
        folder = open_run(run)
        settings = as_complete(load_config(folder.config, overrides))
        check_alone(settings)
    else:
        if isinstance(config, RunConfig) and overrides:
            raise UsageError("overrides change what is read from a file: hand them to load_config")
        settings = (
            config
            if isinstance(config, RunConfig)
            else load_config(None if config is None else Path(config), overrides)
        )
        check_alone(settings)
        folder = create_run(run, settings.game)
    return Training(settings, folder, start_from=None if start_from is None else Path(start_from), quiet=quiet)


class Training:
    """A run under way in a thread; as a context manager it is stopped at the end of the block.

    Attributes:
        run: its name.
        folder: its files.
    """

    def __init__(self, config: RunConfig, folder: RunFolder, *, start_from: Path | None, quiet: bool) -> None:
        self.run, self.folder = folder.run, folder.path
        self._config, self._folder, self._start_from = config, folder, start_from
        self._board = Board(quiet=quiet)
        self._stop, self._over = threading.Event(), threading.Event()
        self._ended: tuple[str, Summary] | None = None
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._train, name=f"quintet {folder.run}", daemon=True)
        self._thread.start()
        # A program that ends keeps what was learned. `atexit` would be too late: by then no thread pool takes work any
        # more, and workers fetch weights in one.
        threading._register_atexit(self._leave)  # type: ignore[attr-defined]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def running(self) -> bool:
        """Whether it still trains."""
        return not self._over.is_set()

    @property
    def reason(self) -> str:
        """Why it ended: "budget", "interrupted", what was reached; empty before."""
        return self._ended[0] if self._ended else ""

    @property
    def checkpoint(self) -> Path | None:
        """The newest checkpoint's folder, for `load_policy`; None before the first."""
        return checkpoint_path(self.folder) if self._folder.has_checkpoint else None

    def status(self) -> BoardState | None:
        """The newest look at the run: its stage, the newest metrics by name (`row`), where all steps went (`counters`).

        None before the first.
        """
        return self._board.state

    def wait(self, timeout_s: float | None = None) -> Summary | None:
        """Wait until it ends, for so long at most; its summary, or None while it still trains. Ctrl-C stops it.

        Raises:
            UsageError, ConfigError, GameError, RunFailedError, CheckpointError: why it cannot go on, in one line.
        """
        try:
            ended = self._over.wait(timeout_s)  # not `join`: after Ctrl-C in it a thread counts as ended, up to 3.12
        except KeyboardInterrupt:
            self._leave()
            raise
        if not ended:
            return None
        if self._error is not None:
            raise self._error
        return self._ended and self._ended[1]

    def stop(self) -> Summary | None:
        """Ask it to end now, with a checkpoint, and wait for that; raises what `wait` does."""
        self._stop.set()
        return self.wait()

    def _train(self) -> None:
        folder, config = self._folder, self._config
        try:
            with folder.locked(), folder.free_if_refused(), self._board as board:
                self._ended = train_in_process(
                    config, folder, board, time.monotonic(), start_from=self._start_from, stop=self._stop
                )
        except BaseException as error:  # noqa: BLE001  (raised again by `wait`)
            self._error = error
        finally:
            self._over.set()

    def _leave(self) -> None:
        self._stop.set()
        self._over.wait()
