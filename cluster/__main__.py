"""The command line `quintet`: one function per command, each of which loads what it needs and nothing else.

Exit codes: 0 done, 1 failed, 2 bad usage or configuration, 130 interrupted (a checkpoint is saved, --resume goes on).
A new command is a function here and a line in COMMANDS; its docstring and annotations are its help.
"""

from __future__ import annotations

import json as json_module
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro
from tyro.conf import FlagCreatePairsOff, Positional, UseAppendAction, arg

from cluster.failure import DONE, REDIS_URL, UsageError, report

Overrides = Annotated[UseAppendAction[tuple[str, ...]], arg(name="set", metavar="KEY=VALUE")]
StartFrom = Annotated[Path | None, arg(name="from", metavar="CHECKPOINT")]


def train(
    config: Path | None = None,
    run: str | None = None,
    game: str | None = None,
    agent_steps: int | None = None,
    minutes: float | None = None,
    until: str | None = None,
    workers: int | None = None,
    seed: int | None = None,
    device: str | None = None,
    overrides: Overrides = (),
    resume: bool = False,
    start_from: StartFrom = None,
    in_process: bool = False,
    json: bool = False,
    redis_url: str | None = None,
    redis_port: int = 0,
    ray_address: str | None = None,
    cores_per_worker: float = 1.0,
) -> int:
    """Train a recurrent policy. Without options: CartPole, on this machine, until Ctrl-C.

    Args:
        config: A TOML file, or the name of one that ships with Quintet.
        run: The run's name; its files are in runs/NAME/. Made of the game and the time if left out.
        game: gymnasium:CartPole-v1, pettingzoo:pettingzoo.classic.tictactoe_v3, my_module:make ...
        agent_steps: Stop after so many agent steps. A budget given here replaces those of the configuration.
        minutes: Stop after so many minutes.
        until: Stop when a metric is reached, for example charts/episodic_return=475.
        workers: Rollout workers at the start; `quintet scale` changes it later.
        seed: Seeds the first weights, the games and the sampling of actions.
        device: Where the optimizer computes: auto, cpu, cuda, cuda:1.
        overrides: Any key of the configuration, for example --set ppo.learning_rate=1e-4. May be repeated.
        resume: Go on with the run named by --run, or with the newest.
        start_from: Start a new run with the weights of a checkpoint or of another run.
        in_process: Everything in this one process, without Redis and Ray: for debugging.
        json: Print the summary as the last line of stdout.
        redis_url: A Redis server to use instead of a private one: redis://:password@host:port
        redis_port: Port of the private Redis; 0 takes any free one.
        ray_address: A Ray cluster whose cores the workers use.
        cores_per_worker: What a worker claims; less than 1 lets workers share cores.
    """
    from cluster.run_folder import checkpoint_path
    from cluster.start_up import Resources
    from cluster.train import TrainRequest
    from cluster.train import train as carry_out

    budget = {"agent_steps": agent_steps, "minutes": minutes, "until": until}
    if any(value is not None for value in budget.values()):
        budget = {key: "none" if value is None else value for key, value in budget.items()}
    wanted = {**budget, "game": game, "rollout.workers": workers, "seed": seed, "device": device}
    given = [f"{key}={_toml(value)}" for key, value in wanted.items() if value is not None]
    return carry_out(
        TrainRequest(
            config=config,
            overrides=(*given, *overrides),
            run=run,
            resume=resume,
            start_from=None if start_from is None else checkpoint_path(start_from),
            in_process=in_process,
            json=json,
            resources=Resources(
                redis_url=redis_url or (None if in_process else os.environ.get(REDIS_URL)),
                redis_port=redis_port,
                ray_address=ray_address,
                cores_per_worker=cores_per_worker,
            ),
        )
    )


def _toml(value: object) -> str:
    """A value as `--set` reads it; a text in quotes, so that no text is mistaken for a number."""
    return json_module.dumps(value) if isinstance(value, str) and value != "none" else str(value)


def optimizer(run_folder: Path, start_from: StartFrom = None, hold: bool = False) -> int:
    """Run the optimizer alone: the process that trains. QUINTET_REDIS_URL says where the run is open. Needs no Ray.

    Args:
        run_folder: runs/NAME; its newest checkpoint is gone on from.
        start_from: A checkpoint whose weights a new run starts with.
        hold: Load the libraries, then wait until stdin is closed.
    """
    from cluster.optimizer_process import run_optimizer
    from cluster.run_folder import RunFolder

    url = os.environ.get(REDIS_URL)
    if not url:
        raise UsageError(f"{REDIS_URL} is not set: the optimizer needs redis://:password@host:port of its run")
    return run_optimizer(RunFolder(run_folder), url, start_from=start_from, hold=hold)


def status(run: str | None = None, json: bool = False, redis_url: str | None = None) -> int:
    """Say how far a run is, who lives, where the steps went, and which stage starves.

    Args:
        run: The run's name; the newest that is being trained if left out.
        json: One JSON object instead of a table.
        redis_url: Where the run is open, if it is not one of this folder's.
    """
    from cluster.live import print_status

    print_status(run, redis_url or os.environ.get(REDIS_URL), as_json=json)
    return DONE


