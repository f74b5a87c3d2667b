"""Both links keep the promises of `quintet.wire.link`, and the conservation law whatever is killed."""

from __future__ import annotations

import threading
import time
from dataclasses import replace

import pytest

from quintet.wire.errors import DecodeError, LinkError, SpecMismatchError
from quintet.wire.link import Ack, Counters, EncodedWeights, Message, Registration
from quintet.wire.redis_link.keys import REJECTS_KEPT
from tests.conftest import SPEC_HASH, AnyLink, LinkMaker
from tests.support.chunk_factory import make_pending_chunk, make_weights


def trained(messages: list[Message]) -> list[Ack]:
    return [Ack(id=message.id, trained=message.steps) for message in messages]


def bound(link: AnyLink, *, steps: int = 10_000, n_bytes: int = 2**20) -> None:
    link.open_run(spec_hash=SPEC_HASH, config_text="", max_queued_steps=steps, max_queue_bytes=n_bytes)


@pytest.fixture
def worker(link: AnyLink) -> Registration:
    return link.register(0, SPEC_HASH)


# ---- chunks ----


def test_a_chunk_that_is_pushed_is_popped_with_its_steps_and_bytes(link: AnyLink, worker: Registration) -> None:
    chunks = [make_pending_chunk(worker, 1, n_bytes=100), make_pending_chunk(worker, 2, n_bytes=50)]
    assert link.push(chunks) == 2
    found = link.counters()
    assert found == Counters(produced=32, in_flight=32, queued_chunks=2, queued_bytes=150)
    popped = link.pop(1000, 1.0)
    assert [message.payload for message in popped] == [chunk.payload for chunk in chunks]
    assert [message.steps for message in popped] == [16, 16]
    assert link.counters() == found  # delivered is still in flight
    assert link.ack(trained(popped)) == Counters(produced=32, trained=32)


def test_a_payload_of_any_bytes_arrives_unchanged(link: AnyLink, worker: Registration) -> None:
    chunk = make_pending_chunk(worker, 1)
    payload = bytes(range(256)) * 10
    link.push([type(chunk)(worker=0, incarnation=1, sequence=1, cumulative_steps=4, steps=4, payload=payload)])
    assert link.pop(4, 1.0)[0].payload == payload


def test_a_push_that_is_repeated_after_a_lost_answer_counts_once(link: AnyLink, worker: Registration) -> None:
    chunks = [make_pending_chunk(worker, sequence) for sequence in (1, 2, 3)]
    assert link.push(chunks[:2]) == 2
    assert link.push(chunks) == 3
    assert link.push(chunks) == 3
    assert link.counters().produced == 48
    assert len(link.pop(1000, 0.1)) == 3


def test_a_repeated_push_is_safe_even_where_there_is_no_room(link: AnyLink, worker: Registration) -> None:
    bound(link, steps=16)
    assert link.push([make_pending_chunk(worker, 1)]) == 1
    assert link.push([make_pending_chunk(worker, 1), make_pending_chunk(worker, 2)]) == 1


def test_a_gap_in_the_sequence_is_produced_and_lost(link: AnyLink, worker: Registration) -> None:
    link.push([make_pending_chunk(worker, 1)])
    link.push([make_pending_chunk(worker, 4)])
    assert link.counters() == Counters(produced=64, lost=32, in_flight=32, queued_chunks=2, queued_bytes=20)


def test_the_stream_is_bounded_in_steps_and_loses_nothing(link: AnyLink, worker: Registration) -> None:
    bound(link, steps=40)
    chunks = [make_pending_chunk(worker, sequence) for sequence in range(1, 5)]
    assert link.push(chunks) == 2
    assert not link.has_room(16, 10)
    assert link.has_room(8, 10)
    popped = link.pop(16, 1.0)
    assert not link.has_room(16, 10)  # delivered, but not settled: still in the stream
    link.ack(trained(popped))
    assert link.has_room(16, 10)
    assert link.push(chunks[2:]) == 1


def test_the_stream_is_bounded_in_bytes(link: AnyLink, worker: Registration) -> None:
    bound(link, n_bytes=250)
    assert link.push([make_pending_chunk(worker, sequence, n_bytes=100) for sequence in (1, 2, 3)]) == 2
    assert not link.has_room(16, 51)
    assert link.has_room(16, 50)


