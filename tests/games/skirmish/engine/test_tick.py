"""Whole games: waves meet in the middle, what falls stays fallen, games end, and the same start gives the same game."""

from __future__ import annotations

import numpy as np
import pytest

from quintet.games.skirmish.engine.spawns import start_game
from quintet.games.skirmish.engine.tick import step_games
from quintet.games.skirmish.rules import (
    BASE_RADIUS,
    CELL,
    CORE,
    FRAME_SKIP,
    MOVE,
    NO_OP,
    PRESETS,
    RETREAT,
    STUN,
    TICK_S,
    WAVE_FIRST_S,
    WAVE_MELEE,
    WAVE_PERIOD_S,
    WAVE_RANGED,
)
from quintet.games.skirmish.start import StartOptions, draw_start
from quintet.games.skirmish.state import ENDED, ORDER_NONE, RUNNING, Array, State, empty_state, state_hash
from quintet.games.skirmish.tables import Tables, build_tables, ticks
from tests.support.skirmish_fight import fight
from tests.support.skirmish_mirror import mirrored_state

every_preset = pytest.mark.parametrize("name", PRESETS)


def game(name: str, seed: int = 5) -> tuple[Tables, State]:
    """A new game with the same line-up on both sides."""
    tables, state = build_tables(PRESETS[name]), empty_state(PRESETS[name], 1)
    start_game(state, tables, 0, np.uint64(seed), draw_start(StartOptions(preset=PRESETS[name]), seed))
    return tables, state


def idle(state: State, tables: Tables, seconds: float) -> None:
    """Play on; no hero does anything."""
    nothing = np.full((1, state.hero.shape[1], 5), NO_OP, np.int32)
    for _ in range(round(seconds / TICK_S / FRAME_SKIP)):
        step_games(state, tables, nothing)


def creeps(state: State, tables: Tables, team: int) -> Array:
    where = tables.layout
    return np.asarray(state.unit[0, team * where.block + where.first_creep : team * where.block + where.first_tower])


def buildings(state: State, tables: Tables, team: int) -> Array:
    where = tables.layout
    return np.asarray(state.unit[0, team * where.block + where.first_tower : (team + 1) * where.block])


@every_preset
def test_both_teams_send_the_same_full_waves_on_every_lane(name: str) -> None:
    tables, state = game(name)
    idle(state, tables, WAVE_FIRST_S - 1)
    assert not creeps(state, tables, 0)["alive"].any()
    idle(state, tables, 2)
    for team in range(2):
        sent = creeps(state, tables, team)
        for lane in range(PRESETS[name].lanes):
            assert sent["alive"][sent["lane"] == lane].sum() == WAVE_MELEE + WAVE_RANGED
    idle(state, tables, WAVE_PERIOD_S)
    assert state.game["waves"][0] == 2


