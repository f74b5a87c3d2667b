"""Every ability does what its row says, from where everybody stood."""

from __future__ import annotations

import numpy as np
import pytest

from quintet.games.skirmish.rules import (
    ABILITIES,
    CELL,
    DASH_STOPS_SHORT,
    FIRST_ABILITY,
    HASTE,
    HEROES,
    NO_OP,
    POWER,
    SHIELD,
    SLOW,
    STUN,
    TICK_S,
    Ability,
)
from tests.support.skirmish_fight import ABILITY, Fight, fight

NAMES = [row.name for row in ABILITIES]
LEVEL = 5
# Who stands where: the caster, a friend near by and one far away; two enemies near by and one far away.
PLACES = [(0.0, 0.0), (100.0, 50.0), (-1300.0, -1300.0), (150.0, 0.0), (150.0, 100.0), (1300.0, 1300.0)]
CASTER, FRIEND, FAR_FRIEND, ENEMY, OTHER_ENEMY, FAR_ENEMY = range(6)


def owner(name: str) -> str:
    return next(hero.name for hero in HEROES if name in hero.abilities)


def row_of(name: str) -> Ability:
    return ABILITIES[NAMES.index(name)]


def ready_to_cast(name: str) -> Fight:
    """The caster aims at the first enemy, at the friend, or at the ground below the first enemy."""
    made = fight()
    for h, place in enumerate(PLACES):
        made.stand(h, *place)
    made.become(CASTER, owner(name), LEVEL)
    target = {"enemy": made.unit(ENEMY), "ally": made.unit(FRIEND)}.get(row_of(name).aim, -1)
    made.cast(CASTER, name, target=target, x=5)
    return made


def reached(row: Ability) -> tuple[list[int], list[int]]:
    """The enemies that are harmed and the friends who are helped."""
    if row.radius:
        return [ENEMY, OTHER_ENEMY], [CASTER, FRIEND]
    return ([ENEMY] if row.aim == "enemy" else []), ([FRIEND] if row.aim == "ally" else [CASTER])


def in_ticks(seconds: float) -> int:
    return round(seconds / TICK_S)


def modifiers_of(made: Fight, h: int) -> dict[int, tuple[int, int]]:
    """kind -> (ticks, amount) of what is on a hero."""
    body = made.body(h)
    return {
        kind: (int(body["modifier_ticks"][kind]), int(body["modifier_amount"][kind]))
        for kind in range(len(body["modifier_ticks"]))
        if body["modifier_ticks"][kind]
    }


def grown(amount: float, row: Ability) -> float:
    return amount * 100 * (100 + row.level_pct * (LEVEL - 1)) / 100


@pytest.mark.parametrize("name", NAMES)
def test_an_ability_harms_the_enemies_it_reaches_and_nobody_else(name: str) -> None:
    made, row = ready_to_cast(name), row_of(name)
    made.land()
    harmed, _ = reached(row)
    for h in range(6):
        body = made.body(h)
        expected = grown(row.damage, row) * (100 - body["armor_pct"]) / 100 if h in harmed else 0
        assert body["incoming"] == pytest.approx(expected, abs=2)
        curses = {k: v for k, v in modifiers_of(made, h).items() if k in (STUN, SLOW)}
        wanted = {STUN: (in_ticks(row.stun_s), 0), SLOW: (in_ticks(row.slow_s), row.slow_pct)}
        assert curses == ({k: v for k, v in wanted.items() if v[0]} if h in harmed else {})


@pytest.mark.parametrize("name", NAMES)
def test_an_ability_helps_the_friends_it_reaches_and_nobody_else(name: str) -> None:
    made, row = ready_to_cast(name), row_of(name)
    made.land()
    _, helped = reached(row)
    for h in range(6):
        assert made.body(h)["incoming_heal"] == pytest.approx(grown(row.heal, row) if h in helped else 0, abs=2)
        blessings = {k: v for k, v in modifiers_of(made, h).items() if k in (SHIELD, HASTE, POWER)}
        wanted = {
            SHIELD: (in_ticks(row.shield_s), round(row.shield * 100)),
            HASTE: (in_ticks(row.haste_s), row.haste_pct),
            POWER: (in_ticks(row.power_s), row.power_pct),
        }
        assert blessings == ({k: v for k, v in wanted.items() if v[0]} if h in helped else {})