def test_a_chunk_that_passes_the_bounds_by_itself_is_accepted_when_the_stream_is_empty(
    link: AnyLink, worker: Registration
) -> None:
    bound(link, steps=10, n_bytes=10)
    assert link.has_room(16, 100)
    assert link.push([make_pending_chunk(worker, 1, n_bytes=100), make_pending_chunk(worker, 2, n_bytes=100)]) == 1
    assert not link.has_room(1, 1)


def test_pop_takes_at_most_max_steps_but_at_least_one_chunk(link: AnyLink, worker: Registration) -> None:
    link.push([make_pending_chunk(worker, sequence) for sequence in range(1, 8)])
    assert [len(link.pop(max_steps, 0.1)) for max_steps in (32, 47, 1, 1000)] == [2, 2, 1, 2]


def test_pop_waits_for_the_first_chunk_and_not_for_more(link: AnyLink, worker: Registration) -> None:
    assert link.pop(100, 0.0) == []
    assert link.pop(100, 0.05) == []
    late = threading.Timer(0.1, lambda: link.push([make_pending_chunk(worker, 1)]))
    late.start()
    assert len(link.pop(1000, 10.0)) == 1
    late.join()


def test_what_is_popped_in_small_pieces_comes_in_order_and_completely(link: AnyLink, worker: Registration) -> None:
    link.push(
        [
            make_pending_chunk(worker, sequence, steps=1 + sequence % 3, cumulative_steps=100 * sequence)
            for sequence in range(1, 60)
        ]
    )
    payloads = []
    while popped := link.pop(4, 0.0):
        assert sum(message.steps for message in popped) <= 4
        payloads += [message.payload for message in popped]
    assert payloads == [make_pending_chunk(worker, sequence).payload for sequence in range(1, 60)]


def test_a_settlement_that_is_repeated_counts_once(link: AnyLink, worker: Registration) -> None:
    link.push([make_pending_chunk(worker, 1), make_pending_chunk(worker, 2)])
    first, second = link.pop(1000, 1.0)
    acks = [
        Ack(id=first.id, trained=10, stale=6),
        Ack(id=second.id, stale=1, rejected=15),
    ]
    found = link.ack(acks)
    assert found == Counters(produced=32, trained=10, stale=7, rejected=15)
    assert link.ack(acks) == found
    assert link.ack([acks[0], acks[0]]) == found
    assert link.ack([]) == found


def test_a_settlement_that_does_not_add_up_is_refused_whole(link: AnyLink, worker: Registration) -> None:
    link.push([make_pending_chunk(worker, 1), make_pending_chunk(worker, 2)])
    first, second = link.pop(1000, 1.0)
    before = link.counters()
    with pytest.raises(ValueError, match="is 15, the message has 16"):
        link.ack([Ack(id=first.id, trained=16), Ack(id=second.id, trained=15)])
    assert link.counters() == before


def test_an_unknown_id_is_settled_without_a_count(link: AnyLink) -> None:
    assert link.ack([Ack(id="123-0", trained=5)]) == Counters()


def test_the_next_optimizer_reclaims_what_the_last_one_left_open(make_link: LinkMaker) -> None:
    worker_link, optimizer = make_link(), make_link()
    worker = worker_link.register(0, SPEC_HASH)
    worker_link.push([make_pending_chunk(worker, sequence) for sequence in (1, 2, 3, 4)])
    popped = optimizer.pop(48, 1.0)
    optimizer.ack(trained(popped[:1]))
    successor = make_link()
    reclaimed = successor.reclaim()
    assert reclaimed[:2] == popped[1:]
    rest = reclaimed[2:] + successor.pop(1000, 0.1)  # Redis may have delivered more than pop returned
    assert [message.payload for message in rest] == [make_pending_chunk(worker, 4).payload]
    assert successor.ack(trained(popped)).trained == 48
    assert make_link().counters().unaccounted == 0


def test_a_rejected_chunk_is_counted_once(link: AnyLink, worker: Registration) -> None:
    link.push([make_pending_chunk(worker, 1)])
    (message,) = link.pop(1000, 1.0)
    found = link.reject(message, "not a chunk")
    assert found == Counters(produced=16, rejected=16)
    assert link.reject(message, "not a chunk") == found
    assert link.ack(trained([message])) == found


def test_rejecting_more_than_the_reject_stream_keeps_goes_on(link: AnyLink, worker: Registration) -> None:
    link.push([make_pending_chunk(worker, sequence) for sequence in range(1, REJECTS_KEPT + 4)])
    for message in link.pop(10_000, 1.0):
        found = link.reject(message, "x" * 5000)
    assert found == Counters(produced=16 * (REJECTS_KEPT + 3), rejected=16 * (REJECTS_KEPT + 3))


