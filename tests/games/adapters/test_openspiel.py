"""OpenSpiel games: who sees, acts and earns in which row, and what chance does in between."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from quintet.games.api import (
    Array,
    GameError,
    MissingExtraError,
    Transition,
    UnknownGameError,
    UnsupportedSpaceError,
    VectorGame,
)
from quintet.games.contract import check_game, random_actions
from quintet.games.registry import make_game
from tests.support.needs import extra

pyspiel = extra("pyspiel", "openspiel")


def moves(game: VectorGame, *choices: int) -> list[Transition]:
    shape = (game.n_games, game.spec.teams, 1)
    return [game.step({"action": np.full(shape, choice)}) for choice in choices]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "chance"),
    [
        ("tic_tac_toe", False),
        ("kuhn_poker", True),
        ("leduc_poker", True),
        ("kuhn_poker(players=3)", True),
        ("matching_pennies_3p", False),
        ("goofspiel", True),
        ("pig", True),
    ],
)
def test_games_of_every_dynamic_keep_the_contract(name: str, chance: bool) -> None:
    check_game(lambda n_games: make_game(f"openspiel:{name}", n_games, 0), random=chance)


def test_the_mover_alone_acts_and_everybody_is_shown_the_game() -> None:
    game = make_game("openspiel:tic_tac_toe", 1, 0)
    observation = game.reset(0)
    assert observation["acting"][0, :, 0].tolist() == [True, False]
    (result,) = moves(game, 4)
    assert result.observation["acting"][0, :, 0].tolist() == [False, True]
    assert np.flatnonzero(~result.observation["action_mask/action"][0, 1, 0]).tolist() == [4]
    state = pyspiel.load_game("tic_tac_toe").new_initial_state()
    state.apply_action(4)
    for player in range(2):
        assert result.observation["observation"][0, player, 0].tolist() == state.observation_tensor(player)


def test_the_loser_earns_its_loss_in_the_row_of_the_winning_move_and_the_next_row_begins_anew() -> None:
    game = make_game("openspiel:tic_tac_toe", 1, 0)
    first = game.reset(0)
    *before, last = moves(game, 0, 3, 1, 4, 2)
    assert not any(result.reward.any() or result.ended.any() for result in before)
    assert last.reward[0, :, 0].tolist() == [1, -1]
    assert last.outcome[0].tolist() == [1, -1]
    assert last.terminated.all()
    (again,) = moves(game, 8)
    assert not again.reward.any()
    assert not again.ended.any()
    assert np.isnan(again.outcome).all()
    assert all(np.array_equal(again.observation[name], first[name]) for name in first)


def test_chance_deals_by_the_seed_and_differently_in_every_slot() -> None:
    def deals(seed: int) -> Array:
        return make_game("openspiel:leduc_poker", 32, 0).reset(seed)["observation"]

    assert np.array_equal(deals(1), deals(1))
    assert not np.array_equal(deals(1), deals(2))
    assert len(np.unique(deals(1)[:, 0, 0], axis=0)) == 6  # both suits of three ranks are cards of their own
    assert game_value_of_first_cards() == pytest.approx(0.0, abs=0.15)


def game_value_of_first_cards() -> float:
    """The mean of what both players win together in random games of poker: nothing is made or lost by dealing."""
    game, random = make_game("openspiel:kuhn_poker", 16, 0), np.random.default_rng(0)
    observation, total = game.reset(0), 0.0
    for _ in range(50):
        result = game.step(random_actions(game.spec, observation, random))
        observation, total = result.observation, total + float(result.reward.sum())
    return total


def test_players_who_choose_at_once_all_act_in_one_row() -> None:
    game = make_game("openspiel:matching_pennies_3p", 2, 0)
    assert game.reset(0)["acting"].all()
    (result,) = moves(game, 1)
    assert result.terminated.all()
    state = pyspiel.load_game("matching_pennies_3p").new_initial_state()
    state.apply_actions([1, 1, 1])
    assert result.reward[1, :, 0].tolist() == state.returns()


def test_rewards_on_the_way_add_up_to_the_return() -> None:
    game, random = make_game("openspiel:goofspiel(num_cards=4,points_order=descending)", 4, 0), np.random.default_rng(3)
    observation = game.reset(3)
    rows: list[Transition] = []
    while not rows or not rows[-1].ended.any():
        rows.append(game.step(random_actions(game.spec, observation, random)))
        observation = rows[-1].observation
    total = np.sum([row.reward[..., 0] for row in rows], axis=0)
    sign = np.sign(total[:, 0] - total[:, 1])
    assert np.array_equal(rows[-1].outcome[:, 0], sign)
    assert all(not before.ended.any() for before, _ in pairwise(rows))


def test_parameters_come_by_name_or_as_options() -> None:
    assert make_game("openspiel:kuhn_poker", 1, 0, {"kwargs": {"players": 4}}).spec.teams == 4
    assert make_game("openspiel:kuhn_poker(players=4)", 1, 0).spec.teams == 4


def test_what_cannot_be_played_is_said_in_a_line() -> None:
    with pytest.raises(UnknownGameError, match="did you mean 'kuhn_poker'"):
        make_game("openspiel:kuhn_pokr", 1, 0)
    with pytest.raises(GameError, match="nonsense"):
        make_game("openspiel:kuhn_poker", 1, 0, {"kwargs": {"nonsense": 4}})
    with pytest.raises(
        GameError, match=r"nfg_game'.* cannot load it: .*its parameters are filename.*kwargs.NAME=VALUE"
    ):
        make_game("openspiel:nfg_game", 1, 0)
    with pytest.raises(GameError, match=r"Missing parameter game; its parameters are game"):
        make_game("openspiel:misere", 1, 0)
    for name in ("crossword", "cribbage"):
        with pytest.raises(UnsupportedSpaceError, match=f"{name}' has no observation in numbers .*take another game"):
            make_game(f"openspiel:{name}", 1, 0)
    with pytest.raises(UnsupportedSpaceError, match="mean-field"):
        make_game("openspiel:mfg_crowd_modelling", 1, 0)
    game = make_game("openspiel:tic_tac_toe", 1, 0)
    game.reset(0)
    with pytest.raises(GameError, match=r"player 1 chose 4, legal are \[0, 1, 2, 3, 5, 6, 7, 8\]"):
        moves(game, 4, 4)


def test_a_missing_library_names_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "pyspiel", None)
    with pytest.raises(MissingExtraError, match=r"quintet\[openspiel\]"):
        make_game("openspiel:kuhn_poker", 1, 0)