@every_preset
def test_waves_meet_in_the_middle_of_their_lane_and_never_leave_its_ground(name: str) -> None:
    tables, state = game(name)
    world, lanes = tables.world, PRESETS[name].lanes
    met = [np.inf] * lanes
    for _ in range(80):
        idle(state, tables, 0.4)
        for lane in range(lanes):
            own = creeps(state, tables, 0)
            own = own[own["alive"] & (own["lane"] == lane)]
            for u in own[own["target"] >= 0]:
                half_way = world.lane_x[0, lane, 4], world.lane_y[0, lane, 4]
                met[lane] = min(met[lane], float(np.hypot(u["x"] - half_way[0], u["y"] - half_way[1])))
            i, j = (((own[c] + world.half) // CELL).astype(int) for c in ("x", "y"))
            assert world.lane_ground[i, j].all()
    assert max(met) < 350


@every_preset
def test_without_heroes_the_teams_stay_equal_to_the_last_hit_and_time_runs_out(name: str) -> None:
    tables, state = game(name)
    for _ in range(20):
        idle(state, tables, PRESETS[name].limit_s / 20)
        own, enemy = creeps(state, tables, 0), creeps(state, tables, 1)
        assert own["alive"].sum() == enemy["alive"].sum()
        assert np.array_equal(own["health"], enemy["health"])
        assert np.array_equal(buildings(state, tables, 0)["health"], buildings(state, tables, 1)["health"])
    assert own["alive"].sum() >= WAVE_MELEE
    if state.game["phase"][0] == RUNNING:
        idle(state, tables, 2)
    assert state.game["phase"][0] == ENDED
    assert state.game["time_up"][0] or state.game["winner"][0] == 2


def test_a_team_without_creeps_loses_its_outer_tower_and_in_the_end_its_core() -> None:
    tables, state = game("skirmish-1v1")
    for team in range(2):
        buildings(state, tables, team)["damage"] = 0
    for _ in range(int(PRESETS["skirmish-1v1"].limit_s / 0.4)):
        creeps(state, tables, 1)["alive"] = False
        idle(state, tables, 0.4)
        inner, outer = buildings(state, tables, 1)[1], buildings(state, tables, 1)[0]
        assert inner["health"] == inner["max_health"] or not outer["alive"]
    assert state.game["phase"][0] == ENDED
    assert state.game["winner"][0] == 0
    assert not state.game["time_up"][0]
    assert buildings(state, tables, 0)["alive"].all()
    assert state.hero["gained"][0, :, 0].tolist() == [1, -1]


def test_a_game_that_has_ended_is_not_played_on() -> None:
    tables, state = game("skirmish-1v1")
    state.game["phase"] = ENDED
    before = state_hash(state, 0)
    idle(state, tables, 2)
    assert state_hash(state, 0) == before


def test_the_limit_ends_a_game_in_the_very_tick() -> None:
    tables, state = game("skirmish-1v1")
    state.game["tick"] = tables.limit - 2
    idle(state, tables, 0.4)
    assert (state.game["phase"][0], state.game["time_up"][0], state.game["winner"][0]) == (ENDED, True, -1)
    assert state.game["tick"][0] == tables.limit


def test_both_cores_in_one_tick_are_a_draw() -> None:
    tables, state = game("skirmish-1v1")
    for team in range(2):
        buildings(state, tables, team)["alive"][-1] = False
    idle(state, tables, 0.4)
    assert (state.game["phase"][0], state.game["time_up"][0], state.game["winner"][0]) == (ENDED, False, 2)


@every_preset
def test_random_orders_replay_to_the_same_hash_and_mirrored_ones_to_the_mirrored_game(name: str) -> None:
    random = np.random.default_rng(7)
    tables, first = game(name)
    second = State(*(part.copy() for part in first))
    third = State(*(np.ascontiguousarray(part) for part in mirrored_state(first, tables.layout)))
    heroes = tables.layout.heroes
    renamed = np.append(mirrored_order(tables), -1)
    for step in range(150):
        actions = np.stack(
            [random.integers(0, high, (1, 2 * heroes)) for high in (25, tables.layout.units, 9, 9, 10)], axis=-1
        ).astype(np.int32)
        actions[random.random(actions.shape[:2]) < 0.4, 0] = MOVE
        step_games(first, tables, actions)
        step_games(second, tables, actions)
        turned = np.roll(actions, heroes, axis=1)
        turned[..., 1], turned[..., 2:4] = renamed[turned[..., 1]], 8 - turned[..., 2:4]
        step_games(third, tables, turned)
        if step % 10 == 9:
            assert state_hash(first, 0) == state_hash(second, 0)
            assert state_hash(first, 0) == state_hash(mirrored_state(third, tables.layout), 0)
    assert np.ptp(first.hero["order_x"]) > 1000


def mirrored_order(tables: Tables) -> Array:
    """Which unit stands where each stood."""
    where, half = tables.layout, tables.layout.neutrals // 2
    u = np.arange(where.units)
    blocks = [u[where.block : 2 * where.block], u[: where.block]]
    sides = [u[where.first_neutral + half : where.boss], u[where.first_neutral : where.first_neutral + half]]
    return np.concatenate([*blocks, *sides, u[where.boss :]])


def test_an_action_lands_one_step_after_it_was_handed_in() -> None:
    made = fight()
    x = made.body(0)["x"]
    move = np.full((1, 6, 5), NO_OP, np.int32)
    move[0, 0] = (MOVE, -1, 8, 4, -1)
    step_games(made.state, made.tables, move)
    assert made.body(0)["x"] == x
    made.steps(1)
    np.testing.assert_allclose(made.body(0)["x"] - x, FRAME_SKIP * made.body(0)["speed"], rtol=1e-5)


def test_a_move_ends_at_its_place_and_who_is_stunned_does_not_walk() -> None:
    made = fight()
    x, y = float(made.body(0)["x"]), float(made.body(0)["y"])
    made.order(0, MOVE, x=6, y=4)
    made.body(0)["modifier_ticks"][STUN] = ticks(0.4)
    made.heroes["order"][0] = ORDER_NONE
    made.steps(1)
    assert (made.body(0)["x"], made.body(0)["y"]) == (x, y)
    made.order(0, MOVE, x=6, y=4)
    made.steps(6)
    assert (made.body(0)["x"], made.body(0)["y"]) == (x + 300, y)
    assert made.heroes["order"][0] == ORDER_NONE
    assert (made.body(0)["face_x"], made.body(0)["face_y"]) == (1, 0)


def test_nobody_walks_through_walls_but_along_them() -> None:
    made = fight()
    world = made.tables.world
    made.units["alive"][made.tables.layout.first_tower :] &= (
        made.units["kind"][made.tables.layout.first_tower :] == CORE
    )
    x, y = float(world.lane_x[0, 0, 1]), float(world.lane_y[0, 0, 1])  # on the lane along the left edge
    made.stand(0, x, y)
    for _ in range(8):
        made.order(0, MOVE, x=8, y=5)
        made.steps(1)
        i, j = (int((made.body(0)[c] + world.half) // CELL) for c in ("x", "y"))
        assert world.walkable[i, j]
    assert not world.walkable[i + 1, j]
    assert made.body(0)["y"] - y > 4 * FRAME_SKIP * made.body(0)["speed"]


@pytest.mark.parametrize("h", [0, 3])
def test_retreat_leads_home_around_the_woods(h: int) -> None:
    made = fight()
    world, team = made.tables.world, h // 3
    made.units["alive"][made.tables.layout.first_neutral :] = False
    made.stand(h, world.pickup_x[0], world.pickup_y[0])
    made.order(h, RETREAT)
    made.steps(60)
    body = made.body(h)
    assert np.hypot(body["x"] - world.core_x[team], body["y"] - world.core_y[team]) < BASE_RADIUS / 2
    assert made.heroes["order"][h] == ORDER_NONE
