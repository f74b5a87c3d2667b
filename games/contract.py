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
    Actions,
    Array,
    GameContractError,
    GameSpec,
    Observation,
    Transition,
    VectorGame,
    entry_kind,
)

DEFAULT_ROWS = 300
RECORDED_ROWS = 30
MOST_ROWS = 2_100  # two episodes of up to a thousand rows
TOLERANCE = 1e-4  # how far float32 may be outside a box, or a sum of rewards from zero, relative to its size


def check_game(
    make: Callable[[int], VectorGame], *, n_games: int = 3, rows: int | None = None, seed: int = 7, random: bool = False
) -> None:
    """Play three copies of a game side by side with random legal actions and check every array that they return.

    Two copies get the same actions and must stay equal. The third gets others wherever an action is to be ignored
    (after an end, and where an agent is not acting), and must stay equal too.

    Args:
        make: builds the game with that many slots.
        n_games: slots of each copy.
        rows: how long to play; by default two of the longest episodes, or 300 where episodes have no bound.
        seed: of the games and of the actions.
        random: the game has chance in it, so different seeds must give different games.

    Raises:
        GameContractError: the first broken rule, in one line.
    """
    games = [make(n_games) for _ in range(3)]
    spec = games[0].spec
    try:
        _check_spec(spec)
        if games[0].n_games != n_games:
            raise GameContractError(f"{spec.name}: n_games is {games[0].n_games}; {n_games} were asked for")
        other = _record(games[0], seed + 1)  # one copy now has a past, which reset must forget
        _play(games, rows or _rows(spec), seed)
        if random and _equal(other, _record(games[0], seed)):
            raise GameContractError(f"{spec.name}: the seeds {seed} and {seed + 1} give the same games")
    finally:
        for game in games:
            game.close()


def random_actions(spec: GameSpec, observation: Observation, random: np.random.Generator) -> Actions:
    """Legal actions, drawn uniformly; where a mask allows nothing (its agent is not acting) any choice."""
    lead = observation[ACTING].shape
    actions: Actions = {}
    for head, space in spec.action_space.spaces.items():
        if isinstance(space, spaces.Discrete):
            weights = random.random((*lead, int(space.n)))
            if head in spec.masked_heads:
                weights += observation[f"{ACTION_MASK_PREFIX}{head}"]
            actions[head] = weights.argmax(axis=-1)
        elif isinstance(space, spaces.Box):
            actions[head] = _random_box(space, (*lead, *space.shape), random)
    return actions


def _random_box(space: spaces.Box, shape: tuple[int, ...], random: np.random.Generator) -> Array:
    """Uniform in the box, or within 10 of zero where it has no bounds."""
    low, high = np.where(np.isinf(space.low), -10.0, space.low), np.where(np.isinf(space.high), 10.0, space.high)
    return random.uniform(low, high, shape).astype(np.float32)


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
    ended, age = np.zeros(games[0].n_games, dtype=bool), np.zeros(games[0].n_games, dtype=np.int64)
    left = np.zeros(observation[ACTING].shape, dtype=bool)
    for _ in range(rows):
        actions, before = random_actions(spec, observation, random), _copied(observation)
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
        left = _check_leavers(spec, result, left & ~ended[:, None, None])
        observation, ended = result.observation, result.ended


