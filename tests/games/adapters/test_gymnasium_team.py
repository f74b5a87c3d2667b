"""Several agents behind Gymnasium's API are one team, whose members see, earn and leave each for themselves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

from quintet.games.adapters.gymnasium import GymnasiumLoopGame
from quintet.games.adapters.own_environment import make_own
from quintet.games.api import Array, GameDataError, UnsupportedSpaceError, VectorGame
from quintet.games.contract import check_game
from quintet.games.registry import make_game
from tests.support.in_process_run import InProcessRun

N = 3


class Carriers(gymnasium.Env[Any, Any]):
    """Three agents, each shown its own number and the row; a reward is an agent's number times what it does.

    Args:
        ends: "together" (one flag), "each" (the last agent is out from row 2, all from row 5) or "cut" (the same, but
            cut off); in both the environment goes on asking for three actions.
        masks: None, or where they are: in the "observation" or in the "info". Agent 0 may do only 1.
        act: "discrete", "mixed" (a Discrete from 5 beside a Box that does not hold zero).
    """

    def __init__(
        self, ends: str = "together", masks: str | None = None, act: str = "discrete", paid: Any = list
    ) -> None:
        self.ends, self.masks, self.act, self.paid = ends, masks, act, paid
        seen: spaces.Space[Any] = spaces.Box(0.0, 99.0, (2,), np.float32)
        if masks == "observation":
            seen = spaces.Dict({"seen": seen, "action_mask": spaces.MultiBinary(3)})
        choice = spaces.Discrete(3, start=5 if act == "mixed" else 0)
        do: spaces.Space[Any] = choice if act == "discrete" else spaces.Tuple((choice, spaces.Box(1.0, 2.0, (2,))))
        self.observation_space, self.action_space = spaces.Tuple([seen] * N), spaces.Tuple([do] * N)
        self.played: list[Any] = []

    def _allowed(self, agent: int) -> Array:
        return np.array([0, 1, 0] if agent == 0 else [1, 1, 1], dtype=np.int8)

    def _show(self) -> tuple[Any, dict[str, Any]]:
        seen: list[Any] = [np.array([agent, self.row], np.float32) for agent in range(N)]
        masks = [self._allowed(agent) for agent in range(N)]
        if self.masks == "observation":
            seen = [{"seen": part, "action_mask": mask} for part, mask in zip(seen, masks, strict=True)]
        return seen, {"action_mask": masks} if self.masks == "info" else {}

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.row = 0
        return self._show()

    def step(self, action: Any) -> Any:
        assert self.action_space.contains(action), action
        self.played.append(action)
        self.row += 1
        choices = [part[0] - 5 if self.act == "mixed" else part for part in action]
        if self.masks is not None:
            assert choices[0] == 1
        out = [self.row >= (2 if agent == N - 1 else 5) for agent in range(N)]
        stay = [False] * N
        ended: Any = {"together": (self.row >= 5, False), "each": (out, stay), "cut": (stay, np.array(out))}[self.ends]
        observation, info = self._show()
        return observation, self.paid([float(agent * choice) for agent, choice in enumerate(choices)]), *ended, info


class Joint(gymnasium.Env[Any, Any]):
    """One agent with two hands and two eyes, and one reward."""

    observation_space = spaces.Tuple([spaces.Discrete(4)] * 2)
    action_space = spaces.Tuple([spaces.Discrete(2)] * 2)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        return (0, 1), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        return (2, 3), 1.0, False, False, {}


for _name, _kind in (("Carriers", Carriers), ("Joint", Joint)):
    gymnasium.register(f"team/{_name}-v0", entry_point=_kind)  # type: ignore[arg-type]


def _make(n_games: int = 1, limit: int | None = None, **kwargs: Any) -> VectorGame:
    return make_game("gymnasium:team/Carriers-v0", n_games, 0, {"kwargs": {**kwargs, "max_episode_steps": limit}})


@pytest.mark.parametrize(
    "kwargs",
    [
        {},
        {"paid": np.array},
        {"ends": "each"},
        {"ends": "cut"},
        {"masks": "observation", "ends": "each"},
        {"masks": "info"},
        {"act": "mixed", "ends": "each"},
        {"limit": 3},
        {"limit": 4, "ends": "cut"},
    ],
)
def test_a_team_keeps_the_contract(kwargs: dict[str, Any]) -> None:
    check_game(lambda n_games: _make(n_games, **kwargs), rows=40)


def test_agents_are_one_team_and_each_sees_and_earns_for_itself() -> None:
    game = _make(2, limit=5)
    assert (game.spec.teams, game.spec.agents_per_team, game.spec.max_steps) == (1, N, 5)
    assert str(game.spec.observation_space) == "Dict('observation': Box(0.0, 99.0, (2,), float32))"
    assert game.reset(seed=0)["observation"][1, 0].tolist() == [[0, 0], [1, 0], [2, 0]]
    result = game.step({"action": np.array([[[1, 1, 1]], [[0, 1, 2]]])})
    assert result.reward[:, 0].tolist() == [[0, 1, 2], [0, 1, 4]]
    assert result.observation["observation"][0, 0].tolist() == [[0, 1], [1, 1], [2, 1]]


def test_a_team_trains_while_one_of_it_is_out(tmp_path: Path) -> None:
    run = InProcessRun(folder=tmp_path, make=lambda n_games: _make(n_games, ends="cut", masks="info"))
    run.train(run.optimizer(), run.worker(), 2)
    counters = run.link.counters()
    assert counters.trained >= 64
    assert counters.rejected == 0


def test_a_flag_for_all_ends_the_game_for_all() -> None:
    game = _make()
    game.reset(seed=0)
    results = [game.step({"action": np.ones((1, 1, N), dtype=np.int64)}) for _ in range(6)]
    assert [bool(result.ended.all()) for result in results] == [False, False, False, False, True, False]
    assert results[4].terminated.all()
    assert results[5].observation["observation"][0, 0, :, 1].tolist() == [0, 0, 0]


def test_who_is_out_is_out_while_the_others_play_on() -> None:
    game = _make(ends="each", act="mixed")
    game.reset(seed=0)
    one = {"action.0": np.full((1, 1, N), 2), "action.1": np.full((1, 1, N, 2), 1.5, np.float32)}
    results = [game.step(one) for _ in range(5)]
    assert results[1].terminated[0, 0].tolist() == [False, False, True]
    assert results[1].observation["acting"][0, 0].tolist() == [True, True, False]
    assert results[2].reward[0, 0].tolist() == [0, 2, 0]  # what the environment pays to those who are out is no reward
    assert results[4].ended.all()


def test_who_is_cut_off_alone_is_bootstrapped_from_what_it_saw_then() -> None:
    game = _make(ends="cut")
    game.reset(seed=0)
    results = [game.step({"action": np.ones((1, 1, N), dtype=np.int64)}) for _ in range(5)]
    assert results[1].truncated[0, 0].tolist() == [False, False, True]
    assert not results[1].terminated.any()
    assert results[1].observation["observation"][0, 0, 2].tolist() == [2, 2]
    assert results[4].truncated[0, 0].tolist() == [True, True, False]  # who has left counts as terminated at the end


@pytest.mark.parametrize("place", ["observation", "info"])
def test_every_agent_has_its_own_mask(place: str) -> None:
    game = _make(masks=place)
    assert game.spec.masked_heads == {"action"}
    assert game.reset(seed=0)["action_mask/action"][0, 0].tolist() == [[0, 1, 0], [1, 1, 1], [1, 1, 1]]


def test_as_many_eyes_as_hands_but_one_reward_is_one_agent() -> None:
    game = make_game("gymnasium:team/Joint-v0", 1, 0)
    assert isinstance(game, GymnasiumLoopGame)
    assert game.spec.agents_per_team == 1


class WrongTeam(Carriers):
    """Gives what each agent sees, and the ends, as a test says."""

    def __init__(self, see: Any = None, end: Any = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.see, self.end = see, end

    def _show(self) -> tuple[Any, dict[str, Any]]:
        seen, info = super()._show()
        return (self.see(seen) if self.see else seen), info

    def step(self, action: Any) -> Any:
        seen, paid, over, cut, info = super().step(action)
        return seen, paid, (self.end if self.end is not None else over), cut, info


@pytest.mark.parametrize(
    ("kwargs", "says"),
    [
        ({"paid": lambda paid: paid[:2]}, "step: returned 2 parts as the reward; expected 3 parts, one for each agent"),
        (
            {"paid": lambda paid: [0.0, None, 0.0]},
            r"step: the reward is None; expected one number.*, agent 'agent_1'\)",
        ),
        ({"paid": lambda paid: {"agent_0": 0.0}}, r"step: the reward is {'agent_0': 0.0}; expected one number"),
        ({"see": lambda seen: seen[:1]}, "reset: returned 1 parts as the observation; expected 3 parts"),
        ({"see": lambda seen: 5}, "returned 5 as the observation; expected 3 parts, one for each agent"),
        ({"end": "no"}, "step: terminated is 'no'; expected True or False"),
        ({"end": [False, False]}, "step: returned 2 parts as terminated; expected 3 parts"),
    ],
)
def test_what_is_not_one_for_each_agent_is_refused_with_the_place(kwargs: dict[str, Any], says: str) -> None:
    with pytest.raises(
        GameDataError, match=f"^tests/games/adapters/test_gymnasium_team.py:[0-9]+: [A-Za-z]+[.]?.*{says}"
    ):
        make_own("wrong", lambda: WrongTeam(**kwargs), 1, 0)


def test_an_entry_is_left_out_of_what_each_agent_sees() -> None:
    with pytest.raises(UnsupportedSpaceError, match="nothing is left of the observation"):
        make_game("gymnasium:team/Carriers-v0", 1, 0, {"kwargs": {"masks": "observation"}, "leave_out": ["seen"]})
