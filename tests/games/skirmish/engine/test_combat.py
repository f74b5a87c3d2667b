"""Blows, protection, slayers and what they get, by heroes who are told what to do."""

from __future__ import annotations

import numpy as np
import pytest

from quintet.games.skirmish import rules
from quintet.games.skirmish.engine.combat import is_building, random_u32
from quintet.games.skirmish.rules import (
    ATTACK,
    BODIES,
    BOSS,
    CORE,
    MELEE_CREEP,
    MOVE,
    NEUTRAL,
    POINT,
    POWER,
    RANGED_CREEP,
    REWARD_NAMES,
    SHIELD,
    STUN,
    TOWER,
)
from quintet.games.skirmish.start import SplitMix
from quintet.games.skirmish.state import GAME_DTYPE, NOBODY, ORDER_ATTACK, ORDER_NONE, UNIT_DTYPE
from quintet.games.skirmish.tables import ticks
from tests.support.skirmish_fight import Fight, fight

TANK, CARRY, HEALER = 0, 1, 2
ENEMY_TANK, ENEMY_CARRY, ENEMY_HEALER = 3, 4, 5


def building(made: Fight, team: int, n: int) -> int:
    """The unit of a team's nth tower (lane by lane, outer first), or of its core: the one after the last tower."""
    return team * made.tables.layout.block + made.tables.layout.first_tower + n


def creep(made: Fight, team: int, x: float, y: float, health: int = 20_000, lane: int = 1) -> int:
    """A melee creep that stands somewhere and hurts nobody."""
    size = made.tables.layout.creeps // made.tables.layout.lanes
    u = team * made.tables.layout.block + made.tables.layout.first_creep + lane * size
    while made.units["alive"][u]:
        u += 1
    unit = made.units[u]
    unit["kind"], unit["alive"], unit["x"], unit["y"], unit["old_x"], unit["old_y"] = MELEE_CREEP, True, x, y, x, y
    unit["health"], unit["max_health"], unit["lane"], unit["seen"] = health, 30_000, lane, 1
    unit["speed"], unit["damage"], unit["period"], unit["reach"] = 0, 0, 10, 120
    return u


def duel(distance: float = 100) -> Fight:
    """Team 0's carry and team 1's carry in the middle, with nothing else near."""
    made = fight()
    made.units["alive"][made.tables.layout.boss] = False
    made.stand(CARRY, -distance / 2, 0)
    made.stand(ENEMY_CARRY, distance / 2, 0)
    return made


def gained(made: Fight, h: int, component: str) -> float:
    return float(made.heroes["gained"][h, REWARD_NAMES.index(component)])


def test_an_attack_takes_what_armour_leaves_and_then_waits_for_its_period() -> None:
    made = duel()
    attacker, victim = made.body(CARRY), made.body(ENEMY_CARRY)
    victim["health"] -= 10_000
    health, blow = int(victim["health"]), int(attacker["damage"]) * (100 - int(victim["armor_pct"])) // 100
    made.order(CARRY, ATTACK, target=made.unit(ENEMY_CARRY))
    made.steps(1)
    regeneration = int(victim["health"]) - (health - blow)
    assert 0 <= regeneration < 1 * POINT
    assert attacker["period"] - 4 < attacker["ready"] < attacker["period"]
    made.steps(2)
    assert int(victim["health"]) > health - 2 * blow
    made.steps(1)
    assert int(victim["health"]) < health - blow


def test_power_strengthens_blows_a_shield_takes_them_and_the_stunned_strike_nobody() -> None:
    made = duel()
    attacker, victim = made.body(CARRY), made.body(ENEMY_CARRY)
    full = int(victim["health"])
    attacker["modifier_ticks"][POWER], attacker["modifier_amount"][POWER] = 50, 100
    victim["modifier_ticks"][SHIELD], victim["modifier_amount"][SHIELD] = 50, 50 * POINT
    blow = 2 * int(attacker["damage"]) * (100 - int(victim["armor_pct"])) // 100
    made.order(CARRY, ATTACK, target=made.unit(ENEMY_CARRY))
    made.steps(1)
    assert blow - 51 * POINT < full - int(victim["health"]) <= blow - 50 * POINT  # some comes back by itself
    assert victim["modifier_amount"][SHIELD] == 0
    made.body(ENEMY_TANK)["modifier_ticks"][STUN] = 50
    made.stand(ENEMY_TANK, 0, 50)
    made.heroes["order"][ENEMY_TANK] = ORDER_ATTACK
    made.body(ENEMY_TANK)["target"] = made.unit(CARRY)
    health = int(made.body(CARRY)["health"])
    made.steps(2)
    assert int(made.body(CARRY)["health"]) >= health


