"""The errors of the wire, as a tree.

WireError
├── DecodeError         bytes that are not what they should be; names what was found and what was expected
├── WeightsRefusedError weights that this worker cannot play with, and no other copy of them either
├── LinkError           the other side cannot be reached or refuses
│   ├── LinkDownError   no connection (refused, timed out, gone): worth trying again
│   ├── LinkAuthError   wrong or missing password, or a user without this right: not worth trying again
│   ├── LinkSetupError  a URL that is none, or a server that cannot hold a run as it is set up
│   ├── LeaseHeldError  another optimizer holds the run's lease and renewed it lately
│   └── LeaseLostError  another optimizer took over: this one must neither publish nor acknowledge any more
└── SpecMismatchError   another game, network size or wire format than this run was started with
"""

from __future__ import annotations

from typing import ClassVar


class WireError(Exception):
    """Base of everything that wire raises; what a run does about it is said in `quintet.control.errors`."""

    ends_run_with: ClassVar[int] = 1
    run_bears: ClassVar[int | None] = None


class DecodeError(WireError):
    """Bytes that cannot be a chunk, weights or a report of this run."""


class WeightsRefusedError(WireError):
    """The run's weights are damaged, or of another network or number format: starting again will not help."""

    ends_run_with = 2
    run_bears = 0


class LinkError(WireError):
    """The link could not do what was asked."""


class LinkDownError(LinkError):
    """Nobody answers; the caller may try again later."""


class LinkAuthError(LinkError):
    """The password or user is wrong; trying again will not help."""

    ends_run_with = 2
    run_bears = 0


class LinkSetupError(LinkError):
    """The URL is none, or the server is set up so that no run can be held there; trying again will not help."""

    ends_run_with = 2
    run_bears = 0


class LeaseHeldError(LinkError):
    """Another optimizer holds the run; wait until it has been silent for its lease's time, or stop it."""


class LeaseLostError(LinkError):
    """Another optimizer holds the run since; whatever this one still does for it is refused."""


class SpecMismatchError(WireError):
    """The sender plays another game, has another network size or speaks another wire version."""

    ends_run_with = 2
    run_bears = 0
