"""What a team observes: fog, memory, overflow, masks, labels."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from quintet.games.api import ACTING, ACTION_MASK_PREFIX, Actions, Observation
from quintet.games.contract import random_actions
from quintet.games.registry import make_game
from quintet.games.skirmish.engine import orders
from quintet.games.skirmish.engine.abilities import may_aim
from quintet.games.skirmish.engine.vision import see
from quintet.games.skirmish.game import SkirmishGame
from quintet.games.skirmish.observation.spec import FIRST_HERO_KIND, TERRAIN, UNIT
from quintet.games.skirmish.rules import (
    ABILITIES,
    ATTACK,
    BUY_ITEM,
    CELL,
    FIRST_ABILITY,
    ITEMS,
    MELEE_CREEP,
    PICK_UP,
    PRESETS,
    STEP_S,
    TICK_S,
    USE_ITEM,
)
from quintet.games.skirmish.state import NOBODY, Array

COLUMN = {name: k for k, name in enumerate(UNIT.names or ())}


def made(preset: str = "skirmish-3v3", n_games: int = 1, **options: Any) -> SkirmishGame:
    game = make_game(preset, n_games, 0, options)
    assert isinstance(game, SkirmishGame)
    return game


def halfway(preset: str, steps: int = 150, **options: Any) -> tuple[SkirmishGame, Observation]:
    """A game in which creeps have met and heroes have walked about; by a bot and by chance."""
    game, random = made(preset, line_up="random", **options), np.random.default_rng(5)
    observation = game.reset(6)
    for step in range(steps):
        actions = random_actions(game.spec, observation, random) if step % 3 else game.bot_actions("middle")
        observation = game.step(actions).observation
    return game, observation


def still(game: SkirmishGame) -> Actions:
    return {head: np.zeros((game.n_games, 2, game.preset.heroes), np.int64) for head in game.spec.action_space}


def slots(game: SkirmishGame) -> Array:
    """[2, N] of the first game: who is in which slot now."""
    return np.array(game._pages[0].view.slots[0])


@pytest.mark.parametrize("preset", PRESETS)
def test_nothing_that_changes_out_of_sight_changes_the_observation(preset: str) -> None:
    game, _ = halfway(preset)
    layout, units, heroes, world = game.tables.layout, game.state.unit[0], game.state.hero[0], game.tables.world
    enemies = units[layout.block : layout.block + layout.heroes]
    enemies["alive"], enemies["x"], enemies["y"] = True, world.core_x[1], world.core_y[1]
    see(game.state, game.tables, 0)
    before = {name: array.copy() for name, array in game._observe().items()}
    buildings = [k for k in range(2 * layout.block) if layout.first_tower <= k % layout.block]
    changed = 0
    for u in range(layout.units):
        if units[u]["alive"] and not units[u]["seen"][0] and u not in buildings:
            changed += 1
            units[u]["x"] += 37.0
            units[u]["health"] -= 100
            units[u]["target"] = 0
            if u < 2 * layout.block and u % layout.block < layout.heroes:
                hero = heroes[u // layout.block * layout.heroes + u % layout.block]
                hero["gold"] += 500
                hero["mana"] //= 2
                hero["ability_ready"] += 50
                hero["items"][0] = 5
    assert changed >= layout.heroes
    after = game._observe()
    for name, array in before.items():
        assert np.array_equal(array[:, 0], after[name][:, 0]), name
    assert not np.array_equal(before["units"][:, 1], after["units"][:, 1])


def test_an_enemy_hero_stays_where_it_was_last_seen_and_the_time_since_then_grows() -> None:
    game = made("skirmish-1v1", line_up=["tank", "carry"])
    first = game.reset(1)
    assert not first["units_mask"][0, 0, 1], "never seen"
    units, block = game.state.unit[0], game.tables.layout.block
    units["x"][[0, block]], units["y"][[0, block]] = [-300.0, 300.0], 0.0
    see(game.state, game.tables, 0)
    seen = game._observe()["units"][0, 0, 1]
    assert seen[COLUMN["kind"]] == FIRST_HERO_KIND + 1
    assert seen[COLUMN["visible"]] == 1
    assert seen[COLUMN["unseen"]] == 0
    units["x"][block] = 2000.0
    rows = [game.step(still(game)).observation["units"][0, 0, 1].copy() for _ in range(2)]
    for steps, row in enumerate(rows, start=1):
        assert row[COLUMN["x"]] == seen[COLUMN["x"]] == np.float32(300 / game.tables.world.half)
        assert row[COLUMN["visible"]] == 0
        assert row[COLUMN["unseen"]] == pytest.approx(steps * STEP_S / (steps * STEP_S + 10), rel=1e-5)
        assert row[COLUMN["damage"]] == row[COLUMN["speed"]] == 0
        assert row[COLUMN["health"]] == pytest.approx(1)
    units["alive"][block] = False
    assert game._observe()["units"][0, 0, 1, COLUMN["health"]] == 0, "deaths are announced"


@pytest.mark.parametrize("preset", PRESETS)
def test_too_many_units_leave_the_farthest_from_own_heroes_out(preset: str) -> None:
    game = made(preset)
    game.reset(2)
    units, layout, random = game.state.unit[0], game.tables.layout, np.random.default_rng(1)
    others = [k for k in range(layout.units) if k >= layout.first_neutral or layout.first_creep <= k % layout.block]
    creeps = [u for u in others if u >= layout.first_neutral or u % layout.block < layout.first_tower]
    for u in creeps:
        units[u]["alive"], units[u]["kind"] = True, MELEE_CREEP
        units[u]["x"], units[u]["y"] = random.uniform(-1500, 1500, 2)
    units["seen"] = 1
    game._observe()
    room = game.preset.slots - 2 * (layout.heroes + layout.towers + 1)
    assert len(creeps) > room, "or there is nothing to leave out"
    for team in range(2):
        own = units[team * layout.block : team * layout.block + layout.heroes]
        distance = {u: min(np.hypot(units[u]["x"] - h["x"], units[u]["y"] - h["y"]) for h in own) for u in creeps}
        kept = {u for u in slots(game)[team].tolist() if u in distance}
        assert kept == set(sorted(creeps, key=lambda u: distance[u])[:room])


@pytest.mark.parametrize("preset", PRESETS)
def test_masks_say_what_the_rules_say_of_every_slot_and_item(preset: str) -> None:
    game, observation = halfway(preset, start_level=5)
    state, tables, heroes = game.state, game.tables, game.preset.heroes
    primary, target, item = (observation[f"{ACTION_MASK_PREFIX}{head}"][0] for head in ("primary", "target", "item"))
    for team, agent in np.ndindex(2, heroes):
        h, shown = team * heroes + agent, slots(game)[team].tolist()
        legal = orders.may_act(state, tables, 0, h)
        assert observation[ACTING][0, team, agent] == legal
        if not legal:
            continue
        where = (team, agent)
        assert target[where][ATTACK].tolist() == [orders.may_attack(state, tables, 0, h, u) for u in shown]
        assert primary[where][PICK_UP] == orders.may_pick_up(state, tables, 0, h)
        items = range(len(ITEMS))
        assert item[where][USE_ITEM].tolist() == [orders.may_use(state, tables, 0, h, k) for k in items]
        assert item[where][BUY_ITEM].tolist() == [orders.may_buy(state, tables, 0, h, k) for k in items]
        for k, ability in enumerate(ABILITIES):
            may = orders.may_cast(state, tables, 0, h, k)
            aims = [may and ability.aim in ("enemy", "ally") and may_aim(state, tables, 0, h, k, u) for u in shown]
            assert target[where][FIRST_ABILITY + k].tolist() == aims
            aimed = any(aims) if ability.aim in ("enemy", "ally") else may
            assert primary[where][FIRST_ABILITY + k] == aimed


def test_terrain_is_the_ground_around_the_hero_as_its_team_sees_it() -> None:
    game = made("skirmish-1v1")
    observation = game.reset(3)
    world, layout = game.tables.world, game.tables.layout
    for team in range(2):
        sign, unit = 1 - 2 * team, game.state.unit[0, team * layout.block]
        shown = observation["terrain"][0, team, 0].reshape(TERRAIN, TERRAIN)
        for i, j in np.ndindex(TERRAIN, TERRAIN):
            x = sign * unit["x"] + (i - TERRAIN // 2) * CELL
            y = sign * unit["y"] + (j - TERRAIN // 2) * CELL
            cell = int((x + world.half) // CELL), int((y + world.half) // CELL)
            inside = min(cell) >= 0 and max(cell) < int(2 * world.half / CELL)
            assert shown[i, j] == (inside and bool(walkable(game, cell)))


def walkable(game: SkirmishGame, cell: tuple[int, int]) -> bool:
    """By the place of the cell from the middle of the map."""
    ground, half = game.tables.world.walkable, int(game.tables.world.half / CELL)
    middle = len(ground) // 2
    return bool(ground[cell[0] - half + middle, cell[1] - half + middle])


def test_a_building_that_falls_by_a_heros_hand_is_a_label_for_that_hero_alone() -> None:
    game = made("skirmish-3v3")
    game.reset(4)
    units, layout = game.state.unit[0], game.tables.layout
    tower = layout.block + layout.first_tower + 2
    units["incoming"][tower] = 10**8
    units["struck"][1], units["struck_at"][1] = tower, game.state.game["tick"][0]
    observation = game.step(still(game)).observation
    assert not units["alive"][tower]
    labels = observation["label_buildings"][0]
    assert labels[0, 1].tolist() == [0, 0, 1, 0, 0, 0, 0]
    assert (labels[0, [0, 2]] == -1).all()
    assert (labels[1] == -1).all()
    assert (game.step(still(game)).observation["label_buildings"] == -1).all()


def test_hidden_shows_the_critic_the_enemies_where_they_are() -> None:
    game = made("skirmish-3v3", full_state=True)
    hidden = game.reset(0)["hidden"].reshape(2, 3, -1)
    layout, half = game.tables.layout, game.tables.world.half
    for team in range(2):
        enemies = game.state.unit[0, (1 - team) * layout.block : (1 - team) * layout.block + 3]
        np.testing.assert_allclose(hidden[team, :, 0], (1 - 2 * team) * enemies["x"] / half, rtol=1e-6)
    assert game.spec.uses["hidden"] == "critic"
    assert "hidden" not in made("skirmish-3v3").reset(0)


def test_what_is_empty_is_zero_and_the_last_step_leaves_no_trace() -> None:
    game, _ = halfway("skirmish-3v3", steps=40)
    again, fresh = game.reset(7), made("skirmish-3v3", line_up="random").reset(7)
    for name, array in fresh.items():
        assert np.array_equal(array, again[name]), name
    assert not fresh["units"][~fresh["units_mask"]].any()
    assert (slots(game) == NOBODY).any()


def test_the_clock_counts_to_the_limit() -> None:
    game = made("skirmish-1v1")
    game.reset(0)
    observation = game.step(still(game)).observation
    assert observation["globals"][0, 0, 0] == pytest.approx(STEP_S / PRESETS["skirmish-1v1"].limit_s)
    assert game.state.game["tick"][0] * TICK_S == pytest.approx(STEP_S)
