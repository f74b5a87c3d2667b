"""Settings that change while a run goes on: which ones can, what a change must pass, and what is in force.

setting_keys, differences             what settings there are, and where configurations differ
check_changes, changed, in_force      what a change must pass, and what comes of it
LiveConfig, SettingsWatch             what is in force, as the optimizer and the controller hold it
with_known_format, take_in_requests   what a run that is started again goes on with
"""

from __future__ import annotations

import ast
import getpass
import inspect
import socket
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from difflib import get_close_matches
from functools import cache
from typing import Any, Literal, get_args, get_origin, get_type_hints

from quintet.control.config import RunConfig, check_ranges, config_keys, dump_config, parse_config, range_of, value_of
from quintet.control.config_reader import SCALAR_FIELD, ConfigError, settings_of
from quintet.control.errors import UsageError
from quintet.control.metrics import OPTIMIZER
from quintet.control.run_folder import RunFolder
from quintet.optimizer.config import OptimizerConfig, PPOConfig
from quintet.wire.link import PRECISIONS, ControlChannel, Heartbeat, Precision
from quintet.wire.settings import BEFORE_ALL, Setting, SettingsChannel

_LIVE = ("agent_steps", "minutes", "until", "ppo.", "optimizer.")
_RESUME = (
    "device", "deterministic", "optimizer.batch_steps", "optimizer.normalizer_warmup_steps",
    "optimizer.normalize_observations", "optimizer.threads", "ppo.adam_beta2", "ppo.minibatches",
    "rollout.games_per_worker", "wire.",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True, slots=True)
class SettingInfo:
    """One setting of the configuration, as people meet it."""

    key: str
    type: str  # "number", "whole number", "true or false", "text", or the choices: "joint | per_head"
    range: str  # "at least 0 and at most 1"; empty where anything of its type goes
    changes: Literal["live", "at a resume", "in a new run"]  # when it can change
    doc: str  # what it means, in a sentence


@cache
def setting_keys() -> tuple[SettingInfo, ...]:
    """Every setting, in the configuration's order. A Ramp is there by its parts, too: `ppo.clip`, and
    `ppo.learning_rate` with `ppo.learning_rate.value`, `.end`, `.from_steps`, `.until_steps`, `.until_minutes`.
    """
    return tuple(
        SettingInfo(key=key, type=kind, range=range_of(key), changes=_changes(key), doc=doc)
        for key, (kind, doc) in _described(RunConfig, "").items()
    )


@cache
def live_keys() -> tuple[SettingInfo, ...]:
    """Those of `setting_keys` that can change while a run goes on."""
    return tuple(known for known in setting_keys() if known.changes == "live")


def _changes(key: str) -> Literal["live", "at a resume", "in a new run"]:
    if _within(key, _RESUME):
        return "at a resume"
    return "live" if _within(key, _LIVE) else "in a new run"


def _within(key: str, places: Iterable[str]) -> bool:
    return any(key == place or key.startswith(place if place.endswith(".") else f"{place}.") for place in places)


def _described(kind: type[Any], prefix: str, doc: str = "") -> dict[str, tuple[str, str]]:
    """Key -> (type, meaning), sections and Ramps gone into."""
    docs, hints = _field_docs(kind), get_type_hints(kind)
    found: dict[str, tuple[str, str]] = {}
    for entry in settings_of(kind):
        key, hint, meaning = prefix + entry.name, hints[entry.name], docs.get(entry.name, doc)
        if is_dataclass(hint) and isinstance(hint, type):
            if any(inner.name == SCALAR_FIELD for inner in fields(hint)):
                found[key] = ("number", meaning)
            found |= _described(hint, f"{key}.", meaning)
        else:
            found[key] = (_type_name(hint), meaning)
    return found


def _type_name(hint: Any) -> str:
    if get_origin(hint) is Literal:
        return " | ".join(map(str, get_args(hint)))
    if get_origin(hint) is dict:
        return "table"
    options = get_args(hint) or (hint,)
    names = {bool: "true or false", int: "whole number", float: "number", str: "text"}
    named = [names[option] for option in options if option in names]
    return " or ".join([*named, *(["none"] if type(None) in options else [])])


def _field_docs(kind: type[Any]) -> dict[str, str]:
    """What stands under each field of a dataclass, as `quintet train --help` shows it, too."""
    body = ast.parse(inspect.getsource(kind)).body[0]
    assert isinstance(body, ast.ClassDef)
    docs: dict[str, str] = {}
    for field, text in zip(body.body, body.body[1:], strict=False):
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and isinstance(text, ast.Expr):
            docs[field.target.id] = inspect.cleandoc(str(ast.literal_eval(text.value)))
    return docs


def setting_text(config: RunConfig, key: str) -> str:
    """The value of a setting for people."""
    return shown(value_of(config, key))


def shown(value: Any) -> str:
    """A value for people: a constant Ramp as its number, another one as its way."""
    if value is None:
        return "none"
    if is_dataclass(value) and not isinstance(value, type):
        start, end = getattr(value, SCALAR_FIELD), getattr(value, "end", None)
        if end is None:
            return f"{start:g}"
        minutes: float = getattr(value, "until_minutes", 0.0)
        if minutes:
            return f"{start:g} to {end:g} (in {minutes:g} minutes)"
        return f"{start:g} to {end:g} (steps {value.from_steps} to {value.until_steps})"  # type: ignore[attr-defined]
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)


def differences(configs: Mapping[str, RunConfig]) -> dict[str, tuple[str, ...]]:
    """Key -> its value in each configuration as text, for every key that is not the same in all; a Ramp is one key."""
    keys = {known.key for known in setting_keys()}
    found = {
        known.key: tuple(setting_text(config, known.key) for config in configs.values())
        for known in setting_keys()
        if known.key.rpartition(".")[0] not in keys
    }
    return {key: values for key, values in found.items() if len(set(values)) > 1}


