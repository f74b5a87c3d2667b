"""The commands that look at what was learned: eval, explain, watch."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg

from quintet.control.errors import DONE
from quintet.explain.request import ExplainRequest


def evaluate(
    checkpoint: Positional[str],
    opponent: str | None = None,
    game: str | None = None,
    games: int = 1000,
    greedy: bool = False,
    seed: int = 1,
    save_replay: int = 0,
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
        save_replay: Keep so many games of skirmish, the first ones, in the run's replays folder.
        json: One JSON object instead of a table.
    """
    from quintet.cluster.processes.optimizer import PASSIVE_WAIT

    os.environ.update(PASSIVE_WAIT)  # before torch is loaded
    from quintet.evaluation.evaluate import EvalRequest
    from quintet.evaluation.evaluate import evaluate as carry_out

    carry_out(
        EvalRequest(
            player=checkpoint,
            opponent=opponent,
            game=game,
            games=games,
            greedy=greedy,
            seed=seed,
            save_replay=save_replay,
            json=json,
        )
    )
    return DONE


def explain(request: Annotated[ExplainRequest, arg(name="")]) -> int:
    """Explain a network and what goes on in it while it plays: a picture (SVG and PNG) and two paragraphs."""
    from quintet.cluster.processes.optimizer import PASSIVE_WAIT

    os.environ.update(PASSIVE_WAIT)  # before torch is loaded
    from quintet.explain.command import carry_out

    carry_out(request)
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
    from quintet.cluster.processes.optimizer import PASSIVE_WAIT

    os.environ.update(PASSIVE_WAIT)  # before torch is loaded
    from quintet.evaluation.watch import WatchRequest
    from quintet.evaluation.watch import watch as carry_out

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
