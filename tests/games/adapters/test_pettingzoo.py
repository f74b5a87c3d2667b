"""PettingZoo games: who sees, acts, earns and leaves in which row."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from gymnasium import spaces

import tests.envs.game_zoo
from quintet.games.adapters.pettingzoo import ParallelGame, TurnGame
from quintet.games.adapters.pettingzoo_source import make_pettingzoo
from quintet.games.api import Array, GameError, Transition, UnsupportedSpaceError, VectorGame
from quintet.games.contract import random_actions
from quintet.games.registry import make_game
from tests.support.needs import extra

extra("pettingzoo")

TICTACTOE = "pettingzoo:pettingzoo.classic.tictactoe_v3"
COUNTDOWN = "pettingzoo:tests.envs.countdown_v0"
FIRST_WINS = [0, 3, 1, 4, 2]  # 0, 1, 2 are one line


def _both(choice: int, game: VectorGame) -> dict[str, Array]:
    return {"action": np.full((game.n_games, game.spec.teams, game.spec.agents_per_team), choice)}


def _moves(game: VectorGame, moves: list[int]) -> list[Transition]:
    return [game.step(_both(move, game)) for move in moves]


def test_both_players_have_a_row_at_every_move_and_one_acts() -> None:
    game = make_game(TICTACTOE, 2, seed=0)
    observation = game.reset(seed=0)
    assert isinstance(game, TurnGame)
    assert observation["acting"][0, :, 0].tolist() == [True, False]
    assert observation["action_mask/action"][0, 0, 0].all()
    (result,) = _moves(game, [4])
    board = result.observation["observation"][1].reshape(2, 3, 3, 2)
    assert board[0, 1, 1].tolist() == [1, 0]  # the first player sees its own mark
    assert board[1, 1, 1].tolist() == [0, 1]  # the second sees it as the opponent's, in the same row
    assert result.observation["acting"][1, :, 0].tolist() == [False, True]
    assert np.flatnonzero(~result.observation["action_mask/action"][1, 1, 0]).tolist() == [4]


def test_the_loser_earns_its_loss_in_the_row_of_the_winning_move() -> None:
    game = make_game(TICTACTOE, 1, seed=0)
    assert game.spec.zero_sum
    game.reset(seed=0)
    results = _moves(game, FIRST_WINS)
    assert not any(result.reward.any() or result.ended.any() for result in results[:-1])
    assert all(np.isnan(result.outcome).all() for result in results[:-1])
    last = results[-1]
    assert last.reward[0, :, 0].tolist() == [1, -1]
    assert last.outcome[0].tolist() == [1, -1]
    assert last.terminated.all()
    assert not last.truncated.any()
    board = last.observation["observation"][0].reshape(2, 3, 3, 2)
    assert board[0, 0, :, 0].tolist() == board[1, 0, :, 1].tolist() == [1, 1, 1]  # the true last observation
    (first,) = _moves(game, [8])
    assert not first.observation["observation"].any()  # the action was ignored
    assert first.observation["acting"][0, :, 0].tolist() == [True, False]


def test_the_second_player_can_win_and_a_full_board_is_a_draw() -> None:
    game = make_game(TICTACTOE, 1, seed=0)
    game.reset(seed=0)
    assert _moves(game, [8, *FIRST_WINS])[-1].outcome[0].tolist() == [-1, 1]
    game.reset(seed=0)
    draw = _moves(game, [0, 1, 2, 4, 3, 5, 7, 6, 8])[-1]
    assert draw.ended.all()
    assert draw.outcome[0].tolist() == [0, 0]


def test_rows_agree_with_pettingzoo_played_through_all_its_wrappers() -> None:
    from pettingzoo.classic.connect_four import connect_four

    game = make_game("pettingzoo:pettingzoo.classic.connect_four_v3", 1, seed=0)
    env = connect_four.env()
    observation, random, ends = game.reset(seed=0), np.random.default_rng(3), 0
    env.reset()
    for _ in range(120):
        mover = env.possible_agents.index(env.agent_selection)
        assert observation["acting"][0, :, 0].tolist() == [mover == 0, mover == 1]
        actions = random_actions(game.spec, observation, random)
        env.step(int(actions["action"][0, mover, 0]))
        result = game.step(actions)
        for seat, agent in enumerate(env.possible_agents):
            seen = env.observe(agent)
            np.testing.assert_array_equal(result.observation["observation"][0, seat, 0], seen["observation"].ravel())
            np.testing.assert_array_equal(
                result.observation["action_mask/action"][0, seat, 0], seen["action_mask"] == 1
            )
            assert result.reward[0, seat, 0] == env.rewards[agent]
            assert result.terminated[0, seat, 0] == env.terminations[agent]
        observation = result.observation
        if result.ended[0]:
            ends += 1
            env.reset()
            observation = game.step(actions).observation
    assert ends >= 2


@pytest.mark.filterwarnings("ignore:.*Illegal")
def test_an_illegal_move_loses_the_game() -> None:
    game = make_game(TICTACTOE, 1, seed=0)
    game.reset(seed=0)
    result = _moves(game, [4, 4])[-1]
    assert result.reward[0, :, 0].tolist() == [0, -1]
    assert result.outcome[0].tolist() == [1, -1]
    assert result.terminated.all()
    assert not result.truncated.any()
    assert _moves(game, [0, 4])[-1].observation["observation"].sum() == 2  # the next game plays on


def test_a_turn_based_agent_that_leaves_is_out_while_the_others_play_on() -> None:
    game = make_game(COUNTDOWN, 1, seed=0)
    observation = game.reset(seed=0)
    assert observation["acting"][0, :, 0].tolist() == [True, False, False]
    results = _moves(game, [1] * 9)
    movers = [int(np.flatnonzero(result.observation["acting"][0, :, 0])[0]) for result in results[:-1]]
    assert movers == [1, 2, 0, 1, 2, 0, 2, 0]  # the second, gone at move 5, is never asked again
    assert [result.reward[0, :, 0].tolist() for result in results[:3]] == [[4, 0, 0], [0, 4, 0], [0, 0, 4]]
    assert [result.terminated[0, 1, 0] for result in results] == [False] * 4 + [True] + [False] * 3 + [True]
    assert [bool(result.observation["present"][0, 1, 0]) for result in results] == [True] * 4 + [False] * 5
    assert [bool(result.ended[0]) for result in results] == [False] * 8 + [True]
    assert results[-1].truncated[0, :, 0].tolist() == [True, False, True]  # the others were only cut off
    assert results[-1].terminated[0, :, 0].tolist() == [False, True, False]
    moves_seen = [result.observation["observation"][0, 1, 0, 0] for result in results]
    assert moves_seen == [1, 2, 3, 4, 5, 5, 5, 5, 5]  # its last look stays
    assert results[-1].outcome[0].tolist() == [1, -1, 0]  # returns 16, 8 and 12


def test_a_parallel_agent_that_leaves_is_out_while_the_others_play_on() -> None:
    game = make_game("pettingzoo:zoo_duel_v0", 2, seed=0)
    assert isinstance(game, ParallelGame)
    observation = game.reset(seed=0)
    assert observation["acting"].all()
    results = _moves(game, [2] * 6)
    assert [result.terminated[0, :, 0].tolist() for result in results] == (
        [[False] * 4] * 2 + [[False] * 3 + [True]] + [[False] * 4] * 2 + [[False] * 3 + [True]]
    )
    assert [result.observation["acting"][0, :, 0].tolist() for result in results] == (
        [[True] * 4] * 2 + [[True] * 3 + [False]] * 3 + [[False] * 4]
    )
    assert [result.reward[1, 3, 0] for result in results] == [2, 2, 2, 0, 0, 0]
    assert results[-1].truncated[0, :, 0].tolist() == [True, True, True, False]
    assert results[-1].outcome[0].tolist() == [1, 1, 1, -1]


def test_the_user_names_the_teams() -> None:
    game = make_game("pettingzoo:zoo_duel_v0", 1, 0, {"teams": [["d", "b"], ["a", "c"]], "kwargs": {"last_row": 2}})
    assert (game.spec.teams, game.spec.agents_per_team) == (2, 2)
    assert game.spec.team_names == ("d, b", "a, c")
    game.reset(seed=0)
    actions = {"action": np.array([[[0, 1], [2, 2]]])}
    results = [game.step(actions), game.step(actions)]
    assert results[0].reward[0].tolist() == [[0, 1], [2, 2]]
    assert results[1].outcome[0].tolist() == [-1, 1]
    assert results[1].truncated.all()


def test_a_pattern_stands_for_all_agents_that_it_fits() -> None:
    assert make_game("pettingzoo:zoo_duel_v0", 1, 0, {"teams": [["[bd]"], ["c", "a*"]]}).spec.team_names == (
        "b, d",
        "c, a",
    )
    with pytest.raises(GameError, match=r"teams are \[\['x\*'\]\]; each of the agents"):
        make_game("pettingzoo:zoo_duel_v0", 1, 0, {"teams": [["x*"]]})


@pytest.mark.parametrize(
    ("teams", "message"),
    [
        ([["a", "b"], ["c"]], r"each of the agents \['a', 'b', 'c', 'd'\] must be in exactly one team"),
        ([["a", "b"], ["c", "c"]], "must be in exactly one team"),
        ([["a", "b", "c"], ["d"]], r"the teams have \[3, 1\] agents; all teams must be of the same size"),
    ],
)
def test_teams_that_do_not_fit_are_refused(teams: list[list[str]], message: str) -> None:
    with pytest.raises(GameError, match=message):
        make_game("pettingzoo:zoo_duel_v0", 1, 0, {"teams": teams})


def test_zero_sum_is_declared_only_where_it_is_certain() -> None:
    assert make_pettingzoo("pettingzoo.classic.rps_v2", 1, 0).spec.zero_sum
    assert not make_pettingzoo("zoo_duel_v0", 1, 0).spec.zero_sum
    assert make_pettingzoo("zoo_duel_v0", 1, 0, zero_sum=True).spec.zero_sum
    one_team = make_pettingzoo("pettingzoo.classic.tictactoe_v3", 1, 0, teams=[["player_1", "player_2"]])
    assert not one_team.spec.zero_sum


def test_one_team_has_no_outcome() -> None:
    game = make_game(TICTACTOE, 1, 0, {"teams": [["player_1", "player_2"]]})
    game.reset(seed=0)
    last = _moves(game, FIRST_WINS)[-1]
    assert last.ended.all()
    assert np.isnan(last.outcome).all()


def test_games_follow_one_another_with_seeds_of_their_own() -> None:
    game = make_game("pettingzoo:zoo_duel_v0", 1, 0, {"kwargs": {"last_row": 1}})
    first = game.reset(seed=0)["observation"].copy()
    second = _moves(game, [0, 0])[-1].observation["observation"]
    assert not np.array_equal(first, second)


class Unequal(tests.envs.game_zoo.Duel):
    def observation_space(self, agent: str) -> spaces.Space[Any]:
        return spaces.Box(0.0, 1.0, (3 if agent == "b" else 2,))


class Closed(tests.envs.game_zoo.Duel):
    closed = 0

    def close(self) -> None:
        Closed.closed += 1


def test_agents_with_different_spaces_are_refused() -> None:
    tests.envs.game_zoo._module("zoo_unequal_v0", parallel_env=Unequal)
    with pytest.raises(UnsupportedSpaceError, match=r"the observation spaces differ: a has .* b has .*supersuit"):
        make_game("pettingzoo:zoo_unequal_v0", 1, 0)


def test_a_wrapper_is_laid_around_each_environment_and_closing_closes_each() -> None:
    tests.envs.game_zoo._module(
        "zoo_closed_v0", parallel_env=tests.envs.game_zoo.Duel, wrap=lambda env, last_row: Closed(last_row)
    )
    game = make_game("pettingzoo:zoo_closed_v0", 3, 0, {"wrappers": [{"name": "zoo_closed_v0:wrap", "last_row": 2}]})
    game.reset(seed=0)
    assert [bool(result.ended.all()) for result in _moves(game, [0, 0])] == [False, True]
    game.close()
    assert Closed.closed == 3


def test_arguments_that_an_environment_does_not_take_give_one_line() -> None:
    with pytest.raises(GameError, match=r"does not take these kwargs: .*'board'"):
        make_game(TICTACTOE, 1, 0, {"kwargs": {"board": 4}})
