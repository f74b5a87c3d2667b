"""A recorded game: its seed, its start and every action, from which the engine plays the very same game again.

A file is a msgpack map: `format`, `version`, `size` and `sha256` of the body, and the `body`, a msgpack map in zstd.
The body says which rules it was played by, and holds the state's hash at every `HASH_EVERY`th step, so that a game
that would not be the same again is an error and not another game.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
import zstandard

from quintet.games.api import GameError
from quintet.games.skirmish import rules
from quintet.games.skirmish.rules import PRESETS, STEP_S
from quintet.games.skirmish.start import ARCHETYPES, MOST_LEVEL, START_DTYPE
from quintet.games.skirmish.state import ENDED, LAST_SEEN, Array, State, empty_state, layout, state_hash
from quintet.games.skirmish.tables import Tables, build_tables

FORMAT, VERSION = "quintet-replay", 1
HASH_EVERY = 250  # steps
MAX_FILE_BYTES, MAX_BODY_BYTES = 16 * 2**20, 64 * 2**20
ACTION_PARTS = 5  # primary, target unit, offset x, offset y, item
LEVEL = 12  # of zstd: twice as slow as its default, a tenth smaller


class ReplayError(GameError):
    """A replay that cannot be read, or that these rules would not play as it was."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Replay:
    """One game of a preset, or its beginning."""

    preset: str
    seed: int  # of this game, 64 bits
    start: Array  # a record of START_DTYPE
    actions: Array  # int8 or int16 [steps, heroes of both teams, 5], as the engine takes them
    players: tuple[str, str]  # who sat on the seats, for people
    hashes: tuple[str, ...]  # of the state: before the first step, after every HASH_EVERY steps, after the last step
    rules: str  # rules_hash() when it was played

    @property
    def steps(self) -> int:
        """How many were played."""
        return len(self.actions)

    @property
    def duration_s(self) -> float:
        """Of the game's own time."""
        return self.steps * STEP_S


@cache
def rules_hash() -> str:
    """16 hex digits over every number of `rules.py`, whatever its layout and comments."""
    lines = [f"{name}={getattr(rules, name)!r}" for name in sorted(vars(rules)) if name.isupper()]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]


class GameRecorder:
    """Writes down one game while it is played; `replay` is what has been played so far."""

    def __init__(self, preset: str, seed: int, start: Array, state: State, game: int, players: tuple[str, str]) -> None:
        self.preset, self.seed, self.start, self.players = preset, seed, start.copy(), players
        self.actions: list[Array] = []
        self.hashes = [state_hash(state, game)]

    def add(self, actions: Array, state: State, game: int) -> None:
        """What the engine was given for this game, i32 [heroes of both teams, 5], and the state that came of it."""
        self.actions.append(actions.astype(np.int16))
        if len(self.actions) % HASH_EVERY == 0:
            self.hashes.append(state_hash(state, game))

    def replay(self, state: State, game: int) -> Replay:
        """The game up to the state after the last step."""
        heroes = 2 * PRESETS[self.preset].heroes
        log = np.array(self.actions, np.int16).reshape(-1, heroes, ACTION_PARTS)
        small = log.size == 0 or (log.min() >= -128 and log.max() <= 127)
        return Replay(
            preset=self.preset,
            seed=self.seed,
            start=self.start,
            actions=log.astype(np.int8) if small else log,
            players=self.players,
            hashes=(*self.hashes, state_hash(state, game)),
            rules=rules_hash(),
        )


def play(replay: Replay) -> Iterator[tuple[Tables, State]]:
    """The game again: its one-game state before the first step and after each. The same arrays, changed in place.

    Raises:
        ReplayError: the rules are others now, or the game goes another way than it went.
    """
    from quintet.games.skirmish.engine.tick import step_games
    from quintet.games.skirmish.game import begin_game
    from quintet.games.skirmish.rewards import collect

    if replay.rules != rules_hash():
        raise ReplayError(
            f"the replay was played by the rules {replay.rules}, these are {rules_hash()}: the same actions would be "
            "another game. Check out the version of Quintet that recorded it"
        )
    preset = PRESETS[replay.preset]
    tables, state = build_tables(preset), empty_state(preset, 1)
    seed, starts = np.array([replay.seed], np.uint64), replay.start.reshape(1)
    begin_game(state, tables, 0, seed[0], starts)
    reward = np.zeros((1, 2, preset.heroes), np.float32)
    _check_hash(replay, state, 0)
    yield tables, state
    for step, actions in enumerate(replay.actions, start=1):
        step_games(state, tables, np.ascontiguousarray(actions[None], np.int32))
        collect(state, tables, reward)  # what an episode has brought is part of the state
        state.game["phase"][state.game["phase"] == ENDED] = LAST_SEEN
        if step % HASH_EVERY == 0 or step == replay.steps:
            _check_hash(replay, state, step)
        yield tables, state


