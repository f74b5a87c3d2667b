"""Modifiers do what they say for as long as they say."""

from __future__ import annotations

import pytest

from quintet.games.skirmish.engine.modifiers import add
from quintet.games.skirmish.rules import ATTACK, FRAME_SKIP, HASTE, HEROES, MOVE, POWER, REGEN, SHIELD, SLOW, STUN
from tests.support.skirmish_fight import Fight, fight


def put(made: Fight, h: int, kind: int, ticks: int, amount: int) -> None:
    made.body(h)["modifier_ticks"][kind], made.body(h)["modifier_amount"][kind] = ticks, amount


def way(kinds: dict[int, int]) -> float:
    """How far a hero with these modifiers gets in one step, across the open middle."""
    made = fight()
    made.stand(0, 0, 0)
    for kind, amount in kinds.items():
        put(made, 0, kind, 100, amount)
    made.order(0, MOVE, x=8)
    made.steps(1)
    return float(made.body(0)["x"])


def test_speed_is_changed_by_slow_and_haste_and_stun() -> None:
    plain = HEROES[0].speed * 0.4
    assert way({}) == pytest.approx(plain, rel=1e-4)
    assert way({HASTE: 50}) == pytest.approx(1.5 * plain, rel=1e-4)
    assert way({SLOW: 30}) == pytest.approx(0.7 * plain, rel=1e-4)
    assert way({HASTE: 50, SLOW: 40}) == pytest.approx(0.9 * plain, rel=1e-4)
    assert way({STUN: 0}) == 0


def duel(attacker: int = 0) -> Fight:
    made = fight()
    made.stand(0, 0, 0)
    made.stand(3, 100, 0)
    made.order(attacker, ATTACK, target=made.unit(3 - attacker))
    return made


def test_a_stunned_hero_does_not_strike_back() -> None:
    made = duel()
    before = int(made.body(3)["health"])
    made.steps(1)
    assert made.body(3)["health"] < before
    made = duel()
    made.land()
    put(made, 0, STUN, 100, 0)
    made.order(0, 0)
    made.steps(5)
    assert made.body(3)["health"] == before


def test_a_stunned_hero_cannot_act() -> None:
    made = duel()
    put(made, 0, STUN, 1, 0)
    made.land()
    assert made.body(0)["target"] == -1


def test_a_shield_takes_the_blows_until_it_is_used_up() -> None:
    made = duel()
    blow = made.body(0)["damage"] * (100 - made.body(3)["armor_pct"]) // 100
    before = int(made.body(3)["health"])
    put(made, 3, SHIELD, 100, int(blow) + 100)
    made.steps(1)
    assert made.body(3)["health"] == before
    assert made.body(3)["modifier_amount"][SHIELD] == 100
    made.steps(4)
    assert made.body(3)["health"] < before
    assert made.body(3)["modifier_ticks"][SHIELD] == 0


def test_power_makes_attacks_harder() -> None:
    taken = []
    for power in (0, 50):
        made = duel()
        put(made, 0, POWER, 100 if power else 0, power)
        before = int(made.body(3)["health"])
        made.steps(1)
        regained = 40 * HEROES[0].regen  # both are tanks
        taken.append(before - int(made.body(3)["health"]) + regained)
    assert taken[0] > regained
    assert taken[1] == pytest.approx(1.5 * taken[0], abs=2)


def test_regeneration_heals_so_much_a_second() -> None:
    gained = []
    for amount in (0, 2500):
        made = fight()
        made.stand(0, 0, 0)
        made.body(0)["health"] = 20_000
        put(made, 0, REGEN, 40 if amount else 0, amount)
        made.steps(10)  # four seconds
        gained.append(int(made.body(0)["health"]) - 20_000)
    assert gained[0] == pytest.approx(400 * HEROES[0].regen, abs=2)
    assert gained[1] - gained[0] == pytest.approx(4 * 2500, abs=2)


def test_a_modifier_is_over_after_its_ticks() -> None:
    made = fight()
    put(made, 0, HASTE, 2 * FRAME_SKIP + 1, 25)
    made.steps(2)
    assert (made.body(0)["modifier_ticks"][HASTE], made.body(0)["modifier_amount"][HASTE]) == (1, 25)
    made.steps(1)
    assert (made.body(0)["modifier_ticks"][HASTE], made.body(0)["modifier_amount"][HASTE]) == (0, 0)


def test_the_longer_time_and_the_larger_amount_are_kept_in_any_order() -> None:
    pairs = [(10, 40), (30, 20), (0, 90)]
    for order in (pairs, pairs[::-1]):
        made = fight()
        for ticks, amount in order:
            add(made.body(0), SLOW, ticks, amount)
        assert (made.body(0)["modifier_ticks"][SLOW], made.body(0)["modifier_amount"][SLOW]) == (30, 40)


def test_the_dead_have_no_modifiers() -> None:
    made = fight()
    put(made, 0, POWER, 100, 50)
    made.body(0)["alive"], made.body(0)["respawn_at"] = False, 10**6
    made.steps(1)
    assert made.body(0)["modifier_ticks"].sum() == made.body(0)["modifier_amount"].sum() == 0
