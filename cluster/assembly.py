"""What every way to drive a run does: its game is looked at, it is opened, its workers are kept up, and it ends."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from quintet.cluster.board import Board
from quintet.cluster.cli.check import refused, rehearsed
from quintet.cluster.controller import LEASE_S, Controller
from quintet.cluster.processes.signals import Interrupts
from quintet.cluster.recorder import Recorder, RunChannel
from quintet.cluster.worker_supervisor import Launcher, WorkerSupervisor
from quintet.control.config import RunConfig, check_config, dump_config, given_keys
from quintet.control.derivation import Derivation, Derived, derive, is_wholly_given, with_heading
from quintet.control.game_facts import facts_of, needs_play
from quintet.control.live_settings import with_known_format
from quintet.control.run_folder import RunFolder
from quintet.control.summary import Summary
from quintet.games.api import GameSpec
from quintet.wire.redis_link.client import needed_memory_bytes


@dataclass(frozen=True, kw_only=True, slots=True)
class FirstLook:
    """What is known of a run before anything of it is started."""

    config: RunConfig  # what nobody chose is derived from the game now
    spec: GameSpec
    derived: tuple[Derivation, ...]
    notes: list[str]  # lines to say
    rehearse: Callable[[], list[str]]  # plays a few rows, if that is still to be done; returns more lines

    @property
    def lines(self) -> list[str]:
        """All there is to say yet: what was derived, then the notes."""
        heading = ["derived from the game, for nobody chose it (any of it can be chosen with --set):"]
        return [*(heading if self.derived else ()), *(f"  {line}" for line in self.derived), *self.notes]


def look_at_game(config: RunConfig, logs: Path | None) -> FirstLook:
    """Build the game once, derive from it what nobody chose, and check it all.

    What the game's spec leaves open is seen in its rehearsal, a few rows of random play, which is done here then; else
    it is still to be done. What a game compiles and caches at its first step is there for all workers after it.

    Raises:
        UsageError: no such game, or one that keeps no contract. So does the rehearsal, and it also raises a
            RunFailedError for what nothing can be trained on; a traceback is kept in `logs`.
        ConfigError: numbers that do not go together.
    """
    from quintet.games.registry import make_game  # gymnasium takes its time

    with refused(logs):
        game = make_game(config.game, 1, config.seed, config.game_options)
    rehearse, given = partial(rehearsed, config, game, logs), given_keys(config)
    derived, warnings = Derived(config), None
    if not is_wholly_given(given):
        warnings, seen = rehearse() if needs_play(game.spec) else (None, None)
        derived = derive(config, given, facts_of(game.spec, seen, config))
    return FirstLook(
        config=derived.config,
        spec=game.spec,
        derived=derived.lines,
        notes=[f"note: {note}" for note in check_config(derived.config, game.spec)] + (warnings or []),
        rehearse=(lambda: rehearse()[0]) if warnings is None else list[str],
    )


def check_game(config: RunConfig, logs: Path | None = None) -> FirstLook:
    """A first look with its rehearsal done; raises what `look_at_game` and that raise."""
    look = look_at_game(config, logs)
    return replace(look, notes=[*look.notes, *look.rehearse()], rehearse=list[str])


def logs_kept(folder: RunFolder) -> Path | None:
    """The logs of a run that has begun before: the folder of one that is refused at its first start is deleted."""
    return folder.logs if folder.config.exists() else None


def begin(
    link: RunChannel,
    config: RunConfig,
    look: FirstLook,
    folder: RunFolder,
    board: Board,
    started_s: float,
    *,
    workers: int | None = None,
    text: str = "",
) -> tuple[RunConfig, Recorder]:
    """Open a run on its link, in its folder and in a recorder, and say so; its configuration has the number format now.

    `config` is that of the look, with what was asked for since.

    Raises:
        SpecMismatchError: the link holds this run with another game or network.
    """
    config = with_known_format(config, folder, link.run_config())
    open_link(link, config, look.spec, workers)
    folder.propose_config(with_heading(dump_config(config), look.derived))
    for line in look.lines:
        board.say(line)
    recorder = Recorder(folder=folder, config=config, link=link, board=board, started_s=started_s)
    text = text or f"ready after {recorder.wall_s:.1f} s"
    recorder.note("resumed" if folder.has_checkpoint else "started", text=text)
    return config, recorder


def open_link(link: RunChannel, config: RunConfig, game: GameSpec, workers: int | None = None) -> None:
    """Open the run on its link and say what is wanted: so many workers, else as many as the configuration says.

    Raises:
        SpecMismatchError: the link holds this run with another game or network.
    """
    from quintet.games.spec_text import spec_to_text

    link.open_run(
        spec_hash=config.chunk_spec(game).hash,
        config_text=dump_config(config),
        max_queued_steps=config.wire.max_queued_steps(
            batch_steps=config.optimizer.batch_steps, chunk_steps=config.rollout.chunk_steps * game.agents_per_team
        ),
        max_queue_bytes=config.wire.max_queue_bytes,
    )
    link.keep_game_spec(spec_to_text(game))
    link.set_wanted_workers(config.rollout.workers if workers is None else workers)
    link.hold_lease(LEASE_S)


def supervise(launcher: Launcher, link: RunChannel, recorder: Recorder, workers: int) -> WorkerSupervisor:
    """Who keeps so many workers up; those that an earlier controller left playing go on."""
    supervisor = WorkerSupervisor(launcher, link, recorder, keep_traceback=partial(keep_traceback, recorder.folder))
    supervisor.adopt(workers)
    return supervisor


def drive(controller: Controller, interrupts: Interrupts) -> tuple[str, Summary]:
    """Go on until the run is at its end, and end its processes; why it ended, and the summary."""
    interrupts.defer()
    recorder = controller.recorder
    with recorder.failing():
        reason = controller.run()
        controller.wind_down(reason)
    recorder.show("ending")
    return reason, recorder.close()


def needed_redis_bytes(config: RunConfig, workers: int) -> int:
    """What the run's Redis must have room for."""
    return needed_memory_bytes(
        max_queue_bytes=config.wire.max_queue_bytes, workers=workers, weights_bytes=_weights_bytes(config)
    )


def _weights_bytes(config: RunConfig) -> int:
    """A generous estimate of a version's bytes, made without torch: LSTM and neighbours, and half as much again."""
    units, encoder = config.model.lstm_units, config.model.hidden_units
    lstm = 4 * units * (units + encoder + 2)
    return int(1.5 * 4 * (lstm + 8 * encoder * encoder)) + 2**20


def let_children_find_our_code() -> None:
    """Children start from other scripts than ours: they get the folder of our code and the one we are in."""
    root = str(Path(__file__).absolute().parents[2])
    places = [root, os.getcwd(), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
    os.environ["PYTHONPATH"] = os.pathsep.join(dict.fromkeys(place for place in places if place))


def keep_traceback(folder: RunFolder, worker: int, text: str) -> Path:
    """Append the traceback of a worker that failed to its log in the run folder; returns the log's path."""
    path = folder.logs / f"worker-{worker}.log"
    with path.open("a", encoding="utf-8", errors="backslashreplace") as file:
        file.write(text.rstrip() + "\n\n")
    return path
