"""A digit is shown once and asked for seven steps later: only a policy with a memory can say it."""

import gymnasium
from gymnasium import spaces


class Recall(gymnasium.Env):
    observation_space = spaces.Dict({"digit": spaces.Discrete(5), "left": spaces.Discrete(8)})
    action_space = spaces.Discrete(4)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.digit, self.left = int(self.np_random.integers(4)), 7
        return {"digit": self.digit, "left": self.left}, {}

    def step(self, action):
        self.left -= 1
        asked = self.left == 0
        reward = float(action == self.digit) if asked else 0.0
        return {"digit": 4, "left": self.left}, reward, asked, False, {}
