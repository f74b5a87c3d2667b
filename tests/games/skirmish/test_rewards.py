"""Rewards: components, weights, the clock, and that what one team gains the other loses."""

from __future__ import annotations

import math

import numpy as np
import pytest

from quintet.games.skirmish import rewards
from quintet.games.skirmish.rules import (
    BASE_RADIUS,
    REWARD_NAMES,
    REWARDS,
    RUNE_BOUNTY_GOLD,
    TICK_S,
    TIME_SCALE,
    TIME_SCALE_S,
)
from quintet.games.skirmish.state import Array
from tests.support.skirmish_fight import Fight, fight


def slow_shape(share: float) -> float:
    return (share + 1 - (1 - share) ** 4) / 2


def slow_rewards(gained: Array, health: Array, mana: Array, tick: int) -> Array:
    """[2, 3] from raw amounts [6, C] and the shares of health and mana before and after [2, 6], written out."""
    own = np.zeros(6)
    for h in range(6):
        for c, name in enumerate(REWARD_NAMES):
            amount = float(gained[h, c])
            if name == "health":
                amount += slow_shape(health[1, h]) - slow_shape(health[0, h])
            if name == "mana":
                amount += mana[1, h] - mana[0, h]
            scale = 1.0 if name == "win" else TIME_SCALE ** (tick * TICK_S / TIME_SCALE_S)
            own[h] += REWARDS[name] * amount * scale
    result = np.zeros((2, 3))
    for h in range(6):
        enemies = own[3:] if h < 3 else own[:3]
        result[h // 3, h % 3] = own[h] - enemies.mean()
    return result


def set_shares(made: Fight, health: Array, mana: Array) -> tuple[Array, Array]:
    """Hurt the heroes; returns the exact shares."""
    for h in range(6):
        made.body(h)["health"] = int(health[h] * made.body(h)["max_health"])
        made.heroes[h]["mana"] = int(mana[h] * made.heroes[h]["max_mana"])
    bodies = [made.body(h) for h in range(6)]
    return (
        np.array([b["health"] / b["max_health"] for b in bodies]),
        np.array([hero["mana"] / hero["max_mana"] for hero in made.heroes]),
    )


@pytest.mark.parametrize("seed", range(5))
def test_rewards_are_those_of_the_slow_twin(seed: int) -> None:
    random = np.random.default_rng(seed)
    made = fight()
    first = set_shares(made, random.random(6), random.random(6))
    made.rewards()
    second = set_shares(made, random.random(6), random.random(6))
    gained = random.normal(size=(6, len(REWARD_NAMES))).astype(np.float32)
    made.heroes["gained"] = gained
    made.game["tick"] = tick = int(random.integers(0, 6000))
    expected = slow_rewards(gained, np.stack([first[0], second[0]]), np.stack([first[1], second[1]]), tick)
    found = made.rewards()
    np.testing.assert_allclose(found, expected, atol=2e-5)
    assert found.sum() == pytest.approx(0, abs=2e-5)


@pytest.mark.parametrize("name", REWARD_NAMES)
def test_a_component_is_worth_its_weight_and_the_enemies_lose_the_mean(name: str) -> None:
    made = fight()
    made.heroes[1]["gained"][REWARD_NAMES.index(name)] = 2.0
    found = made.rewards()
    weight = 2.0 * REWARDS[name]
    np.testing.assert_allclose(found, [[0, weight, 0], [-weight / 3] * 3], rtol=1e-6)


def test_only_winning_does_not_shrink_with_time() -> None:
    made = fight()
    made.game["tick"] = round(TIME_SCALE_S / TICK_S)
    for name in REWARD_NAMES:
        made.heroes["gained"][0, :] = 0
        made.heroes["gained"][0, REWARD_NAMES.index(name)] = 1
        scale = 1.0 if name == "win" else TIME_SCALE
        assert made.rewards()[0, 0] == pytest.approx(scale * REWARDS[name], rel=1e-6)


@pytest.mark.parametrize("tick", [0, 1, 2, 999, 6000])
def test_time_is_scaled_as_the_power_says(tick: int) -> None:
    assert rewards.time_scale(tick) == pytest.approx(TIME_SCALE ** (tick * TICK_S / TIME_SCALE_S), rel=1e-12)


def test_what_was_collected_is_not_collected_again() -> None:
    made = fight()
    set_shares(made, np.full(6, 0.5), np.array([1, 1, 1, 0.2, 0.2, 0.2]))
    made.heroes[0]["gained"][rewards.KILL] = 1
    assert made.rewards().any()
    assert not made.rewards().any()


def test_a_new_game_begins_with_no_reward() -> None:
    made = fight()
    assert not made.rewards().any()
    assert not made.heroes["episode"].any()


def test_the_way_to_the_enemy_counts_once_and_going_back_takes_it_again() -> None:
    made = fight()
    before = float(made.heroes[0]["advanced"])
    core_x, core_y = float(made.tables.world.core_x[0]), float(made.tables.world.core_y[0])
    base = 0.5 - BASE_RADIUS / (2 * math.hypot(core_x, core_y))  # half the way, less the base, in distances of cores
    for share, expected in ((0.0, 0.0), (0.25, (0.25 - 0.5 + base) / base), (0.5, 1.0), (0.7, 1.0), (0.0, 0.0)):
        made.stand(0, core_x * (1 - 2 * share), core_y * (1 - 2 * share))
        made.rewards()
        assert made.heroes[0]["advanced"] == pytest.approx(expected, abs=1e-5)
        total = made.heroes[0]["episode"][rewards.ADVANCE] / REWARDS["advance"]
        assert total == pytest.approx(expected - before, abs=1e-5)
    made.stand(0, 0.0, 0.0)
    made.rewards()
    made.body(0)["alive"] = False
    made.rewards()
    assert made.heroes[0]["advanced"] == 0


def test_a_point_of_health_counts_the_more_the_less_there_is() -> None:
    def worth(before: float, after: float) -> float:
        made = fight()
        full = np.ones(6)
        set_shares(made, np.array([before, 1, 1, 1, 1, 1]), full)
        made.rewards()
        set_shares(made, np.array([after, 1, 1, 1, 1, 1]), full)
        return float(made.rewards()[0, 0])

    assert worth(0.1, 0.2) > 2 * worth(0.8, 0.9) > 0
    assert worth(0.3, 0.6) == pytest.approx(-worth(0.6, 0.3), rel=1e-5)
    assert worth(0.0, 1.0) == pytest.approx(1.0, rel=1e-5)


def test_health_that_is_lost_by_dying_comes_back_with_life() -> None:
    made = fight()
    made.body(0)["health"] = made.body(0)["max_health"] // 3
    made.rewards()
    made.body(0)["alive"], made.body(0)["health"], made.heroes[0]["mana"] = False, 0, 0
    made.rewards()
    made.body(0)["alive"] = True
    made.refresh(0)
    made.rewards()
    assert made.heroes[0]["episode"] == pytest.approx(0, abs=1e-6)


def test_components_are_summed_over_the_game_before_the_zero_sum_step() -> None:
    made = fight()
    for _ in range(2):
        made.heroes[4]["gained"][rewards.LAST_HIT] = 1
        made.rewards()
    assert made.heroes[4]["episode"][rewards.LAST_HIT] == pytest.approx(2 * REWARDS["last_hit"], rel=1e-6)
    assert np.count_nonzero(made.heroes["episode"]) == 1


def test_a_team_component_goes_to_every_hero_of_the_team() -> None:
    made = fight()
    made.body(3)["alive"] = False
    rewards.gain_team(made.state, made.tables, 0, 1, rewards.BOSS_DOWN, 1.0)
    assert made.heroes["gained"][:, rewards.BOSS_DOWN].tolist() == [0, 0, 0, 1, 1, 1]


def test_a_tower_that_is_hurt_and_falls_is_rewarded_to_the_whole_team() -> None:
    made = fight()
    where = made.tables.layout
    tower = made.units[where.block + where.first_tower]
    half = int(tower["max_health"]) // 2
    tower["incoming"] = half
    made.steps(1)
    assert made.heroes["gained"][:3, rewards.TOWER_HEALTH] == pytest.approx(0.5, abs=1e-3)
    assert not made.heroes["gained"][3:, rewards.TOWER_HEALTH].any()
    tower["incoming"] = half + 1000
    made.steps(1)
    assert made.heroes["gained"][:, rewards.TOWER_DOWN].tolist() == [1, 1, 1, 0, 0, 0]
    assert made.heroes["gained"][:3, rewards.TOWER_HEALTH] == pytest.approx(1, abs=1e-3)


def test_the_fall_of_the_core_is_a_win_and_a_loss() -> None:
    made = fight()
    core = made.units[made.tables.layout.core]
    core["incoming"] = core["max_health"]
    made.steps(1)
    assert made.heroes["gained"][:, rewards.WIN].tolist() == [-1, -1, -1, 1, 1, 1]
    found = made.rewards()
    assert (found[1] > REWARDS["win"]).all()
    assert found.sum() == pytest.approx(0, abs=1e-5)


def test_passive_gold_is_no_reward_and_found_gold_is() -> None:
    made = fight()
    before = made.heroes["gold"].copy()
    made.steps(10)
    assert (made.heroes["gold"] > before).all()
    assert not made.heroes["gained"][:, rewards.GOLD].any()
    made.heroes[0]["gained"][rewards.GOLD] = RUNE_BOUNTY_GOLD
    assert made.rewards()[0, 0] == pytest.approx(REWARDS["gold"] * RUNE_BOUNTY_GOLD, rel=5e-3)
