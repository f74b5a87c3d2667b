"""Every item does what its row says, carried and used; runes too."""

from __future__ import annotations

import pytest

from quintet.games.skirmish.rewards import GOLD
from quintet.games.skirmish.rules import (
    ATTACK,
    BUY_ITEM,
    HASTE,
    HEROES,
    ITEMS,
    NO_OP,
    PICK_UP,
    PICKUP_RANGE,
    REGEN,
    RUNE_BOUNTY,
    RUNE_BOUNTY_GOLD,
    RUNE_FIRST_S,
    RUNE_MODIFIERS,
    RUNE_PERIOD_S,
    SHIELD,
    TICK_S,
    USE_ITEM,
    Item,
)
from tests.support.skirmish_fight import ITEM, Fight, fight

NAMES = [row.name for row in ITEMS]
USABLE = [row.name for row in ITEMS if row.cooldown_s]
LASTING = [row.name for row in ITEMS if not row.consumed]
TANK = HEROES[0]


def row_of(name: str) -> Item:
    return ITEMS[NAMES.index(name)]


def in_ticks(seconds: float) -> int:
    return round(seconds / TICK_S)


def at_home(gold: int = 1000) -> Fight:
    """Hero 0, a tank, at its core with gold in its pocket."""
    made = fight()
    made.stand(0, float(made.tables.world.core_x[0]), float(made.tables.world.core_y[0]))
    made.heroes[0]["gold"] = made.heroes[0]["worth"] = gold
    return made


@pytest.mark.parametrize("name", NAMES)
def test_an_item_is_bought_at_home_for_its_price(name: str) -> None:
    made, row = at_home(), row_of(name)
    made.order(0, BUY_ITEM, item=name)
    made.land()
    assert made.heroes[0]["gold"] == 1000 - row.cost
    assert made.heroes[0]["worth"] == 1000
    assert made.heroes[0]["items"].tolist() == [ITEM[name], -1, -1, -1]


@pytest.mark.parametrize("name", NAMES)
def test_an_item_that_is_carried_changes_the_hero_as_its_row_says(name: str) -> None:
    made, row = at_home(), row_of(name)
    made.order(0, BUY_ITEM, item=name)
    made.land()
    body, hero = made.body(0), made.heroes[0]
    assert body["max_health"] == body["health"] == round(100 * (TANK.health + row.health))
    assert hero["max_mana"] == hero["mana"] == round(100 * (TANK.mana + row.mana))
    assert body["damage"] == round(100 * (TANK.damage + row.damage))
    assert body["armor_pct"] == TANK.armor_pct + row.armor_pct
    assert body["speed"] == pytest.approx((TANK.speed + row.speed) * TICK_S)
    assert body["period"] == int(in_ticks(TANK.attack_period_s) * 100 / (100 + row.attack_speed_pct))


@pytest.mark.parametrize("name", LASTING)
def test_a_hero_with_an_item_regains_health_and_mana_as_its_row_says(name: str) -> None:
    made, row = fight(), row_of(name)
    made.stand(0, 0, 0)
    made.carry(0, name)
    made.body(0)["health"], made.heroes[0]["mana"] = 10_000, 1000
    made.steps(25)  # ten seconds
    assert made.body(0)["health"] - 10_000 == pytest.approx(1000 * (TANK.regen + row.regen), abs=2)
    assert made.heroes[0]["mana"] - 1000 == pytest.approx(1000 * (TANK.mana_regen + row.mana_regen), abs=2)


@pytest.mark.parametrize("name", LASTING)
def test_a_blow_heals_who_carries_an_item_that_says_so(name: str) -> None:
    made, row = fight(), row_of(name)
    made.stand(0, 0, 0)
    made.stand(3, 100, 0)
    made.carry(0, name)
    made.body(0)["health"] = 20_000
    made.order(0, ATTACK, target=made.unit(3))
    full = int(made.body(3)["health"])
    made.steps(1)
    struck = full - int(made.body(3)["health"]) + 40 * TANK.regen  # hero 3 is one too
    assert struck > 40 * TANK.regen
    by_itself = 40 * (TANK.regen + row.regen)
    assert made.body(0)["health"] - 20_000 == pytest.approx(struck * row.lifesteal_pct / 100 + by_itself, abs=3)


