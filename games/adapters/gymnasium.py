"""Any Gymnasium environment as a `VectorGame`: one team of one agent, or of several (`gymnasium_team`).

Environments with a vectorised entry point of their own (CartPole) are stepped through it; all others in a loop that is
lighter than gymnasium's SyncVectorEnv: it copies each observation once and collects from `info` only the action mask.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from quintet.games.adapters.spaces import ACTION_MASK, ActionLayout, Layouts, ObservationLayout
from quintet.games.adapters.wrappers import AnyVectorEnv, Env
from quintet.games.api import ACTING, Actions, Array, GameContractError, GameError, GameSpec, Observation, Transition
from quintet.games.checks.blame import blamed, five, two
from quintet.games.checks.data import Mismatch, check_sizes, described, flag, mask_bits, no_late_mask, number
from quintet.games.copies import close_all


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
        """See `quintet.games.api.GameWithRemarks`."""
        return self._observations.all_remarks([self._seen], self._env, "step")

    @property
    def layouts(self) -> Layouts:
        """How it reads its environments."""
        return Layouts(self._observations, self._actions, self._masked)

    @property
    def origin(self) -> Any:
        """See `quintet.games.api.GameWithRemarks`."""
        return self._env

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
        close_all([self._env])

    def _observe(self, raw: Any, info: Mapping[str, Any]) -> Observation:
        self._seen = raw
        observation = self._observations.batch(raw, self._lead)
        observation[ACTING] = ~self._ended.reshape(self._lead)
        if self._masked:
            mask = self._mask(raw[ACTION_MASK] if self._observations.has_mask else info.get(ACTION_MASK))
            observation.update(self._actions.split_bits(mask.reshape(*self._lead, -1), observation[ACTING]))
        else:
            no_late_mask(info)
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
        """See `quintet.games.api.GameWithRemarks`."""
        return self._observations.all_remarks(self._seen, self._envs[0], "step")

    @property
    def layouts(self) -> Layouts:
        """How it reads its environments."""
        return Layouts(self._observations, self._actions, self._masked)

    @property
    def origin(self) -> Any:
        """See `quintet.games.api.GameWithRemarks`."""
        return self._envs[0]

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
        close_all(self._envs)

    def _empty_mask(self) -> Array:
        return np.ones((self.n_games, self._actions.mask_size if self._masked else 0), dtype=np.int8)

    def _write(self, arrays: dict[str, Array], mask: Array, i: int, observation: Any, info: Mapping[str, Any]) -> None:
        self._seen[i] = observation
        self._observations.write(arrays, (i,), observation)
        if self._masked:
            found = info.get(ACTION_MASK) if self._mask_in_info else observation[ACTION_MASK]
            if found is not None:
                mask[i] = self._actions.flat_mask(found, self._name)
        elif info:
            no_late_mask(info)

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