def test_undone_steps_are_set_and_stay_outside_the_law(link: AnyLink) -> None:
    link.mark_undone(70)
    link.mark_undone(50)
    assert link.counters() == Counters(undone=50)
    assert link.counters().unaccounted == 0


def test_a_chunk_that_cannot_be_counted_is_refused(link: AnyLink, worker: Registration) -> None:
    with pytest.raises(ValueError, match="0 steps"):
        link.push([make_pending_chunk(worker, 1, steps=0)])
    with pytest.raises(ValueError, match="8 cumulative"):
        link.push([make_pending_chunk(worker, 1, cumulative_steps=8)])


# ---- workers ----


def test_each_registration_gets_a_new_incarnation(link: AnyLink) -> None:
    places = [link.register(worker, SPEC_HASH) for worker in (0, 1, 0)]
    assert [place.worker for place in places] == [0, 1, 0]
    assert len({place.incarnation for place in places}) == 3


def test_a_worker_of_another_spec_is_refused(link: AnyLink) -> None:
    with pytest.raises(SpecMismatchError, match=f"{SPEC_HASH}.*another-spec"):
        link.register(0, "another-spec")


def test_deregistering_closes_the_tail(link: AnyLink, worker: Registration) -> None:
    link.push([make_pending_chunk(worker, 1)])
    link.deregister(worker, 50)
    link.deregister(worker, 50)
    assert link.counters() == Counters(produced=50, lost=34, in_flight=16, queued_chunks=1, queued_bytes=10)
    assert link.heartbeats() == []


def test_a_worker_that_died_is_closed_from_its_last_heartbeat(link: AnyLink, worker: Registration) -> None:
    link.push([make_pending_chunk(worker, 1)])
    link.heartbeat(worker, 48, {})
    assert link.close_worker(0) == 32
    assert link.close_worker(0) == 0
    assert link.close_worker(7) == 0
    assert link.counters().lost == 32
    assert link.heartbeats() == []


def test_a_worker_that_registers_again_closes_its_former_life(link: AnyLink, worker: Registration) -> None:
    link.heartbeat(worker, 48, {})
    again = link.register(0, SPEC_HASH)
    assert link.counters() == Counters(produced=48, lost=48)
    link.push([make_pending_chunk(again, 1)])
    assert link.counters().in_flight == 16


def test_a_late_chunk_of_a_closed_incarnation_is_lost_and_said_so(link: AnyLink, worker: Registration) -> None:
    link.push([make_pending_chunk(worker, 1)])
    link.close_worker(0)
    for _ in range(2):
        with pytest.raises(LinkError, match="register again"):
            link.push([make_pending_chunk(worker, 3)])
    link.heartbeat(worker, 1000, {})
    assert link.heartbeats() == []
    assert link.counters() == Counters(produced=48, lost=32, in_flight=16, queued_chunks=1, queued_bytes=10)


def test_deregistering_the_former_incarnation_leaves_the_new_one_open(link: AnyLink, worker: Registration) -> None:
    again = link.register(0, SPEC_HASH)
    link.deregister(worker, 16)
    assert link.push([make_pending_chunk(again, 1)]) == 1
    assert [beat.incarnation for beat in link.heartbeats()] == [again.incarnation]
    assert link.counters().unaccounted == 0


def test_heartbeats_show_who_lives_and_for_how_long_he_was_silent(link: AnyLink, worker: Registration) -> None:
    link.heartbeat(worker, 32, {"rss_bytes": 5, "host": "here", "load": 0.5})
    link.beat("optimizer", {"version": 3})
    time.sleep(0.05)
    optimizer, player = link.heartbeats()
    assert (optimizer.process, optimizer.data) == ("optimizer", {"version": 3})
    assert (player.process, player.incarnation) == ("worker/0", worker.incarnation)
    assert (player.cumulative_steps, player.data) == (32, {"rss_bytes": 5, "host": "here", "load": 0.5})
    assert 0.04 <= player.age_s < 30


# ---- orders ----