@pytest.mark.parametrize("name", USABLE)
def test_an_item_that_is_used_has_its_effect(name: str) -> None:
    made, row = fight(), row_of(name)
    made.carry(0, name)
    made.heroes[0]["mana"], made.heroes[0]["worth"] = 1000, 700
    made.order(0, USE_ITEM, item=name)
    made.land()
    body = made.body(0)
    for kind, seconds, amount in (
        (REGEN, row.heal_s, 100 * row.heal_per_s),
        (SHIELD, row.shield_s, 100 * row.shield),
        (HASTE, row.haste_s, row.haste_pct),
    ):
        assert body["modifier_ticks"][kind] == in_ticks(seconds)
        assert body["modifier_amount"][kind] == round(amount)
    assert made.heroes[0]["mana"] == 1000 + round(100 * row.mana_now)
    if row.consumed:
        assert made.heroes[0]["items"][0] == -1
        assert made.heroes[0]["worth"] == 700 - row.cost
    else:
        assert made.heroes[0]["items"][0] == ITEM[name]
        assert made.heroes[0]["item_ready"][0] == in_ticks(row.cooldown_s)
        assert made.heroes[0]["worth"] == 700


@pytest.mark.parametrize("name", USABLE)
def test_every_item_that_can_be_used_does_something(name: str) -> None:
    row = row_of(name)
    assert row.heal_s * row.heal_per_s + row.mana_now + row.shield * row.shield_s + row.haste_pct * row.haste_s > 0


@pytest.mark.parametrize("name", sorted(set(NAMES) - set(USABLE)))
def test_an_item_without_a_cooldown_cannot_be_used(name: str) -> None:
    made = fight()
    made.carry(0, name)
    made.order(0, USE_ITEM, item=name)
    made.land()
    assert made.heroes[0]["primary"] == NO_OP


def test_a_salve_heals_what_it_promises() -> None:
    made, row = fight(), row_of("salve")
    made.stand(0, 0, 0)
    made.carry(0, "salve")
    made.body(0)["health"] = 10_000
    made.order(0, USE_ITEM, item="salve")
    made.steps(25)  # ten seconds, two more than it lasts
    by_itself = 1000 * TANK.regen
    assert made.body(0)["health"] - 10_000 - by_itself == pytest.approx(100 * row.heal_s * row.heal_per_s, abs=3)


def test_of_two_salves_the_second_has_to_wait() -> None:
    made = fight()
    made.carry(0, "salve", "salve")
    made.order(0, USE_ITEM, item="salve")
    made.land()
    assert made.heroes[0]["items"].tolist() == [-1, ITEM["salve"], -1, -1]
    assert made.heroes[0]["item_ready"][1] == in_ticks(row_of("salve").cooldown_s)
    made.order(0, USE_ITEM, item="salve")
    made.land()
    assert made.heroes[0]["items"].tolist() == [-1, ITEM["salve"], -1, -1]


def test_clarity_does_not_fill_more_than_all_mana() -> None:
    made = fight()
    made.carry(0, "clarity")
    made.order(0, USE_ITEM, item="clarity")
    made.land()
    assert made.heroes[0]["mana"] == made.heroes[0]["max_mana"]


def test_an_item_cools_down_and_is_ready_again() -> None:
    made = fight()
    made.carry(0, "swift boots")
    made.order(0, USE_ITEM, item="swift boots")
    made.steps(1)
    assert 0 < made.heroes[0]["item_ready"][0] < in_ticks(row_of("swift boots").cooldown_s)
    made.steps(50)
    assert made.heroes[0]["item_ready"][0] == 0


