"""Who sees whom, and what is remembered of heroes out of sight."""

from __future__ import annotations

import numpy as np
import pytest

from quintet.games.registry import make_game
from quintet.games.skirmish.engine.vision import REVEAL_TICKS, see
from quintet.games.skirmish.game import SkirmishGame
from quintet.games.skirmish.state import NEVER, NOBODY


@pytest.fixture
def game() -> SkirmishGame:
    """One game of three against three in which only the heroes live, each far from the others."""
    made = make_game("skirmish-3v3", 1, 0, {"line_up": ["tank", "carry", "healer"]})
    assert isinstance(made, SkirmishGame)
    made.reset(1)
    units, layout = made.state.unit[0], made.tables.layout
    units["alive"] = False
    for team in range(2):
        heroes = units[team * layout.block : team * layout.block + 3]
        heroes["alive"], heroes["x"], heroes["y"] = True, (2 * team - 1) * 2000.0, (-1500.0, 0.0, 1500.0)
    made.state.game["tick"] = 100
    return made


def look(game: SkirmishGame) -> None:
    see(game.state, game.tables, 0)


def test_an_enemy_is_seen_within_the_range_of_sight_of_any_own_unit_and_not_beyond(game: SkirmishGame) -> None:
    units, block = game.state.unit[0], game.tables.layout.block
    hero, enemy = units[1], units[block]
    enemy["y"] = 0.0
    for distance, seen in ((hero["vision"], 1), (hero["vision"] + 1, 0)):
        enemy["x"] = hero["x"] + distance
        look(game)
        assert enemy["seen"].tolist() == [seen, 1]


def test_neutrals_are_seen_by_whoever_is_near_and_the_dead_by_nobody(game: SkirmishGame) -> None:
    units, layout = game.state.unit[0], game.tables.layout
    boss = units[layout.boss]
    boss["alive"], boss["x"], boss["y"] = True, units[0]["x"], units[0]["y"]
    look(game)
    assert boss["seen"].tolist() == [1, 0]
    boss["alive"] = False
    look(game)
    assert boss["seen"].tolist() == [0, 0]


def test_who_strikes_from_the_dark_is_seen_for_a_while_by_those_it_struck(game: SkirmishGame) -> None:
    units, block = game.state.unit[0], game.tables.layout.block
    units[block]["struck"], units[block]["struck_at"] = 2, 100
    for ticks, seen in ((0, 1), (REVEAL_TICKS, 1), (REVEAL_TICKS + 1, 0)):
        game.state.game["tick"] = 100 + ticks
        look(game)
        assert units[block]["seen"][0] == seen
    units[block]["struck"], units[block]["struck_at"] = NOBODY, NEVER
    look(game)
    assert units[block]["seen"][0] == 0


def test_a_hero_in_sight_is_remembered_as_it_was_when_it_was_last_seen(game: SkirmishGame) -> None:
    units, block = game.state.unit[0], game.tables.layout.block
    enemy, hero = units[block], game.state.hero[0, 3]
    assert hero["last_tick"] == -1
    enemy["x"], enemy["y"], enemy["health"] = units[0]["x"] + 300, units[0]["y"], 12_345
    look(game)
    enemy["x"], enemy["health"] = 2500.0, 20_000
    game.state.game["tick"] = 130
    look(game)
    assert hero["last_tick"] == 100
    assert hero["last_x"] == units[0]["x"] + 300
    assert hero["last_health"] == 12_345


def test_a_rune_is_seen_where_it_lies_by_who_stands_near(game: SkirmishGame) -> None:
    world, layout = game.tables.world, game.tables.layout
    for team in range(2):
        heroes = game.state.unit[0, team * layout.block : team * layout.block + 3]
        heroes["x"], heroes["y"] = world.core_x[team], world.core_y[team]
    game.state.unit["x"][0, 0], game.state.unit["y"][0, 0] = world.pickup_x[1], world.pickup_y[1]
    look(game)
    assert game.state.game["pickup_seen"][0].tolist() == [[0, 0], [1, 0]]


def test_both_teams_see_everything_of_their_own(game: SkirmishGame) -> None:
    look(game)
    units, block = game.state.unit[0], game.tables.layout.block
    for team in range(2):
        own = units[team * block : (team + 1) * block]
        assert np.array_equal(own["seen"][:, team].astype(bool), own["alive"])
