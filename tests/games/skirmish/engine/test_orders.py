"""What a hero may do, judged when it lands; orders, and that nobody is served before anybody."""

from __future__ import annotations

import numpy as np
import pytest

from quintet.games.skirmish.engine import abilities, orders
from quintet.games.skirmish.engine.tick import step_games
from quintet.games.skirmish.rules import (
    ATTACK,
    BASE_RADIUS,
    BUY_ITEM,
    FIRST_ABILITY,
    ITEMS,
    MOVE,
    NO_OP,
    OFFSET_STEP,
    PICK_UP,
    RETREAT,
    STUN,
    USE_ITEM,
)
from quintet.games.skirmish.state import ORDER_ATTACK, ORDER_MOVE, ORDER_NONE, ORDER_RETREAT
from tests.support.skirmish_fight import ABILITY, ITEM, Fight, fight


def face_to_face() -> Fight:
    """Hero 0, a burst caster of level 5, and hero 3 stand in the middle, 100 apart."""
    made = fight()
    made.become(0, "burst caster", 5)
    made.stand(0, 0, 0)
    made.stand(3, 100, 0)
    return made


def lands(made: Fight) -> bool:
    """Whether hero 0's action is carried out."""
    before = int(made.heroes[0]["primary"])
    made.land()
    assert made.heroes[0]["primary"] in (before, NO_OP)
    return bool(made.heroes[0]["primary"] == before)


def test_a_move_goes_to_the_offset_from_where_the_hero_is() -> None:
    made = face_to_face()
    made.order(0, MOVE, x=6, y=1)
    made.land()
    hero = made.heroes[0]
    assert hero["order"] == ORDER_MOVE
    assert (hero["order_x"], hero["order_y"]) == (2 * OFFSET_STEP, -3 * OFFSET_STEP)


def test_a_move_ends_at_the_edge_of_the_map() -> None:
    made = face_to_face()
    made.stand(0, made.tables.world.half - 100, 0)
    made.order(0, MOVE, x=8)
    made.land()
    assert made.heroes[0]["order_x"] == made.tables.world.half


def test_an_order_replaces_the_one_before_and_a_no_op_keeps_it() -> None:
    made = face_to_face()
    made.order(0, ATTACK, target=made.unit(3))
    made.land()
    assert (made.heroes[0]["order"], made.body(0)["target"]) == (ORDER_ATTACK, made.unit(3))
    made.order(0, NO_OP)
    made.land()
    assert (made.heroes[0]["order"], made.body(0)["target"]) == (ORDER_ATTACK, made.unit(3))
    made.order(0, RETREAT)
    made.land()
    assert (made.heroes[0]["order"], made.body(0)["target"]) == (ORDER_RETREAT, -1)


def test_an_action_lands_in_the_step_after_the_one_it_was_handed_in() -> None:
    made = face_to_face()
    actions = np.zeros((1, 6, 5), np.int32)
    actions[0, 0] = (MOVE, -1, 8, 4, -1)
    step_games(made.state, made.tables, actions)
    assert (made.heroes[0]["order"], made.body(0)["x"]) == (ORDER_NONE, 0)
    step_games(made.state, made.tables, np.zeros((1, 6, 5), np.int32))
    assert made.heroes[0]["order"] == ORDER_MOVE
    assert made.body(0)["x"] > 0


@pytest.mark.parametrize("primary", [NO_OP, MOVE, RETREAT])
def test_whoever_lives_may_wait_walk_and_go_home(primary: int) -> None:
    made = face_to_face()
    made.order(0, primary)
    assert orders.legal(made.state, made.tables, 0, 0)


def test_the_dead_and_the_stunned_do_nothing() -> None:
    for what in ("dead", "stunned"):
        made = face_to_face()
        made.body(0)["alive"] = what != "dead"
        made.body(0)["modifier_ticks"][STUN] = 5 if what == "stunned" else 0
        made.order(0, MOVE, x=8)
        made.land()
        assert not orders.may_act(made.state, made.tables, 0, 0)
        assert made.heroes[0]["order"] == ORDER_NONE


