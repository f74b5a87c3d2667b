"""Environments with one fault each: what users' own code gets wrong. `mistaken/Sound-v0` has none."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

FAULT_ROW = 4  # faults that come late come here


class Sound(gymnasium.Env[Any, Any]):
    """Eight rows: name the sign of the first one at the end."""

    observation_space: Any = spaces.Dict({"place": spaces.Box(-2, 2, (3,), np.float32), "sign": spaces.Discrete(3)})
    action_space: Any = spaces.MultiDiscrete([3])

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        super().reset(seed=seed)
        self.row, self.sign = 0, int(self.np_random.integers(3))
        return self.look(), self.info()

    def look(self) -> Any:
        return {"place": np.full(3, self.row / 8, np.float32), "sign": self.sign if self.row == 0 else 0}

    def info(self) -> dict[str, Any]:
        return {}

    def gain(self, action: Any) -> Any:
        return float(np.ravel(action)[0] == self.sign)

    def step(self, action: Any) -> Any:
        self.row += 1
        return self.look(), self.gain(action), self.row >= 8, False, self.info()


class Plain(Sound):
    """The same with a plain observation and a plain action; the faults below change one thing."""

    observation_space: Any = spaces.Box(-2, 2, (3,), np.float32)
    action_space: Any = spaces.Discrete(3)

    def look(self) -> Any:
        return np.full(3, self.row / 8, np.float32)


class NanGain(Plain):
    def gain(self, action: Any) -> Any:
        return float("nan") if self.row == FAULT_ROW else 1.0


class NoGain(Plain):
    def gain(self, action: Any) -> Any:
        return None


class GainInArray(Plain):
    def gain(self, action: Any) -> Any:
        return np.array([1.0])


class HugeGain(Plain):
    def gain(self, action: Any) -> Any:
        return 1e13


class NanSeen(Plain):
    def look(self) -> Any:
        return super().look() * (np.nan if self.row == FAULT_ROW else 1)


class InfinitySeen(Sound):
    def look(self) -> Any:
        seen = super().look()
        return {**seen, "place": seen["place"] + (np.inf if self.row == FAULT_ROW else 0)}


class TooLargeForFloat32(Plain):
    observation_space = spaces.Box(-np.inf, np.inf, (3,), np.dtype(np.float64))

    def look(self) -> Any:
        return np.array([0, 1e300 if self.row == FAULT_ROW else 0, 0])


class TooLargeToTravel(Plain):
    def look(self) -> Any:
        return np.full(3, 2e12, np.float32)


class CategoryBeyond(Sound):
    def look(self) -> Any:
        return {**super().look(), "sign": 3 if self.row == FAULT_ROW else 1}


class CategoryNegative(Plain):
    observation_space = spaces.Discrete(5, start=2)

    def look(self) -> Any:
        return np.int64(1)


class ManyBeyond(Plain):
    observation_space = spaces.MultiDiscrete([2, 5])

    def look(self) -> Any:
        return np.array([2, 2])


class BitsBeyond(Plain):
    observation_space = spaces.MultiBinary(2)

    def look(self) -> Any:
        return np.array([2, 0], np.int8)


class CategoryOfFloats(Plain):
    observation_space = spaces.Discrete(5)

    def look(self) -> Any:
        return 1.5


class OneForThree(Plain):
    def look(self) -> Any:
        return np.array([0.5], np.float32)


class FourForThree(Plain):
    def look(self) -> Any:
        return np.zeros(4, np.float32)


class Words(Plain):
    def look(self) -> Any:
        return "three numbers"


class Ragged(Plain):
    def look(self) -> Any:
        return [[0.0], [1.0, 2.0], 3.0]


class FloatPicture(Plain):
    observation_space = spaces.Box(0, 255, (8, 8, 3), np.uint8)

    def look(self) -> Any:
        return np.full((8, 8, 3), 0.5, np.float32)


class WidePicture(Plain):
    observation_space = spaces.Box(0, 255, (8, 8, 3), np.uint8)

    def look(self) -> Any:
        return np.full((8, 8, 3), 256, np.int64)


class PartMissing(Sound):
    def look(self) -> Any:
        return {"place": super().look()["place"]}


class AddedMask(Plain):
    """A mask to be added to logits: nothing where an action is allowed."""

    def info(self) -> dict[str, Any]:
        return {"action_mask": np.array([0, -np.inf, -np.inf], np.float32)}


class TwosInMask(Plain):
    def info(self) -> dict[str, Any]:
        return {"action_mask": np.array([1, 2, 0], np.int8)}


class EmptyMask(Plain):
    def info(self) -> dict[str, Any]:
        return {"action_mask": np.full(3, self.row != FAULT_ROW, np.int8)}


class LateMask(Plain):
    """Its mask is in the infos of step alone."""

    def info(self) -> dict[str, Any]:
        return {"action_mask": np.array([1, 0, 0], np.int8)} if self.row else {}


class ShortMask(Plain):
    def info(self) -> dict[str, Any]:
        return {"action_mask": np.ones(2, np.int8)}


class NoInfo(Plain):
    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        return super().reset(seed=seed)[0]


class NoSeed(Plain):
    def reset(self) -> Any:  # type: ignore[override]
        return super().reset()


class FourValues(Plain):
    def step(self, action: Any) -> Any:
        seen, gain, over, _, info = super().step(action)
        return seen, gain, over, info


class ObservationAlone(Plain):
    def step(self, action: Any) -> Any:
        return super().step(action)[0]


class EndsInWords(Plain):
    def step(self, action: Any) -> Any:
        seen, gain, _, cut, info = super().step(action)
        return seen, gain, "no", cut, info


class Raises(Plain):
    def step(self, action: Any) -> Any:
        if self.row == FAULT_ROW:
            raise ValueError("the engine stalled\nwith a second line")  # <- here
        return super().step(action)


class RaisesDeep(Plain):
    """In a library that it calls, so the line is the one that calls it."""

    def step(self, action: Any) -> Any:
        np.linalg.inv(np.zeros((2, 2)))  # <- deep
        return super().step(action)


class Quits(Plain):
    def step(self, action: Any) -> Any:
        raise SystemExit("no licence")


class Hangs(Plain):
    def step(self, action: Any) -> Any:
        raise KeyboardInterrupt  # <- hangs: what Ctrl-C does in a step that does not come back


class CannotBeMade(Plain):
    def __init__(self) -> None:
        raise RuntimeError("no simulator here")


class Spaceless(gymnasium.Env[Any, Any]):
    """Neither space; `reset` is sound."""

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        return np.zeros(2, np.float32), {}


class OldApi(gymnasium.Env[Any, Any]):
    """Written for gym 0.21."""

    observation_space = spaces.Box(-1, 1, (2,), np.float32)
    action_space = spaces.Discrete(2)

    def reset(self) -> Any:  # type: ignore[override]
        return np.zeros(2, np.float32)

    def step(self, action: Any) -> Any:
        return np.zeros(2, np.float32), 0.0, False, {}


class FailsToClose(Plain):
    def close(self) -> None:
        raise RuntimeError("the window is gone")  # <- closing


# These are trained on, with a word.


class OutsideBox(Sound):
    def look(self) -> Any:
        seen = super().look()
        return {**seen, "place": seen["place"] * 9}


class OnePartMore(Sound):
    def look(self) -> Any:
        return {**super().look(), "hint": 1}


class Float64Seen(Plain):
    def look(self) -> Any:
        return np.full(3, self.row / 8)


class PictureWithoutChannels(Plain):
    observation_space = spaces.Box(0, 255, (40, 40), np.uint8)

    def look(self) -> Any:
        return np.zeros((40, 40), np.uint8)


CLASSES: dict[str, Any] = {
    name: kind for name, kind in list(globals().items()) if isinstance(kind, type) and issubclass(kind, gymnasium.Env)
}
for _name, _kind in CLASSES.items():
    gymnasium.register(f"mistaken/{_name}-v0", entry_point=_kind)
