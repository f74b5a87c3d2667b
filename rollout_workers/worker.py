"""The rollout worker's loop: play a window, send the chunks that closed, look for new weights and control messages."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import Literal

import psutil

from quintet.games.api import VectorGame
from quintet.games.episodes import Episode
from quintet.model.policy import Policy
from quintet.model.weights import load_weights
from quintet.rollout_workers.chunker import Chunker
from quintet.rollout_workers.config import RolloutConfig
from quintet.rollout_workers.guarded_game import guard
from quintet.rollout_workers.pulse import pulsing
from quintet.rollout_workers.self_play import SelfPlay
from quintet.wire.chunk import TrajectoryChunk, chunk_spec
from quintet.wire.codec import encode_chunk
from quintet.wire.config import WireConfig
from quintet.wire.errors import DecodeError, LinkDownError, WeightsRefusedError
from quintet.wire.link import ControlMessage, EncodedWeights, PendingChunk, Registration, WorkerLink
from quintet.wire.reports import MAX_REPORT_BYTES, PhaseTimer
from quintet.wire.retry import RETRY_S, until_up

Reason = Literal["stopping", "scaled_down", "controller_lost", "node_leaves"]

HEARTBEAT_S = 1.0
PUSHED_AT_ONCE = 16  # chunks of one call: what a stream that is full refuses has travelled in vain
LATE_S = 2.5  # a loop that has not beaten for so long is in one long call, and a thread says so
TOLD_ROW_S = 0.5  # rows that take longer are told of
PART_WINDOW_S = 2.0  # a worker that is to leave plays its window to the end if that takes no longer
ROOM_POLL_S = 0.002  # how often a worker asks whether the stream has room again
REGISTER_S = 30.0  # how long a worker that starts waits for a link that is down
LEASE_GRACE_S = 5.0  # a lease may end for a moment though its controller runs: Redis was away, or its clock jumped
LOOK_S = 0.05  # the least time between two looks within a window, or while the stream is full
FETCH_PATIENCE_S = 0.5  # or a window's time; once per fetch: over a slow network a worker had better play on
LAST_PUSH_S = 30.0  # how long a worker that leaves waits for room for its last chunks: an update may take so long
LAST_PUSH_WHEN_STOPPING_S = 0.3  # the optimizer may have left already, and then nobody makes room
NOT_STARTED = ControlMessage(version=0, wanted_workers=1 << 30, stopping=False, controller_alive=True)


class Worker:
    """One worker: its games, its policy, its chunks. `start`, then `run`, or step by step."""

    registration: Registration  # from `start` on
    play: SelfPlay  # likewise

    def __init__(
        self,
        *,
        game: VectorGame,
        policy: Policy,
        run: str,
        config: RolloutConfig,
        wire: WireConfig,
        link: WorkerLink,
        worker: int,
        seed: int,
    ) -> None:
        """`worker` is its number. The link is left alone until `start`."""
        self.link, self.policy, self.wire, self.seed = link, policy, wire, seed
        self.number, self.name = worker, f"worker/{worker}"
        self.spec = chunk_spec(
            game.spec,
            lstm_units=policy.config.lstm_units,
            bptt_steps=config.bptt_steps,
            chunk_steps=config.chunk_steps,
        )
        self.timer = PhaseTimer()
        self.chunker = Chunker(self.spec, run=run, slots=game.n_games)
        self.game = guard(game)
        self.beating, self.row_s, self.row_began_s = threading.Lock(), 0.0, 0.0
        self.polled_s = self.beaten_s = float("-inf")
        self.pending: deque[PendingChunk] = deque()
        self.version = 0
        self.message = NOT_STARTED
        self.lease_missed_s: float | None = None  # since when nobody holds the controller's lease
        self.leave_requested = False  # set by a signal: the machine is about to go
        self.fetching: Future[EncodedWeights | None] | None = None
        self.fetch_patience_s = self.window_s = 0.0  # how long the last window took
        self.fetcher = ThreadPoolExecutor(1, thread_name_prefix="weights")

    def start(self) -> None:
        """Register, for up to `REGISTER_S` while the link is down, and reset the games.

        Raises:
            LinkError: nobody answers, or the run is not open.
            GameError: the game's own.
        """
        # A registration whose answer was lost is closed by the next one.
        deadline_s = time.monotonic() + REGISTER_S
        self.registration = until_up(
            lambda: self.link.register(self.number, self.spec.hash), give_up=lambda: time.monotonic() > deadline_s
        )
        self.chunker.register(self.registration)
        # Each incarnation plays other games: a replaced worker must not repeat its predecessor's.
        seed = self.seed + 7919 * self.registration.incarnation
        with pulsing(self._is_late, self._send_heartbeat):  # games may take long to reset
            self.play = SelfPlay(self.game, self.policy, self.chunker, seed=seed, timer=self.timer)

    def run(self) -> Reason:
        """Play until told to leave.

        consumes: weights, control messages.
        waits for: the first version; room in the stream.
        unblocked by: the optimizer's first publish; its acknowledgement of a batch.
        produces: chunks, episode reports, heartbeats, and at the end a deregistration.
        """
        with pulsing(self._is_late, self._send_heartbeat):
            reason = self._reason_to_leave()
            while reason is None:
                if self._ready():
                    self.play_window()
                    self._send(until_s=None)
                self._beat()
                reason = self._reason_to_leave()
            self._leave()
        return reason

    def _is_late(self) -> bool:
        return time.monotonic() - self.beaten_s > LATE_S

    def _ready(self) -> bool:
        """Whether to play now, with the newest weights at hand."""
        self._poll()
        self._take_weights(wait=self.version == 0)
        if self.version == 0:
            with self.timer.phase("wait"):
                time.sleep(0.02)
        return self.version > 0

    def play_window(self) -> None:
        """One window with the newest weights at hand; its chunks wait in `pending` until they are pushed."""
        began_s = time.monotonic()
        self.row_began_s = 0.0
        self._encode(self.play.play_window(self.version, self._between_rows))
        self.window_s = time.monotonic() - began_s

    def step_in_process(self) -> bool:
        """For a loop that owns both ends: newest weights, one window, one push. False while there is no room."""
        if not self._push():
            return False
        if not self._take_news():
            return False
        if self.version:
            self.play_window()
            self._push()
        self._beat()
        return True

    def _take_news(self) -> bool:
        """At a window's border, in a process that the optimizer shares; False where it is the optimizer's turn."""
        self._poll()
        self._take_weights(wait=True)
        return True

    def _between_rows(self, row: int) -> bool:
        """Send a heartbeat and look for news; whether to leave here, since the rest would take too long."""
        now = time.monotonic()
        if self.row_began_s:
            self.row_s = now - self.row_began_s
        self.row_began_s = now
        self._beat()
        return self._leaves_within(row)

    def _leaves_within(self, row: int) -> bool:
        """Whether to leave before this row of the window; looks for news."""
        self._look()
        rows = self.spec.bptt_steps
        if not row or (rows - row) * self.row_s <= PART_WINDOW_S or self._reason_to_leave() is None:
            return False
        said = f"leaves after row {row} of a window of {rows}: its games are cut off there, what was played is kept"
        self.link.report(self.name, "event", {"event": "note", "message": said})
        return True

    def _look(self) -> None:
        """Between two borders: what is announced now is fetched meanwhile and here by the border."""
        self._poll(least_s=LOOK_S)

    def _poll(self, least_s: float = 0.0) -> None:
        """Read the control message, at most every `poll_s` and every `least_s`."""
        now = time.monotonic()
        if now - self.polled_s < max(self.wire.poll_s, least_s):
            return
        self.polled_s = now
        try:
            self.message = self.link.control_message()
        except LinkDownError:  # play on with what is known; a lost controller shows in its lease
            self.polled_s += RETRY_S
            self.lease_missed_s = None  # it may have ended while it could not be renewed
            return
        if self.message.controller_alive:
            self.lease_missed_s = None
        elif self.lease_missed_s is None:
            self.lease_missed_s = time.monotonic()
        self._fetch()

    def _fetch(self) -> None:
        """Begin to fetch the announced version, where it is another."""
        if self.message.version != self.version and self.fetching is None:
            self.fetching = self.fetcher.submit(self._latest)
            self.fetch_patience_s = max(FETCH_PATIENCE_S, self.window_s)

    def _take_weights(self, *, wait: bool) -> None:
        """Swap in fetched weights. Only ever called at a window border.

        A fetch that is nearly there is worth waiting for: the window about to be played would be a version older.
        """
        if self.fetching is None:
            return
        try:
            weights = self.fetching.result(timeout=None if wait else self.fetch_patience_s)
        except TimeoutError:
            self.fetch_patience_s = 0.0
            return
        except LinkDownError:
            weights = None
        self.fetching = None
        self._load(weights)

    def _latest(self) -> EncodedWeights | None:
        """The newest weights, if they are others than these.

        Raises:
            WeightsRefusedError: nobody can read what was published.
        """
        try:
            return self.link.latest(self.version)
        except DecodeError as error:
            raise WeightsRefusedError(f"{self.name} cannot read the run's weights: {error}") from error

    def _load(self, weights: EncodedWeights | None) -> None:
        """Take these, if there are any.

        Raises:
            WeightsRefusedError: they are of another network or number format.
        """
        if weights is None:
            return
        try:
            load_weights(self.policy, weights)
        except DecodeError as error:
            raise WeightsRefusedError(f"{self.name} cannot play with version {weights.version}: {error}") from error
        self.version = weights.version

    def _encode(self, chunks: list[TrajectoryChunk]) -> None:
        with self.timer.phase("encode"):
            for chunk in chunks:
                self.pending.append(
                    PendingChunk(
                        worker=chunk.worker,
                        incarnation=chunk.incarnation,
                        sequence=chunk.sequence,
                        cumulative_steps=chunk.cumulative_steps,
                        steps=chunk.steps,
                        payload=encode_chunk(chunk, self.spec, compress=self.wire.compress),
                    )
                )

    def _push(self) -> bool:
        """Offer what is pending until some of it is refused; True when nothing is left."""
        with self.timer.phase("push"):
            while self.pending:
                offered = list(islice(self.pending, PUSHED_AT_ONCE))
                safe = self.link.push(offered)
                for _ in range(safe):
                    self.pending.popleft()
                if safe < len(offered):
                    return False
        return True

    def _send(self, until_s: float | None) -> bool:
        """Push until nothing is pending; while the stream is full, ask with a small call and keep the heart beating."""
        while self.pending:
            try:
                if self._push():
                    break
                with self.timer.phase("wait"):
                    while not self.link.has_room(self.pending[0].steps, len(self.pending[0].payload)):
                        time.sleep(ROOM_POLL_S)
                        self._look()
                        self._beat()
                        if self._give_up(until_s):
                            return False
            except LinkDownError:
                with self.timer.phase("wait"):
                    time.sleep(RETRY_S)
                    if self._give_up(until_s):
                        return False
        return True

    def _give_up(self, until_s: float | None) -> bool:
        if until_s is not None:
            return time.monotonic() > until_s
        return self._reason_to_leave() is not None

    def _reason_to_leave(self) -> Reason | None:
        if self.message.stopping:
            return "stopping"
        if self.registration.worker >= self.message.wanted_workers:
            return "scaled_down"
        if self.leave_requested:
            return "node_leaves"
        missed_s = self.lease_missed_s
        return "controller_lost" if missed_s is not None and time.monotonic() - missed_s >= LEASE_GRACE_S else None

    def _leave(self) -> None:
        """Close the open chunks, push what the stream takes, deregister: what it did not take is counted as lost."""
        self._encode(self._last_chunks())
        patience_s = LAST_PUSH_WHEN_STOPPING_S if self.message.stopping else LAST_PUSH_S
        self._send(until_s=time.monotonic() + patience_s)
        self.beaten_s = float("-inf")
        self._beat()
        with contextlib.suppress(LinkDownError):  # the controller closes its counters by the last heartbeat
            self.link.deregister(self.registration, self.chunker.cumulative_steps)
        self.fetcher.shutdown(wait=False, cancel_futures=True)

    def _last_chunks(self) -> list[TrajectoryChunk]:
        """The open ones, cut short."""
        return self.play.finish() if self.version else []

    def _beat(self) -> None:
        """Once a second: heartbeat, finished episodes, phase shares."""
        now = time.monotonic()
        if now - self.beaten_s < HEARTBEAT_S:
            return
        self.beaten_s = now
        if not self._send_heartbeat():
            return
        for episodes in portions(self.play.episodes.drain()):
            self.link.report(self.name, "episodes", {"episodes": episodes})
        self.link.report(self.name, "phases", dict(self.timer.drain()))

    def _send_heartbeat(self) -> bool:
        """One heartbeat, by the loop or by the pulse; with what the game is at, if that takes long."""
        data: dict[str, float | int | str] = {
            "pid": os.getpid(),
            "version": self.version,
            "rss_bytes": psutil.Process().memory_info().rss,
        }
        if self.row_s > TOLD_ROW_S:
            data["row_s"] = round(self.row_s, 1)
        call, call_s = self.game.call
        if call_s > LATE_S:
            data |= {"in": call, "in_s": round(call_s, 1)}
        with self.beating:
            self.beaten_s = time.monotonic()
            try:
                self.link.heartbeat(self.registration, self.chunker.cumulative_steps, data)
            except LinkDownError:
                return False
        return True


def portions(episodes: list[Episode]) -> Iterator[list[Episode]]:
    """Cut a list of episodes into lists that each fit into one report (many short games may end within a second)."""
    if episodes:
        # msgpack takes less than twice the room of the text: nine bytes for `0.0, `, fewer for all else.
        n = max(1, MAX_REPORT_BYTES // (2 * len(repr(episodes[0]))))
        for begin in range(0, len(episodes), n):
            yield episodes[begin : begin + n]
