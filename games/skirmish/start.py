"""How games may begin and what counts in them: the options, and the start that one game draws from them by its seed.

`spawns.start_game(state, tables, g, seed, start)` takes one record of START_DTYPE. Seed and record are what a replay
keeps of a game's beginning.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from quintet.games.api import GameError
from quintet.games.dotted import nearest
from quintet.games.skirmish.rules import HEROES, LEVEL_EXPERIENCE, REWARD_NAMES, RUNE_NAMES, WAVE_FIRST_S, Preset
from quintet.games.skirmish.state import MOST_HEROES, Array
from quintet.games.skirmish.tables import ticks

ARCHETYPES = tuple(hero.name for hero in HEROES)
MIRROR, RANDOM = "mirror", "random"
MOST_LEVEL = len(LEVEL_EXPERIENCE)
LONGEST_FIRST_WAVE_S = 60.0

START_DTYPE = np.dtype(
    [
        ("archetype", "i4", (2, MOST_HEROES)),  # of both teams; beyond the team's size: unused
        ("level", "i4"),  # of every hero, from 1
        ("rune_kinds", "i4"),  # bit k: RUNE k may appear; 0: none do
        ("first_wave", "i4"),  # tick
    ],
    align=True,
)


@dataclass(frozen=True, kw_only=True, slots=True)
class StartOptions:
    """What the starts of games are drawn from. Both teams always start alike, but for `line_up`.

    Raises:
        GameError: a name that does not exist, or a number out of range.
    """

    preset: Preset
    line_up: str | Sequence[str] = MIRROR
    """mirror: both teams have the same random line-up; random: each its own; or the names of the archetypes, for one
    team (then both have it) or for both."""
    start_level: int | Sequence[int] = 1
    """Level of all heroes, or (lowest, highest) to draw it from."""
    rune_kinds: str | Sequence[str] = RUNE_NAMES
    """Runes that may appear, or random: in each game every kind is in or out by a coin."""
    first_wave_s: float | Sequence[float] = WAVE_FIRST_S
    """When the first wave of creeps comes, or (earliest, latest) to draw it from."""
    rewards: Mapping[str, float] = field(default_factory=dict)
    """Weights of reward components that replace those of `rules.REWARDS`."""

    def __post_init__(self) -> None:
        size = self.preset.heroes
        if not isinstance(self.line_up, str):
            _check_names("line_up", self.line_up, ARCHETYPES)
            if len(self.line_up) not in (size, 2 * size):
                raise GameError(
                    f"{self.preset.name}: line_up names {len(self.line_up)} heroes; expected {size}, or {2 * size} for "
                    "both teams"
                )
        elif self.line_up not in (MIRROR, RANDOM):
            raise GameError(
                f"{self.preset.name}: line_up is {self.line_up!r}; expected mirror, random or a list of "
                f"{', '.join(ARCHETYPES)}"
            )
        if isinstance(self.rune_kinds, str):
            if self.rune_kinds != RANDOM:
                raise GameError(
                    f"{self.preset.name}: rune_kinds is {self.rune_kinds!r}; expected random or a list of "
                    f"{', '.join(RUNE_NAMES)}"
                )
        else:
            _check_names("rune_kinds", self.rune_kinds, RUNE_NAMES)
        _range("start_level", self.start_level, 1, MOST_LEVEL)
        _check_rewards(self.rewards)
        _range("first_wave_s", self.first_wave_s, 0, LONGEST_FIRST_WAVE_S)


def _check_rewards(rewards: Mapping[str, float]) -> None:
    _check_names("rewards", tuple(rewards), REWARD_NAMES)
    for name, weight in rewards.items():
        if isinstance(weight, bool) or not isinstance(weight, int | float) or not math.isfinite(weight):
            raise GameError(f"rewards.{name} is {weight!r}; expected a number")


def _check_names(option: str, names: Sequence[str], known: tuple[str, ...]) -> None:
    for name in names:
        if name not in known:
            raise GameError(f"{option} names {name!r}{nearest(str(name), known)}; known are {', '.join(known)}")


def _range(option: str, value: float | Sequence[float], least: float, most: float) -> tuple[float, float]:
    pair = (value, value) if isinstance(value, int | float) else tuple(value)
    if len(pair) != 2 or not least <= pair[0] <= pair[1] <= most:
        raise GameError(f"{option} is {value}; expected a number or (lowest, highest) from {least:g} to {most:g}")
    return pair[0], pair[1]


class SplitMix:
    """splitmix64 in whole numbers: the same stream on every machine and for every version of every library."""

    def __init__(self, state: int) -> None:
        self.state = state % 2**64

    def next(self) -> int:
        """64 random bits."""
        self.state = (self.state + 0x9E3779B97F4A7C15) % 2**64
        z = self.state
        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
        z = (z ^ (z >> 27)) * 0x94D049BB133111EB % 2**64
        return z ^ (z >> 31)

    def below(self, n: int) -> int:
        """A number from 0 to n - 1 (the bias of at most n / 2^64 does not matter here)."""
        return self.next() % n


def game_seed(seed: int, slot: int, nth: int) -> int:
    """The 64-bit seed of the nth game in a slot, after `reset(seed)`."""
    mixed = SplitMix(seed)
    for part in (slot, nth):
        mixed = SplitMix(mixed.next() ^ part)
    return mixed.next()


def draw_start(options: StartOptions, seed: int) -> Any:
    """One record of START_DTYPE for the game with that seed."""
    random = SplitMix(seed ^ 0x5354415254)  # another stream than the one that the game itself goes on with
    start = np.zeros((), START_DTYPE)
    start["archetype"] = _line_ups(options, random)
    lowest, highest = _range("start_level", options.start_level, 1, MOST_LEVEL)
    start["level"] = int(lowest) + random.below(int(highest) - int(lowest) + 1)
    if isinstance(options.rune_kinds, str):
        start["rune_kinds"] = random.below(2 ** len(RUNE_NAMES))
    else:
        start["rune_kinds"] = sum(1 << RUNE_NAMES.index(name) for name in set(options.rune_kinds))
    earliest, latest = (ticks(s) for s in _range("first_wave_s", options.first_wave_s, 0, LONGEST_FIRST_WAVE_S))
    start["first_wave"] = earliest + random.below(latest - earliest + 1)
    return start[()]


def _line_ups(options: StartOptions, random: SplitMix) -> Array:
    """i32 [2, MOST_HEROES]; a random line-up has no archetype twice."""
    size = options.preset.heroes
    chosen = np.zeros((2, MOST_HEROES), np.int32)
    if isinstance(options.line_up, str):
        first, second = _shuffled(random), _shuffled(random)
        chosen[0, :size] = first[:size]
        chosen[1, :size] = (first if options.line_up == MIRROR else second)[:size]
    else:
        indices = [ARCHETYPES.index(name) for name in options.line_up]
        chosen[0, :size], chosen[1, :size] = indices[:size], indices[-size:]
    return chosen


def _shuffled(random: SplitMix) -> list[int]:
    """All archetypes in random order."""
    order = list(range(len(ARCHETYPES)))
    for k in range(len(order) - 1, 0, -1):
        other = random.below(k + 1)
        order[k], order[other] = order[other], order[k]
    return order
