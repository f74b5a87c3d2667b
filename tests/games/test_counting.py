"""The counting game counts: every row says which slot, game, row and agent it belongs to."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from quintet.games.api import Array, GameError, Transition
from quintet.games.contract import random_actions
from quintet.games.counting import AGENT, GAME, ROW, SLOT, CountingGame, CountingOptions, make_counting


def _play(game: CountingGame, rows: int, seed: int = 0) -> list[Transition]:
    observation, random, results = game.reset(seed), np.random.default_rng(0), []
    for _ in range(rows):
        results.append(game.step(random_actions(game.spec, observation, random)))
        observation = results[-1].observation
    return results


def _columns(results: list[Transition], column: int) -> list[float]:
    return [float(result.observation["counter"][0, 0, 0, column]) for result in results]


def test_rows_games_rewards_and_ends_follow_the_rules_of_the_border() -> None:
    results = _play(make_counting(2, 0, episode_steps=3), 8)
    assert _columns(results, ROW) == [1, 2, 3, 0, 1, 2, 3, 0]  # 3: the true last observation, then the new game's first
    assert _columns(results, GAME) == [0, 0, 0, 1, 1, 1, 1, 2]
    assert [float(result.reward[0, 0, 0]) for result in results] == [0, 1, 2, 0, 1000, 1001, 1002, 0]
    assert [bool(result.terminated.all()) for result in results] == [False, False, True, False] * 2
    assert [float(result.episode["rows"][1, 0]) for result in results if result.ended.all()] == [3, 3]


def test_the_counter_names_slot_and_agent() -> None:
    counter = make_counting(3, 0, teams=2, agents_per_team=2).reset(seed=0)["counter"]
    assert counter[:, 0, 0, SLOT].tolist() == [0, 1, 2]
    assert counter[1, :, :, AGENT].tolist() == [[0, 1], [2, 3]]


def test_the_last_action_is_seen_one_row_later_and_forgotten_by_the_next_game() -> None:
    game = make_counting(1, 0, episode_steps=2, choices=4)
    game.reset(seed=0)
    seen = [int(game.step({"action": np.full((1, 1, 1), a)}).observation["last_action"][0, 0, 0]) for a in (3, 1, 2, 0)]
    assert seen == [4, 2, 0, 1]


def test_the_length_of_games_is_drawn_from_the_seed() -> None:
    def lengths(seed: int) -> list[Array]:
        results = _play(make_counting(4, 0, episode_steps=2, extra_steps=6), 60, seed)
        return [result.ended for result in results]

    assert np.array_equal(lengths(1), lengths(1))
    assert not np.array_equal(lengths(1), lengths(2))


@pytest.mark.parametrize(
    ("ends", "terminated"),
    [("terminated", [True, True]), ("truncated", [False, False]), ("alternate", [True, False])],
)
def test_games_end_as_the_option_says(ends: Any, terminated: list[bool]) -> None:
    results = [result for result in _play(make_counting(1, 0, episode_steps=2, ends=ends), 6) if result.ended[0]]
    assert [bool(result.terminated.all()) for result in results] == terminated
    assert [bool(result.truncated.all()) for result in results] == [not end for end in terminated]


def test_two_teams_win_by_turns_and_their_rewards_cancel() -> None:
    results = [result for result in _play(make_counting(1, 0, teams=2, episode_steps=2), 6) if result.ended[0]]
    assert [result.outcome[0].tolist() for result in results] == [[1, -1], [-1, 1]]
    assert [result.reward[0, :, 0].tolist() for result in results] == [[1, -1], [-1001, 1001]]


def test_teams_act_in_turn() -> None:
    game = make_counting(1, 0, teams=2, turns=True, episode_steps=4)
    acting = [game.reset(seed=0)["acting"], *(result.observation["acting"] for result in _play(game, 4))]
    assert [row[0, :, 0].tolist() for row in acting] == [[True, False], [False, True]] * 2 + [[False, False]]


def test_the_leaver_is_terminated_at_its_row_and_acts_no_more() -> None:
    results = _play(make_counting(1, 0, agents_per_team=2, leaver_row=1, episode_steps=4), 5)
    assert [result.terminated[0, 0].tolist() for result in results] == [
        [False, False],
        [False, True],
        [False, False],
        [True, True],
        [False, False],
    ]
    assert [result.observation["acting"][0, 0].tolist() for result in results] == [
        [True, True],
        [True, False],
        [True, False],
        [False, False],
        [True, True],
    ]


def test_an_action_that_its_mask_forbids_is_refused() -> None:
    game = make_counting(1, 0, masks=True)
    mask = game.reset(seed=0)["action_mask/action"][0, 0, 0]
    assert mask.tolist() == [False, True, True, True]
    with pytest.raises(GameError, match="slot 0, team 0, agent 0 took an action that its mask forbids"):
        game.step({"action": np.zeros((1, 1, 1), dtype=np.int64)})


def test_absent_units_are_masked_and_zero() -> None:
    results = _play(make_counting(1, 0, units=3), 2)
    observation = results[1].observation
    assert observation["units_mask"][0, 0, 0].tolist() == [True, True, True]
    assert observation["units"][0, 0, 0].tolist() == [[0, 2], [1, 2], [2, 2]]
    observation = results[0].observation
    assert observation["units_mask"][0, 0, 0].tolist() == [True, True, False]
    assert observation["units"][0, 0, 0].tolist() == [[0, 1], [1, 1], [0, 0]]


def test_what_a_team_shares_has_no_agents_axis() -> None:
    game = make_counting(2, 0, teams=2, agents_per_team=3, shared=4)
    assert game.reset(seed=0)["board"].shape == (2, 2, 4)
    assert game.spec.team_shared == {"board"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tems": 2}, "no option 'tems'"),
        ({"teams": 0}, "teams is 0; it must be at least 1"),
        ({"choices": 1}, "choices is 1; it must be at least 2"),
        ({"ends": "never"}, "ends is 'never'"),
        ({"leaver_row": 1}, "needs a second agent"),
    ],
)
def test_wrong_options_give_one_line(options: dict[str, Any], message: str) -> None:
    with pytest.raises(GameError, match=message):
        make_counting(1, 0, **options)


def test_the_defaults_are_one_team_of_one_agent() -> None:
    assert CountingGame(1).options == CountingOptions(teams=1, agents_per_team=1)
