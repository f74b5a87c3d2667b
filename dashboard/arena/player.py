"""The Arena's own process: at the lowest priority, it plays what the dashboard asks for, and only when it is asked.

Loop of `serve`:
    consumes    questions of the dashboard, from stdin: {"ask": "open" | "more" | "drop", "show": ...}
    waits for   the next question; nothing is played ahead
    unblocked by  the dashboard; it ends when the dashboard closes the pipe, and so never outlives it
    produces    one answer each, to stdout: {"setting"}, {"frames", "done"}, {} or {"error"}
"""

from __future__ import annotations

import os
import sys
import time
from typing import IO, TYPE_CHECKING, Any

from quintet.dashboard.arena.request import ArenaError, StreamRequest, request_from
from quintet.dashboard.arena.stream_server import packed, receive

if TYPE_CHECKING:
    from quintet.dashboard.arena.frame import FrameSource

NICENESS = 19
MOST_FRAMES = 400  # of one answer
ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "SDL_VIDEODRIVER": "dummy",  # games that draw with pygame need no screen
    "PYGAME_HIDE_SUPPORT_PROMPT": "1",
}


class ArenaPlayer:
    """The sessions that are on in this process."""

    def __init__(self) -> None:
        self.sources: dict[str, FrameSource] = {}

    def answer(self, question: dict[str, Any]) -> dict[str, Any]:
        """What the dashboard is told. What cannot be shown is an answer too: its reason, in one line."""
        from quintet.control.config import ConfigError
        from quintet.games.api import GameError
        from quintet.optimizer.checkpoint import CheckpointError

        try:
            return self._answer(question)
        except (ArenaError, GameError, CheckpointError, ConfigError) as error:
            return {"error": str(error)}

    def close(self) -> None:
        """End every session."""
        for source in self.sources.values():
            source.close()
        self.sources.clear()

    def _answer(self, question: dict[str, Any]) -> dict[str, Any]:
        from quintet.dashboard.arena.frame import encode

        request = request_from(question["show"])
        if question["ask"] == "drop":
            source = self.sources.pop(request.key, None)
            if source is not None:
                source.close()
            return {}
        source = self.sources.get(request.key)
        if question["ask"] == "open":
            if source is not None:
                source.close()
            self.sources[request.key] = opened(request)
            return {"setting": encode(self.sources[request.key].setting)}
        if source is None:
            raise ArenaError("this show is not on; open it again")
        return _more(source, int(question["most"]), float(question["for_s"]))


def opened(request: StreamRequest) -> FrameSource:
    """Begin a session.

    Raises:
        ArenaError, GameError, CheckpointError, ConfigError: it cannot be shown, and why.
    """
    if request.replay:
        from quintet.dashboard.arena.recording import Recording

        return Recording(request)
    from quintet.dashboard.arena.game import Game

    return Game(request)


def _more(source: FrameSource, most: int, for_s: float) -> dict[str, Any]:
    """The next frames: at most so many, and no more once so much time has gone by."""
    from quintet.dashboard.arena.frame import encode

    frames: list[bytes] = []
    end = time.monotonic() + for_s
    while len(frames) < min(most, MOST_FRAMES):
        frame = source.next()
        if frame is None:
            return {"frames": frames, "done": True}
        frames.append(encode(frame))
        if time.monotonic() >= end:
            break
    return {"frames": frames, "done": False}


def serve(questions: IO[bytes], answers: IO[bytes]) -> None:
    """Answer until the dashboard is gone."""
    player = ArenaPlayer()
    try:
        while (question := receive(questions)) is not None:
            answers.write(packed(player.answer(question)))
            answers.flush()
    except BrokenPipeError:
        pass  # the dashboard is gone, and so is whoever watched
    finally:
        player.close()


def main() -> None:
    """Become the player: everything that games print goes to stderr, since stdout belongs to the answers."""
    os.environ.update(ENVIRONMENT)
    os.nice(NICENESS - os.nice(0))
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    import torch

    torch.set_num_threads(1)
    with answers:
        serve(sys.stdin.buffer, answers)


if __name__ == "__main__":
    main()
