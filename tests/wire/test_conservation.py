"""Both links keep the conservation law to the step, in whatever order processes push, die, pop, settle and return."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from quintet.wire.errors import LinkError
from quintet.wire.link import Ack, Message, PendingChunk, Registration
from quintet.wire.memory_link import MemoryLink
from quintet.wire.redis_link.client import RedisServer
from quintet.wire.redis_link.keys import RunKeys
from quintet.wire.redis_link.link import RedisLink
from tests.conftest import SPEC_HASH, AnyLink, delete_run

WORKERS = 3


@dataclass
class _Worker:
    """What a worker knows, and what the model expects the link to know of it."""

    place: Registration
    sequence: int = 0
    closed_steps: int = 0  # cumulative
    unpushed: list[PendingChunk] = field(default_factory=list)
    reported: int = 0
    accounted: int = 0
    closed: bool = False


class _Links:
    """How one kind of link is opened, opened again by another process, and looked into."""

    def __init__(self, url: str) -> None:
        self.run = f"test-{secrets.token_hex(6)}"
        self._url = url
        self._memory = MemoryLink(self.run)
        self._opened: list[RedisLink] = []
        self._server = RedisServer(url, timeout_s=5.0) if url else None

    def open(self) -> AnyLink:
        if not self._url:
            return self._memory
        self._opened.append(RedisLink(self._url, self.run))
        return self._opened[-1]

    def steps_in_the_stream(self) -> int:
        if self._server is None:
            return sum(message.steps for message in self._memory._stream.values())
        keys = RunKeys(self.run)
        entries = self._server.command("XRANGE", keys.chunks, "-", "+", "COUNT", 10_000)
        sizes = self._server.command("HGETALL", keys.sizes)
        return sum(int(sizes[entry_id].split()[0]) for entry_id, fields in entries if b"chunk" in fields)

    def add_garbage(self) -> None:
        if self._server is None:
            with self._memory._changed:
                self._memory._add_entry(0, b"")
        else:
            self._server.command("XADD", RunKeys(self.run).chunks, "*", "nonsense", "1")

    def close(self) -> None:
        for link in self._opened:
            link.close()
        if self._server is not None:
            self._server.close()
            delete_run(self._url, self.run)


class Conservation(RuleBasedStateMachine):
    """Workers, an optimizer and a controller that do anything at any time; `links` is set by the test."""

    links_of: Callable[[], _Links]

    def __init__(self) -> None:
        super().__init__()
        self.links = type(self).links_of()
        self.link = self.links.open()
        self.link.open_run(spec_hash=SPEC_HASH, config_text="", max_queued_steps=60, max_queue_bytes=400)
        self.open: dict[str, Message] = {}  # what the optimizer holds
        self.acked: dict[str, Ack] = {}
        self.seen_payloads: set[bytes] = set()
        self.lives: list[_Worker] = []
        self.workers: list[_Worker] = []

    @initialize()
    def register_all(self) -> None:
        self.workers = [self._register(worker) for worker in range(WORKERS)]

    def _register(self, worker: int) -> _Worker:
        life = _Worker(self.link.register(worker, SPEC_HASH))
        self.lives.append(life)
        return life

    def _close(self, life: _Worker, cumulative: int) -> None:
        life.accounted = max(life.accounted, cumulative, life.reported)
        life.closed = True

    @rule(w=st.integers(0, WORKERS - 1), steps=st.integers(1, 30), n_bytes=st.integers(1, 200), lost=st.booleans())
    def close_chunk(self, w: int, steps: int, n_bytes: int, lost: bool) -> None:
        """A worker finishes a chunk, and may lose it before the first push: a gap."""
        life = self.workers[w]
        life.sequence += 1
        life.closed_steps += steps
        payload = f"{life.place.incarnation}:{life.sequence}".encode().ljust(n_bytes, b".")
        chunk = PendingChunk(
            worker=w,
            incarnation=life.place.incarnation,
            sequence=life.sequence,
            cumulative_steps=life.closed_steps,
            steps=steps,
            payload=payload,
        )
        if not lost:
            life.unpushed.append(chunk)

    @rule(w=st.integers(0, WORKERS - 1), n=st.integers(1, 4), answered=st.booleans())
    def push(self, w: int, n: int, answered: bool) -> None:
        """Without an answer the worker pushes the same chunks again, another time."""
        life = self.workers[w]
        chunks = life.unpushed[:n]
        if life.closed and chunks:
            life.accounted = max(life.accounted, chunks[0].cumulative_steps)
            with pytest.raises(LinkError):
                self.link.push(chunks)
            return
        room = not chunks or self.link.has_room(chunks[0].steps, len(chunks[0].payload))
        n_safe = self.link.push(chunks)
        if chunks and chunks[0].cumulative_steps > life.accounted:
            assert (n_safe > 0) == room
        for chunk in chunks[:n_safe]:
            life.accounted = max(life.accounted, chunk.cumulative_steps)
        if answered:
            del life.unpushed[:n_safe]

    @rule(w=st.integers(0, WORKERS - 1))
    def heartbeat(self, w: int) -> None:
        life = self.workers[w]
        self.link.heartbeat(life.place, life.closed_steps, {})
        if not life.closed:
            life.reported = life.closed_steps

    @rule(w=st.integers(0, WORKERS - 1))
    def deregister(self, w: int) -> None:
        life = self.workers[w]
        self.link.deregister(life.place, life.closed_steps)
        self._close(life, life.closed_steps)

    @rule(w=st.integers(0, WORKERS - 1))
    def close_dead_worker(self, w: int) -> None:
        """By the controller; the worker may live on as a ghost that still pushes."""
        before = self.link.counters().lost
        lost = self.link.close_worker(w)
        assert self.link.counters().lost == before + lost
        if not self.workers[w].closed:
            self._close(self.workers[w], 0)

    @rule(w=st.integers(0, WORKERS - 1))
    def register_again(self, w: int) -> None:
        if not self.workers[w].closed:
            self._close(self.workers[w], 0)
        self.workers[w] = self._register(w)

    @rule(max_steps=st.integers(1, 60))
    def pop(self, max_steps: int) -> None:
        popped = self.link.pop(max_steps, 0.0)
        assert len(popped) <= 1 or sum(message.steps for message in popped) <= max_steps
        for message in popped:
            assert message.id not in self.open
            assert message.id not in self.acked
            assert not message.payload or message.payload not in self.seen_payloads
            self.seen_payloads.add(message.payload)
            self.open[message.id] = message

    @precondition(lambda self: self.open)
    @rule(n=st.integers(1, 5), share=st.floats(0, 1), again=st.booleans())
    def ack(self, n: int, share: float, again: bool) -> None:
        acks = []
        for message in list(self.open.values())[:n]:
            n_trained = int(message.steps * share)
            acks.append(
                Ack(
                    id=message.id,
                    trained=n_trained,
                    stale=(message.steps - n_trained) // 2,
                    rejected=(message.steps - n_trained + 1) // 2,
                )
            )
        found = self.link.ack(acks)
        if again:
            assert self.link.ack(acks) == found
        for ack in acks:
            self.acked[ack.id] = ack
            del self.open[ack.id]

    @precondition(lambda self: self.open)
    @rule()
    def reject(self) -> None:
        message = self.open.pop(next(iter(self.open)))
        self.link.reject(message, "undecodable")
        self.acked[message.id] = Ack(id=message.id, rejected=message.steps)

    @rule()
    def kill_the_optimizer(self) -> None:
        """The next one reclaims at least what this one held, and nothing that was settled."""
        self.link = self.links.open()
        reclaimed = {message.id: message for message in self.link.reclaim()}
        assert self.open.items() <= reclaimed.items()
        assert not reclaimed.keys() & self.acked.keys()
        self.open = reclaimed
        self.seen_payloads |= {message.payload for message in reclaimed.values()}

    @rule()
    def garbage(self) -> None:
        self.links.add_garbage()

    @invariant()
    def the_law_holds_to_the_step(self) -> None:
        found = self.link.counters()
        assert found.unaccounted == 0
        assert found.in_flight == self.links.steps_in_the_stream()
        assert found.produced == sum(life.accounted for life in self.lives)
        settled = self.acked.values()
        assert (found.trained, found.stale, found.rejected) == (
            sum(ack.trained for ack in settled),
            sum(ack.stale for ack in settled),
            sum(ack.rejected for ack in settled),
        )

    def teardown(self) -> None:
        """Everybody leaves and everything is settled: then nothing is in flight and nothing was forgotten."""
        for life in self.workers:
            self.link.deregister(life.place, life.closed_steps)
            self._close(life, life.closed_steps)
        while popped := self.link.pop(1000, 0.0):
            self.open |= {message.id: message for message in popped}
        found = self.link.ack([Ack(id=d.id, trained=d.steps) for d in self.open.values()])
        assert (found.in_flight, found.queued_chunks, found.queued_bytes, found.unaccounted) == (0, 0, 0, 0)
        assert found.produced == sum(life.accounted for life in self.lives)
        self.links.close()


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["memory", pytest.param("redis", marks=pytest.mark.redis)])
def test_no_order_of_events_breaks_the_conservation_law(kind: str, request: pytest.FixtureRequest) -> None:
    url = request.getfixturevalue("redis_url") if kind == "redis" else ""

    class Machine(Conservation):
        links_of = staticmethod(lambda: _Links(url))

    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=40 if url else 80,
            stateful_step_count=40,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