def test_an_attacker_walks_into_reach_and_gives_up_a_target_out_of_sight() -> None:
    made = duel(distance=900)
    made.order(CARRY, ATTACK, target=made.unit(ENEMY_CARRY))
    made.steps(6)
    assert made.body(ENEMY_CARRY)["health"] < made.body(ENEMY_CARRY)["max_health"]
    apart = float(made.body(ENEMY_CARRY)["x"] - made.body(CARRY)["x"])
    assert made.body(CARRY)["reach"] - 2 * made.body(CARRY)["speed"] < apart <= made.body(CARRY)["reach"]
    made.stand(ENEMY_CARRY, 2000, 2000)
    made.steps(2)
    assert made.heroes["order"][CARRY] == ORDER_NONE
    assert made.body(CARRY)["target"] == NOBODY


def test_an_inner_tower_and_the_core_are_protected_until_what_stands_before_them_has_fallen() -> None:
    made = fight()
    outer, inner, core = (building(made, 1, n) for n in (2, 3, made.tables.layout.towers))
    for victim in (inner, core):
        place = made.units[victim]
        made.stand(CARRY, place["x"] - 400, place["y"] - 100)
        made.order(CARRY, ATTACK, target=victim)
        made.steps(1)
        assert made.units["health"][victim] == made.units["max_health"][victim]
        assert made.body(CARRY)["target"] != victim
        made.units["alive"][outer if victim == inner else inner] = False
        made.body(CARRY)["health"] = made.body(CARRY)["max_health"]
        made.order(CARRY, ATTACK, target=victim)
        made.steps(1)
        assert made.units["health"][victim] < made.units["max_health"][victim]


def test_buildings_take_more_as_the_game_goes_on() -> None:
    lost = []
    for minute in (0, 5):
        made = fight()
        tower = building(made, 1, 2)
        made.game["tick"] = ticks(60 * minute)
        made.stand(CARRY, made.units["x"][tower] - 400, made.units["y"][tower])
        made.order(CARRY, ATTACK, target=tower)
        made.steps(1)
        lost.append(int(made.units["max_health"][tower] - made.units["health"][tower]))
        assert gained(made, HEALER, "tower_health") == pytest.approx(lost[-1] / made.units["max_health"][tower])
    assert lost[0] == int(made.body(CARRY)["damage"]) * (100 - BODIES[TOWER].armor_pct) // 100
    assert lost[1] == lost[0] * (100 + 5 * rules.SIEGE_PCT_MIN) // 100


