"""Settings that change while the optimizer trains: requests are read, put into force, and reported."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from quintet.optimizer.config import OptimizerConfig, PPOConfig
from quintet.wire.settings import BEFORE_ALL, Setting, in_order


class SettingsInForce(Protocol):
    """The run's configuration as it is now; `quintet.control.live_settings.LiveConfig` is one."""

    @property
    def ppo(self) -> PPOConfig:
        """The section `ppo`."""
        ...

    @property
    def optimizer(self) -> OptimizerConfig:
        """The section `optimizer`."""
        ...

    @property
    def agent_steps(self) -> int | None:
        """The budget."""
        ...

    @property
    def text(self) -> str:
        """The whole configuration as TOML, as a checkpoint keeps it."""
        ...

    def apply(self, request: Setting) -> Mapping[str, tuple[str, str]]:
        """Put a request into force, all of it or nothing; returns key -> (old, new) value as text.

        Raises:
            ValueError: it cannot be; the message says why.
        """
        ...


def describe_change(changed: Mapping[str, tuple[str, str]], by: str) -> str:
    """For the journal: `ppo.clip 0.2 -> 0.1, by ada@lab`."""
    return ", ".join(f"{key} {old} -> {new}" for key, (old, new) in changed.items()) + f", by {by}"


class SettingsReader:
    """Reads the requests of one run, puts them into force, and reports what came of them."""

    def __init__(self, in_force: SettingsInForce) -> None:
        self.in_force, self.through = in_force, BEFORE_ALL
        self.reported_through = BEFORE_ALL  # what an earlier optimizer has reported

    def take(self, requests: Sequence[Setting], report: Callable[[dict[str, object]], None], agent_steps: int) -> bool:
        """Put these into force; whether anything changed. `report` hears of each new one, also if it cannot be."""
        changed_any = False
        for request in requests:
            self.through = request.id
            tell = report if in_order(request.id) > in_order(self.reported_through) else _nobody
            told: dict[str, object] = {"by": request.by, "requested_s": request.time_s}
            try:
                changed = self.in_force.apply(request)
            except ValueError as error:
                tell({"event": "set_refused", "message": f"{request.changes}, by {request.by}: {error}", **told})
                continue
            changes = {key: list(values) for key, values in changed.items()}
            message = describe_change(changed, request.by)
            tell({"event": "set", "message": message, "agent_steps": agent_steps, "changes": changes, **told})
            changed_any = True
        return changed_any


def _nobody(_: dict[str, object]) -> None:
    """Who hears of what was reported already."""