def test_heroes_attack_what_they_see_of_the_others_and_nothing_else() -> None:
    made = face_to_face()
    where = made.tables.layout
    creep, own_creep = where.block + where.first_creep, where.first_creep
    tower, inner = where.block + where.first_tower, where.block + where.first_tower + 1
    for u in (creep, own_creep):
        made.units[u]["alive"], made.units[u]["health"], made.units[u]["max_health"] = True, 100, 100
    targets = {
        "enemy hero": (made.unit(3), True),
        "enemy creep": (creep, True),
        "neutral": (where.first_neutral, True),
        "outer tower": (tower, True),
        "tower behind another": (inner, False),
        "core behind towers": (where.block + where.core, False),
        "dead boss": (where.boss, False),
        "itself": (made.unit(0), False),
        "own hero": (made.unit(1), False),
        "own healthy creep": (own_creep, False),
        "own tower": (where.first_tower, False),
        "nobody": (-1, False),
    }
    found = {name: orders.may_attack(made.state, made.tables, 0, 0, u) for name, (u, _) in targets.items()}
    assert found == {name: wanted for name, (_, wanted) in targets.items()}
    made.units[own_creep]["health"] = 49
    assert orders.may_attack(made.state, made.tables, 0, 0, own_creep)
    made.units[made.unit(3)]["seen"][0] = 0
    assert not orders.may_attack(made.state, made.tables, 0, 0, made.unit(3))


def test_the_core_may_be_attacked_once_a_lane_is_open() -> None:
    made = face_to_face()
    where = made.tables.layout
    core = where.block + where.core
    made.units["alive"][where.block + where.first_tower] = False
    assert orders.may_attack(made.state, made.tables, 0, 0, where.block + where.first_tower + 1)
    assert not orders.may_attack(made.state, made.tables, 0, 0, core)
    made.units["alive"][where.block + where.first_tower + 1] = False
    assert orders.may_attack(made.state, made.tables, 0, 0, core)


def test_an_ability_needs_level_mana_and_time() -> None:
    meteor = ABILITY["meteor"]

    def may(made: Fight) -> bool:
        return orders.may_cast(made.state, made.tables, 0, 0, meteor)

    assert may(face_to_face())
    made = face_to_face()
    made.become(0, "burst caster", 3)
    assert not may(made)
    made = face_to_face()
    made.heroes[0]["mana"] = 170 * 100 - 1
    assert not may(made)
    made.heroes[0]["mana"] = 170 * 100
    assert may(made)
    made.heroes[0]["ability_ready"][2] = 1
    assert not may(made)


def test_a_cast_at_an_enemy_needs_one_in_sight_and_range_and_no_building() -> None:
    made = face_to_face()
    where = made.tables.layout

    def may(u: int) -> bool:
        return abilities.may_aim(made.state, made.tables, 0, 0, ABILITY["fire bolt"], u)

    assert may(made.unit(3))
    assert not any(may(u) for u in (made.unit(0), made.unit(1), made.unit(4), -1))
    tower, neutral = where.block + where.first_tower, where.first_neutral
    for u in (tower, neutral):
        made.units[u]["x"], made.units[u]["y"] = 100, 100
    assert may(neutral)
    assert not may(tower)
    made.body(3)["seen"][0] = 0
    assert not may(made.unit(3))


def test_a_cast_on_an_ally_needs_an_own_hero_in_range_which_the_caster_is() -> None:
    made = face_to_face()
    made.become(0, "healer", 5)
    made.stand(1, 300, 0)
    creep = made.tables.layout.first_creep
    made.units[creep]["alive"] = True

    def may(u: int) -> bool:
        return abilities.may_aim(made.state, made.tables, 0, 0, ABILITY["mend"], u)

    assert [may(u) for u in (made.unit(0), made.unit(1), made.unit(2), made.unit(3), creep, -1)] == [
        True, True, False, False, False, False,
    ]  # fmt: skip


def shopping(gold: int = 1000) -> Fight:
    made = fight()
    made.stand(0, float(made.tables.world.core_x[0]), float(made.tables.world.core_y[0]) + BASE_RADIUS)
    made.heroes[0]["gold"] = gold
    made.order(0, BUY_ITEM, item="long blade")
    return made


def test_an_item_is_bought_only_at_home() -> None:
    assert lands(shopping())
    made = shopping()
    made.body(0)["y"] += 1
    assert not lands(made)


def test_an_item_is_bought_only_with_enough_gold() -> None:
    cost = ITEMS[ITEM["long blade"]].cost
    assert lands(shopping(cost))
    made = shopping(cost - 1)
    assert not lands(made)
    assert made.heroes[0]["gold"] == cost - 1


