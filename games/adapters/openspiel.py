"""Any OpenSpiel game as a `VectorGame`: one team per player, chance played in here, a row for everybody at every move.

Games of perfect and of hidden information, turn-based and simultaneous. A player observes the game's observation
tensor, or the information state where the game has none; both are flat vectors here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from gymnasium import spaces

from quintet.games.adapters.outcome import outcome_of
from quintet.games.api import (
    ACTING,
    ACTION_MASK_PREFIX,
    Actions,
    Array,
    GameDataError,
    GameError,
    GameSpec,
    Observation,
    Transition,
    UnknownGameError,
    UnsupportedSpaceError,
)
from quintet.games.checks.data import Mismatch, check_choice, check_sizes
from quintet.games.dotted import import_module, nearest

HEAD = "action"
ENTRY = "observation"


def make_openspiel(
    game_name: str, n_games: int, seed: int, *, kwargs: Mapping[str, bool | int | float | str] | None = None
) -> OpenSpielGame:
    """Build the game from its name in OpenSpiel, such as `kuhn_poker` or `connect_four`.

    Args:
        game_name: one of `pyspiel.registered_names()`, or with parameters as OpenSpiel writes them:
            `kuhn_poker(players=3)`.
        n_games: slots.
        seed: not needed before `reset`.
        kwargs: the game's parameters.

    Raises:
        MissingExtraError: open_spiel is not installed.
        UnknownGameError: OpenSpiel has no such game.
        UnsupportedSpaceError: it has no observation as numbers, or it is a mean-field game.
        GameError: it does not take these parameters.
    """
    name = f"openspiel:{game_name}"
    pyspiel = import_module("pyspiel", what=f"game {name!r}")
    plain, known = game_name.partition("(")[0], pyspiel.registered_names()
    if plain not in known:
        raise UnknownGameError(f"game {name!r}: OpenSpiel has no game {plain!r}{nearest(plain, known)}")
    try:
        game = pyspiel.load_game(game_name, dict(kwargs)) if kwargs else pyspiel.load_game(game_name)
    except Exception as error:  # whatever C++ threw: a missing file or parameter has many types
        raise GameError(
            f"game {name!r}: OpenSpiel cannot load it: {_first_line(error)}; {_parameters_of(pyspiel, plain)}"
        ) from error
    return OpenSpielGame(name, game, n_games)


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _parameters_of(pyspiel: Any, game: str) -> str:
    """What may be said in `kwargs`."""
    kind = next(kind for kind in pyspiel.registered_games() if kind.short_name == game)
    known = ", ".join(sorted(kind.parameter_specification))
    return f"its parameters are {known}: --set game_options.kwargs.NAME=VALUE" if known else "it has no parameters"


class OpenSpielGame:
    """`n_games` states of one game."""

    def __init__(self, name: str, game: Any, n_games: int) -> None:
        self.n_games, self._name, self._game = n_games, name, game
        self._ended: Array = np.zeros(n_games, dtype=bool)
        kind = game.get_type()
        if kind.dynamics == kind.Dynamics.MEAN_FIELD:
            raise UnsupportedSpaceError(
                f"game {name!r} is a mean-field game; expected players that act by turns or at once"
            )
        self._players, self._choices = game.num_players(), game.num_distinct_actions()
        self._tensor, size = _tensor_of(name, game)
        self.spec = GameSpec(
            name=name,
            teams=self._players,
            agents_per_team=1,
            observation_space=spaces.Dict({ENTRY: spaces.Box(-np.inf, np.inf, (size,))}),
            action_space=spaces.Dict({HEAD: spaces.Discrete(self._choices)}),
            masked_heads=frozenset((HEAD,)),
            # For more players the rewards do, but not the outcomes, which count who did better than the others' mean.
            zero_sum=kind.utility == kind.Utility.ZERO_SUM and self._players == 2,
        )
        self._begin_all(0)

    def reset(self, seed: int) -> Observation:
        """Start every game anew."""
        self._begin_all(seed)
        return self._observe()

    def step(self, actions: Actions) -> Transition:
        """Advance every game by one decision, or begin the next one where the last step ended it."""
        before = self._returns.copy()
        begins = self._ended
        self._ended = np.zeros(self.n_games, dtype=bool)
        for slot in range(self.n_games):
            if begins[slot]:
                self._begin(slot)
            else:
                self._play(slot, actions[HEAD][slot, :, 0])
        before[begins] = self._returns[begins]
        gained = np.where(begins[:, None], 0.0, self._returns - before)
        return Transition(
            observation=self._observe(),
            reward=gained.astype(np.float32)[..., None],
            terminated=np.broadcast_to(self._ended[:, None, None], (self.n_games, self._players, 1)).copy(),
            truncated=np.zeros((self.n_games, self._players, 1), dtype=bool),
            outcome=outcome_of(self._returns, self._ended),
        )

    def close(self) -> None:
        """Nothing to free."""

    def _begin_all(self, seed: int) -> None:
        sequences = np.random.SeedSequence(seed).spawn(self.n_games)
        self._random = [np.random.default_rng(sequence) for sequence in sequences]
        self._states: list[Any] = [None] * self.n_games
        self._returns = np.zeros((self.n_games, self._players))
        self._ended = np.zeros(self.n_games, dtype=bool)
        for slot in range(self.n_games):
            self._begin(slot)

    def _begin(self, slot: int) -> None:
        self._states[slot] = self._game.new_initial_state()
        self._to_a_decision(slot)

    def _play(self, slot: int, chosen: Array) -> None:
        """Hand in what those who act have chosen."""
        state = self._states[slot]
        legal = [state.legal_actions(player) for player in range(self._players)]
        for player in self._acting(state):
            if legal[player] and int(chosen[player]) not in legal[player]:
                raise GameError(
                    f"game {self._name!r}: player {player} chose {chosen[player]}, legal are {legal[player]}"
                )
        if state.is_simultaneous_node():
            state.apply_actions([int(chosen[p]) if legal[p] else 0 for p in range(self._players)])
        else:
            state.apply_action(int(chosen[state.current_player()]))
        self._to_a_decision(slot)

    def _to_a_decision(self, slot: int) -> None:
        """Draw what chance does until somebody has to decide or the game is over."""
        state = self._states[slot]
        while state.is_chance_node():
            outcomes, probabilities = zip(*state.chance_outcomes(), strict=True)
            share = np.asarray(probabilities) / np.sum(probabilities)
            state.apply_action(int(self._random[slot].choice(outcomes, p=share)))
        self._returns[slot] = state.returns()
        self._ended[slot] = state.is_terminal()

    def _acting(self, state: Any) -> Sequence[int]:
        if state.is_terminal():
            return ()
        if state.is_simultaneous_node():
            return [player for player in range(self._players) if state.legal_actions(player)]
        return (state.current_player(),)

    def _observe(self) -> Observation:
        shape = (self.n_games, self._players, 1)
        seen = np.zeros((*shape, *self.spec.observation_space[ENTRY].shape), np.float32)  # type: ignore[misc]
        acting, mask = np.zeros(shape, dtype=bool), np.ones((*shape, self._choices), dtype=bool)
        for slot, state in enumerate(self._states):
            for player in range(self._players):
                seen[slot, player, 0] = getattr(state, self._tensor)(player)
            for player in self._acting(state):
                acting[slot, player, 0] = True
                mask[slot, player, 0] = False
                mask[slot, player, 0, state.legal_actions(player)] = True
        try:
            check_sizes(ENTRY, seen, 2)
            check_choice(HEAD, mask, acting)
        except Mismatch as error:
            slot, player = error.at[:2]
            raise GameDataError(f"game {self._name!r}: {error} (slot {slot}, player {player})") from error
        return {ENTRY: seen, ACTING: acting, f"{ACTION_MASK_PREFIX}{HEAD}": mask}


def _tensor_of(name: str, game: Any) -> tuple[str, int]:
    """The method that shows a player the game as numbers, and how many they are."""
    pyspiel = import_module("pyspiel", what=f"game {name!r}")
    kind, why = game.get_type(), "it shows itself only as text"
    for tensor in ("observation_tensor", "information_state_tensor"):
        if getattr(kind, f"provides_{tensor}"):
            try:
                return tensor, int(getattr(game, f"{tensor}_size")())
            except pyspiel.SpielError as error:  # it says that it has one, and has none
                why = f"OpenSpiel says: {_first_line(error)}"
    raise UnsupportedSpaceError(
        f"game {name!r} has no observation in numbers ({why}); expected an observation or information state tensor: "
        "take another game"
    )
