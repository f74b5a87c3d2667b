"""A run's configuration: the sections of every folder composed, read from one TOML file and `--set a.b=c`.

    game = "gymnasium:CartPole-v1"
    agent_steps = 250_000

    [ppo]
    learning_rate = { value = 3e-4, end = 3e-5, until_steps = 250_000 }    # a Ramp; a plain number is a constant one

A field added to a section's `config.py` is known at once: `quintet.control.config_reader` does the reading.
"""

from __future__ import annotations

import operator
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass, field, fields, is_dataclass, replace
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast, get_type_hints

import tomli_w
from annotated_types import Ge, Gt, Le

from quintet.control.config_reader import SCALAR_FIELD, ConfigReader, apply_override, dotted_keys, plain, settings_of
from quintet.control.config_reader import ConfigError as ConfigError  # noqa: PLC0414 - whoever reads a configuration meets it
from quintet.control.metrics import parse_until
from quintet.model.config import PolicyConfig
from quintet.optimizer.config import OptimizerConfig, PPOConfig, Ramp
from quintet.rollout_workers.config import RolloutConfig
from quintet.wire.config import WireConfig

if TYPE_CHECKING:
    from quintet.games.api import GameSpec
    from quintet.wire.chunk import ChunkSpec

DERIVED = "# derived: "  # begins a comment of config.toml, before the key: `# derived: ppo.epochs = 4: passes over ...`
SHIPPED_CONFIGS = Path(__file__).absolute().parents[1] / "configs"  # beside the packages, so that a wheel has it


