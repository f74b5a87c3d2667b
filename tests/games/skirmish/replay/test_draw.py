"""Pictures of a game: what stands where, what the fog hides, what a step's casts and deaths look like."""

from __future__ import annotations

import numpy as np
import pytest

from quintet.games.api import Array
from quintet.games.skirmish import rules
from quintet.games.skirmish.replay.draw import HARM_COLOR, HERO_RADIUS, RUNE_COLORS, Artist, snapshot
from quintet.games.skirmish.replay.draw_scoreboard import BOARD_HEIGHT, TEAM_COLORS, clock
from quintet.games.skirmish.state import State, state_hash
from tests.support.skirmish_scene import scene

TABLES, STATE = scene("skirmish-3v3")
ARTIST = Artist(TABLES)


def fresh() -> State:
    return snapshot(STATE)


def place(x: float, y: float) -> tuple[int, int]:
    """(row, column) of a place of the map."""
    half = TABLES.world.half
    return round(BOARD_HEIGHT + (half - y) * ARTIST.scale), round((x + half) * ARTIST.scale)


def around(picture: Array, x: float, y: float, radius: int) -> Array:
    row, column = place(x, y)
    return picture[row - radius : row + radius + 1, column - radius : column + radius + 1].astype(int)


def has_color(part: Array, color: tuple[int, ...], tolerance: int = 24) -> bool:
    return bool((np.abs(part - np.array(color[:3])).max(axis=-1) <= tolerance).any())


@pytest.mark.slow
@pytest.mark.parametrize("name", list(rules.PRESETS))
@pytest.mark.parametrize("width", [160, 640])
def test_a_picture_has_its_width_and_an_even_height_for_every_preset(name: str, width: int) -> None:
    tables, state = scene(name)
    artist = Artist(tables, width=width)
    picture = artist.draw(snapshot(state))
    assert picture.dtype == np.uint8
    assert picture.shape == (artist.height, width, 3)
    assert artist.height % 2 == 0


def test_drawing_changes_nothing_and_the_same_state_gives_the_same_picture() -> None:
    state = fresh()
    first = ARTIST.draw(state, fresh(), team=0)
    assert np.array_equal(first, ARTIST.draw(state, fresh(), team=0))
    assert state_hash(state, 0) == state_hash(STATE, 0)


@pytest.mark.parametrize("team", [0, 1])
def test_a_hero_stands_where_it_is_in_the_color_of_its_team(team: int) -> None:
    state = fresh()
    u = team * TABLES.layout.block
    state.unit["x"][0, u], state.unit["y"][0, u] = 300.0, -1500.0
    radius = round(HERO_RADIUS)
    there = around(ARTIST.draw(state), 300, -1500, radius)
    assert has_color(there, TEAM_COLORS[team])
    assert not has_color(around(ARTIST.draw(fresh()), 300, -1500, radius), TEAM_COLORS[team])


def test_team_0_lives_at_the_bottom_left() -> None:
    core = around(ARTIST.draw(fresh()), float(TABLES.world.core_x[0]), float(TABLES.world.core_y[0]), 10)
    assert has_color(core, TEAM_COLORS[0])
    row, column = place(float(TABLES.world.core_x[0]), float(TABLES.world.core_y[0]))
    assert row > BOARD_HEIGHT + ARTIST.width / 2 > BOARD_HEIGHT + column


def test_heroes_on_the_same_spot_are_drawn_beside_one_another() -> None:
    state = fresh()
    heroes = TABLES.layout.heroes
    state.unit["x"][0, :heroes], state.unit["y"][0, :heroes] = -600.0, -600.0
    alone = snapshot(state)
    alone.unit["alive"][0, 1:heroes] = False
    together = [has_pixels(ARTIST.draw(s), TEAM_COLORS[0]) for s in (state, alone)]
    assert together[0] > 1.8 * together[1]


def has_pixels(picture: Array, color: tuple[int, int, int]) -> int:
    """How many pixels around the place of the test above are nearly of a colour."""
    part = around(picture, -600, -600, 30)
    return int((np.abs(part - np.array(color)).max(axis=-1) <= 24).sum())


def test_what_a_team_cannot_know_does_not_change_its_picture() -> None:
    state, other = fresh(), fresh()
    enemy, hero = TABLES.layout.block, TABLES.layout.heroes
    other.unit["x"][0, enemy], other.unit["health"][0, enemy] = -400.0, 900
    other.hero["gold"][0, hero], other.hero["worth"][0, hero] = 9_999, 19_999
    other.hero["level"][0, hero], other.hero["mana"][0, hero] = 9, 0
    other.hero["items"][0, hero], other.hero["last_hits"][0, hero] = 3, 77
    assert np.array_equal(ARTIST.draw(state, team=0), ARTIST.draw(other, team=0))
    assert not np.array_equal(ARTIST.draw(state), ARTIST.draw(other))
    assert not np.array_equal(ARTIST.draw(state, team=1), ARTIST.draw(other, team=1))


def test_an_enemy_hero_that_was_seen_before_leaves_a_ghost_where_it_was() -> None:
    state = fresh()
    hero = TABLES.layout.heroes
    never = ARTIST.draw(state, team=0)
    state.hero["last_tick"][0, hero], state.hero["last_x"][0, hero], state.hero["last_y"][0, hero] = 700, 200.0, -1800.0
    ghost = ARTIST.draw(state, team=0)
    changed = np.argwhere((never != ghost).any(axis=-1))
    row, column = place(200, -1800)
    assert len(changed)
    assert np.abs(changed - [row, column]).max() <= 16
    assert np.array_equal(ARTIST.draw(fresh()), ARTIST.draw(state)), "who sees everything needs no memory"