def scale(workers: Positional[int], run: str | None = None, redis_url: str | None = None) -> int:
    """Change how many rollout workers a run has while it goes on.

    Args:
        workers: How many from now on.
        run: The run's name; the newest that is being trained if left out.
        redis_url: Where the run is open, if it is not one of this folder's.
    """
    from cluster.live import scale as carry_out

    print(carry_out(workers, run, redis_url or os.environ.get(REDIS_URL)))
    return DONE


def evaluate(
    checkpoint: Positional[str],
    opponent: str | None = None,
    game: str | None = None,
    games: int = 1000,
    greedy: bool = False,
    seed: int = 1,
    json: bool = False,
) -> int:
    """Have a checkpoint or a bot play whole games: win rates per seat with 95 % intervals, or mean returns.

    The same command gives the same numbers.

    Args:
        checkpoint: A checkpoint folder, a run folder or a run's name: then its newest checkpoint. Or bot:NAME, random.
        opponent: random, bot:NAME, or another checkpoint. Random if left out.
        game: What is played where neither is a checkpoint, for example skirmish-5v5.
        games: How many, split evenly over the seats.
        greedy: Take the likeliest action instead of a drawn one.
        seed: Seeds the games and the drawing of actions.
        json: One JSON object instead of a table.
    """
    from cluster.optimizer_process import PASSIVE_WAIT

    os.environ.update(PASSIVE_WAIT)  # before torch is loaded
    from cluster.evaluator import EvalRequest
    from cluster.evaluator import evaluate as carry_out

    carry_out(
        EvalRequest(player=checkpoint, opponent=opponent, game=game, games=games, greedy=greedy, seed=seed, json=json)
    )
    return DONE


def explain(
    topic: Positional[Literal["model"]],
    checkpoint: Positional[Path | None] = None,
    game: str | None = None,
    config: Path | None = None,
    overrides: Overrides = (),
    out: Path | None = None,
) -> int:
    """Draw the network of a game, a configuration or a checkpoint: every shape, every parameter count.

    Args:
        topic: What to explain.
        checkpoint: A checkpoint folder, a run folder or a run's name; without one, --game or --config says what.
        game: gymnasium:CartPole-v1, skirmish-5v5, my_module:make ...
        config: A TOML file, or the name of one that ships with Quintet.
        overrides: Any key of the configuration, for example --set model.lstm_units=1024. May be repeated.
        out: The SVG to write; named after the game and the size if left out.
    """
    from cluster.explain import ExplainRequest, explain_model

    assert topic == "model"
    request = ExplainRequest(checkpoint=checkpoint, game=game, config=config, overrides=overrides, out=out)
    explain_model(request)
    return DONE


def watch(
    what: Positional[str],
    opponent: str | None = None,
    game: str | None = None,
    eyes: Literal["both", "blue", "red"] = "both",
    speed: float = 4.0,
    fps: float = 10.0,
    width: int = 640,
    gif: Path | None = None,
    mp4: Path | None = None,
    save: Path | None = None,
    seed: int = 1,
    greedy: bool = False,
) -> int:
    """Show a game of skirmish: a replay, or one that is played now. In the terminal, or as a film.

    Args:
        what: A replay's file; or who plays blue: a checkpoint, a run, bot:NAME or random.
        opponent: Who plays red in a fresh game: random, bot:NAME or a checkpoint. Random if left out.
        game: What is played where neither is a checkpoint, for example skirmish-5v5.
        eyes: Show what both teams have, or what one of them sees through the fog.
        speed: Times as fast as the game's own clock.
        fps: Pictures a second.
        width: Of a film, in pixels.
        gif: Write an animated GIF.
        mp4: Write an MP4; needs ffmpeg.
        save: Keep a fresh game as a replay.
        seed: Seeds a fresh game and the drawing of actions.
        greedy: Policies take their likeliest action instead of a drawn one.
    """
    from cluster.optimizer_process import PASSIVE_WAIT

    os.environ.update(PASSIVE_WAIT)  # before torch is loaded
    from cluster.watch import WatchRequest
    from cluster.watch import watch as carry_out

    carry_out(
        WatchRequest(
            what=what,
            opponent=opponent,
            game=game,
            eyes=eyes,
            speed=speed,
            fps=fps,
            width=width,
            gif=gif,
            mp4=mp4,
            save=save,
            seed=seed,
            greedy=greedy,
        )
    )
    return DONE


COMMANDS: dict[str, Callable[..., Any]] = {
    "train": train,
    "status": status,
    "scale": scale,
    "eval": evaluate,
    "watch": watch,
    "explain": explain,
    "optimizer": optimizer,
}


def run(arguments: Sequence[str]) -> int:
    """Carry out one command line; returns the exit code."""
    try:
        code: int = tyro.extras.subcommand_cli_from_dict(
            COMMANDS,
            prog="quintet",
            description="Recurrent PPO by self-play: Ray rollout workers, Redis, one optimizer.",
            args=_split_overrides(arguments),
            config=(FlagCreatePairsOff,),
        )
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001  (the program's border: it becomes a line and a code)
        return report(error, None)
    return code


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
    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
