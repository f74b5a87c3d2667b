"""What a primary action decides: which other heads are read and which row of their masks applies, in numpy."""

from __future__ import annotations

import numpy as np
from gymnasium import spaces

from quintet.games.api import ACTING, ACTION_MASK_PREFIX, Actions, Array, GameSpec, Observation, Target


def choices(spec: GameSpec, head: str) -> int:
    """How many choices a Discrete head has; 0 for a Box head."""
    space = spec.action_space[head]
    return int(space.n) if isinstance(space, spaces.Discrete) else 0


def readers(spec: GameSpec, head: str) -> Array:
    """Bool `[n_primary]`: the primary actions that read `head`. The primary head itself is always read."""
    if spec.primary_head is None:
        raise ValueError(f"{spec.name} has no primary head")
    n = choices(spec, spec.primary_head)
    if head == spec.primary_head or not spec.reads:
        return np.ones(n, dtype=bool)
    return np.array([head in heads for heads in spec.reads], dtype=bool)


def is_read(spec: GameSpec, head: str, actions: Actions, lead: tuple[int, ...]) -> Array:
    """Bool `[*lead]`: whether the chosen primary action reads `head`; always, in games without a primary head."""
    if spec.primary_head is None:
        return np.ones(lead, dtype=bool)
    read: Array = readers(spec, head)[actions[spec.primary_head]]
    return read


def mask_given(spec: GameSpec, observation: Observation, head: str, actions: Actions) -> Array | None:
    """Bool `[..., n]`: what `head` may choose beside the chosen primary action; None where everything is legal."""
    there = slots_present(spec, observation, head)
    if head not in spec.masked_heads:
        return there
    mask: Array = observation[f"{ACTION_MASK_PREFIX}{head}"]
    if head in spec.masked_by_primary and spec.primary_head is not None:
        row = actions[spec.primary_head][..., None, None]
        mask = np.take_along_axis(mask, row, axis=-2).squeeze(-2)
    return mask if there is None else mask & there


def slots_present(spec: GameSpec, observation: Observation, head: str) -> Array | None:
    """Bool `[..., agents, n]`: which slots of its entity set a `Target` head may point at; None for other heads."""
    space = spec.action_space[head]
    if not isinstance(space, Target):
        return None
    name = f"{space.group}_mask"
    there = observation[name].astype(bool)
    if name in spec.team_shared:
        there = np.broadcast_to(there[..., None, :], (*observation[ACTING].shape, there.shape[-1]))
    return there


def random_choices(spec: GameSpec, observation: Observation, random: np.random.Generator) -> Actions:
    """Legal choices for the Discrete heads, each as likely as the others; where a mask allows nothing, any choice.

    The primary head is drawn first, the others from the rows of their masks that belong to it.
    """
    lead = observation[ACTING].shape
    heads = [name for name, space in spec.action_space.spaces.items() if isinstance(space, spaces.Discrete)]
    heads.sort(key=lambda head: head != spec.primary_head)
    actions: Actions = {}
    for head in heads:
        mask, n = mask_given(spec, observation, head, actions), choices(spec, head)
        if mask is None:
            actions[head] = np.asarray(random.integers(n, size=lead))
            continue
        counts = mask.sum(axis=-1, keepdims=True)
        lot = (random.random((*lead, 1)) * np.maximum(counts, 1)).astype(np.int64)
        # The lot-th legal choice is the number of places at which at most `lot` legal ones have come by.
        choice = (np.cumsum(mask, axis=-1, dtype=np.int16) <= lot).sum(axis=-1)
        actions[head] = np.minimum(choice, n - 1)
    return actions