@dataclass(frozen=True, kw_only=True, slots=True)
class RunConfig:
    """One training run: what is played, until when, and every section."""

    game: str = "gymnasium:CartPole-v1"
    """The game's name, as `quintet.games.registry.make_game` takes it."""
    game_options: dict[str, Any] = field(default_factory=dict)
    """Handed on to the game's maker, for example its wrappers."""
    seed: Annotated[int, Ge(0), Le(2**31 - 1)] = 1
    """Seeds the first weights, the games and the sampling of actions."""
    device: str = "auto"
    """Where the optimizer computes: auto (a GPU when there is one), cpu, cuda or cuda:1."""
    deterministic: bool = False
    """Train so that it can be repeated to the last bit: one worker, in turns with an optimizer of one thread."""
    agent_steps: Annotated[int | None, Ge(1)] = None
    """Budget: stop after this many valid rows x agents of learning teams."""
    minutes: Annotated[float | None, Gt(0)] = None
    """Budget: stop after this long."""
    until: str | None = None
    """Budget: stop when a metric is reached, for example charts/episodic_return=475."""
    track: bool = False
    """Log to Weights & Biases as well: its own settings (WANDB_PROJECT, WANDB_MODE ...) say where to."""
    model: PolicyConfig = field(default_factory=PolicyConfig)
    rollout: RolloutConfig = field(default_factory=RolloutConfig)
    ppo: PPOConfig = field(default_factory=PPOConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    wire: WireConfig = field(default_factory=WireConfig)
    given: frozenset[str] = field(default=frozenset(), compare=False, repr=False)
    """Keys that somebody chose, `ppo.epochs`: no setting itself. See `given_keys`."""

    def chunk_spec(self, game: GameSpec) -> ChunkSpec:
        """What every chunk of this run looks like, where the game is this one."""
        from quintet.wire.chunk import chunk_spec  # loads gymnasium, which reading a configuration must not wait for

        return chunk_spec(
            game,
            lstm_units=self.model.lstm_units,
            bptt_steps=self.rollout.bptt_steps,
            chunk_steps=self.rollout.chunk_steps,
        )


def load_config(path: str | Path | None = None, overrides: Sequence[str] = ()) -> RunConfig:
    """Read a configuration file, or the defaults where it is None, and apply overrides of the form `a.b=c`.

    A bare name that is no file here is looked up among the configurations that ship with Quintet.

    Raises:
        ConfigError: the file is missing or is no TOML, a key does not exist, or a value has the wrong type.
    """
    if isinstance(overrides, str):
        raise ConfigError(f"overrides are a list, for example [{overrides!r}]; found the text {overrides!r}")
    if path is None:
        return parse_config("", overrides=overrides, source="the defaults")
    found = _find(Path(path))
    try:
        text = found.read_text(encoding="utf-8-sig")  # some editors put a byte order mark in front
    except OSError as error:
        raise ConfigError(f"cannot read the configuration {found}: {error}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"the configuration {found} is not UTF-8 text ({error}): save it as UTF-8") from error
    return parse_config(text, overrides=overrides, source=str(path))


def parse_config(text: str, *, overrides: Sequence[str] = (), source: str = "the configuration") -> RunConfig:
    """The configuration that a TOML text describes; `source` names the text in error messages."""
    try:
        raw = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{source} is not TOML: {error}") from error
    sources: dict[str, str] = {}
    for override in overrides:
        apply_override(raw, override, sources)
    default = RunConfig(rollout=_chunks_that_fit(raw))
    config: RunConfig = ConfigReader(RunConfig, source, sources).dataclass(RunConfig, raw, default, ())
    return replace(config, given=frozenset(_keys_in(raw)))


def given_keys(config: RunConfig) -> frozenset[str]:
    """The keys that are not derived from the game: those that were read, and every value that is not its default.

    A Ramp is one key, whichever part of it was given.
    """
    default = RunConfig()
    return config.given | {key for key in _whole_keys() if value_of(config, key) != value_of(default, key)}


def as_complete(config: RunConfig) -> RunConfig:
    """The same, with every key given: the configuration of a run that was made, from which nothing is derived."""
    return replace(config, given=_whole_keys())


def with_value(config: RunConfig, key: str, value: Any) -> RunConfig:
    """The configuration with another value under a dotted key."""
    section, _, name = key.rpartition(".")
    if not section:
        return replace(config, **{name: value})
    return replace(config, **{section: replace(getattr(config, section), **{name: value})})


def dump_config(config: RunConfig) -> str:
    """The configuration as TOML; `parse_config` of it gives the same configuration."""
    return tomli_w.dumps(plain(config))


def with_comments_of(old: str, text: str) -> str:
    """A configuration's text below the comments that the old one begins with, unless it has some of its own.

    What was derived in the old one and has another value in this one is left out.
    """
    comments = list(takewhile(lambda line: line.startswith("#"), old.splitlines()))
    if not comments or text.startswith("#"):
        return text
    before, after = tomllib.loads(old), tomllib.loads(text)
    kept = [line for line in comments if not line.startswith(DERIVED) or _same(line, before, after)]
    return "\n".join([*kept, "", text]) if kept else text


def _same(comment: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> bool:
    """Whether both have the same value for the key that a comment is about."""
    key = comment.removeprefix(DERIVED).partition(" = ")[0]
    return bool(found_in(before, key) == found_in(after, key))


def found_in(table: Any, key: str) -> Any:
    """What stands in tables under a dotted key; None where nothing does."""
    for part in key.split("."):
        table = table.get(part) if isinstance(table, Mapping) else None
    return table


def flat_config(config: RunConfig) -> dict[str, bool | int | float | str]:
    """The configuration as one value per dotted key, for those who compare runs; what has no value is left out."""
    return dict(_flat(plain(config), ""))


def _flat(table: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, bool | int | float | str]]:
    for key, value in table.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value if isinstance(value, bool | int | float | str) else str(value)


def config_keys() -> list[str]:
    """Every dotted key of a configuration, sections and Ramps gone into."""
    return dotted_keys(RunConfig)


def check_config(config: RunConfig, spec: GameSpec) -> list[str]:
    """Check what no section can check alone; returns notes for the person who started the run.

    Raises:
        ConfigError: a number is out of range, or two do not go together; both stand in the message.
    """
    check_alone(config)
    _check_sizes(config, spec.agents_per_team)
    return _staleness_note(config, spec.teams, spec.agents_per_team)


def open_steps(config: RunConfig, teams: int, agents: int) -> int:
    """Steps of the chunks that are being played at once: what is in them grows stale while the last of them fill."""
    rollout = config.rollout
    return rollout.workers * rollout.games_per_worker * teams * rollout.chunk_steps * agents


def check_alone(config: RunConfig) -> None:
    """Check all that needs no game, so that it is refused before anything is started.

    Raises:
        ConfigError: the first that does not fit.
    """
    check_ranges(config)
    if config.track and find_spec("wandb") is None:
        raise ConfigError("track is true, but Weights & Biases is not installed: pip install 'quintet[track]'")
    if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", config.device):
        meant = "; did you mean cuda?" if re.match(r"gpu|nvidia|hip|rocm|cuda", config.device.lower()) else ""
        raise ConfigError(f"device is {config.device!r}; expected auto, cpu, cuda or cuda:N{meant}")
    if config.device.startswith("cuda") and _torch_version().endswith("+cpu"):
        raise ConfigError(f"device is {config.device!r}, but the torch that is installed computes on the CPU alone")
    if config.deterministic and config.rollout.workers != 1:
        raise ConfigError(
            f"deterministic is true, but rollout.workers is {config.rollout.workers}; such a run has one: --workers 1"
        )
    if config.deterministic and config.optimizer.keep_checkpoints < 2:
        raise ConfigError(
            f"deterministic is true, but optimizer.keep_checkpoints is {config.optimizer.keep_checkpoints}; such a run "
            "needs 2: when it is stopped, its last checkpoint is not the one that it goes on from"
        )


def check_ranges(config: RunConfig) -> None:
    """Check every number's range, that `until` can be reached, and that ramps fit: all that needs no game.

    Raises:
        ConfigError: the first that does not fit.
    """
    for key, limits in _limits(RunConfig, "").items():
        value = value_of(config, key)
        if value is None or is_dataclass(value):  # of a Ramp, the value and the end are looked at
            continue
        if not all(_LIMITS[type(limit)][1](value, *astuple(limit)) for limit in limits):
            raise ConfigError(f"{key} is {value}; it must be {range_of(key)}")
    if config.until is not None:
        try:
            parse_until(config.until)
        except ValueError as error:
            raise ConfigError(str(error)) from error
    if config.deterministic:
        _check_without_minutes(config.ppo)


def _check_without_minutes(ppo: PPOConfig) -> None:
    for entry in fields(ppo):
        value = getattr(ppo, entry.name)
        if isinstance(value, Ramp) and value.until_minutes:
            raise ConfigError(
                f"deterministic is true, but ppo.{entry.name}.until_minutes is {value.until_minutes:g}, and no two "
                f"runs take the same time; set it to 0, and ppo.{entry.name}.until_steps in its place"
            )


def value_of(config: RunConfig, key: str) -> Any:
    """What stands under a dotted key."""
    value: Any = config
    for part in key.split("."):
        value = getattr(value, part)
    return value


def range_of(key: str) -> str:
    """Where a number may lie, `at least 0 and at most 1`; empty where that is not limited."""
    limits = _limits(RunConfig, "").get(key, ())
    return " and ".join(f"{_LIMITS[type(limit)][0]} {astuple(limit)[0]:.10g}" for limit in limits)


_LIMITS: dict[type, tuple[str, Callable[[Any, Any], bool]]] = {
    Ge: ("at least", operator.ge),
    Gt: ("greater than", operator.gt),
    Le: ("at most", operator.le),
}


@cache
def _limits(kind: type[Any], prefix: str) -> dict[str, tuple[Any, ...]]:
    """The limits that stand beside the fields, by dotted key; those of a Ramp hold for its value and its end."""
    found: dict[str, tuple[Any, ...]] = {}
    for name, hint in get_type_hints(kind, include_extras=True).items():
        key, limits = prefix + name, getattr(hint, "__metadata__", ())
        if limits:
            is_ramp = is_dataclass(hint.__origin__)
            found |= dict.fromkeys((key, f"{key}.{SCALAR_FIELD}", f"{key}.end") if is_ramp else (key,), limits)
        elif is_dataclass(hint):
            found |= _limits(cast(type, hint), f"{key}.")
    return found


def _check_sizes(config: RunConfig, agents: int) -> None:
    rollout, batch_steps = config.rollout, config.optimizer.batch_steps
    windows = batch_steps // (rollout.bptt_steps * agents)
    if config.ppo.minibatches > windows:
        raise ConfigError(
            f"ppo.minibatches is {config.ppo.minibatches}, but optimizer.batch_steps = {batch_steps} holds only "
            f"{windows} windows of {rollout.bptt_steps} rows x {agents} agents; take fewer or a larger batch"
        )


def _staleness_note(config: RunConfig, teams: int, agents: int) -> list[str]:
    """What the chunks being played hold, in batches: so many versions are made while one of them is filled."""
    rollout, batch_steps = config.rollout, config.optimizer.batch_steps
    steps = open_steps(config, teams, agents)
    batches = steps / batch_steps
    if batches <= 1:
        return []
    return [
        f"expect about {batches / 2:.1f} versions of staleness from chunks alone: {rollout.workers} workers x "
        f"{rollout.games_per_worker} games x {teams} teams x {rollout.chunk_steps} rows x {agents} agents = "
        f"{steps} steps are being played at once, {batches:.1f} batches of {batch_steps}; fewer games or shorter "
        "chunks lower it"
    ]


def _torch_version() -> str:
    """`2.8.0+cpu`, without loading it; empty where there is none."""
    try:
        return version("torch")
    except PackageNotFoundError:
        return ""


def _chunks_that_fit(raw: Mapping[str, Any]) -> RolloutConfig:
    """The defaults, with chunks of whole windows where only the windows were given."""
    table, default = raw.get("rollout"), RolloutConfig()
    windows = table.get("bptt_steps") if isinstance(table, Mapping) else None
    if not isinstance(windows, int) or windows < 1 or default.chunk_steps % windows == 0:
        return default
    return replace(default, bptt_steps=windows, chunk_steps=windows * max(1, round(default.chunk_steps / windows)))


def _keys_in(raw: Mapping[str, Any]) -> Iterator[str]:
    """The keys that a table gives: those of sections by their dotted names, a Ramp as one."""
    for key, value in raw.items():
        if is_dataclass(getattr(RunConfig(), key)):
            yield from (f"{key}.{name}" for name in value)
        else:
            yield key


@cache
def _whole_keys() -> frozenset[str]:
    """Every key whose value is no section; a Ramp is one of them."""
    return frozenset(_keys_in({key: _names(getattr(RunConfig(), key)) for key in _names(RunConfig())}))


def _names(value: Any) -> list[str]:
    return [entry.name for entry in settings_of(value)] if is_dataclass(value) else []


def _find(path: Path) -> Path:
    if path.is_file():
        return path
    shipped = SHIPPED_CONFIGS / path.name
    for candidate in (shipped, shipped.with_name(f"{shipped.name}.toml")):
        if path.parent == Path() and candidate.is_file():
            return candidate
    names = ", ".join(sorted(p.name for p in SHIPPED_CONFIGS.glob("*.toml"))) or "none"
    raise ConfigError(f"there is no configuration file {path}; the ones that ship with Quintet: {names}")
