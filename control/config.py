"""A run's configuration: the sections of every folder composed, read from one TOML file and `--set a.b=c`.

    game = "gymnasium:CartPole-v1"
    agent_steps = 250_000

    [ppo]
    learning_rate = { value = 3e-4, end = 3e-5, until_steps = 250_000 }    # a Ramp; a plain number is a constant one

Everything here is generic over dataclasses: a field added to a section's `config.py` is known at once.
"""

from __future__ import annotations

import math
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, Field, dataclass, field, fields, is_dataclass
from difflib import get_close_matches
from pathlib import Path
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Any, Literal, get_args, get_origin, get_type_hints

import tomli_w

from control.metrics import parse_until
from model.config import PolicyConfig
from optimizer.config import OptimizerConfig, PPOConfig
from rollout_workers.config import RolloutConfig
from wire.config import WireConfig

if TYPE_CHECKING:
    from games.api import GameSpec

SHIPPED_CONFIGS = Path(__file__).resolve().parent.parent / "configs"

SCALAR_FIELD = "value"  # a dataclass with a field of this name may be written as that value alone


class ConfigError(Exception):
    """A configuration that cannot be run; the message is one line that says where it stands and what to do."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RunConfig:
    """One training run: what is played, until when, and every section."""

    game: str = "gymnasium:CartPole-v1"
    """The game's name, as `games.registry.make_game` takes it."""
    game_options: dict[str, Any] = field(default_factory=dict)
    """Handed on to the game's maker, for example its wrappers."""
    seed: int = 1
    """Seeds the first weights, the games and the sampling of actions."""
    device: str = "auto"
    """Where the optimizer computes: auto (a GPU when there is one), cpu, cuda or cuda:1."""
    agent_steps: int | None = None
    """Budget: stop after this many valid rows x agents of learning teams."""
    minutes: float | None = None
    """Budget: stop after this long."""
    until: str | None = None
    """Budget: stop when a metric is reached, for example charts/episodic_return=475."""
    model: PolicyConfig = field(default_factory=PolicyConfig)
    rollout: RolloutConfig = field(default_factory=RolloutConfig)
    ppo: PPOConfig = field(default_factory=PPOConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    wire: WireConfig = field(default_factory=WireConfig)


def load_config(path: str | Path | None = None, overrides: Sequence[str] = ()) -> RunConfig:
    """Read a configuration file, or the defaults where it is None, and apply overrides of the form `a.b=c`.

    A bare name that is no file here is looked up among the configurations that ship with Quintet.

    Raises:
        ConfigError: the file is missing or is no TOML, a key does not exist, or a value has the wrong type.
    """
    if path is None:
        return parse_config("", overrides=overrides, source="the defaults")
    found = _find(Path(path))
    try:
        text = found.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read the configuration {found}: {error}") from error
    return parse_config(text, overrides=overrides, source=str(path))


def parse_config(text: str, *, overrides: Sequence[str] = (), source: str = "the configuration") -> RunConfig:
    """The configuration that a TOML text describes; `source` names the text in error messages."""
    try:
        raw = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{source} is not TOML: {error}") from error
    sources: dict[str, str] = {}
    for override in overrides:
        _apply_override(raw, override, sources)
    config: RunConfig = _Reader(source, sources).dataclass(RunConfig, raw, RunConfig(), ())
    return config


def dump_config(config: RunConfig) -> str:
    """The configuration as TOML; `parse_config` of it gives the same configuration."""
    return tomli_w.dumps(_plain(config))


@dataclass(frozen=True, slots=True)
class _Range:
    """Where a number may lie."""

    key: str
    low: float
    high: float = math.inf
    low_is_open: bool = False


_RANGES = (
    _Range("seed", 0, 2**31 - 1),
    _Range("agent_steps", 1),
    _Range("minutes", 0, low_is_open=True),
    _Range("ppo.learning_rate", 0),
    _Range("ppo.entropy_coefficient", 0),
    _Range("ppo.half_life_s", 0),
    _Range("ppo.discount", 0, 1),
    _Range("ppo.gae_lambda", 0, 1),
    _Range("ppo.clip", 0, low_is_open=True),
    _Range("ppo.dual_clip", 0),
    _Range("ppo.value_coefficient", 0),
    _Range("ppo.auxiliary_coefficient", 0),
    _Range("ppo.value_clip", 0),
    _Range("ppo.epochs", 1),
    _Range("ppo.minibatches", 1),
    _Range("ppo.max_gradient_norm", 0, low_is_open=True),
    _Range("ppo.adam_epsilon", 0, low_is_open=True),
    _Range("ppo.adam_beta2", 0, 1 - 1e-9),
    _Range("ppo.target_kl", 0),
    _Range("ppo.team_spirit", 0, 1),
    _Range("model.encoder_units", 0),
    _Range("optimizer.batch_steps", 1),
    _Range("optimizer.max_staleness", 0),
    _Range("optimizer.normalizer_warmup_steps", 0),
    _Range("optimizer.value_decay", 0, 1 - 1e-9),
    _Range("optimizer.checkpoint_s", 0),
    _Range("optimizer.checkpoint_versions", 0),
    _Range("optimizer.keep_checkpoints", 1),
    _Range("optimizer.replay_error_versions", 0),
    _Range("optimizer.threads", 0),
    _Range("wire.max_queued_batches", 0),
    _Range("wire.max_queue_bytes", 1),
    _Range("wire.poll_s", 0),
    _Range("wire.redis_maxmemory_bytes", 0),
)


def check_config(config: RunConfig, spec: GameSpec) -> list[str]:
    """Check what no section can check alone; returns notes for the person who started the run.

    Raises:
        ConfigError: a number is out of range, or two do not go together; both stand in the message.
    """
    for bounds in _RANGES:
        _check_range(config, bounds)
    if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", config.device):
        raise ConfigError(f"device is {config.device!r}; expected auto, cpu, cuda or cuda:N")
    if config.until is not None:
        try:
            parse_until(config.until)
        except ValueError as error:
            raise ConfigError(str(error)) from error
    _check_sizes(config, spec.agents_per_team)
    return _staleness_note(config, learning_teams=spec.teams, agents=spec.agents_per_team)


def _check_range(config: RunConfig, bounds: _Range) -> None:
    value: Any = config
    for part in bounds.key.split("."):
        value = getattr(value, part)
    numbers = {bounds.key: value}
    if is_dataclass(value):
        numbers = {f"{bounds.key}.{name}": getattr(value, name) for name in (SCALAR_FIELD, "end")}
    for key, number in numbers.items():
        if number is None:
            continue
        if not bounds.low <= number <= bounds.high or (bounds.low_is_open and number == bounds.low):
            low = f"greater than {bounds.low:g}" if bounds.low_is_open else f"at least {bounds.low:g}"
            high = "" if bounds.high == math.inf else f" and at most {bounds.high:.10g}"
            raise ConfigError(f"{key} is {number}; it must be {low}{high}")


def _check_sizes(config: RunConfig, agents: int) -> None:
    rollout, batch_steps = config.rollout, config.optimizer.batch_steps
    if rollout.chunk_steps % rollout.bptt_steps:
        raise ConfigError(
            f"rollout.chunk_steps is {rollout.chunk_steps}, which is not a multiple of rollout.bptt_steps = "
            f"{rollout.bptt_steps}"
        )
    windows = batch_steps // (rollout.bptt_steps * agents)
    if config.ppo.minibatches > windows:
        raise ConfigError(
            f"ppo.minibatches is {config.ppo.minibatches}, but optimizer.batch_steps = {batch_steps} holds only "
            f"{windows} windows of {rollout.bptt_steps} rows x {agents} agents; take fewer or a larger batch"
        )


def _staleness_note(config: RunConfig, *, learning_teams: int, agents: int) -> list[str]:
    """What the chunks being played hold, in batches: so many versions are made while one of them is filled."""
    rollout, batch_steps = config.rollout, config.optimizer.batch_steps
    open_steps = rollout.workers * rollout.games_per_worker * learning_teams * rollout.chunk_steps * agents
    batches = open_steps / batch_steps
    if batches <= 1:
        return []
    return [
        f"expect about {batches / 2:.1f} versions of staleness from chunks alone: {rollout.workers} workers x "
        f"{rollout.games_per_worker} games x {learning_teams} teams x {rollout.chunk_steps} rows x {agents} agents = "
        f"{open_steps} steps are being played at once, {batches:.1f} batches of {batch_steps}; fewer games or shorter "
        "chunks lower it"
    ]


def _find(path: Path) -> Path:
    if path.is_file():
        return path
    shipped = SHIPPED_CONFIGS / path.name
    for candidate in (shipped, shipped.with_name(f"{shipped.name}.toml")):
        if path.parent == Path() and candidate.is_file():
            return candidate
    names = ", ".join(sorted(p.name for p in SHIPPED_CONFIGS.glob("*.toml"))) or "none"
    raise ConfigError(f"there is no configuration file {path}; the ones that ship with Quintet: {names}")


def _apply_override(raw: dict[str, Any], override: str, sources: dict[str, str]) -> None:
    """Write one `a.b=c` into the raw tables. What is no TOML value is a string, so quotes are optional; none unsets."""
    key, equals, text = override.partition("=")
    parts = key.strip().split(".")
    if not equals or not all(parts):
        raise ConfigError(f"--set takes KEY=VALUE, for example --set ppo.learning_rate=1e-4; found {override!r}")
    table = raw
    for part in parts[:-1]:
        inner = table.get(part)
        if inner is None or not isinstance(inner, dict):
            # `learning_rate = 3e-4` in the file, `learning_rate.end=1e-5` here: the number becomes the table's value.
            inner = {} if inner is None else {SCALAR_FIELD: inner}
            table[part] = inner
        table = inner
    sources[".".join(parts)] = f"--set {override}"
    text = text.strip()
    if text.lower() == "none":
        table.pop(parts[-1], None)
        return
    table[parts[-1]] = _toml_value(text)


def _toml_value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


class _Reader:
    """Turns raw tables into dataclasses, naming the place of whatever does not fit."""

    def __init__(self, source: str, override_sources: Mapping[str, str]) -> None:
        self.source = source
        self.override_sources = override_sources

    def dataclass(self, kind: type[Any], raw: Mapping[str, Any], default: Any, path: tuple[str, ...]) -> Any:
        """An instance of `kind` that differs from `default` in what `raw` names."""
        hints = get_type_hints(kind)
        known = [entry.name for entry in fields(kind)]
        for key in raw:
            if key not in known:
                raise ConfigError(self._unknown_key((*path, key), known))
        values = {name: getattr(default, name) for name in known}
        for key, value in raw.items():
            values[key] = self._value(hints[key], value, values[key], (*path, key))
        try:
            return kind(**values)
        except ValueError as error:
            raise ConfigError(f"{error} ({self._where(path)})") from error

    def _value(self, hint: Any, value: Any, default: Any, path: tuple[str, ...]) -> Any:
        if is_dataclass(hint) and isinstance(hint, type):
            if isinstance(value, Mapping):
                return self.dataclass(hint, value, default, path)
            if any(entry.name == SCALAR_FIELD for entry in fields(hint)):
                return hint(**{SCALAR_FIELD: self._value(get_type_hints(hint)[SCALAR_FIELD], value, None, path)})
        elif get_origin(hint) is UnionType:
            (inner,) = (option for option in get_args(hint) if option is not NoneType)
            return self._value(inner, value, default, path)
        elif _fits(hint, value):
            return float(value) if hint is float else value
        raise ConfigError(f"{'.'.join(path)} is {_describe(value)}; expected {_expected(hint)} ({self._where(path)})")

    def _where(self, path: tuple[str, ...]) -> str:
        """The override that set this key or something in it, else the file."""
        key = ".".join(path)
        for name, override in reversed(list(self.override_sources.items())):
            if name == key or name.startswith(f"{key}.") or key.startswith(f"{name}."):
                return f"in {override}"
        return f"in {self.source}"

    def _unknown_key(self, path: tuple[str, ...], siblings: list[str]) -> str:
        key = ".".join(path)
        near = get_close_matches(path[-1], siblings, n=1)
        if near:
            advice = f"did you mean {'.'.join((*path[:-1], near[0]))}?"
        else:
            everywhere = config_keys()
            same_name = [name for name in everywhere if name.rpartition(".")[2] == path[-1]]
            near = same_name[:1] or get_close_matches(key, everywhere, n=1)
            advice = f"did you mean {near[0]}?" if near else f"known here: {', '.join(siblings)}"
        return f"there is no key {key!r} ({self._where(path)}); {advice}"


def config_keys(kind: type[Any] = RunConfig, prefix: str = "") -> list[str]:
    """Every dotted key of a configuration, sections and Ramps gone into."""
    keys: list[str] = []
    for name, hint in get_type_hints(kind).items():
        keys.append(prefix + name)
        if is_dataclass(hint) and isinstance(hint, type):
            keys += config_keys(hint, f"{prefix}{name}.")
    return keys


def _fits(hint: Any, value: Any) -> bool:
    if get_origin(hint) is Literal:
        return value in get_args(hint)
    if get_origin(hint) is dict:
        return isinstance(value, dict)
    if isinstance(value, bool):
        return hint is bool
    if hint is float:
        return isinstance(value, int | float) and math.isfinite(value)
    return isinstance(value, hint)


def _expected(hint: Any) -> str:
    if get_origin(hint) is Literal:
        return "one of " + ", ".join(map(str, get_args(hint)))
    if get_origin(hint) is dict:
        return "a table"
    if is_dataclass(hint):
        scalar = any(entry.name == SCALAR_FIELD for entry in fields(hint))
        return "a number or a table" if scalar else "a table"
    return {int: "a whole number", float: "a finite number", bool: "true or false", str: "a string"}[hint]


def _describe(value: Any) -> str:
    names = {bool: "a boolean", int: "a whole number", float: "a number", str: "a string", list: "a list"}
    shown = {True: "true", False: "false"}[value] if isinstance(value, bool) else repr(value)
    return f"{shown} ({names.get(type(value), 'a table' if isinstance(value, dict) else type(value).__name__)})"


def _plain(instance: Any) -> dict[str, Any]:
    """A dataclass as tables: None is left out, and what equals its scalar form is written as that."""
    table: dict[str, Any] = {}
    for entry in fields(instance):
        value = getattr(instance, entry.name)
        if is_dataclass(value) and not isinstance(value, type):
            inner = _plain(value)
            scalar = inner.get(SCALAR_FIELD)
            is_scalar = scalar is not None and value == type(value)(**{SCALAR_FIELD: scalar})
            table[entry.name] = scalar if is_scalar else inner
        elif value is not None:
            table[entry.name] = value
        elif _default(entry) is not None:
            raise TypeError(f"{type(instance).__name__}.{entry.name} is None but its default is not: TOML has no null")
    return table


def _default(entry: Field[Any]) -> Any:
    return None if entry.default is MISSING else entry.default
