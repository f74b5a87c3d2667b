"""The tasks that untouched defaults are judged by: their games, budgets and bars, and how SB3 plays the same."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Literal

LEVELS = Path(__file__).with_name("levels.toml")
PPO, RECURRENT_PPO = "PPO", "RecurrentPPO"
HIDE = "quintet.games.adapters.wrappers:mask_observation"


@dataclass(frozen=True, kw_only=True, slots=True)
class Sb3:
    """How Stable-Baselines3 plays a task; all but this are its defaults."""

    algorithm: str = PPO
    policy: str = "MlpPolicy"
    env: str = ""  # where it is not the game's name without its family
    wrappers: tuple[str, ...] = ()  # names of sb3_run.WRAPPERS, the innermost first
    note: str = ""  # what had to be done to make it fit


@dataclass(frozen=True, kw_only=True, slots=True)
class Level:
    """A score that means nothing learned, or all there is to learn."""

    score: float
    error: float  # standard error of a measured one
    how: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Task:
    """A game, how long it is played, and what must be reached."""

    name: str
    game: str
    agent_steps: int = 0
    minutes: float | None = None  # in place of agent steps: by the clock, with the machine to itself
    options: Mapping[str, Any] = field(default_factory=dict)  # of the game
    bar: float | None = None  # least score
    bar_errors: float | None = None  # standard errors above a random player, in place of a bar
    most_losses: int | None = None
    opponent: str | None = None  # with one, the score is the win rate over both seats
    games: int | None = None  # that judge the final policy, where the task wants a number of its own
    counts: Literal["greedy", "sampled"] = "greedy"  # whose score is held against the bar
    memory: bool = False  # what has to be done cannot be seen in one observation
    usual: bool = True  # played unless other tasks are named
    sb3: Sb3 | None = None  # None: SB3 has no such game (several teams or agents)

    @property
    def random(self) -> Level | None:
        """What random legal actions score, as measured."""
        return _level(self.name, "random")

    @property
    def solved(self) -> Level | None:
        """The score of whoever has learned it."""
        return _level(self.name, "solved")

    def least_score(self) -> float | None:
        """The bar as a score; None where there is none yet."""
        if self.bar_errors is None or self.random is None:
            return self.bar
        return self.random.score + self.bar_errors * self.random.error

    def normalised(self, score: float) -> float | None:
        """0 for a random player, 1 for a solved task; None where one of these is not known."""
        if self.random is None or self.solved is None:
            return None
        return (score - self.random.score) / (self.solved.score - self.random.score)


@cache
def _levels() -> dict[str, Any]:
    return tomllib.loads(LEVELS.read_text())


def _level(task: str, kind: str) -> Level | None:
    found = _levels().get(task, {}).get(kind)
    return None if found is None else Level(score=found["score"], error=found.get("error", 0.0), how=found["how"])


FLAT = "image and direction as one flat vector, without the mission: NatureCNN takes no image of 7 x 7"
MEMORY = Sb3(algorithm=RECURRENT_PPO, policy="MlpLstmPolicy")
TASKS: dict[str, Task] = {
    task.name: task
    for task in (
        Task(name="cartpole", game="gymnasium:CartPole-v1", agent_steps=100_000, bar=475, sb3=Sb3()),
        Task(
            name="cartpole_hidden",
            game="gymnasium:CartPole-v1",
            options={"wrappers": [{"name": HIDE, "hide": [1, 3]}]},
            agent_steps=250_000,
            bar=450,
            memory=True,
            sb3=Sb3(algorithm=RECURRENT_PPO, policy="MlpLstmPolicy", wrappers=("hide_velocities",)),
        ),
        Task(name="acrobot", game="gymnasium:Acrobot-v1", agent_steps=300_000, bar=-100, sb3=Sb3()),
        Task(name="pendulum", game="gymnasium:Pendulum-v1", agent_steps=500_000, bar=-250, sb3=Sb3()),
        Task(name="lunar_lander", game="gymnasium:LunarLander-v3", agent_steps=1_000_000, bar=200, sb3=Sb3()),
        Task(
            name="repeat_first",
            game="gymnasium:popgym:popgym-RepeatFirstEasy-v0",
            agent_steps=1_000_000,
            bar=0.95,
            memory=True,
            sb3=MEMORY,
        ),
        Task(
            name="position_only_cartpole",
            game="gymnasium:popgym:popgym-PositionOnlyCartPoleEasy-v0",
            agent_steps=1_000_000,
            bar=0.95,
            memory=True,
            sb3=MEMORY,
        ),
        Task(
            name="count_recall",
            game="gymnasium:popgym:popgym-CountRecallEasy-v0",
            agent_steps=5_000_000,
            bar=0.3,
            memory=True,
            sb3=Sb3(
                algorithm=RECURRENT_PPO,
                policy="MlpLstmPolicy",
                wrappers=("flat",),
                note="its MultiDiscrete as a flat one-hot vector, which RecurrentPPO fails to make by itself",
            ),
        ),
        Task(
            name="empty_8x8",
            game="gymnasium:minigrid:MiniGrid-Empty-8x8-v0",
            agent_steps=1_000_000,
            bar=0.9,
            sb3=Sb3(wrappers=("without_text", "flat"), note=FLAT),
        ),
        Task(
            name="memory_s7",
            game="gymnasium:minigrid:MiniGrid-MemoryS7-v0",
            agent_steps=3_000_000,
            bar=0.8,
            memory=True,
            sb3=Sb3(algorithm=RECURRENT_PPO, policy="MlpLstmPolicy", wrappers=("without_text", "flat"), note=FLAT),
        ),
        Task(
            name="empty_5x5_image",
            game="gymnasium:minigrid:MiniGrid-Empty-5x5-v0",
            options={"wrappers": ["minigrid.wrappers:RGBImgPartialObsWrapper"]},
            agent_steps=1_000_000,
            bar_errors=5,
            sb3=Sb3(policy="MultiInputPolicy", wrappers=("minigrid_image", "without_text"), note="without the mission"),
        ),
        Task(
            name="pong",
            game="gymnasium:ale_py:ALE/Pong-v5",
            agent_steps=1_000_000,
            bar_errors=5,
            games=20,
            usual=False,
            sb3=Sb3(policy="CnnPolicy", note="210 x 160 in colour; the other side sees four grey frames of 84 x 84"),
        ),
        Task(
            name="tictactoe",
            game="pettingzoo:pettingzoo.classic.tictactoe_v3",
            agent_steps=2_000_000,
            bar=0.9,
            most_losses=0,
            opponent="random",
            games=500,
        ),
        Task(
            name="connect_four",
            game="pettingzoo:pettingzoo.classic.connect_four_v3",
            agent_steps=2_000_000,
            bar=0.9,
            most_losses=0,
            opponent="random",
            games=500,
        ),
        Task(
            name="simple_spread",
            game="pettingzoo:mpe2.simple_spread_v3",
            options={"teams": [["agent_*"]]},
            agent_steps=2_000_000,
        ),
        Task(
            name="skirmish_1v1",
            game="skirmish-1v1",
            minutes=10,
            bar=0.8,
            opponent="bot:weak",
            games=200,
            counts="sampled",
        ),
    )
}