def test_an_item_needs_a_free_slot() -> None:
    made = shopping()
    made.carry(0, "salve", "salve", "salve")
    assert lands(made)
    made = shopping()
    made.carry(0, "salve", "salve", "salve", "clarity")
    assert not lands(made)


def test_what_is_used_up_may_be_carried_twice_and_what_lasts_once() -> None:
    made = shopping()
    made.carry(0, "long blade")
    assert not lands(made)
    made = shopping()
    made.carry(0, "salve")
    made.order(0, BUY_ITEM, item="salve")
    assert lands(made)


def test_an_item_that_is_not_carried_or_not_ready_is_not_used() -> None:
    made = face_to_face()
    made.order(0, USE_ITEM, item="salve")
    assert not lands(made)
    made.carry(0, "ward amulet")
    made.order(0, USE_ITEM, item="ward amulet")
    made.heroes[0]["item_ready"][0] = 1
    assert not lands(made)
    made.heroes[0]["item_ready"][0] = 0
    made.order(0, USE_ITEM, item="ward amulet")
    assert lands(made)


def test_nothing_is_picked_up_where_nothing_lies() -> None:
    made = face_to_face()
    made.order(0, PICK_UP)
    assert not lands(made)


def test_armour_that_is_bought_in_the_same_step_counts_whoever_casts() -> None:
    taken = []
    for caster, buyer in ((0, 3), (3, 0)):
        made = fight()
        made.become(caster, "burst caster")
        made.become(buyer, "tank")
        team = buyer // 3
        x, y = float(made.tables.world.core_x[team]), float(made.tables.world.core_y[team])
        made.stand(buyer, x, y)
        made.stand(caster, x + 100, y)
        made.heroes[buyer]["gold"] = 1000
        made.order(buyer, BUY_ITEM, item="plate vest")
        made.cast(caster, "fire bolt", target=made.unit(buyer))
        made.land()
        taken.append(int(made.body(buyer)["incoming"]))
    assert taken == [120 * 100 * (100 - 24 - 4) // 100] * 2


def turned_unit(made: Fight, u: int) -> int:
    where = made.tables.layout
    if u < 0:
        return u
    return int((u + where.block) % (2 * where.block))


@pytest.mark.slow
def test_what_lands_in_a_turned_game_is_the_turned_landing() -> None:
    random = np.random.default_rng(3)
    names = ["tank", "carry", "burst caster", "healer", "controller", "assassin"]
    landed = 0
    for _ in range(40):
        one, other = fight(), fight()
        other.game["tie"] = 1 - one.game["tie"]
        kinds = random.permutation(6)
        for h in range(6):
            place = random.uniform(-250, 250, 2).astype(np.float32)
            primary = FIRST_ABILITY + int(random.integers(3)) + 3 * int(kinds[h]) if h % 3 else int(random.integers(7))
            target = one.unit(int(random.integers(6)))
            x, y = (int(n) for n in random.integers(0, 9, 2))
            for made, who, sign in ((one, h, 1), (other, (h + 3) % 6, -1)):
                made.become(who, names[kinds[h]], 5)
                made.stand(who, *(sign * place))
                made.order(
                    who,
                    primary,
                    target=target if sign == 1 else turned_unit(made, target),
                    x=x if sign == 1 else 8 - x,
                    y=y if sign == 1 else 8 - y,
                    item="salve",
                )
        for made in (one, other):
            made.land()
        landed += int((one.heroes["primary"] >= FIRST_ABILITY).sum())
        for h in range(6):
            a, b = one.body(h), other.body((h + 3) % 6)
            for name in ("incoming", "incoming_heal", "incoming_most", "modifier_ticks", "modifier_amount", "health"):
                assert np.array_equal(a[name], b[name]), name
            for name in ("x", "y", "face_x", "face_y"):
                assert a[name] == -b[name], name
            assert turned_unit(one, int(a["incoming_from"])) == b["incoming_from"]
            mine, theirs = one.heroes[h], other.heroes[(h + 3) % 6]
            for name in ("primary", "mana", "ability_ready", "items", "order", "gained"):
                assert np.array_equal(mine[name], theirs[name]), name
    assert landed > 40
