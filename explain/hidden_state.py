"""A game that is played as configured while what it hides from the players is written down beside it.

Skirmish: where the enemy's first hero really stands. Gymnasium with `mask_observation`: the numbers that the wrapper
removes. The game is made without its blindfold, and what the players must not see is taken out here, so that they see
the very observation that they were trained on.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from quintet.control.config import RunConfig
from quintet.games.api import Actions, Array, GameSpec, Observation, Transition, VectorGame
from quintet.games.registry import make_game
from quintet.games.skirmish.observation.spec import HIDDEN, UNIT

MASK = "quintet.games.adapters.wrappers:mask_observation"
KNOWN_ENTRIES = {"CartPole-v1": ("position", "velocity", "pole's angle", "pole's angular velocity")}


class OpenGame:
    """Any game; this one hides nothing that anybody knows of."""

    def __init__(self, game: VectorGame, spec: GameSpec) -> None:
        self.game, self.spec, self.n_games = game, spec, game.n_games
        self._hidden: dict[str, list[Array]] = {}
        self._away: list[Array] = []

    def reset(self, seed: int) -> Observation:
        """As the game's own."""
        self._hidden.clear()
        self._away.clear()
        return self._seen(self.game.reset(seed))

    def step(self, actions: Actions) -> Transition:
        """As the game's own."""
        transition = self.game.step(actions)
        return replace(transition, observation=self._seen(transition.observation))

    def close(self) -> None:
        """As the game's own."""
        self.game.close()

    def hidden(self) -> dict[str, Array]:
        """Name -> f32 [rows so far, n_games x teams], NaN where there is nothing to know."""
        return {name: np.stack(rows).astype(np.float32) for name, rows in self._hidden.items()}

    def out_of_sight(self) -> Array | None:
        """Bool [rows so far, n_games x teams]: where it is hidden; None where it always is."""
        return np.stack(self._away) if self._away else None

    def _seen(self, observation: Observation) -> Observation:
        """What the players may see; what they may not is written down."""
        return observation

    def _note(self, name: str, numbers: Array) -> None:
        self._hidden.setdefault(name, []).append(numbers)


class UnmaskedGymnasium(OpenGame):
    """A Gymnasium game whose only wrapper removes entries of a vector."""

    def __init__(self, game: VectorGame, spec: GameSpec, hide: list[int], names: tuple[str, ...]) -> None:
        super().__init__(game, spec)
        self.hide = hide
        (self.entry,) = spec.observation_space.spaces
        self.names = names or tuple(f"entry {k}" for k in range(max(hide) + 1))

    def _seen(self, observation: Observation) -> Observation:
        full = observation[self.entry]
        for k in self.hide:
            self._note(self.names[k], full[..., k].reshape(-1).copy())
        return {**observation, self.entry: np.delete(full, self.hide, axis=-1)}


class OpenSkirmish(OpenGame):
    """Skirmish with its full state, of which the players get what they would without it."""

    def _seen(self, observation: Observation) -> Observation:
        columns = {name: k for k, name in enumerate(HIDDEN.names or ())}
        heroes = self.spec.agents_per_team
        enemy = observation["hidden"].reshape(self.n_games * 2, heroes, -1)[:, 0]
        dead = enemy[:, columns["respawn"]] > 0
        slot = observation["units"].reshape(self.n_games * 2, -1, len(UNIT.names or ()))[:, heroes]
        names = list(UNIT.names or ())
        for axis in "xy":
            self._note(f"enemy's {axis}", np.where(dead, np.nan, enemy[:, columns[axis]]))
        self._away.append(slot[:, names.index("visible")] < 0.5)
        kept = self.spec.observation_space.spaces
        return {name: array for name, array in observation.items() if name != "hidden" or name in kept}


def open_game(config: RunConfig, n_games: int, seed: int) -> OpenGame:
    """The game of a configuration with what it hides written down, as far as that is known how to find.

    Raises:
        GameError: it cannot be made.
    """
    game = make_game(config.game, n_games, seed, config.game_options)
    options = dict(config.game_options)
    if config.game.startswith("skirmish-"):
        game.close()
        full = make_game(config.game, n_games, seed, options | {"full_state": True})
        return OpenSkirmish(full, game.spec)
    wrappers: list[Any] = list(options.get("wrappers") or [])
    if config.game.startswith("gymnasium:") and len(wrappers) == 1 and _is_mask(wrappers[0]):
        game.close()
        full = make_game(config.game, n_games, seed, options | {"wrappers": []})
        names = KNOWN_ENTRIES.get(config.game.rpartition(":")[2], ())
        return UnmaskedGymnasium(full, game.spec, sorted(wrappers[0]["hide"]), names)
    return OpenGame(game, game.spec)


def _is_mask(wrapper: object) -> bool:
    return isinstance(wrapper, dict) and wrapper.get("name") == MASK and "hide" in wrapper
