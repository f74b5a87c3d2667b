"""`check_game`: plays any game for a while and says the first rule of `games/api.py` that it breaks.

from games.contract import check_game
check_game(lambda n_games: make_game("my_package.my_game:make", n_games, seed=0))
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from gymnasium import spaces

from games.api import (
    ACTING,
    ACTION_MASK_PREFIX,
    PRESENT,
    Actions,
    Array,
    GameContractError,
    GameSpec,
    GameWithBots,
    Observation,
    Transition,
    VectorGame,
)
from games.attendance import Attendance, place
from games.box_units import random_in_box
from games.copies import NO_WORKER, built_for
from games.masks import choices, is_read, mask_given, random_choices, readers, slots_present
from games.spec_check import check_spec

DEFAULT_ROWS = 300
RECORDED_ROWS = 30
MOST_ROWS = 2_100  # two episodes of up to a thousand rows
BOT_ROWS = 25  # a bot plays on for so many rows, then the next one takes over
TOLERANCE = 1e-4  # how far float32 may be outside a box, or a sum of rewards from zero, relative to its size


def check_game(
    make: Callable[[int], VectorGame], *, n_games: int = 3, rows: int | None = None, seed: int = 7, random: bool = False
) -> None:
    """Play three copies of a game side by side with random legal actions and check every array that they return.

    Two copies get the same actions and must stay equal. The third gets others wherever an action is to be ignored
    (after an end, where an agent is not acting, and for heads that the primary action does not read), and must stay
    equal too. The bots of a `GameWithBots` play every other slot of the first copy, so that what being asked does to a
    game shows beside the others, which are not asked.

    Args:
        make: builds the game with that many slots.
        n_games: slots of each copy.
        rows: how long to play; by default two of the longest episodes, or 300 where episodes have no bound.
        seed: of the games and of the actions.
        random: the game has chance in it, so different seeds must give different games.

    Raises:
        GameContractError: the first broken rule, in one line.
    """
    games = [_copy(make, n_games, copy) for copy in range(3)]
    spec = games[0].spec
    try:
        check_spec(spec)
        if games[0].n_games != n_games:
            raise GameContractError(f"{spec.name}: n_games is {games[0].n_games}; {n_games} were asked for")
        other = _record(games[0], seed + 1)  # one copy now has a past, which reset must forget
        _play(games, rows or _rows(spec), seed)
        if random and _equal(other, _record(games[0], seed)):
            raise GameContractError(f"{spec.name}: the seeds {seed} and {seed + 1} give the same games")
    finally:
        for game in games:
            game.close()


def _copy(make: Callable[[int], VectorGame], n_games: int, copy: int) -> VectorGame:
    with built_for(NO_WORKER - copy):  # all three are there at once
        return make(n_games)


def rehearse(game: VectorGame, seed: int) -> None:
    """Play one step, so that what does not work shows at once, and what is compiled at a first use is there."""
    game.step(random_actions(game.spec, game.reset(seed), np.random.default_rng(seed)))


def random_actions(spec: GameSpec, observation: Observation, random: np.random.Generator) -> Actions:
    """Legal actions, drawn uniformly, the primary one first; where a mask allows nothing (nobody acts) any choice."""
    lead = observation[ACTING].shape
    actions = random_choices(spec, observation, random)
    for head, space in spec.action_space.spaces.items():
        if isinstance(space, spaces.Box):
            actions[head] = random_in_box(space, lead, random)
    return actions


def _rows(spec: GameSpec) -> int:
    return DEFAULT_ROWS if spec.max_steps is None else min(2 * spec.max_steps + 3, MOST_ROWS)


def _record(game: VectorGame, seed: int) -> list[Observation]:
    """What a few rows of random play show."""
    random, observation, observations = np.random.default_rng(seed=0), game.reset(seed), []
    for _ in range(RECORDED_ROWS):
        _check_observation(game.spec, game.n_games, observation)
        observations.append(_copied(observation))
        observation = game.step(random_actions(game.spec, observation, random)).observation
    return observations


def _equal(a: list[Observation], b: list[Observation]) -> bool:
    return all(np.array_equal(x[name], y[name]) for x, y in zip(a, b, strict=True) for name in x)


def _play(games: list[VectorGame], rows: int, seed: int) -> None:
    spec, random = games[0].spec, np.random.default_rng(seed)
    observation, *others = (game.reset(seed) for game in games)
    for other in others:
        _same(spec, observation, other, "reset with the same seed gave different games")
    attendance, age = Attendance(spec, observation), np.zeros(games[0].n_games, dtype=np.int64)
    for row in range(rows):
        actions, before, ended = random_actions(spec, observation, random), _copied(observation), attendance.last
        if isinstance(games[0], GameWithBots) and games[0].bots:
            _let_bots_play(spec, games[0], row, observation, actions)
        varied = _varied(spec, actions, ~observation[ACTING] | ended[:, None, None], random)
        result, same, other_ignored = (
            game.step(_copied(chosen)) for game, chosen in zip(games, (actions, actions, varied), strict=True)
        )
        _same(spec, before, observation, "step changed an observation that was returned earlier")
        _check_transition(spec, games[0].n_games, result, ended)
        _same_step(spec, result, same, "the same seed and actions gave different games")
        _same_step(spec, result, other_ignored, "an action that must be ignored had an effect")
        age = np.where(ended, 0, age + 1)
        _check_length(spec, age, result.ended)
        _check_ends(spec, result, before, attendance)
        attendance.advance(result)
        observation = result.observation


def _check_observation(spec: GameSpec, n_games: int, observation: Observation) -> None:
    lead = (n_games, spec.teams, spec.agents_per_team)
    masks = {f"{ACTION_MASK_PREFIX}{head}" for head in spec.masked_heads}
    wanted = {*spec.observation_space.spaces, *masks, ACTING}
    if set(observation) - {PRESENT} != wanted:
        raise GameContractError(
            f"{spec.name}: the observation has the entries {sorted(observation)}; expected {sorted(wanted)}"
        )
    for name in (ACTING, PRESENT) if PRESENT in observation else (ACTING,):
        _check_array(spec, name, observation[name], lead, ("bool",))
    for name, space in spec.observation_space.spaces.items():
        shape = (lead[:2] if name in spec.team_shared else lead) + tuple(space.shape or ())
        _check_array(spec, name, observation[name], shape, _dtypes(space))
        _check_inside(spec, name, space, observation[name])
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
    _check_array(spec, name, observation[name], (*lead, *rows, choices(spec, head)), ("bool",))
    if not by_primary:
        empty = observation[ACTING] & ~observation[name].any(axis=-1)
        if empty.any():
            raise GameContractError(f"{spec.name}: {name} allows nothing in {place(empty)}, who is acting")


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
                f"{spec.name}: the primary action {np.argwhere(empty)[0][-1]} is legal in {place(empty)}, but head "
                f"{head!r}, which it reads, has no legal choice for it"
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
                f"{spec.name}: own_slots of {name}: the own slot is masked out in {place(missing)}, who is acting"
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


def _check_array(spec: GameSpec, name: str, array: Any, shape: tuple[int, ...], dtypes: tuple[str, ...]) -> None:
    if not isinstance(array, np.ndarray) or array.shape != shape or array.dtype.name not in dtypes:
        found = f"{array.dtype} {array.shape}" if isinstance(array, np.ndarray) else type(array).__name__
        raise GameContractError(f"{spec.name}: {name} is {found}; expected {' or '.join(dtypes)} {shape}")


def _check_inside(spec: GameSpec, name: str, space: spaces.Space[Any], values: Array) -> None:
    if isinstance(space, spaces.Discrete | spaces.MultiDiscrete):
        low, high = np.zeros(()), np.asarray(space.n if isinstance(space, spaces.Discrete) else space.nvec) - 1
    elif isinstance(space, spaces.Box):
        low, high = space.low, space.high
    else:
        return
    slack = TOLERANCE * np.maximum(1.0, np.abs(values)) if values.dtype == np.float32 else 0
    if not np.isfinite(values).all() or (values < low - slack).any() or (values > high + slack).any():
        raise GameContractError(
            f"{spec.name}: {name} has values from {values.min()} to {values.max()}, outside its space {space}"
        )


def _check_transition(spec: GameSpec, n_games: int, result: Transition, ended_before: Array) -> None:
    lead = (n_games, spec.teams, spec.agents_per_team)
    _check_observation(spec, n_games, result.observation)
    _check_array(spec, "reward", result.reward, lead, ("float32",))
    _check_array(spec, "terminated", result.terminated, lead, ("bool",))
    _check_array(spec, "truncated", result.truncated, lead, ("bool",))
    _check_array(spec, "outcome", result.outcome, lead[:2], ("float32",))
    for name, values in result.episode.items():
        _check_array(spec, f"episode[{name!r}]", values, lead[:2], ("float32",))
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
        raise GameContractError(f"{spec.name}: {place(strange)} is terminated or truncated, but it is not {PRESENT}")
    paid = (result.reward != 0) & ~attendance.valid
    if paid.any():
        raise GameContractError(
            f"{spec.name}: {place(paid)} gets a reward while it is not {PRESENT}: nobody is trained on it. Give it "
            f"before it leaves, or let the agent stay {PRESENT} with {ACTING} false"
        )


def _same_step(spec: GameSpec, a: Transition, b: Transition, message: str) -> None:
    _same(spec, a.observation, b.observation, message)
    for part in ("reward", "terminated", "truncated", "outcome"):
        _same(spec, {part: getattr(a, part)}, {part: getattr(b, part)}, message)


def _same(spec: GameSpec, a: Observation, b: Observation, message: str) -> None:
    for name, values in a.items():
        if not np.array_equal(values, b[name], equal_nan=values.dtype.kind == "f"):
            raise GameContractError(f"{spec.name}: {message} ({name} differs)")


def _let_bots_play(spec: GameSpec, game: GameWithBots, row: int, observation: Observation, actions: Actions) -> None:
    """Put a bot's actions into every other slot, once they are checked."""
    name = list(game.bots)[row // BOT_ROWS % len(game.bots)]
    if not isinstance(game.bots[name], str) or not game.bots[name]:
        raise GameContractError(f"{spec.name}: bot {name!r} has the hash {game.bots[name]!r}; expected a text")
    chosen = _copied(game.bot_actions(name))
    _check_actions(spec, name, observation, chosen)
    _same(spec, chosen, game.bot_actions(name), f"bot {name!r} does two things in the same state")
    for head in actions:
        actions[head][1::2] = chosen[head][1::2]


def _check_actions(spec: GameSpec, bot: str, observation: Observation, chosen: Actions) -> None:
    """In range on every seat; legal where somebody acts and the head is read."""
    acting, what = observation[ACTING], f"bot {bot!r}, head"
    if set(chosen) != set(spec.action_space.spaces):
        raise GameContractError(
            f"{spec.name}: bot {bot!r} gives {sorted(chosen)}; expected {sorted(spec.action_space.spaces)}"
        )
    for head, space in spec.action_space.spaces.items():
        dtypes = ("float32",) if isinstance(space, spaces.Box) else ("int64",)
        _check_array(spec, f"{what} {head!r}", chosen[head], (*acting.shape, *(space.shape or ())), dtypes)
        _check_inside(spec, f"{what} {head!r}", space, chosen[head])
    for head in spec.action_space.spaces:
        mask = mask_given(spec, observation, head, chosen)
        if mask is None:
            continue
        legal = np.take_along_axis(mask, chosen[head][..., None], axis=-1)[..., 0]
        wrong = acting & is_read(spec, head, chosen, acting.shape) & ~legal
        if wrong.any():
            raise GameContractError(
                f"{spec.name}: bot {bot!r} takes {chosen[head][tuple(np.argwhere(wrong)[0])]} of head {head!r} in "
                f"{place(wrong)}, which the mask forbids"
            )


def _varied(spec: GameSpec, actions: Actions, unused: Array, random: np.random.Generator) -> Actions:
    """The same actions where they count, others where they must be ignored."""
    varied = _copied(actions)
    for head, space in spec.action_space.spaces.items():
        ignored = unused | ~is_read(spec, head, actions, unused.shape)
        if isinstance(space, spaces.Discrete):
            varied[head][ignored] = (varied[head][ignored] + 1) % int(space.n)
        elif isinstance(space, spaces.Box):
            varied[head][ignored] = random_in_box(space, varied[head].shape[:-1], random)[ignored]
    return varied


def _copied(arrays: Observation) -> Observation:
    return {name: array.copy() for name, array in arrays.items()}
