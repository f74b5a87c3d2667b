"""PettingZoo agents with ends of their own, from the environment to the advantages: who counts where, and with what."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import tests.envs.game_zoo
from quintet.games.api import Transition, VectorGame
from quintet.games.contract import check_game
from quintet.games.registry import make_game
from quintet.model.config import PolicyConfig
from quintet.model.policy import Policy
from quintet.optimizer.advantages import gae
from quintet.rollout_workers.chunker import Chunker
from quintet.rollout_workers.self_play import SelfPlay
from quintet.wire.chunk import TrajectoryChunk, chunk_spec
from quintet.wire.reports import PhaseTimer
from tests.support.needs import extra

extra("pettingzoo")

VISITORS = "pettingzoo:zoo_visitors_v0"
COUNTDOWN = "pettingzoo:tests.envs.countdown_v0"
TEAMS = {"together in one team": True, "each a team": False}
#: Of agent b: valid rows of a game of eight and the row with the last observation; rows that end it, and how.
PLANS: dict[str, tuple[str, dict[int, str]]] = {
    "together": ("11111111.", {7: "terminated"}),
    "cut off alone": ("111......", {2: "truncated"}),
    "late": ("...11111.", {7: "terminated"}),
    "back": ("11..1111.", {1: "terminated", 7: "terminated"}),
    "cut off and back": ("111..111.", {2: "truncated", 7: "terminated"}),
    "integers": ("111......", {2: "terminated"}),
}


def made(plan: str, *, one_team: bool) -> VectorGame:
    agents = list(tests.envs.game_zoo.Visitors.plans[plan])
    teams = {"teams": [[str(agent) for agent in agents]]} if one_team else {}
    return make_game(VISITORS, 2, 0, {"kwargs": {"plan": plan}, **teams})


def played(game: VectorGame) -> tuple[list[TrajectoryChunk], SelfPlay]:
    """Three windows of three rows: a game of eight rows and its last observation, in one chunk per stream."""
    spec = chunk_spec(game.spec, lstm_units=16, bptt_steps=3, chunk_steps=9)
    play = SelfPlay(
        game,
        Policy(game.spec, PolicyConfig(lstm_units=16)),
        Chunker(spec, run="ends", slots=game.n_games),
        seed=0,
        timer=PhaseTimer(),
    )
    for _ in range(3):
        closed = play.play_window(1)
    del closed  # slots are staggered: only the first one's chunk begins with the game and holds all of it
    return [chunk for chunk in play.finish() if chunk.slot == 0], play


@pytest.mark.parametrize("one_team", TEAMS.values(), ids=TEAMS)
@pytest.mark.parametrize("plan", PLANS)
def test_rows_count_while_an_agent_is_there_and_its_end_is_what_the_environment_says(plan: str, one_team: bool) -> None:
    chunks, play = played(made(plan, one_team=one_team))
    chunk, agent = (chunks[0], 1) if one_team else (chunks[1], 0)
    counts, ends = PLANS[plan]
    assert "".join(".1"[int(valid)] for valid in chunk.valid[:, agent]) == counts
    assert chunk.reward[:, agent].tolist() == [float(c == "1") for c in counts]
    for name in ("terminated", "truncated"):
        found = getattr(chunk, name)[:, agent]
        assert np.flatnonzero(found).tolist() == [row for row, how in ends.items() if how == name], name
    seen = chunk.observation["observation"][:, agent, 0]
    for row in [row for row, how in ends.items() if how == "truncated"]:
        assert seen[row + 1] == row + 1  # its own last observation: who is not there any more sees nothing new
    (episode, _) = play.episodes.drain()
    assert episode["return"] == [8.0] if one_team else [8.0, float(counts.count("1"))]


@pytest.mark.parametrize("plan", PLANS)
def test_an_advantage_reaches_as_far_as_the_agent_is_there_and_bootstraps_what_its_end_says(plan: str) -> None:
    """Gamma 1 and lambda 1: what is left of a stretch's reward, plus the value behind it where it was cut off."""
    (chunk, *_), _ = played(made(plan, one_team=True))
    arrays = {name: torch.from_numpy(getattr(chunk, name)[:, None]) for name in ("reward", "terminated", "valid")}
    value = torch.arange(10.0)[:, None, None].expand(-1, -1, 2) * 100 + 50  # a sentinel: 50, 150, 250 ...
    truncated = torch.from_numpy(chunk.truncated[:, None])
    returns = gae(value=value, truncated=truncated, discount=1.0, gae_lambda=1.0, **arrays) + value[:-1]
    counts, ends = PLANS[plan]
    for row in [row for row, there in enumerate(counts) if there == "1"]:
        end = min(at for at in ends if at >= row)
        bootstrap = 50.0 + 100 * (end + 1) if ends[end] == "truncated" else 0.0
        assert returns[row, 0, 1] == (end - row + 1) + bootstrap, row
        assert returns[row, 0, 0] == 8 - row  # the other one, who is there throughout, does not notice


@pytest.mark.parametrize("plan", PLANS)
def test_the_contract_holds(plan: str) -> None:
    check_game(lambda n: make_game(VISITORS, n, 0, {"kwargs": {"plan": plan}}), rows=30)


@pytest.mark.parametrize("kwargs", [{"cut_off": True}, {"back_at": 6}, {"cut_off": True, "back_at": 8}])
def test_the_contract_holds_where_agents_take_turns(kwargs: dict[str, Any]) -> None:
    check_game(lambda n: make_game(COUNTDOWN, n, 0, {"kwargs": kwargs}), rows=30)


def turns(**kwargs: Any) -> list[Transition]:
    """A game of nine moves in which the second of three agents leaves at move 5."""
    game = make_game(COUNTDOWN, 1, 0, {"kwargs": kwargs})
    game.reset(seed=0)
    return [game.step({"action": np.ones((1, 3, 1), np.int64)}) for _ in range(9)]


def test_a_turn_based_agent_that_is_cut_off_alone_is_truncated_and_sees_its_own_last_observation() -> None:
    rows = turns(cut_off=True)
    assert [bool(row.truncated[0, 1, 0]) for row in rows] == [False] * 4 + [True] + [False] * 4
    assert [bool(row.terminated[0, 1, 0]) for row in rows] == [False] * 8 + [True]
    assert [bool(row.observation["present"][0, 1, 0]) for row in rows] == [True] * 4 + [False] * 5
    assert rows[4].observation["observation"][0, 1, 0, 0] == 5
    assert [bool(row.ended[0]) for row in rows] == [False] * 8 + [True]


def test_a_turn_based_agent_that_returns_is_there_again_and_acts() -> None:
    rows = turns(back_at=6)
    assert [bool(row.observation["present"][0, 1, 0]) for row in rows] == [True] * 4 + [False] + [True] * 3 + [False]
    assert any(row.observation["acting"][0, 1, 0] for row in rows[5:])
    assert rows[-1].truncated[0, :, 0].all()


def test_agents_may_be_integers_and_teams_name_them_by_their_text() -> None:
    game = make_game(VISITORS, 1, 0, {"kwargs": {"plan": "integers"}, "teams": [["1", "0"]]})
    assert game.spec.team_names == ("1, 0",)
    game.reset(seed=0)
    rows = [game.step({"action": np.zeros((1, 1, 2), np.int64)}) for _ in range(8)]
    assert rows[2].terminated[0, 0].tolist() == [True, False]
    assert make_game(VISITORS, 1, 0, {"kwargs": {"plan": "integers"}, "teams": [[0], [1]]}).spec.teams == 2