class LiveError(ConfigError, ValueError):
    """A change that cannot be made while the run goes on; the message says what to do instead."""


def check_changes(config: RunConfig, changes: Mapping[str, str]) -> dict[str, str]:
    """The same changes under their full keys, if all of them together can be made.

    Raises:
        LiveError: one cannot change while the run goes on, and what to do instead; or one has no such key, is not of
            its type, is out of its range, or is at odds with another.
    """
    full = {full_key(key): text.strip() for key, text in changes.items()}
    changed(config, full)
    return full


def full_key(key: str) -> str:
    """The whole key where only its end was given, as in `team_spirit.value`; unchanged where it is no key's end.

    Raises:
        LiveError: no such key; names the nearest.
    """
    key = key.strip()
    keys = config_keys()
    if key in keys:
        return key
    found = [known for known in keys if known.endswith(f".{key}")]
    if len(found) == 1:
        return found[0]
    ends = [known.partition(".")[2] for known in keys]
    near = found or get_close_matches(key, [*keys, *ends], n=1)
    raise LiveError(f"there is no key {key!r}; " + (f"did you mean {' or '.join(near)}?" if near else "see --help"))


def changed(config: RunConfig, changes: Mapping[str, str]) -> RunConfig:
    """The configuration with these changes, all of them or none. Raises as `check_changes` does."""
    for key in changes:
        _check_live(key)
    overrides = [f"{key}={text}" for key, text in changes.items()]
    try:
        after = parse_config(dump_config(config), overrides=overrides, source="the run's configuration")
        check_ranges(after)
    except ConfigError as error:
        raise LiveError(str(error).replace("--set ", "")) from error
    return after


def _check_live(key: str) -> None:
    if key not in config_keys():
        full_key(key)
    if (when := _changes(key)) == "live":
        return
    if key == "rollout.workers":
        raise LiveError("rollout.workers is changed by: quintet scale N")
    if when == "at a resume":
        raise LiveError(f"{key} is read when a run starts: stop it, and go on with --resume --set {key}=...")
    if key in ("ppo", "optimizer", "model", "rollout", "wire"):
        raise LiveError(f"{key} is a section; set one of its keys, for example ppo.learning_rate=3e-5")
    raise LiveError(f"{key} is fixed when a run is made: start a new run with --set {key}=...")


def in_force(config: RunConfig, requests: Iterable[Setting]) -> RunConfig:
    """The configuration that a run was opened with, and every request since that could be carried out."""
    for request in requests:
        try:
            config = changed(config, request.changes)
        except LiveError:  # refused when it came, and the journal says why
            continue
    return config


def who_asks() -> str:
    """user@host, for the journal."""
    try:
        user = getpass.getuser()
    except (OSError, KeyError):  # a container's user may have no name
        user = "somebody"
    return f"{user}@{socket.gethostname()}"


class LiveConfig:
    """The configuration in force, as the optimizer holds it; see `quintet.optimizer.settings_in_force`."""

    def __init__(self, config: RunConfig) -> None:
        self.config = config

    @property
    def ppo(self) -> PPOConfig:
        """The section `ppo`."""
        return self.config.ppo

    @property
    def optimizer(self) -> OptimizerConfig:
        """The section `optimizer`."""
        return self.config.optimizer

    @property
    def agent_steps(self) -> int | None:
        """The budget."""
        return self.config.agent_steps

    @property
    def text(self) -> str:
        """The whole configuration as TOML."""
        return dump_config(self.config)

    def apply(self, request: Setting) -> dict[str, tuple[str, str]]:
        """Put a request into force, all of it or nothing; returns key -> (old, new) value as text.

        Raises:
            LiveError: it cannot be.
        """
        before, self.config = self.config, changed(self.config, request.changes)
        return {key: (setting_text(before, key), setting_text(self.config, key)) for key in request.changes}


class SettingsWatch:
    """Follows the requests of one run; the optimizer does so, too, and reports what it made of them.

    config.toml is written from when the optimizer has taken the configuration that it was started with.
    """

    def __init__(self, folder: RunFolder, config: RunConfig, link: ControlChannel) -> None:
        self._folder, self._link = folder, link
        self.config = config  # in force
        self._through = BEFORE_ALL
        self._accepted, self._began_s = False, time.monotonic()

    def look(self) -> bool:
        """Take in new requests and write them to config.toml; whether anything changed.

        Raises:
            LinkDownError: nobody answers; call again.
        """
        requests = self._link.settings(self._through)
        if not requests:
            return False
        self._through = requests[-1].id
        before, self.config = self.config, in_force(self.config, requests)
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
        precision = next((known for known in PRECISIONS if known in said), None)
        if precision is None:
            return False
        registered = parse_config(self._link.run_config(), source="the run's configuration")
        self._link.amend_config(dump_config(_in_format(registered, precision)))
        self.config = _in_format(self.config, precision)
        if self._accepted:
            self.accept()
        return True

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
    link: SettingsChannel, config: RunConfig, overrides: Sequence[str], *, resumed: bool
) -> tuple[RunConfig, str]:
    """The configuration to open a run with, and through which request it holds what was asked for before.

    A run that goes on takes in what its last controller had no time to write down; what was said on the command line
    now (`overrides`) is the last word. A new run takes in nothing, whatever an old one of its name left on a server.
    """
    requests = link.settings(BEFORE_ALL)
    through = requests[-1].id if requests else BEFORE_ALL
    if resumed and requests:
        config = in_force(config, requests)
        config = parse_config(dump_config(config), overrides=overrides, source="the run's configuration")
    return config, through