def test_a_directive_says_what_is_wanted(link: AnyLink) -> None:
    found = link.control_message()
    assert (found.version, found.wanted_workers, found.stopping, found.controller_alive) == (0, 0, False, False)
    link.set_wanted_workers(3)
    link.set_stopping(True)
    link.hold_lease(60.0)
    link.publish(make_weights(5))
    found = link.control_message()
    assert (found.version, found.wanted_workers, found.stopping, found.controller_alive) == (5, 3, True, True)
    assert (link.wanted_workers(), link.stopping()) == (3, True)


def test_a_lease_runs_out(link: AnyLink) -> None:
    link.hold_lease(0.01)
    time.sleep(0.1)
    assert not link.control_message().controller_alive


def test_reopening_a_run_keeps_counters_and_versions_and_clears_stopping(link: AnyLink, worker: Registration) -> None:
    link.push([make_pending_chunk(worker, 1)])
    link.publish(make_weights(5))
    link.set_stopping(True)
    link.open_run(spec_hash=SPEC_HASH, config_text="seed = 1 # ü", max_queued_steps=100, max_queue_bytes=100)
    assert not link.stopping()
    assert link.run_config() == "seed = 1 # ü"
    assert (link.counters().in_flight, link.announced_version()) == (16, 5)


def test_a_run_that_holds_chunks_cannot_be_opened_with_another_spec(link: AnyLink, worker: Registration) -> None:
    link.open_run(spec_hash="other", config_text="", max_queued_steps=100, max_queue_bytes=100)  # nothing in it yet
    link.open_run(spec_hash=SPEC_HASH, config_text="", max_queued_steps=100, max_queue_bytes=100)
    link.push([make_pending_chunk(worker, 1)])
    with pytest.raises(SpecMismatchError, match="another"):
        link.open_run(spec_hash="other", config_text="", max_queued_steps=100, max_queue_bytes=100)


# ---- weights ----


def weights_of(version: int, payload: bytes = b"weights") -> EncodedWeights:
    return make_weights(version, payload * version, agent_steps=10 * version, spec_hash=SPEC_HASH)


def test_a_reader_gets_the_latest_weights_once(make_link: LinkMaker) -> None:
    optimizer, reader = make_link(), make_link()
    assert reader.latest(0) is None
    assert optimizer.announced_version() == 0
    optimizer.publish(weights_of(1))
    optimizer.publish(weights_of(2))
    assert reader.latest(0) == weights_of(2)
    assert reader.latest(2) is None
    assert optimizer.announced_version() == 2


def test_a_version_never_goes_down_and_is_never_used_twice(link: AnyLink) -> None:
    link.publish(weights_of(3))
    for bad in (weights_of(2), weights_of(3, b"other")):
        with pytest.raises(LinkError, match=f"version {bad.version} cannot be published: 3"):
            link.publish(bad)
    assert link.latest(0) == weights_of(3)
    link.publish(weights_of(3))  # the same again: what a restart of Redis asks for
    assert not link.needs_republish()


def test_weights_whose_bytes_do_not_match_their_hash_are_not_returned(link: AnyLink) -> None:
    good = weights_of(1)
    link.publish(replace(good, payload=b"Weights"))
    with pytest.raises(DecodeError, match="sha256"):
        link.latest(0)


def test_the_configuration_is_what_was_stored_last_and_the_run_stays_open(link: AnyLink) -> None:
    link.amend_config("seed = 2")
    assert link.run_config() == "seed = 2"
    assert link.register(0, SPEC_HASH).worker == 0


# ---- reports ----


def test_reports_are_read_in_order_and_from_where_the_reader_was(link: AnyLink) -> None:
    after, found = link.read_reports("0", 0.0)
    assert found == []
    for n in range(3):
        link.report("worker/0", "episodes", {"n": n, "nested": {"returns": [1.0, 2.0]}})
    after, found = link.read_reports(after, 1.0)
    assert [report.data["n"] for report in found] == [0, 1, 2]
    assert {(report.process, report.kind) for report in found} == {("worker/0", "episodes")}
    assert found[0].data["nested"] == {"returns": [1.0, 2.0]}
    assert abs(found[0].time_s - time.time()) < 60
    assert link.read_reports(after, 0.05) == (after, [])
    late = threading.Timer(0.1, lambda: link.report("optimizer", "metrics", {"losses/entropy": 1.5}))
    late.start()
    assert link.read_reports(after, 10.0)[1][0].data == {"losses/entropy": 1.5}
    late.join()


def test_a_report_that_cannot_be_encoded_is_refused(link: AnyLink) -> None:
    with pytest.raises(TypeError, match="object"):
        link.report("worker/0", "event", {"thing": object()})
