"""Who won, where a library's games only say what everybody was given."""

from __future__ import annotations

import numpy as np

from quintet.games.api import Array

DRAW = 1e-6  # returns nearer than this are equal: they are sums of floats


def outcome_of(returns: Array, ended: Array) -> Array:
    """The sign of a team's return less the mean of the others'.

    Args:
        returns: [n_games, teams], of the games so far.
        ended: bool [n_games].

    Returns:
        f32 [n_games, teams]: 1, 0 or -1 where a game ended and has several teams, else NaN.
    """
    teams = returns.shape[1]
    outcome = np.full(returns.shape, np.nan, dtype=np.float32)
    if teams > 1 and ended.any():
        own = returns[ended]
        lead = own - (own.sum(axis=1, keepdims=True) - own) / (teams - 1)
        outcome[ended] = np.where(np.abs(lead) < DRAW, 0.0, np.sign(lead))
    return outcome