def test_a_higher_level_makes_a_hero_stronger_as_its_row_says() -> None:
    made = fight()
    made.become(0, "carry", 6)
    row = HEROES[1]
    assert made.body(0)["max_health"] == round(100 * (row.health + 5 * row.health_level))
    assert made.heroes[0]["max_mana"] == round(100 * (row.mana + 5 * row.mana_level))
    assert made.body(0)["damage"] == round(100 * (row.damage + 5 * row.damage_level))
    assert (made.body(0)["reach"], made.body(0)["vision"]) == (row.attack_range, row.vision)


def beside_the_rune(kind: int, *heroes: int) -> Fight:
    """A rune of that kind lies at the first place; these heroes stand by, one unit apart, and pick up."""
    made = fight()
    made.game["pickup_kind"][0] = kind
    for k, h in enumerate(heroes):
        made.stand(h, float(made.tables.world.pickup_x[0]) + k, float(made.tables.world.pickup_y[0]))
        made.order(h, PICK_UP)
    return made


@pytest.mark.parametrize("kind", sorted(RUNE_MODIFIERS))
def test_a_rune_gives_its_modifier(kind: int) -> None:
    made = beside_the_rune(kind, 0)
    made.land()
    modifier, amount, seconds = RUNE_MODIFIERS[kind]
    assert made.body(0)["modifier_ticks"][modifier] == in_ticks(seconds)
    assert made.body(0)["modifier_amount"][modifier] == amount * (100 if modifier == REGEN else 1)
    assert made.game["pickup_kind"].tolist() == [-1, -1]


def test_the_bounty_gives_gold() -> None:
    made = beside_the_rune(RUNE_BOUNTY, 0)
    gold, worth = int(made.heroes[0]["gold"]), int(made.heroes[0]["worth"])
    made.land()
    assert made.heroes[0]["gold"] - gold == made.heroes[0]["worth"] - worth == RUNE_BOUNTY_GOLD
    assert made.heroes[0]["gained"][GOLD] == RUNE_BOUNTY_GOLD


def test_the_nearest_hero_gets_the_rune() -> None:
    made = beside_the_rune(RUNE_BOUNTY, 3, 0)
    made.land()
    assert made.heroes["gained"][:, GOLD].nonzero()[0].tolist() == [3]


@pytest.mark.parametrize("tie", [0, 1])
def test_the_favoured_team_gets_a_rune_that_is_equally_near(tie: int) -> None:
    made = beside_the_rune(RUNE_BOUNTY, 0, 3)
    made.stand(3, float(made.body(0)["x"]), float(made.body(0)["y"]))
    made.game["tie"] = tie
    made.land()
    assert made.heroes["gained"][:, GOLD].nonzero()[0].tolist() == [3 * tie]


def test_a_rune_out_of_reach_stays() -> None:
    made = beside_the_rune(RUNE_BOUNTY, 0)
    made.stand(0, float(made.body(0)["x"]) + PICKUP_RANGE + 1, float(made.body(0)["y"]))
    made.land()
    assert made.game["pickup_kind"].tolist() == [RUNE_BOUNTY, -1]
    assert made.heroes[0]["primary"] == NO_OP


def test_runes_appear_in_pairs_of_one_kind_and_only_of_the_kinds_that_are_in_the_game() -> None:
    kinds = set()
    for seed in range(12):
        made = fight(seed)
        made.game["rune_kinds"] = 0b1010
        made.game["tick"] = in_ticks(RUNE_FIRST_S) - 1
        made.steps(1)
        first, second = made.game["pickup_kind"].tolist()
        assert first == second
        kinds.add(first)
        assert made.game["pickup_at"].tolist() == [in_ticks(RUNE_FIRST_S) + in_ticks(RUNE_PERIOD_S)] * 2
    assert kinds == {1, 3}


def test_no_rune_appears_where_no_kind_is_in_the_game() -> None:
    made = fight()
    made.game["rune_kinds"] = 0
    made.game["tick"] = in_ticks(RUNE_FIRST_S)
    made.steps(1)
    assert made.game["pickup_kind"].tolist() == [-1, -1]
