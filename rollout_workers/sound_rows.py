"""Refuses a row that nothing can be learned from where it is played, with the place and the value.

The optimizer refuses the whole chunk of such a row (`wire.codec`), but that is a process and a batch later, and says
neither which game nor which row it was. So every row is looked at with one pass over each array.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from quintet.games.api import Array, GameDataError
from quintet.games.checks.data import LARGEST_NUMBER, first_unsound, is_sound
from quintet.wire.chunk import ArraySpec, ChunkSpec

_SIGN_OFF, _INFINITE = np.uint16(0x7FFF), np.uint16(0x7C00)  # of a float16's bits
ADVICE = "make it a finite number there (clip it, or end the game before it)"


class SoundRows:
    """Looks at every row of one worker's games; B = slots x teams streams, team fastest, as in `chunker.Row`."""

    def __init__(self, spec: ChunkSpec, code: str) -> None:
        """`code` is the file and the line of the user's code that makes rows, for the message; empty if not known."""
        self._spec, self._code = spec, code
        kinds = {"float32": is_sound, "float16": is_sound16}
        self._floats = [(name, kinds[s.dtype]) for name, s in spec.observation.items() if s.dtype in kinds]
        self._columns = [
            (name, unsigned(entry.dtype), column, n)
            for name, entry in spec.observation.items()
            for column, n in entry.categories
        ]
        self._tops = [np.asarray(n - 1, spec.observation[name].dtype).view(kind) for name, kind, _, n in self._columns]
        self._limits = {name: limits_of(entry) for name, entry in spec.observation.items() if entry.choices}

    def check_observation(self, observation: dict[str, Array], row_of: Callable[[int], str]) -> None:
        """Look at a row's observation in wire dtypes; `row_of(slot)` says in words which row of its game it is.

        Raises:
            GameDataError: a number is NaN, infinite or beyond the largest, or a category does not exist.
        """
        for name, sound in self._floats:
            if not sound(observation[name]):
                self._refuse_number(name, observation[name], row_of)
        for name, limits in self._limits.items():
            array = observation[name]
            if (array.view(limits.dtype) >= limits).any():  # what is below 0 is a large number without its sign
                self._refuse_category(name, array, row_of)
        for (name, kind, column, n), top in zip(self._columns, self._tops, strict=True):
            # Floats without a sign lie in the order of their bits, and a sign makes them larger than all.
            if (observation[name].view(kind)[..., column] > top).any():
                self._refuse_column(name, column, n, observation[name], row_of)

    def check_reward(self, reward: Array, row_of: Callable[[int], str]) -> None:
        """The same for a row's rewards [B, A] f32."""
        if not is_sound(reward):
            self._refuse_number("", reward, row_of)

    def _refuse_number(self, name: str, array: Array, row_of: Callable[[int], str]) -> None:
        at = first_unsound(array)
        if at is None:
            return
        bound = f"of at most {LARGEST_NUMBER:g}" if array.dtype == np.float32 else "that a float16 can hold"
        raise GameDataError(
            f"{self._place(name, list(at), row_of)} is {array[at]:g}; expected a finite number {bound}: {ADVICE}"
        )

    def _refuse_category(self, name: str, array: Array, row_of: Callable[[int], str]) -> None:
        limits = np.broadcast_to(self._limits[name], array.shape)
        at = tuple(np.argwhere(array.view(limits.dtype) >= limits)[0].tolist())
        place = self._place(name, list(at), row_of)
        raise GameDataError(f"{place} is {array[at]}; expected a category from 0 to {int(limits[at]) - 1}")

    def _refuse_column(self, name: str, column: int, n: int, array: Array, row_of: Callable[[int], str]) -> None:
        values = array[..., column]
        wrong = ~((values >= 0) & (values < n))
        if wrong.any():  # -0.0 is none
            at = np.argwhere(wrong)[0].tolist()
            place = self._place(name, [*at, column], row_of)
            raise GameDataError(f"{place} is {values[tuple(at)]:g}; expected a whole number from 0 to {n - 1}")

    def _place(self, name: str, at: list[int], row_of: Callable[[int], str]) -> str:
        """Where an array's element at [stream, agent, ...] belongs, in words; of a reward, where `name` is empty."""
        spec = self._spec
        slot, team = divmod(at[0], spec.teams)
        per_agent = not name or spec.observation[name].per_agent
        inner = at[2:] if per_agent else at[1:]
        what = f"observation entry {name!r}{inner or ''}" if name else "the reward"
        whose = [f"team {team}"] * (spec.teams > 1) + [f"agent {at[1] if per_agent else 0}"] * (
            spec.agents > 1 and per_agent
        )
        where = f"{what} of {', '.join([f'slot {slot}', row_of(slot), *whose])} of game {spec.game!r}"
        return f"{self._code}: {where}" if self._code else where


def limits_of(entry: ArraySpec) -> Array:
    """How many values each number of a categorical entry may have: one for all, or one each, without sign."""
    shape = entry.shape if len(entry.choices) > 1 else ()
    return np.array(entry.choices, unsigned(entry.dtype)).reshape(shape)


def unsigned(dtype: str) -> str:
    """The integers without sign that are as wide."""
    return f"uint{8 * np.dtype(dtype).itemsize}"


def is_sound16(array: Array) -> bool:
    """Whether no number [f16] is NaN or infinite: all bits of such a one's exponent are set."""
    return bool((array.view(np.uint16) & _SIGN_OFF).max(initial=0) < _INFINITE)
