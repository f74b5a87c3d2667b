"""The controller's copy of the settings in force: config.toml says what the run goes by now, and so does the board."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Protocol

from cluster.failure import UsageError
from cluster.run_folder import RunFolder
from control.config import RunConfig, dump_config, parse_config
from control.live_settings import LiveConfig, LiveError, in_force
from control.metrics import OPTIMIZER
from wire.link import PRECISIONS, Heartbeat, Precision
from wire.settings import BEFORE_ALL, Setting, SettingsDesk


class RequestSource(Protocol):
    """Where requests are read, and the configuration that the run was opened with."""

    def run_config(self) -> str:
        """See `wire.link.ControllerDesk`."""
        ...

    def amend_config(self, config_text: str) -> None:
        """See `wire.link.ControllerDesk`."""
        ...

    def settings(self, after: str) -> list[Setting]:
        """See `wire.settings.SettingsDesk`."""
        ...


class SettingsWatch:
    """Follows the requests of one run; the optimizer does so, too, and reports what it made of them.

    config.toml is written from when the optimizer has taken the configuration that it was started with.
    """

    def __init__(self, folder: RunFolder, config: RunConfig, link: RequestSource) -> None:
        self._folder, self._link = folder, link
        self._live = LiveConfig(config)
        self._through = BEFORE_ALL
        self._accepted, self._began_s = False, time.monotonic()

    @property
    def config(self) -> RunConfig:
        """The configuration in force."""
        return self._live.config

    def look(self) -> bool:
        """Take in new requests and write them to config.toml; whether anything changed.

        Raises:
            LinkDownError: nobody answers; call again.
        """
        before = self.config
        for request in self._link.settings(self._through):
            self._through = request.id
            try:
                self._live.apply(request)
            except LiveError:  # the optimizer says so in the journal
                continue
        if self.config == before:
            return False
        if self._accepted:
            self.accept()
        return True

    def note_format(self, heartbeats: Iterable[Heartbeat]) -> bool:
        """Write down the number format that the optimizer has settled on, where `auto` left it open; whether it was.

        Raises:
            LinkDownError: nobody answers; call again.
        """
        if self.config.model.precision != "auto":
            return False
        said = {beat.data.get("precision") for beat in heartbeats if beat.process == OPTIMIZER}
        for precision in PRECISIONS:
            if precision in said:
                registered = parse_config(self._link.run_config(), source="the run's configuration")
                self._link.amend_config(dump_config(_in_format(registered, precision)))
                self._live = LiveConfig(_in_format(self.config, precision))
                if self._accepted:
                    self.accept()
                return True
        return False

    def look_for_optimizer(self, heartbeats: Iterable[Heartbeat]) -> None:
        """Whether it beats since this run was started: then it has taken the configuration."""
        age_s = time.monotonic() - self._began_s
        if not self._accepted and any(beat.process == OPTIMIZER and beat.age_s < age_s for beat in heartbeats):
            self.accept()

    def accept(self) -> None:
        """The optimizer goes by the configuration: it is the run's."""
        self._accepted = True
        self._folder.write_config(dump_config(self.config))


def with_known_format(config: RunConfig, folder: RunFolder, registered: str) -> RunConfig:
    """The configuration that a run goes on with: in the number format that it has, where that is settled.

    Args:
        config: what is asked for.
        folder: the run's; a new run has no configuration in it yet, whatever an old one of its name left on a server.
        registered: the configuration that the run was opened with last, empty where it was not.

    Raises:
        UsageError: another format is asked for; names both.
    """
    if not folder.config.exists():
        return config
    known = folder.checkpoint_info().get("precision", "")
    if not known and registered:
        known = parse_config(registered, source="the run's configuration").model.precision
    if known not in PRECISIONS:
        return config
    if config.model.precision not in ("auto", known):
        raise UsageError(
            f"run {folder.run} computes in {known}, but model.precision is {config.model.precision}: leave it as it "
            f"was, or start a new run with --from {folder.path} --set model.precision={config.model.precision}"
        )
    return _in_format(config, known)


def _in_format(config: RunConfig, precision: Precision) -> RunConfig:
    return replace(config, model=replace(config.model, precision=precision))


def take_in_requests(
    link: SettingsDesk, config: RunConfig, overrides: Sequence[str], *, resumed: bool
) -> tuple[RunConfig, str]:
    """The configuration to open a run with, and through which request it holds what was asked for before.

    A run that goes on takes in what its last controller did not live to write down; what was said on the command line
    now (`overrides`) is the last word. A new run takes in nothing, whatever an old one of its name left on a server.
    """
    requests = link.settings(BEFORE_ALL)
    through = requests[-1].id if requests else BEFORE_ALL
    if resumed and requests:
        config = in_force(config, requests)
        config = parse_config(dump_config(config), overrides=overrides, source="the run's configuration")
    return config, through
