"""Modifiers: stuns, slows, shields, haste, power and regeneration that are on a unit for a time.

A unit has at most one modifier of a kind; what is added to it keeps the longer time and the larger amount, so the
order in which several are added does not matter.
"""

from __future__ import annotations

from typing import Any

from quintet.games.skirmish.engine.compile import kernel
from quintet.games.skirmish.rules import HASTE, MODIFIER_NAMES, POWER, SHIELD, SLOW, STUN

KINDS = len(MODIFIER_NAMES)


@kernel
def add(unit: Any, kind: int, ticks: int, amount: int) -> None:
    """Put a modifier on a unit for so many ticks; nothing if there are none."""
    if ticks > 0:
        unit.modifier_ticks[kind] = max(unit.modifier_ticks[kind], ticks)
        unit.modifier_amount[kind] = max(unit.modifier_amount[kind], amount)


@kernel
def clear(unit: Any) -> None:
    """Take all modifiers off a unit."""
    for kind in range(KINDS):
        unit.modifier_ticks[kind] = 0
        unit.modifier_amount[kind] = 0


@kernel
def count_down(units: Any) -> None:
    """One tick less for every modifier of one game's units; the dead have none, a used-up shield is gone."""
    for u in range(len(units)):
        unit = units[u]
        if not unit.alive:
            clear(unit)
            continue
        if unit.modifier_ticks[SHIELD] > 0 and unit.modifier_amount[SHIELD] <= 0:
            unit.modifier_ticks[SHIELD] = 0
        for kind in range(KINDS):
            if unit.modifier_ticks[kind] > 1:
                unit.modifier_ticks[kind] -= 1
            else:
                unit.modifier_ticks[kind] = 0
                unit.modifier_amount[kind] = 0


@kernel
def stunned(unit: Any) -> bool:
    """Whether it can neither act nor move now."""
    return bool(unit.modifier_ticks[STUN] > 0)


@kernel
def speed_pct(unit: Any) -> int:
    """Percentage of its own speed at which it moves: 100 is normal, 0 is stunned."""
    if unit.modifier_ticks[STUN] > 0:
        return 0
    return int((100 + unit.modifier_amount[HASTE]) * (100 - unit.modifier_amount[SLOW]) // 100)


@kernel
def power_pct(unit: Any) -> int:
    """Percentage of its own damage with which it strikes, by attack or ability: 100 is normal."""
    return int(100 + unit.modifier_amount[POWER])