def _check_hash(replay: Replay, state: State, step: int) -> None:
    """Of the states that have one: the last step's is the last."""
    expected = replay.hashes[-1] if step == replay.steps else replay.hashes[step // HASH_EVERY]
    found = state_hash(state, 0)
    if found != expected:
        raise ReplayError(
            f"the replay parts from the game that was played at or before step {step}: the state is {found}, it was "
            f"{expected}. The engine has changed since; check out the version of Quintet that recorded it"
        )


def write_replay(path: Path, replay: Replay) -> int:
    """Write a file, whole or not at all; returns its size in bytes."""
    body = {
        "preset": replay.preset,
        "seed": replay.seed,
        "start": {name: replay.start[name].tolist() for name in START_DTYPE.names or ()},
        "players": list(replay.players),
        "hashes": list(replay.hashes),
        "rules": replay.rules,
        "dtype": replay.actions.dtype.name,
        "shape": list(replay.actions.shape),
        # One hero's one part after another: numbers that are alike stand together, which is what zstd likes.
        "actions": np.ascontiguousarray(replay.actions.transpose(2, 1, 0)).astype(_little(replay.actions)).tobytes(),
    }
    packed = zstandard.ZstdCompressor(level=LEVEL).compress(msgpack.packb(body))
    digest = hashlib.sha256(packed).digest()
    outer = {"format": FORMAT, "version": VERSION, "size": len(packed), "sha256": digest, "body": packed}
    data: bytes = msgpack.packb(outer)
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    unfinished.write_bytes(data)
    unfinished.replace(path)
    return len(data)


def read_replay(path: Path) -> Replay:
    """Read a file that `write_replay` wrote.

    Raises:
        ReplayError: there is none, it is damaged, too large, of another version, or says what cannot be.
    """
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise ReplayError(f"{path} has {path.stat().st_size:,} bytes; a replay has at most {MAX_FILE_BYTES:,}")
        data = path.read_bytes()
    except OSError as error:
        raise ReplayError(f"cannot read the replay {path}: {error.strerror or error}") from error
    try:
        return _replay(_body(data))
    except ReplayError as error:
        raise ReplayError(f"{path}: {error}") from error


def _unpack(data: bytes, what: str) -> dict[str, Any]:
    try:
        found = msgpack.unpackb(data, strict_map_key=True)
    except (ValueError, msgpack.exceptions.UnpackException) as error:
        raise ReplayError(f"{what} is not msgpack ({error})") from error
    if not isinstance(found, dict):
        raise ReplayError(f"{what} is a {type(found).__name__}; expected a map")
    return found


def _body(data: bytes) -> dict[str, Any]:
    """The inner map, after size and checksum were compared."""
    outer = _unpack(data, "the file")
    if outer.get("format") != FORMAT:
        raise ReplayError(f"this is no replay: its format is {outer.get('format')!r}; expected {FORMAT!r}")
    if outer.get("version") != VERSION:
        raise ReplayError(f"the replay has version {outer.get('version')!r}; this Quintet reads version {VERSION}")
    body = _field(outer, "body", bytes)
    if outer.get("size") != len(body):
        raise ReplayError(f"the body has {len(body):,} bytes; expected {outer.get('size')!r}. The file was cut short")
    if outer.get("sha256") != hashlib.sha256(body).digest():
        raise ReplayError("the checksum is wrong: the file is damaged")
    try:
        unpacked = zstandard.frame_content_size(body)  # before anything of that size is made
        if not 0 <= unpacked <= MAX_BODY_BYTES:
            raise ReplayError(f"the body unpacks to {unpacked:,} bytes; at most {MAX_BODY_BYTES:,} are read")
        plain = zstandard.ZstdDecompressor().decompress(body)
    except zstandard.ZstdError as error:
        raise ReplayError(f"the body does not unpack ({error})") from error
    return _unpack(plain, "the body")


def _field(of: dict[str, Any], name: str, kind: type) -> Any:
    value = of.get(name)
    if not isinstance(value, kind) or isinstance(value, bool):
        raise ReplayError(f"{name!r} is {type(value).__name__}; expected {kind.__name__}")
    return value


def _texts(of: dict[str, Any], name: str) -> tuple[str, ...]:
    values = _field(of, name, list)
    if not all(isinstance(value, str) for value in values):
        raise ReplayError(f"{name!r} holds something else than texts")
    return tuple(values)


def _replay(body: dict[str, Any]) -> Replay:
    unknown = sorted(set(body) - {f.name for f in fields(Replay)} - {"dtype", "shape"})
    if unknown:
        raise ReplayError(f"the body has unknown fields: {', '.join(unknown)}")
    preset, seed = _field(body, "preset", str), _field(body, "seed", int)
    if preset not in PRESETS:
        raise ReplayError(f"the preset is {preset!r}; there are {', '.join(PRESETS)}")
    if not 0 <= seed < 2**64:
        raise ReplayError(f"the seed is {seed}; expected 64 bits")
    players, hashes = _texts(body, "players"), _texts(body, "hashes")
    if len(players) != 2:
        raise ReplayError(f"'players' names {len(players)}; expected 2")
    actions = _actions(body, preset)
    if len(hashes) != 2 + len(actions) // HASH_EVERY:
        raise ReplayError(f"'hashes' has {len(hashes)}; expected {2 + len(actions) // HASH_EVERY}")
    return Replay(
        preset=preset,
        seed=seed,
        start=_start(_field(body, "start", dict)),
        actions=actions,
        players=(players[0], players[1]),
        hashes=hashes,
        rules=_field(body, "rules", str),
    )


def _start(found: dict[str, Any]) -> Array:
    """A record of START_DTYPE with numbers that the engine can use."""
    start = np.zeros((), START_DTYPE)
    if sorted(found) != sorted(START_DTYPE.names or ()):
        raise ReplayError(
            f"'start' has {', '.join(sorted(map(str, found)))}; expected {', '.join(START_DTYPE.names or ())}"
        )
    for name in START_DTYPE.names or ():
        try:
            if np.shape(found[name]) != START_DTYPE[name].shape:
                raise ValueError(f"shape {np.shape(found[name])}; expected {START_DTYPE[name].shape}")
            start[name] = found[name]
        except (ValueError, TypeError, OverflowError) as error:
            raise ReplayError(f"'start' has a wrong {name}: {error}") from error
    archetypes, level = start["archetype"], int(start["level"])
    if archetypes.min() < 0 or archetypes.max() >= len(ARCHETYPES) or not 1 <= level <= MOST_LEVEL:
        raise ReplayError(f"'start' has archetypes {archetypes.tolist()} and level {level}, which do not exist")
    if start["first_wave"] < 0 or not 0 <= start["rune_kinds"] < 2 ** len(rules.RUNE_NAMES):
        raise ReplayError(f"'start' has first_wave {start['first_wave']} and rune_kinds {start['rune_kinds']}")
    return start


def _actions(body: dict[str, Any], preset: str) -> Array:
    """[steps, heroes, 5], every number in the range that the engine indexes its tables with."""
    dtype, shape, raw = _field(body, "dtype", str), _field(body, "shape", list), _field(body, "actions", bytes)
    if dtype not in ("int8", "int16"):
        raise ReplayError(f"the actions are {dtype!r}; expected int8 or int16")
    heroes = 2 * PRESETS[preset].heroes
    if len(shape) != 3 or not all(isinstance(n, int) for n in shape) or shape[1:] != [heroes, ACTION_PARTS]:
        raise ReplayError(f"the actions have shape {shape}; expected [steps, {heroes}, {ACTION_PARTS}]")
    expected = shape[0] * heroes * ACTION_PARTS * np.dtype(dtype).itemsize
    if shape[0] < 0 or len(raw) != expected:
        raise ReplayError(f"the actions have {len(raw):,} bytes; expected {expected:,} for {shape[0]} steps")
    turned = np.frombuffer(raw, np.dtype(dtype).newbyteorder("<")).reshape(ACTION_PARTS, heroes, shape[0])
    actions = np.ascontiguousarray(turned.transpose(2, 1, 0)).astype(dtype)
    most = (
        rules.FIRST_ABILITY + len(rules.ABILITIES), layout(PRESETS[preset]).units, rules.OFFSETS, rules.OFFSETS,
        len(rules.ITEMS),
    )  # fmt: skip
    least = (0, -1, 0, 0, 0)
    for part, (low, high) in enumerate(zip(least, most, strict=True)):
        column = actions[..., part]
        if column.size and (column.min() < low or column.max() >= high):
            raise ReplayError(
                f"part {part} of the actions goes from {column.min()} to {column.max()}; expected {low} to {high - 1}"
            )
    return actions


def _little(array: Array) -> np.dtype[Any]:
    return array.dtype.newbyteorder("<")
