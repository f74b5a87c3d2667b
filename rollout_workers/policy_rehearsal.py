"""A few rows with the policy itself, as a worker plays them: what only its actions reach shows before a run begins."""

from __future__ import annotations

import time
from collections.abc import Mapping

import numpy as np

from quintet.games.api import Array, GameDataError, VectorGame
from quintet.games.checks.blame import place
from quintet.games.checks.rehearsal import origin
from quintet.model.policy import Policy
from quintet.rollout_workers.chunker import Chunker
from quintet.rollout_workers.self_play import SelfPlay
from quintet.wire.chunk import chunk_spec
from quintet.wire.reports import PhaseTimer

ROWS = 8
WITHIN_S = 0.5


def rehearse_policy(
    game: VectorGame, policy: Policy, seed: int, *, rows: int = ROWS, within_s: float = WITHIN_S
) -> None:
    """Play a window of `rows` rows with the policy, fewer if they take longer than `within_s`, at least one.

    Raises:
        GameError: the game's own, or that the policy answers its observations with numbers that are not finite.
    """
    spec = chunk_spec(game.spec, lstm_units=policy.config.lstm_units, bptt_steps=rows, chunk_steps=rows)
    chunker = Chunker(spec, run="rehearsal", slots=game.n_games)
    play = SelfPlay(game, policy, chunker, seed=seed, timer=PhaseTimer())
    deadline_s = time.monotonic() + within_s

    def between_rows(t: int) -> bool:
        if t:
            _check(game, chunker, t - 1)
        return time.monotonic() > deadline_s

    play.play_window(0, between_rows)
    _check(game, chunker, rows - 1)


def _check(game: VectorGame, chunker: Chunker, t: int) -> None:
    row = chunker.row(t)
    taken: Mapping[str, Array] = {
        **{f"the log-probability of action {name!r}": array for name, array in row.log_prob.items()},
        **{f"action {name!r}": array for name, array in row.action.items()},
        "the value": row.value,
    }
    for what, array in taken.items():
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            found = array[tuple(np.argwhere(~np.isfinite(array))[0])]
            raise GameDataError(
                f"{place(origin(game), 'step')}: the policy answers row {t} with {found} as {what}; expected finite "
                f"numbers: look at the bounds of the spaces (game {game.spec.name!r})"
            )
