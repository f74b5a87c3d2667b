"""The same moment of a skirmish with the map turned by 180 degrees and the teams' places swapped."""

from __future__ import annotations

import numpy as np

from quintet.games.skirmish.rules import OFFSETS
from quintet.games.skirmish.state import NEUTRAL_TEAM, NOBODY, Array, Layout, State

TURNED = ("x", "y", "face_x", "face_y", "old_x", "old_y", "order_x", "order_y", "last_x", "last_y")
UNITS_NAMED = ("target", "struck", "incoming_from", "target_unit")


def mirrored_state(state: State, layout: Layout) -> State:
    """A new state; mirroring it again gives the first one back."""
    unit, hero, game = state.unit[:, _order(layout)].copy(), state.hero.copy(), state.game.copy()
    hero = np.concatenate([hero[:, layout.heroes :], hero[:, : layout.heroes]], axis=1)
    for records in (unit, hero):
        for name in records.dtype.names or ():
            if name in TURNED:
                records[name] = -records[name]
            elif name in UNITS_NAMED:
                records[name] = _renamed(records[name], layout)
    unit["team"] = np.where(unit["team"] == NEUTRAL_TEAM, NEUTRAL_TEAM, 1 - unit["team"])
    unit["seen"] = unit["seen"][..., ::-1]
    hero["offset_x"], hero["offset_y"] = OFFSETS - 1 - hero["offset_x"], OFFSETS - 1 - hero["offset_y"]
    game["tie"] = 1 - game["tie"]
    game["winner"] = np.where((game["winner"] == 0) | (game["winner"] == 1), 1 - game["winner"], game["winner"])
    for name in ("pickup_kind", "pickup_at"):
        game[name] = game[name][:, ::-1]
    game["pickup_seen"] = game["pickup_seen"][:, ::-1, ::-1]
    return State(game=game, unit=unit, hero=hero)


def _order(layout: Layout) -> Array:
    """[U]: which unit stands in each place of the mirrored table."""
    half = layout.neutrals // 2
    places = np.arange(layout.units)
    return np.concatenate(
        [
            places[layout.block : 2 * layout.block],
            places[: layout.block],
            places[layout.first_neutral + half : layout.boss],
            places[layout.first_neutral : layout.first_neutral + half],
            places[layout.boss :],
        ]
    )


def _renamed(units: Array, layout: Layout) -> Array:
    renamed = np.append(_order(layout), NOBODY)  # a mirror is its own inverse; the last one answers -1
    return np.asarray(renamed[units])
