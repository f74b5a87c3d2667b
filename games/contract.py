"""`check_game`: plays any game for a while and says the first rule of `games/api.py` that it breaks.

import quintet
quintet.check_game(lambda n_games: quintet.make_game("my_package.my_game:make", n_games, seed=0))
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from gymnasium import spaces

from quintet.games.api import (
    ACTING,
    Actions,
    Array,
    GameContractError,
    GameError,
    GameSpec,
    GameWithBots,
    Observation,
    Transition,
    VectorGame,
)
from quintet.games.attendance import first_seat
from quintet.games.box_units import random_in_box
from quintet.games.checks.rows import Referee, check_array, check_inside, check_observation
from quintet.games.checks.spec import check_spec
from quintet.games.copies import NO_WORKER, built_for, close_all
from quintet.games.masks import is_read, mask_given, random_choices

DEFAULT_ROWS = 300
RECORDED_ROWS = 30
MOST_ROWS = 2_100  # two episodes of up to a thousand rows
BOT_ROWS = 25  # a bot plays on for so many rows, then the next one takes over


class NotReproducibleError(GameContractError):
    """The same seed and actions give different games."""


def check_game(
    make: Callable[[int], VectorGame],
    *,
    n_games: int = 3,
    rows: int | None = None,
    seed: int = 7,
    random: bool = False,
    outside: dict[str, str] | None = None,
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
        outside: takes down what lies outside its Box (entry -> text) where that is no error; see `Referee`.

    Raises:
        GameContractError: the first broken rule, in one line.
        GameError: `make` makes no games.
    """
    if not callable(make):
        raise GameError(
            f"check_game takes a function that makes a game, not {make!r}: check_game(lambda n_games: make_game(NAME, "
            "n_games)); the command `quintet check NAME` takes a name"
        )
    games: list[VectorGame] = []
    try:
        games += (_copy(make, n_games, copy) for copy in range(3))
        spec = games[0].spec
        check_spec(spec)
        if games[0].n_games != n_games:
            raise GameContractError(f"{spec.name}: n_games is {games[0].n_games}; {n_games} were asked for")
        other = _record(games[0], seed + 1, outside)  # one copy now has a past, which reset must forget
        _play(games, rows or _rows(spec), seed, outside)
        if random and _equal(other, _record(games[0], seed, outside)):
            raise GameContractError(f"{spec.name}: the seeds {seed} and {seed + 1} give the same games")
    finally:
        close_all(games)


def _copy(make: Callable[[int], VectorGame], n_games: int, copy: int) -> VectorGame:
    with built_for(NO_WORKER - copy):  # all three are there at once
        return make(n_games)


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


def _record(game: VectorGame, seed: int, outside: dict[str, str] | None) -> list[Observation]:
    """What a few rows of random play show."""
    random, observation, observations = np.random.default_rng(seed=0), game.reset(seed), []
    for _ in range(RECORDED_ROWS):
        check_observation(game.spec, game.n_games, observation, outside)
        observations.append(_copied(observation))
        observation = game.step(random_actions(game.spec, observation, random)).observation
    return observations


def _equal(a: list[Observation], b: list[Observation]) -> bool:
    return all(np.array_equal(x[name], y[name]) for x, y in zip(a, b, strict=True) for name in x)


def _play(games: list[VectorGame], rows: int, seed: int, outside: dict[str, str] | None) -> None:
    spec, random = games[0].spec, np.random.default_rng(seed)
    observation, *others = (game.reset(seed) for game in games)
    for other in others:
        _same(spec, observation, other, "reset with the same seed gave different games", NotReproducibleError)
    referee = Referee(spec, games[0].n_games, observation, outside)
    for row in range(rows):
        actions, before = random_actions(spec, observation, random), _copied(observation)
        if isinstance(games[0], GameWithBots) and games[0].bots:
            _let_bots_play(spec, games[0], row, observation, actions)
        varied = _varied(spec, actions, ~observation[ACTING] | referee.attendance.last[:, None, None], random)
        result, same, other_ignored = (
            game.step(_copied(chosen)) for game, chosen in zip(games, (actions, actions, varied), strict=True)
        )
        _same(spec, before, observation, "step changed an observation that was returned earlier")
        referee.judge(before, result)
        _same_step(spec, result, same, "the same seed and actions gave different games", NotReproducibleError)
        _same_step(spec, result, other_ignored, "an action that must be ignored had an effect")
        observation = result.observation


def _same_step(
    spec: GameSpec, a: Transition, b: Transition, message: str, kind: type[GameContractError] = GameContractError
) -> None:
    _same(spec, a.observation, b.observation, message, kind)
    for part in ("reward", "terminated", "truncated", "outcome"):
        _same(spec, {part: getattr(a, part)}, {part: getattr(b, part)}, message, kind)


def _same(
    spec: GameSpec, a: Observation, b: Observation, message: str, kind: type[GameContractError] = GameContractError
) -> None:
    for name, values in a.items():
        if not np.array_equal(values, b[name], equal_nan=values.dtype.kind == "f"):
            raise kind(f"{spec.name}: {message} ({name} differs)")


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
        check_array(spec, f"{what} {head!r}", chosen[head], (*acting.shape, *(space.shape or ())), dtypes)
        check_inside(spec, f"{what} {head!r}", space, chosen[head])
    for head in spec.action_space.spaces:
        mask = mask_given(spec, observation, head, chosen)
        if mask is None:
            continue
        legal = np.take_along_axis(mask, chosen[head][..., None], axis=-1)[..., 0]
        wrong = acting & is_read(spec, head, chosen, acting.shape) & ~legal
        if wrong.any():
            raise GameContractError(
                f"{spec.name}: bot {bot!r} takes {chosen[head][tuple(np.argwhere(wrong)[0])]} of head {head!r} in "
                f"{first_seat(wrong)}, which the mask forbids"
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
