"""Registration, control messages, heartbeats, reports and requests for other settings on Redis."""

# ruff: noqa: D102  (what each method promises is said once, in the protocols of quintet.wire.link)

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace

from quintet.wire.errors import DecodeError, LinkError
from quintet.wire.link import (
    ControlChannel,
    ControlMessage,
    Heartbeat,
    ProcessRegistry,
    Registration,
    Report,
    ReportSink,
    WorkerRegistry,
)
from quintet.wire.link_errors import other_spec, run_not_open
from quintet.wire.redis_link import scripts
from quintet.wire.redis_link.base import RedisRun
from quintet.wire.redis_link.client import pairs
from quintet.wire.redis_link.keys import GROUP, REPORTS_KEPT
from quintet.wire.reports import decode_beat, decode_report, encode_beat, encode_report
from quintet.wire.settings import (
    REQUESTS_KEPT,
    Setting,
    decode_request,
    encode_request,
    in_order,
    too_many_requests,
)

_SILENCE_S = 2.0  # after a report that did not get through, none is tried for so long
_REPORTS_PER_READ = 512


class RedisControlChannel(RedisRun, WorkerRegistry, ProcessRegistry, ControlChannel, ReportSink):
    """What processes tell one another besides chunks and weights."""

    def __init__(self, url: str, run: str) -> None:
        super().__init__(url, run)
        self._silent_until_s = 0.0
        self.reports_dropped = 0

    # ---- WorkerRegistry ----

    def register(self, worker: int, spec_hash: str) -> Registration:
        keys = self._keys
        status, value = self._server.run(
            scripts.REGISTER,
            [keys.incarnations, keys.workers, keys.heartbeats, keys.counters],
            [worker, spec_hash, keys.incarnation_prefix, encode_beat({}), keys.run],
        )
        if status == b"not_open":
            raise run_not_open(self.run)
        if status == b"other_spec":
            raise other_spec(self.run, found=spec_hash, expected=value.decode())
        return Registration(worker=worker, incarnation=int(value))

    def control_message(self) -> ControlMessage:
        keys = self._keys
        version, wanted, stopping, lease = self._server.run(
            scripts.CONTROL_MESSAGE, [], [keys.announced, keys.orders, keys.lease]
        )
        return ControlMessage(
            version=int(version), wanted_workers=int(wanted), stopping=stopping == b"1", controller_alive=lease == 1
        )

    def heartbeat(self, registration: Registration, cumulative_steps: int, data: dict[str, float | int | str]) -> None:
        self._server.run(
            scripts.HEARTBEAT,
            [self._keys.heartbeats, self._keys.incarnation(registration.incarnation)],
            [f"worker/{registration.worker}", registration.incarnation, cumulative_steps, encode_beat(data)],
        )

    def deregister(self, registration: Registration, cumulative_steps: int) -> None:
        keys = self._keys
        self._server.run(
            scripts.DEREGISTER,
            [keys.incarnation(registration.incarnation), keys.workers, keys.heartbeats, keys.counters],
            [registration.incarnation, cumulative_steps],
        )

    # ---- ProcessRegistry ----

    def stopping(self) -> bool:
        return bool(self._server.command("HGET", self._keys.orders, "stopping") == b"1")

    def beat(self, process: str, data: dict[str, float | int | str]) -> None:
        self._server.run(scripts.HEARTBEAT, [self._keys.heartbeats], [process, 0, 0, encode_beat(data)])

    # ---- ControlChannel ----

    def open_run(self, *, spec_hash: str, config_text: str, max_queued_steps: int, max_queue_bytes: int) -> None:
        keys = self._keys
        old = self._server.run(
            scripts.OPEN_RUN,
            [keys.run, keys.limits, keys.orders, keys.chunks],
            [GROUP, spec_hash, config_text, max_queued_steps, max_queue_bytes, keys.announced],
        )
        if old:
            raise other_spec(self.run, found=spec_hash, expected=old.decode())

    def keep_game_spec(self, text: str) -> None:
        self._server.run(scripts.SET_FIELD, [self._keys.run], ["game_spec", text])

    def game_spec(self) -> str:
        text: bytes = self._server.command("HGET", self._keys.run, "game_spec") or b""
        return text.decode()

    def run_config(self) -> str:
        text: bytes = self._server.command("HGET", self._keys.run, "config_text") or b""
        return text.decode()

    def amend_config(self, config_text: str) -> None:
        self._server.run(scripts.SET_FIELD, [self._keys.run], ["config_text", config_text])

    def set_wanted_workers(self, n: int) -> None:
        self._server.run(scripts.SET_FIELD, [self._keys.orders], ["wanted_workers", n])

    def wanted_workers(self) -> int:
        return int(self._server.command("HGET", self._keys.orders, "wanted_workers") or 0)

    def set_autoscale(self, bounds: str) -> None:
        self._server.run(scripts.SET_FIELD, [self._keys.orders], ["autoscale", bounds])

    def autoscale(self) -> str:
        bounds: bytes = self._server.command("HGET", self._keys.orders, "autoscale") or b""
        return bounds.decode()

    def hold_lease(self, ttl_s: float) -> None:
        self._server.run(scripts.HOLD_LEASE, [self._keys.lease], [max(1, int(1000 * ttl_s))])

    def set_stopping(self, stopping: bool) -> None:
        self._server.run(scripts.SET_FIELD, [self._keys.orders], ["stopping", "1" if stopping else ""])

    def heartbeats(self) -> list[Heartbeat]:
        now_ms, flat = self._server.run(scripts.HEARTBEATS, [], [self._keys.heartbeats])
        beats = sorted(pairs(flat).items())
        found = [_heartbeat(process, value, int(now_ms)) for process, value in beats]
        return [heartbeat for heartbeat in found if heartbeat is not None]

    def close_worker(self, worker: int) -> int:
        keys = self._keys
        lost = self._server.run(
            scripts.CLOSE_WORKER, [keys.workers, keys.heartbeats, keys.counters], [worker, keys.incarnation_prefix]
        )
        return int(lost)

    def read_reports(self, after: str, timeout_s: float) -> tuple[str, list[Report]]:
        deadline_s = time.monotonic() + timeout_s
        while True:
            block = self._server.block(deadline_s - time.monotonic())
            answer = self._server.command(
                "XREAD", "COUNT", _REPORTS_PER_READ, *block, "STREAMS", self._keys.reports, after
            )
            entries = answer[0][1] if answer else []
            if entries:
                reports = [_report(entry_id, pairs(flat).get(b"report", b"")) for entry_id, flat in entries]
                return entries[-1][0].decode(), reports
            if time.monotonic() >= deadline_s:
                return after, []

    def keep_latest_row(self, row: Mapping[str, float]) -> None:
        if row:
            fields = [word for name, value in row.items() for word in (name, repr(float(value)))]
            self._server.command("HSET", self._keys.latest_row, *fields)

    def latest_row(self) -> dict[str, float]:
        fields: dict[bytes, bytes] = self._server.command("HGETALL", self._keys.latest_row)
        return {name.decode(): float(value) for name, value in fields.items()}

    # ---- SettingsChannel ----

    def request_settings(self, changes: Mapping[str, str], by: str) -> str:
        entry_id: bytes = self._server.run(
            scripts.REQUEST_SETTINGS, [self._keys.settings], [REQUESTS_KEPT, encode_request(changes, by)]
        )
        if not entry_id:
            raise too_many_requests()
        return entry_id.decode()

    def settings(self, after: str) -> list[Setting]:
        answer = self._server.command("XREAD", "COUNT", REQUESTS_KEPT, "STREAMS", self._keys.settings, after)
        found = []
        for entry_id, flat in answer[0][1] if answer else []:
            try:
                found.append(decode_request(entry_id.decode(), pairs(flat).get(b"request", b"")))
            except (DecodeError, UnicodeDecodeError):  # nobody of ours wrote it, and nobody can carry it out
                continue
        return found

    def drop_settings(self, through: str) -> None:
        milliseconds, number = in_order(through)
        self._server.command("XTRIM", self._keys.settings, "MINID", f"{milliseconds}-{number + 1}")

    # ---- ReportSink ----

    def report(self, process: str, kind: str, data: dict[str, object]) -> None:
        payload = encode_report(Report(process=process, kind=kind, time_s=time.time(), data=data))
        if time.monotonic() < self._silent_until_s:
            self.reports_dropped += 1
            return
        try:
            self._hasty.command("XADD", self._keys.reports, "MAXLEN", "~", REPORTS_KEPT, "*", "report", payload)
        except LinkError:  # a report is worth no wait; the loops that need the link find out for themselves
            self.reports_dropped += 1
            self._silent_until_s = time.monotonic() + _SILENCE_S


def _heartbeat(process: bytes, value: bytes, now_ms: int) -> Heartbeat | None:
    """None for what none of ours wrote: whoever is not heard in a way that can be read is not heard."""
    try:
        time_ms, incarnation, cumulative_steps, data = value.split(b" ", 3)
        return Heartbeat(
            process=process.decode(),
            incarnation=int(incarnation),
            age_s=max(0.0, (now_ms - int(time_ms)) / 1000),
            cumulative_steps=int(cumulative_steps),
            data=decode_beat(data),
        )
    except (ValueError, DecodeError):
        return None


def _report(entry_id: bytes, payload: bytes) -> Report:
    """A report as of when Redis got it, since clocks of hosts jump and differ, and entry ids never go back.

    One that cannot be read must not keep the controller from the others: it becomes an event that says so.
    """
    time_s = int(entry_id.partition(b"-")[0]) / 1000
    try:
        return replace(decode_report(payload), time_s=time_s)
    except DecodeError as error:
        return Report(process="link", kind="event", time_s=time_s, data={"event": "bad_report", "text": str(error)})