@pytest.mark.parametrize("name", NAMES)
def test_a_cast_costs_mana_and_has_to_cool_down(name: str) -> None:
    made, row = ready_to_cast(name), row_of(name)
    before = int(made.heroes[CASTER]["mana"])
    made.land()
    slot = HEROES[made.heroes[CASTER]["archetype"]].abilities.index(name)
    assert before - made.heroes[CASTER]["mana"] == round(row.mana * 100)
    wanted = [0, 0, 0]
    wanted[slot] = in_ticks(row.cooldown_s)
    assert made.heroes[CASTER]["ability_ready"].tolist() == wanted


@pytest.mark.parametrize("name", NAMES)
def test_only_a_dash_moves_the_caster_and_it_stops_at_its_goal(name: str) -> None:
    made, row = ready_to_cast(name), row_of(name)
    made.land()
    wanted = (150.0 if row.aim == "point" else 150.0 - DASH_STOPS_SHORT) if row.dash else 0.0
    assert made.body(CASTER)["x"] == pytest.approx(wanted, abs=0.01)
    assert made.body(CASTER)["y"] == 0
    if row.dash:
        assert (made.body(CASTER)["face_x"], made.body(CASTER)["face_y"]) == (1, 0)


def test_every_archetype_has_its_own_three_abilities() -> None:
    assert sorted(name for hero in HEROES for name in hero.abilities) == sorted(NAMES)
    assert [owner(row.name) for row in ABILITIES] == [hero.name for hero in HEROES for _ in range(3)]


def test_a_dash_goes_no_further_than_its_length() -> None:
    made = ready_to_cast("quick step")
    made.cast(CASTER, "quick step", x=8)
    made.land()
    assert made.body(CASTER)["x"] == pytest.approx(row_of("quick step").dash, abs=0.01)


def test_a_dash_ends_at_a_wall() -> None:
    made = ready_to_cast("quick step")
    ground, half = made.tables.world.walkable, made.tables.world.half
    i, j = np.argwhere(ground[:-1] & ~ground[1:])[0]  # an open cell with a wall to the east
    x, y = float(i * CELL + CELL / 2 - half), float(j * CELL + CELL / 2 - half)
    made.stand(CASTER, x, y)
    made.cast(CASTER, "quick step", x=8)
    made.land()
    assert CELL / 4 < made.body(CASTER)["x"] - x <= CELL / 2
    assert made.body(CASTER)["y"] == y


def test_two_who_dash_at_one_another_both_reach_where_the_other_stood() -> None:
    made = fight()
    for h, x in ((0, -150.0), (3, 150.0)):
        made.become(h, "assassin", LEVEL)
        made.stand(h, x, 0.0)
    made.cast(0, "execute", target=made.unit(3))
    made.cast(3, "execute", target=made.unit(0))
    made.land()
    assert made.body(0)["x"] == pytest.approx(150 - DASH_STOPS_SHORT)
    assert made.body(3)["x"] == -made.body(0)["x"]


def test_two_who_stun_one_another_in_the_same_step_are_both_stunned() -> None:
    made = fight()
    for h, x in ((0, -150.0), (3, 150.0)):
        made.become(h, "controller", LEVEL)
        made.stand(h, x, 0.0)
    made.cast(0, "root bolt", target=made.unit(3))
    made.cast(3, "root bolt", target=made.unit(0))
    made.land()
    assert [STUN in modifiers_of(made, h) for h in (0, 3)] == [True, True]