def _check_spec(spec: GameSpec) -> None:
    entries, heads = spec.observation_space.spaces, spec.action_space.spaces
    if spec.teams < 1 or spec.agents_per_team < 1 or not entries or not heads:
        raise GameContractError(f"{spec.name}: a game needs a team, an agent, an observation entry and an action head")
    for name in entries:
        entry_kind(spec, name)
        if name == ACTING or name.startswith(ACTION_MASK_PREFIX):
            raise GameContractError(f"{spec.name}: observation entry {name!r} has a reserved name")
    for head, space in heads.items():
        discrete = isinstance(space, spaces.Discrete) and int(space.start) == 0
        box = isinstance(space, spaces.Box) and space.dtype == np.float32 and len(space.shape) == 1
        if not discrete and not box:
            raise GameContractError(
                f"{spec.name}: head {head!r} is {space}; expected Discrete from 0 or a one-dimensional float32 Box"
            )
    for what, named, known in (
        ("masked_heads", spec.masked_heads, {h for h, space in heads.items() if isinstance(space, spaces.Discrete)}),
        ("team_shared", spec.team_shared, set(entries)),
        ("uses", set(spec.uses), set(entries)),
        ("wire_dtypes", set(spec.wire_dtypes), set(entries)),
    ):
        if not named <= known:
            raise GameContractError(f"{spec.name}: {what} names {sorted(named - known)}; known are {sorted(known)}")
    if spec.team_names and len(spec.team_names) != spec.teams:
        raise GameContractError(f"{spec.name}: {len(spec.team_names)} team_names for {spec.teams} teams")


def _check_observation(spec: GameSpec, n_games: int, observation: Observation) -> None:
    lead = (n_games, spec.teams, spec.agents_per_team)
    masks = {f"{ACTION_MASK_PREFIX}{head}": spec.action_space[head] for head in spec.masked_heads}
    wanted = {*spec.observation_space.spaces, *masks, ACTING}
    if set(observation) != wanted:
        raise GameContractError(
            f"{spec.name}: the observation has the entries {sorted(observation)}; expected {sorted(wanted)}"
        )
    _check_array(spec, ACTING, observation[ACTING], lead, ("bool",))
    for name, space in spec.observation_space.spaces.items():
        shape = (lead[:2] if name in spec.team_shared else lead) + tuple(space.shape or ())
        _check_array(spec, name, observation[name], shape, _dtypes(space))
        _check_inside(spec, name, space, observation[name])
    for name, space in masks.items():
        mask = observation[name]
        _check_array(spec, name, mask, (*lead, int(getattr(space, "n", 0))), ("bool",))
        empty = observation[ACTING] & ~mask.any(axis=-1)
        if empty.any():
            slot, team, agent = np.argwhere(empty)[0]
            raise GameContractError(
                f"{spec.name}: {name} allows nothing in slot {slot}, team {team}, agent {agent}, who is acting"
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
    _check_array(spec, "truncated", result.truncated, lead[:1], ("bool",))
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


def _check_leavers(spec: GameSpec, result: Transition, left: Array) -> Array:
    """Those terminated while their game goes on are out for good."""
    left = left | result.terminated
    if (left & result.observation[ACTING]).any():
        raise GameContractError(f"{spec.name}: an agent is acting although it was terminated earlier in its game")
    if (left.all(axis=(1, 2)) & ~result.ended).any():
        raise GameContractError(f"{spec.name}: every agent has been terminated, but the game does not end")
    return left


def _same_step(spec: GameSpec, a: Transition, b: Transition, message: str) -> None:
    _same(spec, a.observation, b.observation, message)
    for part in ("reward", "terminated", "truncated", "outcome"):
        _same(spec, {part: getattr(a, part)}, {part: getattr(b, part)}, message)


def _same(spec: GameSpec, a: Observation, b: Observation, message: str) -> None:
    for name, values in a.items():
        if not np.array_equal(values, b[name], equal_nan=values.dtype.kind == "f"):
            raise GameContractError(f"{spec.name}: {message} ({name} differs)")


def _varied(spec: GameSpec, actions: Actions, unused: Array, random: np.random.Generator) -> Actions:
    """The same actions where they count, others where they must be ignored."""
    varied = _copied(actions)
    for head, space in spec.action_space.spaces.items():
        if isinstance(space, spaces.Discrete):
            varied[head][unused] = (varied[head][unused] + 1) % int(space.n)
        elif isinstance(space, spaces.Box):
            varied[head][unused] = _random_box(space, varied[head].shape, random)[unused]
    return varied


def _copied(arrays: Observation) -> Observation:
    return {name: array.copy() for name, array in arrays.items()}