def test_who_strikes_last_gets_the_gold_and_heroes_near_by_share_the_experience() -> None:
    made = duel()
    victim = creep(made, 1, 0, 100, health=10)
    made.stand(TANK, -700, 0)
    gold = made.heroes["gold"].copy()
    made.order(CARRY, ATTACK, target=victim)
    made.steps(1)
    assert not made.units["alive"][victim]
    assert made.heroes["last_hits"].tolist() == [0, 1, 0, 0, 0, 0]
    body = BODIES[MELEE_CREEP]
    assert made.heroes["gold"][CARRY] - gold[CARRY] == body.gold + (made.heroes["gold"][TANK] - gold[TANK])
    assert made.heroes["experience"].tolist() == [body.experience // 2, body.experience // 2, 0, 0, 0, 0]
    assert (gained(made, CARRY, "gold"), gained(made, CARRY, "last_hit")) == (body.gold, 1)


@pytest.mark.parametrize(("health", "denied"), [(16_000, False), (10, True)])
def test_a_weak_creep_of_the_own_side_can_be_denied_and_then_is_worth_less(health: int, denied: bool) -> None:
    made = duel()
    victim = creep(made, 0, 0, 100, health=health)
    made.order(CARRY, ATTACK, target=victim)
    made.steps(1)
    assert bool(made.units["alive"][victim]) != denied
    assert made.heroes["denies"][CARRY] == denied
    share = BODIES[MELEE_CREEP].experience * rules.DENY_EXPERIENCE_PCT // 100
    assert made.heroes["experience"][ENEMY_CARRY] == (share if denied else 0)
    assert made.heroes["experience"][CARRY] == 0


def test_killer_and_helpers_share_a_heros_gold_and_the_dead_come_back_at_home() -> None:
    made = duel()
    victim, gold = made.body(ENEMY_CARRY), made.heroes["gold"].copy()
    victim["health"] = 10
    made.heroes["hurt_at"][ENEMY_CARRY, TANK] = made.game["tick"] - 1
    made.heroes["hurt_at"][ENEMY_CARRY, HEALER] = made.game["tick"] - ticks(rules.ASSIST_S) - 10
    made.order(CARRY, ATTACK, target=made.unit(ENEMY_CARRY))
    made.steps(1)
    bounty = rules.KILL_GOLD + rules.KILL_GOLD_LEVEL
    assert (made.heroes["gold"] - gold - (made.heroes["gold"] - gold)[HEALER]).tolist()[:3] == [
        bounty // 2, bounty - bounty // 2, 0,
    ]  # fmt: skip
    assert made.heroes["kills"].tolist() == [0, 1, 0, 0, 0, 0]
    assert made.heroes["assists"].tolist() == [1, 0, 0, 0, 0, 0]
    assert made.heroes["deaths"].tolist() == [0, 0, 0, 0, 1, 0]
    assert not victim["alive"]
    seconds = rules.RESPAWN_S + rules.RESPAWN_LEVEL_S
    made.steps(round(seconds / rules.STEP_S) - 2)
    assert not victim["alive"]
    made.steps(3)
    assert victim["alive"]
    assert victim["health"] == victim["max_health"]
    assert np.hypot(victim["x"] - made.tables.world.core_x[1], victim["y"] - made.tables.world.core_y[1]) < 300


def test_a_hero_felled_by_a_tower_is_the_kill_of_who_hurt_it_last() -> None:
    made = duel()
    tower = made.units[building(made, 0, 2)]
    made.stand(ENEMY_CARRY, tower["x"] + 300, tower["y"])
    made.body(ENEMY_CARRY)["health"] = 100
    tick = made.game["tick"]
    made.heroes["hurt_at"][ENEMY_CARRY, :2] = tick - 30, tick - 20
    made.steps(2)
    assert not made.body(ENEMY_CARRY)["alive"]
    assert made.heroes["kills"].tolist() == [0, 1, 0, 0, 0, 0]


def test_two_who_fell_each_other_in_one_tick_both_fall_and_both_are_paid() -> None:
    made = duel()
    for h, other in ((CARRY, ENEMY_CARRY), (ENEMY_CARRY, CARRY)):
        made.body(h)["health"] = 10
        made.order(h, ATTACK, target=made.unit(other))
    made.steps(1)
    assert made.heroes["kills"].tolist() == [0, 1, 0, 0, 1, 0]
    assert made.heroes["deaths"].tolist() == [0, 1, 0, 0, 1, 0]


@pytest.mark.parametrize("tie", [0, 1])
def test_of_two_equal_blows_the_favoured_teams_is_the_last(tie: int) -> None:
    made = duel()
    made.game["tie"] = tie
    neutral = made.tables.layout.first_neutral
    made.units["x"][neutral], made.units["y"][neutral] = 0, 100
    made.units["health"][neutral] = 10
    made.see_all()
    for h in (CARRY, ENEMY_CARRY):
        made.order(h, ATTACK, target=neutral)
    made.steps(1)
    assert made.heroes["last_hits"][[CARRY, ENEMY_CARRY]].tolist() == [1 - tie, tie]


def test_a_level_raises_what_a_hero_has_and_leaves_what_it_lacks() -> None:
    made = duel()
    made.heroes["experience"][CARRY] = rules.LEVEL_EXPERIENCE[1] - 1
    body = made.body(CARRY)
    body["health"] -= 5_000
    most = int(body["max_health"])
    victim = creep(made, 1, 0, 100, health=10)
    made.order(CARRY, ATTACK, target=victim)
    made.steps(1)
    assert made.heroes["level"][CARRY] == 2
    assert body["max_health"] > most
    assert 5_000 - 1 * POINT < body["max_health"] - body["health"] <= 5_000


def test_a_tower_prefers_creeps_until_a_hero_strikes_a_hero_under_it() -> None:
    made = fight()
    u = building(made, 1, 2)
    tower = made.units[u]
    weak = creep(made, 0, float(tower["x"]) - 500, float(tower["y"]), health=10**6)
    made.units["armor_pct"][weak] = 99
    made.stand(CARRY, tower["x"] - 300, tower["y"])
    made.stand(ENEMY_TANK, tower["x"], tower["y"] + 100)
    made.steps(2)
    assert tower["target"] == weak
    made.order(CARRY, ATTACK, target=made.unit(ENEMY_TANK))
    made.steps(2)
    assert tower["target"] == made.unit(CARRY)


def test_creeps_strike_creeps_and_heroes_before_buildings() -> None:
    made = fight()
    u = building(made, 1, 2)
    x, y = float(made.units["x"][u]), float(made.units["y"][u])
    own = creep(made, 0, x - 100, y, health=10**6)
    made.steps(1)
    assert made.units["target"][own] == u
    other = creep(made, 1, x - 400, y, health=10**6)
    made.steps(1)
    assert made.units["target"][own] == other


def test_neutrals_mind_who_comes_near_and_go_home_from_who_leads_them_away() -> None:
    made = fight()
    n = made.tables.layout.first_neutral
    neutral, home = made.units[n], (float(made.units["x"][n]), float(made.units["y"][n]))
    made.body(TANK)["health"] = made.body(TANK)["max_health"] = 10**6
    made.stand(TANK, home[0], home[1] + 200)
    made.steps(2)
    assert neutral["target"] == made.unit(TANK)
    assert made.body(TANK)["health"] < 10**6
    made.stand(TANK, *(-1300.0, -1300.0))
    neutral["health"] -= 10_000
    hurt = int(neutral["health"])
    made.steps(6)
    assert neutral["target"] == NOBODY
    assert (neutral["x"], neutral["y"]) == home
    assert neutral["health"] > hurt


def test_the_boss_minds_only_blows_and_its_fall_is_the_teams() -> None:
    made = fight()
    u = made.tables.layout.boss
    boss = made.units[u]
    boss["alive"], boss["health"] = True, boss["max_health"]
    made.body(CARRY)["health"] = made.body(CARRY)["max_health"] = 10**6
    made.stand(CARRY, 200, 0)
    made.steps(3)
    assert boss["target"] == NOBODY
    made.order(CARRY, ATTACK, target=u)
    made.steps(3)
    assert boss["target"] == made.unit(CARRY)
    boss["health"] = 10
    gold = made.heroes["gold"].copy()
    made.steps(4)
    assert not boss["alive"]
    assert boss["respawn_at"] > made.game["tick"]
    body = BODIES[BOSS]
    passive = int(made.heroes["gold"][ENEMY_TANK] - gold[ENEMY_TANK])
    assert (made.heroes["gold"] - gold - passive).tolist()[:3] == [body.team_gold, body.team_gold + body.gold, 100]
    assert made.body(HEALER)["modifier_ticks"][POWER] > 0
    assert made.body(ENEMY_TANK)["modifier_ticks"][POWER] == 0
    assert [gained(made, h, "boss") for h in (TANK, ENEMY_TANK)] == [1, 0]


def test_a_fountain_heals_its_own_and_burns_others() -> None:
    made = fight()
    world = made.tables.world
    made.stand(TANK, world.core_x[0] + 500, world.core_y[0])
    made.stand(ENEMY_TANK, world.core_x[0] + 100, world.core_y[0])
    for h in (TANK, ENEMY_TANK):
        made.body(h)["health"] = 30_000
    made.steps(5)
    assert made.body(TANK)["health"] - 30_000 > 2 * 0.08 * made.body(TANK)["max_health"]
    assert 30_000 - made.body(ENEMY_TANK)["health"] > 0.5 * 2 * rules.FOUNTAIN_DAMAGE_S * POINT


def test_creeps_of_later_waves_are_stronger() -> None:
    made = fight()
    where = made.tables.layout
    ranged = where.first_creep + rules.WAVE_MELEE
    seen = []
    for minute in (0, 5):
        made.units["alive"][where.first_creep : where.first_tower] = False
        made.game["tick"] = made.game["wave_at"] = ticks(60 * minute)
        made.steps(1)
        assert made.units["kind"][ranged] == RANGED_CREEP
        seen.append((int(made.units["max_health"][ranged]), int(made.units["damage"][ranged])))
    body = BODIES[RANGED_CREEP]
    assert list(seen[0]) == [round(body.health * POINT), round(body.damage * POINT)]
    for was, grown in zip(*seen, strict=True):
        assert grown == was * (100 + 5 * rules.CREEP_GROWTH_PCT) // 100


def test_killed_neutrals_come_back_to_their_camp() -> None:
    made = fight()
    n = made.tables.layout.first_neutral
    place = float(made.units["x"][n]), float(made.units["y"][n])
    made.stand(CARRY, place[0], place[1] + 100)
    made.units["health"][n] = 10
    made.see_all()
    made.order(CARRY, ATTACK, target=n)
    made.steps(1)
    assert not made.units["alive"][n]
    assert made.heroes["last_hits"][CARRY] == 1
    assert made.units["kind"][n] == NEUTRAL
    made.order(CARRY, MOVE, x=0, y=4)
    made.stand(CARRY, -1300, -1300)
    made.steps(round(rules.CAMP_RESPAWN_S / rules.STEP_S) + 1)
    assert made.units["alive"][n]
    assert (made.units["x"][n], made.units["y"][n]) == place


def test_the_random_numbers_are_splitmix64s() -> None:
    game, expected = np.zeros(1, GAME_DTYPE), SplitMix(12345)
    game["rng"] = 12345
    assert [random_u32(game[0]) for _ in range(3)] == [expected.next() >> 32 for _ in range(3)]


def test_towers_and_cores_are_the_kinds_of_buildings() -> None:
    kinds = np.zeros(len(rules.UNIT_NAMES), UNIT_DTYPE)
    kinds["kind"] = np.arange(len(kinds))
    assert [kind for kind in range(len(kinds)) if is_building(kinds[kind])] == [TOWER, CORE]
