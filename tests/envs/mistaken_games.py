"""`VectorGame`s of a user's own with one mistake each: the counting game, changed on its way out; `Sound` has none."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from quintet.games.api import Actions, Observation, Transition
from quintet.games.counting import CountingGame, CountingOptions


class Sound(CountingGame):
    """The counting game with masks; the mistakes below change what it returns."""

    def __init__(self, n_games: int, seed: int = 0) -> None:
        super().__init__(n_games, CountingOptions(masks=True))

    def show(self, observation: Observation) -> Observation:
        return observation

    def end(self, transition: Transition) -> Transition:
        return transition

    def reset(self, seed: int) -> Observation:
        return self.show(super().reset(seed))

    def step(self, actions: Actions) -> Transition:
        result = super().step(actions)
        return self.end(replace(result, observation=self.show(result.observation)))


class GainPerGame(Sound):
    def end(self, transition: Transition) -> Transition:
        return replace(transition, reward=transition.reward[:, 0, 0])


class GainNan(Sound):
    def end(self, transition: Transition) -> Transition:
        return replace(transition, reward=transition.reward * np.float32(np.nan))


class GainFloat64(Sound):
    def end(self, transition: Transition) -> Transition:
        return replace(transition, reward=transition.reward.astype(np.float64))


class SeenFloat64(Sound):
    def show(self, observation: Observation) -> Observation:
        return {**observation, "counter": observation["counter"].astype(np.float64)}


class ShortMask(Sound):
    def show(self, observation: Observation) -> Observation:
        return {**observation, "action_mask/action": observation["action_mask/action"][..., :2]}


class EmptyMask(Sound):
    def show(self, observation: Observation) -> Observation:
        return {**observation, "action_mask/action": np.zeros_like(observation["action_mask/action"])}


class NobodyActs(Sound):
    """Without `acting`."""

    def show(self, observation: Observation) -> Observation:
        return {name: array for name, array in observation.items() if name != "acting"}


class EndsTwice(Sound):
    """The step after an end is paid, as if it were played."""

    def end(self, transition: Transition) -> Transition:
        return replace(transition, reward=np.ones_like(transition.reward))


class EndsPerGame(Sound):
    def end(self, transition: Transition) -> Transition:
        return replace(transition, truncated=transition.truncated[:, 0, 0])


class Tuples(Sound):
    """Steps as an environment does."""

    def step(self, actions: Actions) -> Transition:
        result = super().step(actions)
        return result.observation, result.reward, result.terminated, result.truncated, {}  # type: ignore[return-value]


class Stalls(Sound):
    def step(self, actions: Actions) -> Transition:
        raise RuntimeError("the board is gone")


class FailsToClose(Sound):
    def close(self) -> None:
        raise OSError("the board is gone")


class OutsideBox(Sound):
    def show(self, observation: Observation) -> Observation:
        return {**observation, "counter": observation["counter"] - 1}


class LaterShort(Sound):
    """Sound for six rows, then with a mask of another length."""

    rows = 0

    def show(self, observation: Observation) -> Observation:
        self.rows += 1
        mask = observation["action_mask/action"]
        return {**observation, "action_mask/action": mask if self.rows < 8 else mask[..., :2]}


class LaterEmpty(LaterShort):
    def show(self, observation: Observation) -> Observation:
        self.rows += 1
        return {**observation, "action_mask/action": observation["action_mask/action"] & (self.rows < 8)}


class LaterPerGame(LaterShort):
    def show(self, observation: Observation) -> Observation:
        self.rows += 1
        return observation

    def end(self, transition: Transition) -> Transition:
        return transition if self.rows < 8 else replace(transition, reward=transition.reward[:, 0])
