"""Chunks that were rejected, as events: the first of a kind, the 10th, the 100th ...; and when that is all there is."""

from __future__ import annotations

from collections import Counter

from quintet.wire.link import Message, ReportSink

FIRST_BATCHES = 2  # so many batches' steps rejected before one chunk was taken: the run learns nothing


class AllRejectedError(Exception):
    """Whatever arrived was rejected: going on would learn nothing."""

    ends_run_with = 1  # see `quintet.control.errors`


class Rejections:
    """What one optimizer rejected so far, by kind of reason."""

    def __init__(self, sink: ReportSink, process: str, *, batch_steps: int) -> None:
        """`process` reports the events to `sink`."""
        self._sink, self._process, self._most_steps = sink, process, FIRST_BATCHES * batch_steps
        self._chunks: Counter[str] = Counter()  # by kind of reason
        self._steps: Counter[str] = Counter()
        self._taken = False

    def took(self) -> None:
        """A chunk was sound, or the run has learned before: from now on it is never ended."""
        self._taken = True

    def rejected(self, message: Message, reason: str) -> None:
        """One was not. Entries that nobody pushed (garbage) have no steps and end no run.

        Raises:
            AllRejectedError: the steps of the first batches were rejected, and nothing was taken.
        """
        kind = kind_of(reason)
        self._chunks[kind] += 1
        self._steps[kind] += message.steps
        n, whose = self._chunks[kind], "nobody known" if message.sender is None else f"worker {message.sender[0]}"
        if is_power_of_ten(n):
            so_far = f"{n:,} chunk{'s' * (n > 1)} with {self._steps[kind]:,} steps so far"
            said = f"{reason} (sent by {whose}; {so_far})"
            self._sink.report(self._process, "event", {"event": "rejected", "message": said})
        steps = self._steps.total()
        if not self._taken and steps >= self._most_steps:
            raise AllRejectedError(
                f"all of the first {steps:,} steps were rejected, so nothing can be learned; the last from {whose}: "
                f"{reason}"
            )


def kind_of(reason: str) -> str:
    """`chunk reward` of `chunk reward: found 3 of 64 numbers NaN ...`: what a `DecodeError` is about."""
    return reason.partition(": found")[0][:100]


def is_power_of_ten(n: int) -> bool:
    """1, 10, 100 ..."""
    while n % 10 == 0 and n:
        n //= 10
    return n == 1
