"""The controller's copy of the settings in force: config.toml says what the run goes by now, and so does the board."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from cluster.run_folder import RunFolder
from control.config import RunConfig, dump_config, parse_config
from control.live_settings import LiveConfig, LiveError, in_force
from wire.settings import BEFORE_ALL, Setting, SettingsDesk


class RequestSource(Protocol):
    """Where requests are read."""

    def settings(self, after: str) -> list[Setting]:
        """See `wire.settings.SettingsDesk`."""
        ...


class SettingsWatch:
    """Follows the requests of one run; the optimizer does so, too, and reports what it made of them."""

    def __init__(self, folder: RunFolder, config: RunConfig, link: RequestSource) -> None:
        self._folder, self._link = folder, link
        self._live = LiveConfig(config)
        self._through = BEFORE_ALL

    @property
    def config(self) -> RunConfig:
        """The configuration in force."""
        return self._live.config

    def look(self) -> bool:
        """Take in new requests and write config.toml; whether anything changed.

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
        self._folder.write_config(dump_config(self.config))
        return True


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