def test_the_ground_is_darker_where_a_team_does_not_see() -> None:
    lit, dark = ARTIST.draw(fresh()), ARTIST.draw(fresh(), team=0)
    far, near = (1500.0, 2000.0), (-900.0, 1200.0)
    assert around(dark, *far, 4).mean() < 0.7 * around(lit, *far, 4).mean()
    assert np.array_equal(around(dark, *near, 4), around(lit, *near, 4))


def test_buildings_are_known_through_the_fog() -> None:
    tower = (float(TABLES.world.tower_x[1, 0]), float(TABLES.world.tower_y[1, 0]))
    assert has_color(around(ARTIST.draw(fresh(), team=0), *tower, 8), TEAM_COLORS[1])


def test_health_and_mana_bars_show_their_shares() -> None:
    state = fresh()
    full = ARTIST.draw(state)
    state.unit["health"][0, 0] = state.unit["max_health"][0, 0] // 4
    hurt = ARTIST.draw(state)
    green = [(np.abs(p.astype(int) - [104, 222, 110]).max(axis=-1) <= 24).sum() for p in (full, hurt)]
    assert green[1] < green[0]


def test_a_cast_is_drawn_at_its_place_only_in_the_step_in_which_its_cooldown_begins() -> None:
    before, now = fresh(), fresh()
    archetype = int(now.hero["archetype"][0, 0])
    abilities = [int(a) for a in TABLES.hero["abilities"][archetype]]
    slot = next(
        s for s, a in enumerate(abilities) if TABLES.ability["radius"][a] > 0 and TABLES.ability["damage"][a] > 0
    )
    before.hero["primary"][0, 0] = rules.FIRST_ABILITY + abilities[slot]
    before.hero["offset_x"][0, 0] = before.hero["offset_y"][0, 0] = rules.OFFSETS // 2
    quiet = ARTIST.draw(now, before)
    now.hero["ability_ready"][0, 0, slot] = 50
    loud = ARTIST.draw(now, before)
    changed = (quiet != loud).any(axis=-1)
    assert changed.any()
    row, column = place(float(now.unit["x"][0, 0]), float(now.unit["y"][0, 0]))
    reach = float(TABLES.ability["radius"][abilities[slot]]) * ARTIST.scale + 20
    assert np.abs(np.argwhere(changed) - [row, column]).max() <= reach
    assert has_color(loud[changed].reshape(1, -1, 3).astype(int), HARM_COLOR, 80)
    assert np.array_equal(quiet, ARTIST.draw(fresh(), before))


def test_a_blow_of_the_last_step_is_a_line_between_the_two() -> None:
    state = fresh()
    calm = ARTIST.draw(state)
    state.unit["struck"][0, 0], state.unit["struck_at"][0, 0] = TABLES.layout.block, 753
    middle = around(ARTIST.draw(state), 0, float(state.unit["y"][0, 0]), 3)
    assert not np.array_equal(middle, around(calm, 0, float(state.unit["y"][0, 0]), 3))
    state.unit["struck_at"][0, 0] = 740
    assert np.array_equal(calm, ARTIST.draw(state))


def test_half_way_through_a_step_a_hero_is_half_way_there() -> None:
    before, now = fresh(), fresh()
    before.unit["x"][0, 0], now.unit["x"][0, 0] = -900.0, -500.0
    there = snapshot(now)
    there.unit["x"][0, 0] = -700.0
    assert np.array_equal(ARTIST.draw(now, before, share=0.5), ARTIST.draw(there, there))
    assert np.array_equal(ARTIST.draw(now, before, share=1.0), ARTIST.draw(now, now))


def test_the_fallen_leave_a_cross_and_the_scoreboard_counts_down_to_their_return() -> None:
    before, now = fresh(), fresh()
    now.unit["alive"][0, 0], now.unit["respawn_at"][0, 0] = False, 754 + 60
    with_cross, without = ARTIST.draw(now, before), ARTIST.draw(now)
    row, column = place(float(before.unit["x"][0, 0]), float(before.unit["y"][0, 0]))
    changed = np.argwhere((with_cross != without).any(axis=-1))
    assert np.abs(changed - [row, column]).max() <= 14
    later = snapshot(now)
    later.unit["respawn_at"][0, 0] += 30
    sheet = ARTIST.width + BOARD_HEIGHT
    assert not np.array_equal(ARTIST.draw(now)[sheet:], ARTIST.draw(later)[sheet:])


def test_a_rune_lies_where_one_has_appeared() -> None:
    picture = ARTIST.draw(fresh())
    places = list(zip(TABLES.world.pickup_x, TABLES.world.pickup_y, strict=True))
    assert has_color(around(picture, *places[0], 5), RUNE_COLORS[rules.RUNE_HASTE])
    assert not has_color(around(picture, *places[1], 5), RUNE_COLORS[rules.RUNE_HASTE])


def test_every_number_of_the_scoreboard_changes_the_picture() -> None:
    calm = ARTIST.draw(fresh())
    for field, value in (("kills", 1), ("deaths", 1), ("assists", 1), ("last_hits", 9), ("gold", 5), ("worth", 9)):
        state = fresh()
        state.hero[field][0, 0] += value
        assert not np.array_equal(calm, ARTIST.draw(state)), field
    state = fresh()
    state.game["tick"] += 10
    assert not np.array_equal(calm[:BOARD_HEIGHT], ARTIST.draw(state)[:BOARD_HEIGHT])
    state.game["phase"], state.game["winner"] = 1, 0
    assert not np.array_equal(ARTIST.draw(fresh())[:BOARD_HEIGHT], ARTIST.draw(state)[:BOARD_HEIGHT])


def test_the_clock_counts_minutes_and_seconds() -> None:
    assert [clock(0), clock(599), clock(600), clock(6005)] == ["0:00", "0:59", "1:00", "10:00"]
