"""The rules of `games/api.py` that every row keeps: names, shapes, dtypes, ranges, masks, ends and outcomes."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium import spaces

from quintet.games.api import (
    ACTING,
    ACTION_MASK_PREFIX,
    PRESENT,
    Array,
    GameContractError,
    GameSpec,
    Observation,
    Transition,
)
from quintet.games.attendance import Attendance, first_seat
from quintet.games.checks.data import check_choice
from quintet.games.masks import choices, readers, slots_present

TOLERANCE = 1e-4  # how far float32 may be outside a box, or a sum of rewards from zero, relative to its size


class Referee:
    """Watches one copy of a game, row by row.

    Attributes:
        attendance: which rows begin a game or hold its last observation, and who is there.
        outside: entry -> what of it lies outside its Box. None where that is an error: what is trained on does not
            depend on the bounds of a Box, so a game by others may be told of it instead.
    """

    def __init__(
        self, spec: GameSpec, n_games: int, observation: Observation, outside: dict[str, str] | None = None
    ) -> None:
        """Look at the observation that `reset` returned.

        Raises:
            GameContractError: the first broken rule, in one line.
        """
        self.spec, self.n_games, self.outside = spec, n_games, outside
        check_observation(spec, n_games, observation, outside)
        self.attendance = Attendance(spec, observation)
        self._age = np.zeros(n_games, dtype=np.int64)

    def judge(self, before: Observation, result: Transition) -> None:
        """Look at what a step returned; `before` is the observation that the actions answered.

        Raises:
            GameContractError: the first broken rule, in one line.
        """
        if not isinstance(result, Transition):
            raise GameContractError(f"{self.spec.name}: step returned a {type(result).__name__}; expected a Transition")
        ended = self.attendance.last
        _check_transition(self.spec, self.n_games, result, ended, self.outside)
        self._age = np.where(ended, 0, self._age + 1)
        _check_length(self.spec, self._age, result.ended)
        _check_ends(self.spec, result, before, self.attendance)
        self.attendance.advance(result)


class SameForm:
    """The form of a game's arrays in every row: a comparison for each, and the whole look once one differs.

    It also sees masks that allow nothing where somebody acts. Numbers are not looked at.
    """

    def __init__(self, spec: GameSpec, n_games: int) -> None:
        self._spec, self._n_games = spec, n_games
        self._lead = (n_games, spec.teams, spec.agents_per_team)
        self._known: dict[str, tuple[tuple[int, ...], np.dtype[Any]]] = {}
        self._heads = sorted(spec.masked_heads - spec.masked_by_primary)

    def check_observation(self, observation: Observation) -> None:
        """Look at what a reset or a step shows.

        Raises:
            GameContractError, Mismatch: an array is missing or has another form; a mask allows nothing.
        """
        arrays = observation if isinstance(observation, dict) else {}
        if not self._known or not all(_is(arrays.get(name), *form) for name, form in self._known.items()):
            check_observation(self._spec, self._n_games, observation, {})
            self._known = {name: (array.shape, array.dtype) for name, array in observation.items()}
        for head in self._heads:
            check_choice(head, observation[f"{ACTION_MASK_PREFIX}{head}"], observation[ACTING])

    def check_transition(self, result: Transition) -> None:
        """Look at what a step returned; raises as `check_observation` does."""
        if not isinstance(result, Transition):
            raise GameContractError(
                f"{self._spec.name}: step returned a {type(result).__name__}; expected a Transition"
            )
        self.check_observation(result.observation)
        for name in ("reward", "terminated", "truncated"):
            kind = "float32" if name == "reward" else "bool"
            if not _is(getattr(result, name), self._lead, np.dtype(kind)):
                check_array(self._spec, name, getattr(result, name), self._lead, (kind,))


def _is(array: Any, shape: tuple[int, ...], dtype: np.dtype[Any]) -> bool:
    return type(array) is np.ndarray and array.shape == shape and array.dtype is dtype


def check_observation(
    spec: GameSpec, n_games: int, observation: Observation, outside: dict[str, str] | None = None
) -> None:
    """Look at one observation; `outside` as in `Referee`.

    Raises:
        GameContractError: the first broken rule, in one line.
    """
    if not isinstance(observation, dict):
        raise GameContractError(f"{spec.name}: the observation is a {type(observation).__name__}; expected a dict")
    lead = (n_games, spec.teams, spec.agents_per_team)
    masks = {f"{ACTION_MASK_PREFIX}{head}" for head in spec.masked_heads}
    wanted = {*spec.observation_space.spaces, *masks, ACTING}
    if set(observation) - {PRESENT} != wanted:
        raise GameContractError(
            f"{spec.name}: the observation has the entries {sorted(observation)}; expected {sorted(wanted)}"
        )
    for name in (ACTING, PRESENT) if PRESENT in observation else (ACTING,):
        check_array(spec, name, observation[name], lead, ("bool",))
    for name, space in spec.observation_space.spaces.items():
        shape = (lead[:2] if name in spec.team_shared else lead) + tuple(space.shape or ())
        check_array(spec, name, observation[name], shape, _dtypes(space))
        check_inside(spec, name, space, observation[name], outside)
    for head in spec.masked_heads:
        _check_mask(spec, head, observation, lead)
    _check_read_masks(spec, observation)
    _check_sets(spec, observation)
    for name in spec.auxiliary:
        _check_label(spec, name, observation)


def _check_mask(spec: GameSpec, head: str, observation: Observation, lead: tuple[int, ...]) -> None:
    name = f"{ACTION_MASK_PREFIX}{head}"
    by_primary = head in spec.masked_by_primary and spec.primary_head is not None
    rows = (choices(spec, str(spec.primary_head)),) if by_primary else ()
    check_array(spec, name, observation[name], (*lead, *rows, choices(spec, head)), ("bool",))
    if not by_primary:
        empty = observation[ACTING] & ~observation[name].any(axis=-1)
        if empty.any():
            raise GameContractError(f"{spec.name}: {name} allows nothing in {first_seat(empty)}, who is acting")


def _check_read_masks(spec: GameSpec, observation: Observation) -> None:
    """A legal primary action has a legal choice in every head that it reads; of a set, only slots that are there."""
    if spec.primary_head is None:
        return
    legal = observation.get(f"{ACTION_MASK_PREFIX}{spec.primary_head}")
    acting = observation[ACTING][..., None]
    for head in sorted(set(spec.action_space.spaces) - {spec.primary_head}):
        mask, there = observation.get(f"{ACTION_MASK_PREFIX}{head}"), slots_present(spec, observation, head)
        if mask is None and there is None:
            continue
        mask = (
            np.ones(1, dtype=bool) if mask is None else mask if head in spec.masked_by_primary else mask[..., None, :]
        )
        some = (mask if there is None else mask & there[..., None, :]).any(axis=-1)
        empty = acting & readers(spec, head) & ~some & (True if legal is None else legal)
        if empty.any():
            raise GameContractError(
                f"{spec.name}: the primary action {np.argwhere(empty)[0][-1]} is legal in {first_seat(empty)}, but "
                f"head {head!r}, which it reads, has no legal choice for it"
            )


def _check_sets(spec: GameSpec, observation: Observation) -> None:
    """Categories are whole numbers in range in every slot; who is acting is in the own slots of every set."""
    for name, categories in spec.set_categories.items():
        for column, n in categories.items():
            values: Array = observation[name][..., column]
            if (values != np.floor(values)).any() or (values < 0).any() or (values >= n).any():
                raise GameContractError(
                    f"{spec.name}: column {column} of {name} has values from {values.min()} to {values.max()}; "
                    f"expected whole numbers from 0 to {n - 1}"
                )
    for name, slots in spec.own_slots.items():
        present = observation[f"{name}_mask"].astype(bool)
        own = present[..., list(slots)]
        if name not in spec.team_shared:
            own = np.diagonal(own, axis1=-2, axis2=-1)
        missing = observation[ACTING] & ~own
        if missing.any():
            raise GameContractError(
                f"{spec.name}: own_slots of {name}: the own slot is masked out in {first_seat(missing)}, who is acting"
            )


def _check_label(spec: GameSpec, name: str, observation: Observation) -> None:
    """Known (numbers in [0, 1], of a categorical one that sum to 1) or unknown (all -1)."""
    auxiliary = spec.auxiliary[name]
    label = observation[auxiliary.label]
    known = ((label >= 0) & (label <= 1)).all(axis=-1)
    if auxiliary.kind == "categorical":
        known &= np.abs(label.sum(axis=-1) - 1) <= TOLERANCE
    wrong = ~known & (label != -1).any(axis=-1)
    if wrong.any():
        found = label[tuple(np.argwhere(wrong)[0])].tolist()
        total = ", which sum to 1" if auxiliary.kind == "categorical" else ""
        raise GameContractError(
            f"{spec.name}: label {auxiliary.label} of {name} is {found}; expected numbers from 0 to 1{total}, or all -1"
        )


def _dtypes(space: spaces.Space[Any]) -> tuple[str, ...]:
    if isinstance(space, spaces.Discrete | spaces.MultiDiscrete):
        return ("int64", "int32", "int16")
    if isinstance(space, spaces.MultiBinary):
        return ("bool", "int8")
    return ("uint8",) if space.dtype == np.uint8 and len(space.shape or ()) == 3 else ("float32",)


def check_array(spec: GameSpec, name: str, array: Any, shape: tuple[int, ...], dtypes: tuple[str, ...]) -> None:
    """An array of that shape and one of those dtypes.

    Raises:
        GameContractError: it is another, or none.
    """
    if not isinstance(array, np.ndarray) or array.shape != shape or array.dtype.name not in dtypes:
        found = f"{array.dtype} {array.shape}" if isinstance(array, np.ndarray) else type(array).__name__
        raise GameContractError(f"{spec.name}: {name} is {found}; expected {' or '.join(dtypes)} {shape}")


def check_inside(
    spec: GameSpec,
    name: str,
    space: spaces.Space[Any],
    values: Array,
    outside: dict[str, str] | None = None,
) -> None:
    """Numbers of a space; `outside` as in `Referee`.

    Raises:
        GameContractError: one is not finite, or outside.
    """
    if isinstance(space, spaces.Discrete | spaces.MultiDiscrete):
        low, high = np.zeros(()), np.asarray(space.n if isinstance(space, spaces.Discrete) else space.nvec) - 1
    elif isinstance(space, spaces.Box):
        low, high = space.low, space.high
    else:
        return
    finite = bool(np.isfinite(values).all())
    slack = TOLERANCE * np.maximum(1.0, np.abs(values)) if finite and values.dtype == np.float32 else 0
    if finite and not (values < low - slack).any() and not (values > high + slack).any():
        return
    text = f"{name} has values from {values.min()} to {values.max()}, outside its space {space}"
    if outside is None or not finite or not isinstance(space, spaces.Box):
        raise GameContractError(f"{spec.name}: {text}")
    outside.setdefault(name, f"{text}: they are taken as they are, since inputs are normalised by what is seen")


def _check_transition(
    spec: GameSpec, n_games: int, result: Transition, ended_before: Array, outside: dict[str, str] | None
) -> None:
    lead = (n_games, spec.teams, spec.agents_per_team)
    check_observation(spec, n_games, result.observation, outside)
    check_array(spec, "reward", result.reward, lead, ("float32",))
    check_array(spec, "terminated", result.terminated, lead, ("bool",))
    check_array(spec, "truncated", result.truncated, lead, ("bool",))
    check_array(spec, "outcome", result.outcome, lead[:2], ("float32",))
    for name, values in result.episode.items():
        check_array(spec, f"episode[{name!r}]", values, lead[:2], ("float32",))
    if not np.isfinite(result.reward).all():
        raise GameContractError(f"{spec.name}: a reward is not finite")
    size = np.abs(result.reward).sum(axis=(1, 2))
    if spec.zero_sum and (np.abs(result.reward.sum(axis=(1, 2))) > TOLERANCE * (1 + size)).any():
        raise GameContractError(f"{spec.name}: declared zero-sum, but the rewards of a row do not sum to zero")
    if result.reward[ended_before].any():
        raise GameContractError(f"{spec.name}: the step after an end has a reward; it must be 0 (NEXT_STEP autoreset)")
    if result.terminated[ended_before].any() or result.truncated[ended_before].any():
        raise GameContractError(f"{spec.name}: the step after an end has an end itself (NEXT_STEP autoreset)")
    if result.observation[ACTING][result.ended].any():
        raise GameContractError(f"{spec.name}: somebody is acting on the last observation, where actions are ignored")
    for auxiliary in spec.auxiliary.values():
        if (result.observation[auxiliary.label][result.ended] == -1).any():
            raise GameContractError(f"{spec.name}: label {auxiliary.label} is unknown (-1) on a last observation")
    _check_outcome(spec, result)


def _check_outcome(spec: GameSpec, result: Transition) -> None:
    known = ~np.isnan(result.outcome)
    if known[~result.ended].any():
        raise GameContractError(f"{spec.name}: outcome is given where no game ended; it must be NaN there")
    if not np.isin(result.outcome[known], (-1.0, 0.0, 1.0)).all():
        raise GameContractError(f"{spec.name}: outcome has values other than -1, 0, 1 and NaN")
    if spec.zero_sum and result.outcome[known.all(axis=1)].sum(axis=1).any():
        raise GameContractError(f"{spec.name}: declared zero-sum, but the outcomes of a game do not sum to zero")


def _check_length(spec: GameSpec, age: Array, ended: Array) -> None:
    if spec.max_steps is not None and (age[~ended] >= spec.max_steps).any():
        raise GameContractError(f"{spec.name}: a game goes on after its max_steps = {spec.max_steps} rows")


def _check_ends(spec: GameSpec, result: Transition, before: Observation, attendance: Attendance) -> None:
    """Ends of agents while their game goes on; what would be trained wrongly is refused by `Attendance` itself."""
    out, going_on = result.terminated | result.truncated, ~(result.ended | attendance.last)
    there = attendance.present
    if (PRESENT in before) != (PRESENT in result.observation):
        raise GameContractError(f"{spec.name}: {PRESENT!r} is in some observations only; show it always or never")
    if PRESENT not in before:
        if (going_on & ~(there & ~out).any(axis=(1, 2))).any():
            raise GameContractError(
                f"{spec.name}: every agent has left, but the game does not end: in the row that ends it terminated or "
                "truncated is set for every agent, also for those that left earlier"
            )
        return
    strange = out & ~there & going_on[:, None, None]
    if strange.any():
        raise GameContractError(
            f"{spec.name}: {first_seat(strange)} is terminated or truncated, but it is not {PRESENT}"
        )
    paid = (result.reward != 0) & ~attendance.valid
    if paid.any():
        raise GameContractError(
            f"{spec.name}: {first_seat(paid)} gets a reward while it is not {PRESENT} (in PettingZoo: after its end, "
            "or while it is not in `agents`): nobody is trained on it. Give it before it leaves, or let the agent stay "
            f"{PRESENT} with {ACTING} false"
        )