def test_a_point_beyond_the_range_is_drawn_in_to_it() -> None:
    made = ready_to_cast("flame ring")
    made.cast(CASTER, "flame ring", x=8, y=8)  # 849 units away; the range is 600
    edge = row_of("flame ring").range / 2**0.5
    made.stand(ENEMY, edge, edge - row_of("flame ring").radius + 2)
    made.stand(OTHER_ENEMY, edge, edge - row_of("flame ring").radius - 2)
    made.land()
    assert made.body(ENEMY)["incoming"] > 0
    assert made.body(OTHER_ENEMY)["incoming"] == 0


def test_an_area_reaches_creeps_and_neutrals_but_no_buildings() -> None:
    made = ready_to_cast("ground slam")
    layout = made.tables.layout
    creep, own_creep = layout.block + layout.first_creep, layout.first_creep
    tower, neutral = layout.block + layout.first_tower, layout.first_neutral
    for u in (creep, own_creep, tower, neutral):
        made.units[u]["alive"], made.units[u]["health"], made.units[u]["max_health"] = True, 9000, 10000
        made.units[u]["x"], made.units[u]["y"] = 50.0, 50.0
    made.land()
    assert [bool(made.units[u]["incoming"] > 0) for u in (creep, own_creep, tower, neutral)] == [
        True,
        False,
        False,
        True,
    ]
    assert made.units[tower]["modifier_ticks"].sum() == 0


def test_sanctuary_heals_own_creeps_too() -> None:
    made = ready_to_cast("sanctuary")
    creep = made.tables.layout.first_creep
    made.units[creep]["alive"], made.units[creep]["x"], made.units[creep]["y"] = True, 50.0, 50.0
    made.land()
    assert made.units[creep]["incoming_heal"] == pytest.approx(grown(220, row_of("sanctuary")), abs=2)


def test_ability_power_of_items_and_the_power_modifier_make_damage_grow_and_only_items_healing() -> None:
    plain, strong = ready_to_cast("fire bolt"), ready_to_cast("fire bolt")
    strong.carry(CASTER, "ember staff")
    strong.body(CASTER)["modifier_ticks"][POWER], strong.body(CASTER)["modifier_amount"][POWER] = 10, 50
    for made in (plain, strong):
        made.land()
    ratio = strong.body(ENEMY)["incoming"] / plain.body(ENEMY)["incoming"]
    assert ratio == pytest.approx(1.25 * 1.5, rel=1e-3)
    plain, strong = ready_to_cast("mend"), ready_to_cast("mend")
    strong.carry(CASTER, "ember staff")
    strong.body(CASTER)["modifier_ticks"][POWER], strong.body(CASTER)["modifier_amount"][POWER] = 10, 50
    for made in (plain, strong):
        made.land()
    ratio = strong.body(FRIEND)["incoming_heal"] / plain.body(FRIEND)["incoming_heal"]
    assert ratio == pytest.approx(1.25, rel=1e-3)


@pytest.mark.parametrize("name", NAMES)
def test_no_other_archetype_casts_an_ability(name: str) -> None:
    made = ready_to_cast(name)
    made.become(CASTER, "tank" if owner(name) != "tank" else "carry", LEVEL)
    made.land()
    assert made.heroes[CASTER]["primary"] == NO_OP
    assert made.units["incoming"].sum() == made.units["incoming_heal"].sum() == 0


def test_a_cast_is_lost_on_who_has_gone_and_costs_nothing() -> None:
    made = ready_to_cast("fire bolt")
    made.body(ENEMY)["x"] = row_of("fire bolt").range + 1
    made.land()
    assert made.heroes[CASTER]["primary"] == NO_OP
    assert made.heroes[CASTER]["mana"] == made.heroes[CASTER]["max_mana"]


def test_the_index_of_an_ability_is_its_primary_action() -> None:
    made = ready_to_cast("mend")
    assert made.heroes[CASTER]["primary"] == FIRST_ABILITY + ABILITY["mend"] == FIRST_ABILITY + NAMES.index("mend")
