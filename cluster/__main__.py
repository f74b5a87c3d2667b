"""The command line `quintet`: one function per command, each of which loads what it needs and nothing else.

Exit codes: 0 done, 1 failed, 2 bad usage or configuration, 130 interrupted (a checkpoint is saved, --resume goes on).
A new command is a function in `cluster.cli.commands` and a line in COMMANDS.
"""

from __future__ import annotations

import faulthandler
import os
import sys
import threading
import time
from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any, NoReturn

import tyro
from tyro.conf import FlagCreatePairsOff

from quintet.cluster.cli import commands
from quintet.control.errors import report
from quintet.control.output import keep_stdout

LEAVE_WITHIN_S = 10.0  # enough for what libraries do at the end

COMMANDS: dict[str, Callable[..., Any]] = {
    "train": commands.train,
    "status": commands.status,
    "scale": commands.scale,
    "set": commands.set_settings,
    "doctor": commands.doctor,
    "check": commands.check,
    "eval": commands.evaluate,
    "watch": commands.watch,
    "explain": commands.explain,
    "dashboard": commands.dashboard,
    "optimizer": commands.optimizer,
    "controller": commands.controller,
    "node": commands.node,
    "secrets": commands.secrets,
    "exporter": commands.exporter,
}


def run(arguments: Sequence[str], *, own_process: bool = False) -> int:
    """Carry out one command line; returns the exit code. In a process of its own, stdout is kept for the command."""
    known = {name: _keeping_stdout(command) for name, command in COMMANDS.items()} if own_process else COMMANDS
    try:
        code: int = tyro.extras.subcommand_cli_from_dict(
            known,
            prog="quintet",
            description="Recurrent PPO by self-play: Ray rollout workers, Redis, one optimizer.",
            args=_split_overrides(arguments),
            config=(FlagCreatePairsOff,),
        )
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001  (the program's border: it becomes a line and a code)
        return report(error, None)
    return code


def _keeping_stdout(command: Callable[..., int]) -> Callable[..., int]:
    """The same command, whose stdout is its own. Help and errors of the command line come before that."""

    @wraps(command)
    def carry_out(*arguments: Any, **options: Any) -> int:
        keep_stdout()
        return command(*arguments, **options)

    return carry_out


def _split_overrides(arguments: Sequence[str]) -> list[str]:
    """`--set a=1 b=2` as `--set a=1 --set b=2`: both are meant."""
    words: list[str] = []
    in_set = False
    for word in arguments:
        if word.startswith("-"):
            in_set = word == "--set"
        elif in_set and words[-1] != "--set":
            words.append("--set")
        words.append(word)
    return words


def main() -> None:
    """The console script."""
    faulthandler.enable()  # a crash in a simulator's own code is told with the line that called it
    leave(run(sys.argv[1:], own_process=True))


def leave(code: int, within_s: float = LEAVE_WITHIN_S) -> NoReturn:
    """End the process, also where a thread that a game has started would hold it for ever."""
    if sum(not thread.daemon for thread in threading.enumerate()) > 1:
        threading.Thread(target=_leave_alone, args=(code, within_s), daemon=True).start()
    sys.exit(code)


def _leave_alone(code: int, within_s: float) -> None:
    time.sleep(within_s)  # and this thread goes with the process, if that can end by itself
    held = ", ".join(sorted(t.name for t in threading.enumerate() if not t.daemon and t is not threading.main_thread()))
    print(f"quintet: ends without the threads that the game still has: {held}", file=sys.stderr, flush=True)
    os._exit(code)


if __name__ == "__main__":
    main()
