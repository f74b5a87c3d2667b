"""The optimizer as a service: started by whoever keeps services up, before or after its run's controller."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable

from quintet.cluster.processes.health_file import touch_health_file, wait_for
from quintet.cluster.processes.optimizer import PREFIX, load_libraries, train_to_its_end
from quintet.cluster.processes.signals import on_signals
from quintet.control.errors import CRASHED, DONE, FAILED, LINK_DOWN
from quintet.control.output import say
from quintet.control.run_folder import RunFolder
from quintet.wire.errors import LinkDownError
from quintet.wire.link import Heartbeat
from quintet.wire.redis_link.link import RedisLink

PROCESS = "optimizer"
ENDED = "ended"  # in the last heartbeat: the exit code
SAID = "said"  # in the last heartbeat: why, in one line
POLL_S = 0.5
TELL_S = 30.0
SILENT_S = 60.0  # an optimizer whose heartbeat is older than this is not waited for
PULSE_S = 5.0
STUCK_S = 600.0  # no update of any network takes so long


def serve_optimizer(folder: RunFolder, redis_url: str) -> int:
    """Wait for Redis and for a controller that has the run open, train, and say how it ended; returns the exit code.

    waits for: Redis; a controller's lease on a run that is not stopping. unblocked by: these, or SIGTERM.
    produces: what `run_optimizer` does, and a last heartbeat with the exit code.
    """
    stopped = threading.Event()
    on_signals((signal.SIGTERM, signal.SIGINT), lambda *_: stopped.set())
    touch_health_file()
    load_libraries()
    with RedisLink(redis_url, folder.run) as link:
        if not wait_until_open(link, stopped):
            return DONE
        with _Pulse(link):
            code, said = train_to_its_end(folder, redis_url, start_from=None, hold=False, workers_here=False)
        if said:
            say(f"{PREFIX}{said}")
        on_signals([signal.SIGTERM], lambda *_: stopped.set())
        _say_how_it_ended(link, code, said)
        if code == DONE:  # started again at once, it would find the run open until the controller has heard
            wait_until(lambda: not _is_open(link), stopped, "the controller to end the run")
    return code


def wait_until_open(link: RedisLink, stopped: threading.Event) -> bool:
    """Wait until a controller has the run open; False if told to leave before."""
    return wait_until(lambda: _is_open(link), stopped, f"a controller that opens run {link.run} at {link.location}")


class _NotYetError(Exception):
    """What is waited for; the message names it."""


def wait_until(condition: Callable[[], bool], stopped: threading.Event, what: str) -> bool:
    """Wait for a condition that asks Redis, saying so now and then; False if told to leave before."""

    def ask() -> bool:
        try:
            if condition():
                return True
        except LinkDownError as error:
            raise _NotYetError(f"Redis: {error}") from error
        raise _NotYetError(what)

    def tell(why: Exception) -> None:
        say(f"quintet optimizer: waiting for {why}")

    return bool(wait_for(ask, _NotYetError, tell, stopped=stopped, retry_s=POLL_S, tell_s=TELL_S))


class OptimizerService:
    """An optimizer that somebody else keeps up, seen through its heartbeats: a `cluster.controller.OptimizerHost`."""

    def __init__(self, heartbeats: Callable[[], list[Heartbeat]], clock: Callable[[], float] = time.monotonic) -> None:
        self._heartbeats, self._clock = heartbeats, clock
        self._started_s = clock()
        self._said = "no sign of life"

    def start(self) -> None:
        """Not ours to start."""

    def poll(self) -> int | None:
        """Its exit status once it ended for good, None while it runs, is started again, or Redis does not answer."""
        beat = self._beat()
        if beat is None or ENDED not in beat.data:
            return None
        self._said = str(beat.data.get(SAID, ""))
        code = int(beat.data[ENDED])
        return None if code in (CRASHED, LINK_DOWN) else code

    def why_it_ended(self) -> str:
        """Why it ended, in one line."""
        return self._said

    def stop(self, grace_s: float) -> int:
        """Wait until it has left by itself (the run is stopping); returns its exit status."""
        deadline_s = self._clock() + grace_s
        while self._clock() < deadline_s:
            code = self.poll()
            if code is not None:
                return code
            beat = self._beat()
            if beat is None or beat.age_s > SILENT_S:
                break
            time.sleep(0.1)
        self._said = f"it did not say that it left within {grace_s:.0f} s; its last checkpoint stays"
        return FAILED

    def _beat(self) -> Heartbeat | None:
        """Its last heartbeat, if it is younger than this object."""
        try:
            beats = self._heartbeats()
        except LinkDownError:
            return None
        mine_s = self._clock() - self._started_s
        return next((beat for beat in beats if beat.process == PROCESS and beat.age_s < mine_s), None)


def _is_open(link: RedisLink) -> bool:
    """Whether a controller drives the run now."""
    message = link.control_message()
    return message.controller_alive and not message.stopping and bool(link.run_config())


class _Pulse:
    """A thread that touches the health file as long as Redis holds a young heartbeat of the optimizer."""

    def __init__(self, link: RedisLink) -> None:
        self._link, self._ended = link, threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        since_s = time.monotonic()
        while not self._ended.wait(PULSE_S):
            try:
                ages = [beat.age_s for beat in self._link.heartbeats() if beat.process == PROCESS]
            except LinkDownError:
                ages = [0.0]  # Redis is at fault, not this process
            if min([time.monotonic() - since_s, *ages]) < STUCK_S:
                touch_health_file()


def _say_how_it_ended(link: RedisLink, code: int, said: str) -> None:
    try:
        link.beat(PROCESS, {"pid": os.getpid(), ENDED: code, SAID: said[:500]})
    except LinkDownError:
        say("quintet optimizer: Redis is away; nobody hears how it ended")
