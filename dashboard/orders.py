"""What the page can ask of a run: another number of workers, other settings. Checked first, as the commands do."""

from __future__ import annotations

from collections.abc import Mapping

from control.config import RunConfig
from control.live_settings import check_changes
from control.status import RunStatus
from wire.link import ControllerDesk
from wire.settings import SettingsDesk


class OrderError(ValueError):
    """What was asked for cannot be done; the message says why and what to do."""


def workers_wanted(text: str, status: RunStatus) -> int:
    """The number of workers that a person typed, if the run has room for it.

    Raises:
        OrderError: no whole number, more than there are cores for, or several of a deterministic run.
    """
    try:
        workers = int(text)
    except ValueError:
        raise OrderError(f"{text!r} is no whole number") from None
    if workers < 0:
        raise OrderError(f"{workers} workers are not possible; 0 pauses the run")
    if workers > 1 and status.config.deterministic:
        raise OrderError(f"run {status.run} is deterministic: such a run has one worker")
    told = {beat.process: beat.data for beat in status.heartbeats}.get("controller", {})
    most = int(told.get("capacity", -1))
    if 0 <= most < workers:
        raise OrderError(
            f"{workers} workers do not fit: the run has cores for {most}, at {told.get('cores_per_worker')} cores each"
        )
    return workers


def scale(link: ControllerDesk, workers: int) -> str:
    """Want so many workers, and end an earlier autoscaling; returns what to tell the person."""
    before, was_auto = link.wanted_workers(), bool(link.autoscale())
    if was_auto:
        link.set_autoscale("")
    link.set_wanted_workers(workers)
    return f"{before} → {workers} workers asked for" + ("; autoscaling is off" if was_auto else "")


def change_settings(link: SettingsDesk, config: RunConfig, changes: Mapping[str, str], by: str) -> str:
    """Ask for other settings; returns what to tell the person.

    Raises:
        control.config.ConfigError: one of them cannot be; none is asked for.
    """
    checked = check_changes(config, changes)
    link.request_settings(checked, by)
    asked = ", ".join(f"{key} = {text}" for key, text in checked.items())
    return f"{asked}: asked for, in force at the optimizer's next update"
