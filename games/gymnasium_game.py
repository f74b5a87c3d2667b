"""Any Gymnasium environment as a `VectorGame`: one team of one agent, or of several (`games/gymnasium_team.py`).

Environments with a vectorised entry point of their own (CartPole) are stepped through it; all others in a loop that is
lighter than gymnasium's SyncVectorEnv: it copies each observation once and collects from `info` only the action mask.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import Any

import gymnasium
import numpy as np
from gymnasium.vector import AutoresetMode

from games.api import (
    ACTING,
    Actions,
    Array,
    GameCodeError,
    GameContractError,
    GameDataError,
    GameError,
    GameSpec,
    MissingExtraError,
    Observation,
    Transition,
    UnknownGameError,
    VectorGame,
)
from games.blame import blamed, described_error, five, place, raised_at, two
from games.data_check import Mismatch, check_sizes, described, flag, mask_bits, number
from games.dotted import import_module, load, nearest
from games.gymnasium_team import make_team
from games.layout import ACTION_MASK, ActionLayout, ObservationLayout
from games.old_gym import OldGym, is_old_gym
from games.wrappers import AnyVectorEnv, Env, NamedWrapper, named_wrappers


def make_gymnasium(
    env_id: str,
    n_games: int,
    seed: int,
    *,
    wrappers: Sequence[Any] = (),
    leave_out: Sequence[str] = (),
    kwargs: Mapping[str, Any] | None = None,
) -> VectorGame:
    """Build the game for a Gymnasium id, or for `module:Id-v0`, which imports the module first.

    Args:
        env_id: the id.
        n_games: slots.
        seed: for the environments that show their action mask only after a reset.
        wrappers: see `games.wrappers.named_wrappers`.
        leave_out: entries of the observation that the policy is not shown, such as a text.
        kwargs: passed to `gymnasium.make`.

    Raises:
        UnknownGameError: no such id or module.
        MissingExtraError: the environment needs a package that is not installed.
        UnsupportedSpaceError: its spaces cannot be served.
    """
    name = f"gymnasium:{env_id}"
    spec = _find_spec(name, env_id)
    layers, arguments = named_wrappers(wrappers), dict(kwargs or {})
    if spec.vector_entry_point and not spec.additional_wrappers and all(layer.takes_vectors for layer in layers):
        vector = _make_vector(name, spec, n_games, layers, arguments)
        if vector is not None:
            return GymnasiumVectorGame(name, vector, seed, leave_out)
    envs = [_make_one(name, spec, layers, arguments) for _ in range(n_games)]
    return _game_of(name, envs, seed, leave_out)


def make_old_gym(
    factory_name: str,
    n_games: int,
    seed: int,
    *,
    wrappers: Sequence[Any] = (),
    leave_out: Sequence[str] = (),
    kwargs: Mapping[str, Any] | None = None,
) -> VectorGame:
    """Build the game from a class or function of the old gym, such as `crafter:Env`.

    Args:
        factory_name: `module:name`.
        n_games: slots.
        seed: for the environments that show their action mask only after a reset.
        wrappers: Gymnasium's, see `games.wrappers.named_wrappers`.
        leave_out: entries of the observation that the policy is not shown, such as a text.
        kwargs: passed to the class or function.

    Raises:
        UnknownGameError: no such module, or no such name in it.
        MissingExtraError: the environment needs a package that is not installed.
        UnsupportedSpaceError: its spaces cannot be served.
        GameError: it does not take these kwargs.
    """
    name, layers = f"gym:{factory_name}", named_wrappers(wrappers)
    factory = load(factory_name, what=f"game {name!r}: environment")
    envs = [_wrapped(OldGym(name, factory, kwargs or {}), layers) for _ in range(n_games)]
    return _game_of(name, envs, seed, leave_out)


def _game_of(name: str, envs: Sequence[Env], seed: int, leave_out: Sequence[str] = ()) -> VectorGame:
    """The game that single environments make, one to a slot: of one agent, or of one team where they have several."""
    _check_spaces(name, envs[0])
    max_steps = envs[0].spec.max_episode_steps if envs[0].spec else None
    return make_team(name, envs, seed, max_steps, leave_out) or GymnasiumLoopGame(name, envs, seed, leave_out)


def _find_spec(name: str, env_id: str) -> gymnasium.envs.registration.EnvSpec:
    module, _, bare = env_id.rpartition(":")
    package = import_module(module, what=f"game {name!r}") if module else None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # an old version of an environment is no error
            return gymnasium.spec(bare)
    except gymnasium.error.Error as error:
        raise UnknownGameError(f"game {name!r}: {error}{_hint(str(error), bare, package)}") from error


def _hint(said: str, bare: str, package: ModuleType | None) -> str:
    """What else the id could be: one that is spelt alike, one of a package, or an environment of the old gym."""
    old = [part for part, kind in vars(package).items() if is_old_gym(kind)] if package else []
    if package and old:
        return f" {package.__name__} is of the old gym: write --game gym:{package.__name__}:{old[0]}"
    near = "" if "did you mean" in said.lower() else nearest(bare, gymnasium.registry)
    from_package = f" If a package brings it, name the package: --game gymnasium:<package>:{bare}"
    return near if near or package or "did you mean" in said.lower() else from_package


def _make_one(
    name: str, spec: gymnasium.envs.registration.EnvSpec, layers: Sequence[NamedWrapper], arguments: Mapping[str, Any]
) -> Env:
    try:
        env = gymnasium.make(spec, **{"disable_env_checker": True, **arguments})
    except (gymnasium.error.DependencyNotInstalled, ModuleNotFoundError) as error:
        raise MissingExtraError(f"game {name!r}: {error}") from error
    except gymnasium.error.UnregisteredEnv as error:
        raise UnknownGameError(f"game {name!r}: {error}") from error
    except (Exception, SystemExit) as error:
        raise _not_made(name, error) from error
    return _wrapped(env, layers)


def _wrapped(env: Env, layers: Sequence[NamedWrapper]) -> Env:
    for layer in layers:
        env = layer.apply(env)
    return env


def _not_made(name: str, error: BaseException) -> GameError:
    """Why an environment could not be made: arguments that it does not take, or what its own code raised."""
    if isinstance(error, GameError):
        return error
    if (isinstance(error, TypeError) and "__init__() " in str(error)) or raised_at(error) is None:
        return GameError(f"game {name!r} does not take these kwargs: {described_error(error)}")
    return GameCodeError(f"{raised_at(error)}: making the environment raised {described_error(error)} (game {name!r})")


def _make_vector(
    name: str,
    spec: gymnasium.envs.registration.EnvSpec,
    n_games: int,
    layers: Sequence[NamedWrapper],
    arguments: Mapping[str, Any],
) -> AnyVectorEnv | None:
    """The vectorised entry point, or None where the loop has to do: it must reset in the step after an end."""
    try:
        env: AnyVectorEnv = gymnasium.make_vec(
            spec, num_envs=n_games, vectorization_mode="vector_entry_point", **arguments
        )
    except (gymnasium.error.DependencyNotInstalled, ModuleNotFoundError) as error:
        raise MissingExtraError(f"game {name!r}: {error}") from error
    except TypeError:
        return None  # it takes fewer arguments than the single environment does
    if env.metadata.get("autoreset_mode") is not AutoresetMode.NEXT_STEP:
        env.close()
        if spec.entry_point is None:
            raise GameContractError(f"game {name!r} has only a vectorised form, and that does not reset in NEXT_STEP")
        return None
    for layer in layers:
        env = layer.apply(env)
    return env


def _spec(
    name: str, observations: ObservationLayout, actions: ActionLayout, masked: bool, max_steps: int | None
) -> GameSpec:
    return GameSpec(
        name=name,
        teams=1,
        agents_per_team=1,
        observation_space=observations.space,
        action_space=actions.space,
        max_steps=max_steps,
        masked_heads=frozenset(actions.choices if masked else ()),
    )


def _no_outcome(n_games: int) -> Array:
    """One team has nobody to win against: the same NaN for every step, so nobody may write into it."""
    outcome = np.full((n_games, 1), np.nan, dtype=np.float32)
    outcome.flags.writeable = False
    return outcome


class GymnasiumVectorGame:
    """A gymnasium VectorEnv whose autoreset mode is NEXT_STEP. No loop over the games."""

    def __init__(self, name: str, env: AnyVectorEnv, seed: int, leave_out: Sequence[str] = ()) -> None:
        self.n_games = env.num_envs
        self._env = env
        self._name = name
        self._lead = (self.n_games, 1, 1)
        self._observations = ObservationLayout(env.single_observation_space, name, leave_out)
        self._actions = ActionLayout(env.single_action_space, name)
        self._row = 0
        _, info = self._reset(seed)
        self._masked = self._observations.has_mask or ACTION_MASK in info
        limit = env.spec.kwargs.get("max_episode_steps", env.spec.max_episode_steps) if env.spec else None
        self.spec = _spec(name, self._observations, self._actions, self._masked, limit)
        self._ended = np.zeros(self.n_games, dtype=bool)
        self._no_outcome = _no_outcome(self.n_games)

    def reset(self, seed: int) -> Observation:
        """Start every game anew."""
        observation, info = self._reset(seed)
        self._ended, self._row = np.zeros(self.n_games, dtype=bool), 0
        try:
            return self._observe(observation, info)
        except Mismatch as error:
            raise self._blamed(error, "reset") from error

    def step(self, actions: Actions) -> Transition:
        """Advance every game by one decision."""
        self._row += 1
        try:
            observation, reward, terminated, truncated, info = five(
                self._env.step(self._actions.batch(actions, self.n_games))
            )
            self._check_shapes(reward, terminated, truncated)
            played = ~self._ended
            terminated, truncated = terminated & played, truncated & played
            self._ended = terminated | truncated
            reward = (reward * played).astype(np.float32)
            check_sizes("the reward", reward, 1)
            return Transition(
                observation=self._observe(observation, info),
                reward=reward.reshape(self._lead),
                terminated=terminated.reshape(self._lead),
                truncated=truncated.reshape(self._lead),
                outcome=self._no_outcome,
            )
        except (Exception, SystemExit) as error:
            raise self._blamed(error, "step") from error

    def remarks(self) -> dict[str, str]:
        """See `games.api.GameWithRemarks`."""
        found = {**self._observations.space_remarks, **self._observations.remarks(self._seen)}
        return {key: f"{place(self._env, 'step')}: {text}" for key, text in found.items()}

    def _reset(self, seed: int) -> tuple[Any, Mapping[str, Any]]:
        try:
            return two(self._env.reset(seed=seed))
        except (Exception, SystemExit) as error:
            raise self._blamed(error, "reset") from error

    def _check_shapes(self, reward: Any, terminated: Any, truncated: Any) -> None:
        for name, array in (("the reward", reward), ("terminated", terminated), ("truncated", truncated)):
            if not isinstance(array, np.ndarray) or array.shape != (self.n_games,) or array.dtype.kind not in "biuf":
                raise Mismatch(f"{name} is {described(array)}; expected an array of shape ({self.n_games},)")

    def _blamed(self, error: BaseException, method: str) -> GameError:
        slot = f"slot {error.at[0]}, " if isinstance(error, Mismatch) and error.at else ""
        return blamed(error, self._env, method, self._name, f"{slot}row {self._row}")

    def picture(self) -> Array | None:
        """Slot 0, if the environment was made with `kwargs={"render_mode": "rgb_array"}`."""
        frames = self._env.render() if self._env.render_mode == "rgb_array" else None
        return None if frames is None else np.asarray(frames[0])

    def close(self) -> None:
        """Close the environment."""
        self._env.close()

    def _observe(self, raw: Any, info: Mapping[str, Any]) -> Observation:
        self._seen = raw
        observation = self._observations.batch(raw, self._lead)
        observation[ACTING] = ~self._ended.reshape(self._lead)
        if self._masked:
            mask = self._mask(raw[ACTION_MASK] if self._observations.has_mask else info.get(ACTION_MASK))
            observation.update(self._actions.split_bits(mask.reshape(*self._lead, -1), observation[ACTING]))
        return observation

    def _mask(self, masks: Any) -> Array:
        if masks is None:
            return np.ones((self.n_games, self._actions.mask_size), dtype=np.int8)
        if not isinstance(masks, np.ndarray) or masks.size != self.n_games * self._actions.mask_size:
            raise GameContractError(
                f"{self._name}: action masks of a vector environment must be one array, one row each"
            )
        return mask_bits(masks).astype(np.int8)


class GymnasiumLoopGame:
    """Single gymnasium environments, stepped one after the other."""

    def __init__(self, name: str, envs: Sequence[Env], seed: int, leave_out: Sequence[str] = ()) -> None:
        self.n_games = len(envs)
        self._envs = envs
        self._name = name
        self._lead = (self.n_games, 1, 1)
        self._observations = ObservationLayout(envs[0].observation_space, name, leave_out)
        self._actions = ActionLayout(envs[0].action_space, name)
        self._row, self._seen = 0, [None] * self.n_games
        _, info = self._first(0, seed)  # some environments show their mask in `info` only
        self._mask_in_info = not self._observations.has_mask and ACTION_MASK in info
        self._masked = self._observations.has_mask or self._mask_in_info
        limit = envs[0].spec.max_episode_steps if envs[0].spec else None
        self.spec = _spec(name, self._observations, self._actions, self._masked, limit)
        self._ended = np.zeros(self.n_games, dtype=bool)
        self._no_outcome = _no_outcome(self.n_games)

    def reset(self, seed: int) -> Observation:
        """Start every game anew. Each environment is seeded once; its later games go on from its own generator."""
        seeds = np.random.SeedSequence(seed).generate_state(self.n_games).tolist()
        self._ended, self._row = np.zeros(self.n_games, dtype=bool), 0
        arrays, mask = self._observations.empty((self.n_games,)), self._empty_mask()
        for i in range(self.n_games):
            observation, info = self._first(i, seeds[i])
            try:
                self._write(arrays, mask, i, observation, info)
            except Exception as error:
                raise self._blamed(error, i, "reset") from error
        return self._finish(arrays, mask)

    def step(self, actions: Actions) -> Transition:
        """Advance every game by one decision, or begin the next one where the last step ended it."""
        n = self.n_games
        self._row += 1
        reward = np.zeros(n, dtype=np.float32)
        terminated, truncated = np.zeros(n, dtype=bool), np.zeros(n, dtype=bool)
        arrays, mask = self._observations.empty((n,)), self._empty_mask()
        ended, i = self._ended.tolist(), 0
        try:
            for i, action in enumerate(self._actions.rows(actions, n)):
                if ended[i]:
                    observation, info = two(self._envs[i].reset())
                else:
                    played = self._envs[i].step(action)
                    observation, gained, over, cut, info = (
                        played if type(played) is tuple and len(played) == 5 else five(played)
                    )
                    reward[i] = gained if type(gained) is float else number(gained)
                    terminated[i] = over if type(over) is bool else flag(over, "terminated")
                    truncated[i] = cut if type(cut) is bool else flag(cut, "truncated")
                self._write(arrays, mask, i, observation, info)
        except (Exception, SystemExit) as error:
            raise self._blamed(error, i, "reset" if ended[i] else "step") from error
        self._ended = terminated | truncated
        return Transition(
            observation=self._finish(arrays, mask, reward),
            reward=reward.reshape(self._lead),
            terminated=terminated.reshape(self._lead),
            truncated=truncated.reshape(self._lead),
            outcome=self._no_outcome,
        )

    def remarks(self) -> dict[str, str]:
        """See `games.api.GameWithRemarks`."""
        found = self._observations.space_remarks
        for observation in self._seen:
            found = {**self._observations.remarks(observation), **found}
        return {key: f"{place(self._envs[0], 'step')}: {text}" for key, text in found.items()}

    def _first(self, i: int, seed: int) -> tuple[Any, Mapping[str, Any]]:
        """A slot's first observation."""
        try:
            return two(self._envs[i].reset(seed=seed))
        except (Exception, SystemExit) as error:
            raise self._blamed(error, i, "reset") from error

    def _blamed(self, error: BaseException, slot: int, method: str) -> GameError:
        return blamed(error, self._envs[slot], method, self._name, f"slot {slot}, row {self._row}")

    def picture(self) -> Array | None:
        """Slot 0, if the environment was made with `kwargs={"render_mode": "rgb_array"}`."""
        frame = self._envs[0].render() if self._envs[0].render_mode == "rgb_array" else None
        return None if frame is None else np.asarray(frame)

    def close(self) -> None:
        """Close the environments."""
        for env in self._envs:
            env.close()

    def _empty_mask(self) -> Array:
        return np.ones((self.n_games, self._actions.mask_size if self._masked else 0), dtype=np.int8)

    def _write(self, arrays: dict[str, Array], mask: Array, i: int, observation: Any, info: Mapping[str, Any]) -> None:
        self._seen[i] = observation
        self._observations.write(arrays, (i,), observation)
        if self._masked:
            found = info.get(ACTION_MASK) if self._mask_in_info else observation[ACTION_MASK]
            if found is not None:
                mask[i] = self._actions.flat_mask(found, self._name)

    def _finish(self, arrays: dict[str, Array], mask: Array, reward: Array | None = None) -> Observation:
        """Look at all numbers of a row at once; whose is wrong, its environment is to blame."""
        try:
            if reward is not None:
                check_sizes("the reward", reward, 1)
            observation = self._observations.finish(arrays, self._lead)
            observation[ACTING] = ~self._ended.reshape(self._lead)
            if self._masked:
                mask = mask.reshape(*self._lead, -1)
                observation.update(self._actions.split_bits(mask, observation[ACTING]))
        except Mismatch as error:
            raise self._blamed(error, error.at[0], "reset" if reward is None else "step") from error
        return observation


def _check_spaces(name: str, env: Env) -> None:
    for what, kind in (("observation_space", "spaces.Box(-1, 1, (4,))"), ("action_space", "spaces.Discrete(2)")):
        if not isinstance(space := getattr(env, what, None), gymnasium.Space):
            raise GameDataError(
                f"{place(env)} has {'no' if space is None else described(space) + ' as'} {what}; expected a "
                f"gymnasium space: write self.{what} = {kind} in __init__ (game {name!r})"
            )
