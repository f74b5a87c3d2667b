"""What the rules of `quintet.control.derivation` need to know of a game: from its spec, and from a little play."""

from __future__ import annotations

from typing import TYPE_CHECKING

from quintet.control.config import RunConfig
from quintet.control.derivation import GameFacts

if TYPE_CHECKING:
    from quintet.games.api import GameSpec
    from quintet.games.checks.rehearsal import Seen

LONGEST_EPISODE = 5000  # a bound beyond it says nothing of how long games are
UNKNOWN_EPISODE = 1000  # rows, where nobody has seen an end


def needs_play(spec: GameSpec) -> bool:
    """Whether the spec leaves open what the rules go by: how long games are, and what the end of one pays."""
    return not _has_bound(spec) or (spec.teams > 1 and not _has_clock(spec))


def facts_of(spec: GameSpec, seen: Seen | None, config: RunConfig) -> GameFacts:
    """The facts of a game; `seen` is what random play showed of it, None where nobody played."""
    from gymnasium import spaces  # reading a configuration must not wait for it

    heads = spec.action_space.spaces
    discrete = {name: int(head.n) for name, head in heads.items() if isinstance(head, spaces.Discrete)}
    is_zero_sum = spec.teams > 1 and (spec.zero_sum or (seen is not None and seen.sums_to_zero))
    pays_ends_only = seen is not None and seen.pays_ends_only and not _has_clock(spec)
    steps, words = _episode(spec, seen)
    return GameFacts(
        teams=spec.teams,
        agents_per_team=spec.agents_per_team,
        episode_steps=steps,
        episode_words=words,
        step_s=spec.step_s,
        has_clock=_has_clock(spec),
        zero_sum=is_zero_sum,
        outcome_only=is_zero_sum and pays_ends_only,
        outcome_reward=seen.largest_end if seen is not None and seen.largest_end else 1.0,
        choices=discrete.get(spec.primary_head or "", max(discrete.values(), default=0)),
        row_bytes=_row_bytes(spec, config),
    )


def _episode(spec: GameSpec, seen: Seen | None) -> tuple[int, str]:
    """Rows of a typical episode, and where that comes from."""
    if _has_bound(spec):
        assert spec.max_steps is not None
        return spec.max_steps, "the game's bound"
    if seen is not None and seen.games:
        return max(1, seen.episode_rows), "in random play"
    rows = 0 if seen is None else seen.rows
    if seen is not None and rows < seen.declared_rows <= LONGEST_EPISODE:
        return seen.declared_rows, "the environment's own bound"
    return max(UNKNOWN_EPISODE, rows), f"none ended in {rows:,} rows of random play" if rows else "a guess"


def _has_bound(spec: GameSpec) -> bool:
    return spec.max_steps is not None and spec.max_steps <= LONGEST_EPISODE


def _has_clock(spec: GameSpec) -> bool:
    return spec.step_s != 1.0  # a game without a clock leaves it at one a row


def _row_bytes(spec: GameSpec, config: RunConfig) -> int:
    """Of a team's row in a chunk; of chunks of one window, which has the state beside it."""
    from quintet.wire.chunk import chunk_spec
    from quintet.wire.codec import blob_bytes

    rows = config.rollout.bptt_steps
    chunk = chunk_spec(spec, lstm_units=config.model.lstm_units, bptt_steps=rows, chunk_steps=rows)
    return blob_bytes(chunk) // rows
